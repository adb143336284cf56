"""Wiener deconvolution of known damping, with a signal spectrum found in the measurement."""

from dataclasses import dataclass

import torch
from jaxtyping import Complex, Float
from torch import Tensor

from lightning_mri.baselines.baseline import Tunable
from lightning_mri.physics import Damping, GaussianLikelihood, Mask, Phase, without_degradation

N_STD = 2.0  # excess over the noise, in standard deviations of its mean, that counts as signal


@dataclass(frozen=True)
class Wiener(Tunable):
    """Weigh each sample of k-space with d S / (d^2 S + weight N), and undo the phase.

    d is the gain of the damping, N = 2 noise_std^2 the power of the noise, and S(r) that of the undamped signal
    at radius r of k-space, (mean abs(y)^2 - N) / mean d^2 over the acquired samples of a ring one sample wide. It
    is 0 where the excess is below twice the fluctuation of the noise's own mean, and, as spectra of images fall,
    never above that of the whole disc inside. With ``weight`` 1 this is the best linear filter for such an image.

    Args:
        weight: Factor on the power of the noise.
    """

    weight: float = 1.0

    weights = (0.1, 0.3, 0.6, 1.0, 1.5, 2.5, 5.0)

    def reconstruct(self, likelihood: GaussianLikelihood) -> Complex[Tensor, "*batch y x"]:
        """Return the filtered image of each slice."""
        y, damping, phase = likelihood.y.to(torch.complex64), likelihood.A.find(Damping), likelihood.A.find(Phase)
        gain = torch.ones_like(y.real) if damping is None else damping.weights.expand_as(y)
        mask = likelihood.A.find(Mask)
        acquired = torch.ones_like(gain) if mask is None else mask.weights.expand_as(y)
        noise = 2 * likelihood.noise_std.float().square()[..., None, None, None]
        power = _spectrum(y.abs().square(), noise, gain.square(), acquired)
        tiny = torch.finfo(torch.float32).tiny
        image = without_degradation(likelihood).A.adjoint(
            y * gain * power / (gain.square() * power + self.weight * noise).clamp(min=tiny)
        )
        return image if phase is None else phase.adjoint(image)


def _spectrum(
    measured: Float[Tensor, "*batch y x"],
    noise: Float[Tensor, "*_batch 1 1"],
    gain: Float[Tensor, "*batch y x"],
    acquired: Float[Tensor, "*batch y x"],
) -> Float[Tensor, "*batch y x"]:
    """Return S at each point of k-space from the powers of measurement and noise and the power gain."""
    rows, columns = measured.shape[-2:]
    n = max(rows, columns)
    y, x = ((torch.arange(m, device=measured.device) - m // 2) * (n / m) for m in (rows, columns))
    ring = (y[:, None].square() + x.square()).sqrt().round().long().flatten()

    def summed(values: Tensor) -> Tensor:
        empty = torch.zeros(*measured.shape[:-2], int(ring.max()) + 1, device=measured.device)
        return empty.index_add(-1, ring, (values * acquired).flatten(-2))

    excess, gains, counts = summed(measured - noise), summed(gain), summed(torch.ones_like(gain))
    tiny = torch.finfo(torch.float32).tiny
    disc = excess.cumsum(-1).clamp(min=0) / gains.cumsum(-1).clamp(min=tiny)
    found = torch.where(excess > N_STD * noise.squeeze(-1) * counts.sqrt(), excess / gains.clamp(min=tiny), 0)
    return found.minimum(disc)[..., ring].reshape(measured.shape)
