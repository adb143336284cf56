"""Noise level and coil maps that a sampler estimates along with the image, and its data-consistency step."""

import math
from dataclasses import dataclass

from torch import Tensor

from lightning_mri.physics import GaussianLikelihood, Maps, refine_maps

REFINED_ITERATIONS = 3  # of the image that starts from the solution with the maps of the step before


@dataclass(frozen=True)
class NoiseReestimation:
    """Re-estimate the noise level from the residual of the denoised image.

    s_e = max(noise_std, sqrt(kappa mean abs(y - A D)^2 / 2)), the mean over acquired samples: errors of the
    coil maps count as noise until refinement has removed them.

    Args:
        kappa: Share of the residual's power that counts as noise; 0 keeps the given noise level.

    Raises:
        ValueError: If ``kappa`` is negative.
    """

    kappa: float = 0.5

    def __post_init__(self) -> None:
        if not self.kappa >= 0:
            raise ValueError(f"kappa must not be negative: got {self.kappa}")

    def noise_std(self, likelihood: GaussianLikelihood, denoised: Tensor) -> Tensor:
        """Return s_e for each image, [sample, *batch]."""
        if self.kappa == 0:
            return likelihood.noise_std.expand(denoised.shape[: denoised.ndim - likelihood.A.image_ndim])
        return (math.sqrt(self.kappa) * likelihood.residual_std(denoised)).maximum(likelihood.noise_std)


@dataclass(frozen=True)
class MapRefinement:
    """Refine the coil maps jointly with the image, `lightning_mri.physics.refine_maps`.

    Chosen on six synthetic and two measured heads, R = 3 to 8. On the measured ones maps as calibrated had 6 to 13 %
    more error, refinement below 0.03 alone 2 %; above 0.1 the image is not yet good enough, and maps that follow it
    cost up to 10 %; below 0.018 there was nothing to gain.

    Args:
        sigma_max: Noise level at and below which maps are refined, in image units.
        sigma_min: Noise level below which they are left as they are, which spares time.

    Raises:
        ValueError: If no level can lie between them.
    """

    sigma_max: float = 0.1
    sigma_min: float = 0.018

    def __post_init__(self) -> None:
        if not 0 <= self.sigma_min <= self.sigma_max:
            raise ValueError(f"sigma_min must be in [0, sigma_max]: got {self.sigma_min} and {self.sigma_max}")

    def refine(self, likelihood: GaussianLikelihood, x: Tensor, noise_std: Tensor, sigma: float) -> GaussianLikelihood:
        """Return the likelihood with maps that fit the data better, for each image of x by itself.

        Outside of its levels, and with a single coil or none, the likelihood is returned as it is.

        Args:
            likelihood: The scan, with the maps as refined so far.
            x: Images, [sample, *batch, (set,) y, x].
            noise_std: Noise level s_e of the data.
            sigma: Noise level of the step.
        """
        maps = likelihood.A.find(Maps)
        if not self.sigma_min <= sigma <= self.sigma_max or maps is None or maps.maps.shape[-3] == 1:
            return likelihood
        return refine_maps(likelihood, x, noise_std)


KNOWN_NOISE = NoiseReestimation(kappa=0)
"""The given noise level is kept, as exact draws need it."""


def data_consistency(
    likelihood: GaussianLikelihood,
    denoised: Tensor,
    variance: Tensor | float,
    sigma: float,
    noise: NoiseReestimation,
    refinement: MapRefinement | None,
    n_iterations: int,
) -> tuple[Tensor, GaussianLikelihood]:
    """Pull the denoised image to the data, and the maps with it.

    Args:
        likelihood: The scan, with the maps as refined so far.
        denoised: Image D, [sample, *batch, (set,) y, x].
        variance: Variance r^2 of the image about D, in each real channel, one value or one a slice.
        sigma: Noise level of the step, in image units.
        noise: Re-estimation of the noise level.
        refinement: Refinement of the maps; None keeps them.
        n_iterations: Conjugate-gradient steps.

    Returns:
        argmin abs(y - A x)^2 / (2 s_e^2) + abs(x - D)^2 / (2 r^2), and the likelihood with refined maps.
    """
    noise_std = noise.noise_std(likelihood, denoised)
    x = likelihood.proximal(denoised, variance, noise_std, n_iterations)
    refined = likelihood if refinement is None else refinement.refine(likelihood, x, noise_std, sigma)
    if refined is not likelihood:
        x = refined.proximal(denoised, variance, noise_std, REFINED_ITERATIONS, x_init=x)
    return x, refined
