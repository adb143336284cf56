"""Does the reconstruction explain the data? If not, say so: a reader cannot see it in the image."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Complex, Float
from torch import Tensor

from lightning_mri.physics import GaussianLikelihood


@dataclass(frozen=True)
class Guard:
    """Limits above which a slice is doubted.

    Residuals far above the noise are common at high signal, where small errors of the coil maps outweigh
    the noise; they matter once they are also a sizeable part of the signal. So a slice is doubted when both
    limits are passed.

    Args:
        noise_ratio: Residual on the acquired samples relative to the noise level.
        signal_ratio: The same relative to the measurement, both as norms.
    """

    noise_ratio: float = 3.0
    signal_ratio: float = 0.05

    def doubts(self, check: "Check", slices: Sequence[int]) -> tuple[str, ...]:
        """Return one sentence for each doubted slice.

        Args:
            check: Residuals of the slices.
            slices: Their indices in the scan.
        """
        sentences = []
        for index, noise, signal in zip(slices, check.noise_ratio, check.signal_ratio, strict=True):
            is_large = noise > self.noise_ratio and signal > self.signal_ratio
            if is_large or not math.isfinite(noise):
                sentences.append(
                    f"slice {index}: unexplained are {100 * signal:.0f} % of the measured signal, "
                    f"{noise:.1f} x the noise: coil maps, motion or a cut field of view may be the cause"
                )
        return tuple(sentences)


@dataclass(frozen=True, eq=False)
class Check:
    """How well images explain the acquired samples, one value a slice.

    Args:
        noise_ratio: Standard deviation of the residual / that of the noise; 1 for a perfect fit.
        signal_ratio: Norm of the residual / norm of the measurement.
    """

    noise_ratio: Float[Tensor, "batch"]
    signal_ratio: Float[Tensor, "batch"]


def check(likelihood: GaussianLikelihood, x: Complex[Tensor, "..."]) -> Check:
    """Compare the residual of the acquired samples with noise and signal.

    Args:
        likelihood: The scan, with the maps as they were refined together with ``x``.
        x: Images [sample, batch, (set,) y, x] or without the samples; the mean over samples is returned.
    """
    residual = likelihood.residual_std(x)
    residual = residual.reshape(-1, residual.shape[-1]).square().mean(0).sqrt()
    power = likelihood.y.abs().square().sum((-3, -2, -1)) / (2 * likelihood.n_acquired)
    return Check(residual / likelihood.noise_std, residual / power.sqrt().clamp(min=torch.finfo(torch.float32).tiny))
