"""Refinement of coil maps: a smooth correction that fits an image to all measured samples."""

import math

import torch
from jaxtyping import Complex, Float
from torch import Tensor

from lightning_mri.physics.acquisition import Maps
from lightning_mri.physics.cg import conjugate_gradient
from lightning_mri.physics.likelihood import GaussianLikelihood
from lightning_mri.physics.operators import Composition
from lightning_mri.physics.smooth import SmoothImages
from lightning_mri.tensors import root_sum_of_squares

WIDTH = 5.0  # standard deviation of the filter of the maps in cycles per field of view
CUTOFF = 3  # of these standard deviations, beyond which the gain is below 1.2 %
AMPLITUDE = 0.1  # root mean square change of a map


def refine_maps(
    likelihood: GaussianLikelihood,
    x: Complex[Tensor, "..."],
    noise_std: Float[Tensor, "*noise"] | float | None = None,
    n_iterations: int = 3,
) -> GaussianLikelihood:
    """Return the likelihood with maps S + W d that fit the measurement better.

    Minimises abs(y - A(S + W d) x)^2 + noise_std^2 abs(d)^2 over d, the spectra of a correction of each map,
    on all acquired samples and none else. W is a low-pass filter: Gaussian over `WIDTH` cycles per field of
    view, such that standard normal d change a map by about `AMPLITUDE`. Stopping early after a few steps of
    conjugate gradient from d = 0 is part of the regularisation; a second pass over-fits.

    Each sample in front of the batch gets its own maps. Their sum over coils of abs(S)^2 stays what it was, since a
    gain shared by image and maps is not determined; where a map was zero it stays zero.

    Args:
        likelihood: Its operator holds one factor `Maps`.
        x: Image, or samples of it, in image units.
        noise_std: Other noise level than the likelihood's, one value or one a sample.
        n_iterations: Steps of conjugate gradient.

    Raises:
        ValueError: If the operator has no `Maps`.
    """
    old = likelihood.A.find(Maps)
    if old is None:
        raise ValueError(f"the operator must have a factor Maps: got {type(likelihood.A).__name__}")
    factors = likelihood.A.factors
    position = factors.index(old)
    before, after = Composition(factors[:position]), factors[position + 1 :]
    image = Composition(after)(x) if after else x
    image = image[..., None, None, :, :] if old.n_sets == 1 else image[..., None, :, :]
    support = old.maps.abs().sum(-3, keepdim=True) > 0
    inside = image * support
    conjugate = inside.conj().resolve_conj()
    precision = torch.promote_types(x.dtype, old.maps.dtype).to_real()
    smooth = low_pass((old.maps.shape[-2], old.maps.shape[-1]), x.device, precision)
    noise = likelihood.noise_std if noise_std is None else noise_std
    variance = torch.as_tensor(noise, dtype=torch.float32, device=x.device)[..., None, None, None, None].square()

    def normal(d: Tensor) -> Tensor:
        coils = before.normal((smooth(d) * inside).sum(-4))
        return smooth.adjoint(conjugate * coils[..., None, :, :, :]) + variance * d

    misfit = before.adjoint(likelihood.residual(x))
    b = smooth.adjoint(conjugate * misfit[..., None, :, :, :])
    d = conjugate_gradient(normal, b, n_iterations=n_iterations, ndim=4)
    maps = (old.maps + smooth(d)) * support
    was, now = (root_sum_of_squares(each).unsqueeze(-3) for each in (old.maps, maps))
    maps = maps * (was / now.clamp(min=torch.finfo(torch.float32).tiny))
    return likelihood.replace(A=likelihood.A.replace(Maps, Maps(maps)))


def low_pass(size: tuple[int, int], device: torch.device, dtype: torch.dtype) -> SmoothImages:
    """Return the filter W for maps of ``size`` (y, x)."""
    highest = [min(math.ceil(CUTOFF * WIDTH), (n - 1) // 2) for n in size]
    y, x = (torch.arange(-n, n + 1, device=device, dtype=dtype) for n in highest)
    gain = torch.exp(-(y[:, None].square() + x.square()) / (2 * WIDTH**2))
    # unitary waves spread d over all pixels, whose mean square is the gain's energy over their number
    return SmoothImages(size, (y, x), gain * (AMPLITUDE * math.sqrt(math.prod(size)) / gain.norm()))
