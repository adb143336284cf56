"""Judge a reconstruction without a reference: hold measured points out and predict them from the rest."""

import torch
from jaxtyping import Bool, Complex, Float
from torch import Tensor

from lightning_mri.physics import GaussianLikelihood


def hold_out(
    mask: Bool[Tensor, "1 y x"],
    center: Bool[Tensor, "1 _y _x"],
    generator: torch.Generator,
    fraction: float = 0.2,
) -> tuple[Bool[Tensor, "1 y x"], Bool[Tensor, "1 y x"]]:
    """Split a mask into points to reconstruct from and points to predict.

    Where the mask is the same in every row, whole lines are held out, since neighbours along the readout
    would give a single point away; otherwise points.

    Args:
        mask: True = acquired.
        center: Points that always stay, such as the calibration lines.
        generator: CPU random source; one draw per call.
        fraction: Share of the acquired points outside the centre that is held out.

    Returns:
        (kept, held): Disjoint masks whose union is ``mask``.

    Raises:
        ValueError: If the fraction is not in (0, 1), or leaves nothing to hold out.
    """
    if not 0 < fraction < 1:
        raise ValueError(f"fraction must be in (0, 1): got {fraction}")
    if center.shape != mask.shape:
        raise ValueError(f"center and mask must have one shape: got {tuple(center.shape)} and {tuple(mask.shape)}")
    outside = mask & ~center
    of_lines = bool((mask == mask[..., :1, :]).all())
    candidates = (outside.any(-2).flatten() if of_lines else outside.flatten()).nonzero().flatten()
    n_held = round(fraction * len(candidates))
    if n_held == 0:
        raise ValueError(f"mask must have points outside the centre to hold out: got {len(candidates)}")
    drawn = candidates[torch.randperm(len(candidates), generator=generator)[:n_held]]
    held = torch.zeros(mask.shape[-1] if of_lines else mask.numel(), dtype=torch.bool)
    held[drawn] = True
    held = outside & (held if of_lines else held.reshape(mask.shape)).to(mask.device)
    return mask & ~held, held


def prediction_error(x: Complex[Tensor, "*image"], held_out: GaussianLikelihood) -> Float[Tensor, "*batch"]:
    """Return the relative error of the held-out points, |y - A x| / |y|, for each image of the batch.

    Args:
        x: Reconstruction, in the image units of the likelihood.
        held_out: Likelihood whose mask is the held-out points.
    """
    residual = held_out.residual(x)
    return torch.linalg.vector_norm(residual, dim=(-3, -2, -1)) / _length(held_out)


def noise_floor(held_out: GaussianLikelihood) -> Float[Tensor, "*batch"]:
    """Return the `prediction_error` that noise alone leaves to the true image, noise_std sqrt(2 n) / |y|.

    Args:
        held_out: Likelihood whose mask is the held-out points; n counts them over all coils.
    """
    return held_out.noise_std * (2 * held_out.n_acquired).sqrt() / _length(held_out)


def _length(likelihood: GaussianLikelihood) -> Tensor:
    """Return |y| for each image of the batch."""
    return torch.linalg.vector_norm(likelihood.y, dim=(-3, -2, -1))
