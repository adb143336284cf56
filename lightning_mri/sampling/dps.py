"""Diffusion posterior sampling along the probability-flow ODE, as published for stroke MRI (arXiv 2603.13007)."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from types import MappingProxyType

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from lightning_mri.physics import GaussianLikelihood
from lightning_mri.sampling.adaptation import KNOWN_NOISE, MapRefinement
from lightning_mri.sampling.sampler import Annealed, EstimateType, Progress, Target
from lightning_mri.sampling.schedules import Karras, Schedule
from lightning_mri.tensors import norm


@dataclass(frozen=True)
class DPS(Annealed):
    """x_next = x + (s_next - s) (x - D) / s - zeta / |r| grad_x |r|^2, r = y - A D(x).

    The Euler step of the ODE of Karras et al. 2022 with the gradient of Chung et al. 2023 through the
    network. The gradient's length is that of A^H r / |r| whatever the residual, so that |r| falls until it
    is of the order of zeta; the noise level of the data plays no part. Not the posterior: an estimate that
    depends on its first noise. With zeta 0 it is a draw from the prior. Beside each network evaluation, the
    gradient costs another and a backward pass.

    A step towards the data is at most 2 zeta long, whatever the size of the image: choose zeta on scans of the
    same matrix and acceleration, with which it is published to grow, and larger where steps are fewer. The
    default suits 128 x 112 pixels at R = 4; see `TUNED_DPS` for few steps.

    Args:
        n_steps: Noise levels.
        zeta: Weight of the data, in image units.
        sigma_max: First level, in image units. Published with 10, at which few networks have been trained
            well: from there, the error on a synthetic head was twice that from 1.
        sigma_min: Last level, in image units.
        schedule: How the levels are spaced.
        n_parallel: Images whose gradient is computed at once. With more in the batch, their networks' activations
            are computed again in the backward pass, so that memory grows with this and not with the batch. A
            network's own ``recompute`` lowers that of a single image: on the shipped one, whose activations are
            small, from 0.26 to 0.22 GiB at 384 x 384 pixels, for 1.9 x the time.
        refinement: Refinement of the coil maps; None keeps them.

    Raises:
        ValueError: If there is no level, ``zeta`` is negative or ``n_parallel`` is not positive.
    """

    n_steps: int = 500
    zeta: float = 1.0
    sigma_max: float = 1.0
    sigma_min: float = 0.002
    schedule: Schedule = Karras()  # noqa: RUF009
    n_parallel: int = 1
    refinement: MapRefinement | None = None

    estimate_type = EstimateType.POINT

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.zeta >= 0:
            raise ValueError(f"zeta must not be negative: got {self.zeta}")
        if self.n_parallel < 1:
            raise ValueError(f"n_parallel must be at least 1: got {self.n_parallel}")

    def _run(self, target: Target) -> Tensor:
        likelihood = target.measurement()
        sigmas = self.sigmas()
        x = sigmas[0] * target.noise.normal()
        for step, (sigma, sigma_next) in enumerate(pairwise(sigmas), 1):
            denoised, gradient = self._gradient(target, likelihood, x, sigma)
            x = x + (sigma_next - sigma) / sigma * (x - denoised) - self.zeta * gradient
            if self.refinement is not None:
                noise_std = KNOWN_NOISE.noise_std(likelihood, denoised)
                likelihood = self.refinement.refine(likelihood, denoised, noise_std, sigma)
            target.report(Progress(step, self.n_steps, sigma, x, likelihood))
        return x

    def _gradient(
        self, target: Target, likelihood: GaussianLikelihood, x: Tensor, sigma: float
    ) -> tuple[Tensor, Tensor]:
        """Return D and grad_x |r|^2 / |r| = -2 J^H A^H r / |r|, J the network's derivative."""
        n = self.n_parallel
        with torch.inference_mode(False), torch.enable_grad():
            # autograd takes no tensor that was made in inference mode, in which trainers predict and test
            labels = None if target.label is None else target.label.clone()
            images = x.reshape(-1, *x.shape[-2:]).clone().requires_grad_()
            parts = images.split(n)
            chosen = [None] * len(parts) if labels is None else labels.flatten().split(n)
            if len(parts) == 1:  # nothing else's activations need to be kept meanwhile
                denoised = target.estimate(parts[0], sigma, chosen[0])
            else:
                recomputed = partial(checkpoint, target.estimate, use_reentrant=False)
                denoised = torch.cat(
                    [recomputed(part, sigma, label) for part, label in zip(parts, chosen, strict=True)]
                )
        D = target.apply_support(denoised.detach().reshape(x.shape))
        residual = likelihood.residual(D)
        length = norm(residual, 3)[..., 0, 0, 0][(...,) + (None,) * target.image_ndim]
        pull = -2 * likelihood.A.adjoint(residual) / length.clamp(min=torch.finfo(torch.float32).tiny)
        with torch.inference_mode(False):
            (gradient,) = torch.autograd.grad(denoised, images, pull.reshape(images.shape).clone())
        return D, gradient.reshape(x.shape)


TUNED_DPS: Mapping[float, DPS] = MappingProxyType({2.0: DPS(n_steps=100, zeta=1.7), 4.0: DPS(n_steps=100, zeta=1.8)})
"""Settings of few steps by acceleration, for 64 x 64 pixels and four coils.

Each zeta is the minimum of a parabola, in log zeta, through the NRMSE of a synthetic validation head at 1, 2 and 4. The
minima are flat, 1 and 2 differ by less than 5 % of NRMSE, and between these two hardly depend on R. At R = 4, 400
steps with zeta 0.4 had 4 % less error.
"""
