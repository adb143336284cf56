"""Coils of zeros: dead or disabled channels, and those that an array was padded with. They change nothing."""

from collections.abc import Sequence

import torch
from jaxtyping import Bool, Complex
from torch import Tensor

from lightning_mri.physics.noise import whiten


def live_coils(
    kspace: Complex[Tensor, "slice coil y x"], covariance: Complex[Tensor, "coil coil"] | None = None
) -> Bool[Tensor, "slice coil"]:
    """Return which coils of each slice hold something.

    Args:
        kspace: K-space of each slice, zero where not acquired.
        covariance: Covariance of the coils' noise. A coil of which it has zeros alone was dead in the noise scan, so
            that it cannot be whitened; where they all were, the covariance is of no use, and `whiten` refuses it.
    """
    live = (kspace != 0).flatten(2).any(2)
    if covariance is None:
        return live
    heard = (covariance != 0).any(1).to(live.device)
    return live & heard if bool(heard.any()) else live


def whiten_live(
    kspace: Complex[Tensor, "slice coil y x"],
    covariance: Complex[Tensor, "coil coil"],
    live: Bool[Tensor, "slice coil"],
) -> Complex[Tensor, "slice coil y x"]:
    """Return k-space whitened as by `whiten`, in a unit that keeps the mean noise, coils that are not live as zeros.

    Args:
        kspace: K-space in the units of the noise samples.
        covariance: Covariance of the coils' noise.
        live: Which coils count in each slice, from `live_coils`.

    Raises:
        ValueError: If the covariance of the coils that count is not Hermitian positive definite.
    """
    covariance = covariance.to(kspace.device)
    if bool(live.all()):
        return whiten(kspace, covariance / covariance.diagonal().real.mean())
    white = torch.zeros_like(kspace)
    for data, out, coils in zip(kspace, white, live, strict=True):
        if bool(coils.any()):
            part = covariance[coils][:, coils]
            out[coils] = whiten(data[coils], part / part.diagonal().real.mean())
    return white


def about_dead(live: Bool[Tensor, "slice coil"]) -> Sequence[str | None]:
    """Return a sentence about the coils of each slice that are left out; None where there are none."""
    dead = [(~coils).nonzero().flatten().tolist() for coils in live]
    return [f"coils of zeros are left out: {', '.join(map(str, each))}" if each else None for each in dead]
