"""What images leave of the acquired samples, beside the noise and the signal."""

from dataclasses import dataclass

import torch
from jaxtyping import Complex, Float
from torch import Tensor

from lightning_mri.physics import GaussianLikelihood

NOISE_POWER = 1.05
"""Power of the noise, in units of what its level says, that is never taken for signal: levels are known to 2 %."""

TINY = torch.finfo(torch.float32).tiny


@dataclass(frozen=True, eq=False)
class Residual:
    """What images leave of the acquired samples, one value a slice.

    Args:
        noise_ratio: Standard deviation of the residual / that of the noise; 1 for a perfect fit.
        signal_ratio: Norm of the residual / norm of the measurement.
    """

    noise_ratio: Float[Tensor, " batch"]
    signal_ratio: Float[Tensor, " batch"]

    @property
    def unexplained(self) -> Float[Tensor, " batch"]:
        """Norm of what noise leaves of the residual, as powers subtract / norm of the measurement."""
        return self.signal_ratio * (1 - NOISE_POWER / self.noise_ratio.square()).clamp(min=0).sqrt()


def measure_residual(likelihood: GaussianLikelihood, x: Complex[Tensor, "..."]) -> Residual:
    """Compare the residual of the acquired samples with noise and signal.

    Args:
        likelihood: The scan.
        x: Images [sample, batch, (set,) y, x] or without the samples; the mean over samples is returned.
    """
    residual = likelihood.residual_std(x)
    residual = residual.reshape(-1, residual.shape[-1]).square().mean(0).sqrt()
    power = likelihood.y.abs().square().sum((-3, -2, -1)) / (2 * likelihood.n_acquired)
    return Residual(residual / likelihood.noise_std, residual / power.sqrt().clamp(min=TINY))
