"""L1-wavelet compressed sensing (Lustig et al. 2007) through sigpy."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Complex
from torch import Tensor

from lightning_mri.baselines.baseline import Tunable
from lightning_mri.physics import GaussianLikelihood
from lightning_mri.scaling import Scaling

DEFAULT_WEIGHTS = (0.0005, 0.001, 0.002, 0.004, 0.008, 0.016, 0.032)
POWER_ITERATIONS = 30
TINY = 1e-30  # keeps an empty slice from dividing by zero

Map = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True)
class L1Wavelet(Tunable):
    """argmin abs(y - A x)^2 / 2 + lambda abs(W x)_1, by sigpy's accelerated proximal gradients.

    lambda = weight x the 99th percentile of abs(A^H y), slice by slice, so that one weight serves scans in
    any unit. The operator is the likelihood's own, any factors included; of several sets each has its own
    wavelet transform. Where no coil sees anything the image is zero: wavelets reach beyond, and no data call them back.

    Args:
        weight: Strength of the regularisation relative to the data.
        n_iterations: Gradient steps.
        wavelet: Name of the orthogonal wavelet.
    """

    weight: float = 0.004
    n_iterations: int = 100
    wavelet: str = "db4"

    @property
    def weights(self) -> tuple[float, ...]:
        """From hardly any to too much."""
        return DEFAULT_WEIGHTS

    @torch.no_grad()
    def reconstruct(self, likelihood: GaussianLikelihood) -> Complex[Tensor, "*batch y x"]:
        """Return the compressed-sensing image of each slice; the slices share nothing but the call."""
        measured, ndim = likelihood.adjoint(), likelihood.A.image_ndim
        level = Scaling().of(measured)[..., None, None]
        level = level.amax(-3, keepdim=True) if ndim == 3 else level
        x = _minimise(
            normal=lambda x: likelihood.A.normal(torch.from_numpy(x).to(measured.device)).numpy(force=True),
            measured=measured.numpy(force=True),
            level=level.clamp(min=TINY).numpy(force=True),
            ndim=ndim,
            choice=self,
        )
        return likelihood.apply_support(torch.from_numpy(x).to(measured.device))


def _minimise(normal: Map, measured: np.ndarray, level: np.ndarray, ndim: int, choice: L1Wavelet) -> np.ndarray:
    """Return argmin <x, N x> / 2 - Re <x, A^H y> + weight level abs(W x)_1, for each image of the batch.

    With L the largest eigenvalue of N, the steps are taken for u = x L / level, whose step and threshold
    are the same for all images: 1 and ``weight``.
    """
    # imported when first used: sigpy compiles with numba, which takes seconds
    from sigpy import linop, prox
    from sigpy.alg import GradientMethod

    steepness = _largest_eigenvalue(normal, measured, ndim)
    unit = level / steepness
    wavelet = linop.Wavelet(measured.shape, axes=(-2, -1), wave_name=choice.wavelet)
    descent = GradientMethod(
        gradf=lambda u: (normal(u) - measured / unit) / steepness,
        x=np.zeros_like(measured),
        alpha=1.0,
        proxg=prox.UnitaryTransform(prox.L1Reg(wavelet.oshape, choice.weight), wavelet),
        accelerate=True,
        max_iter=choice.n_iterations,
    )
    while not descent.done():
        descent.update()
    return descent.x * unit


def _largest_eigenvalue(normal: Map, like: np.ndarray, ndim: int) -> np.ndarray:
    """Return the largest eigenvalue of N for each image by power iteration, axes of the image kept."""
    from sigpy.alg import PowerMethod

    def size(x: np.ndarray) -> np.ndarray:
        return np.maximum(np.sqrt((np.abs(x) ** 2).sum(axis=tuple(range(-ndim, 0)), keepdims=True)), TINY)

    power = PowerMethod(normal, like / size(like), norm_func=size, max_iter=POWER_ITERATIONS)
    while not power.done():
        power.update()
    return power.max_eig
