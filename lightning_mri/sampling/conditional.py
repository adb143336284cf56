"""Exact draws of an image that is Gaussian about a prior mean, given the scan: no Markov chain needed."""

from dataclasses import dataclass

from torch import Tensor

from lightning_mri.physics import GaussianLikelihood
from lightning_mri.sampling.noise import NoiseStream


@dataclass(frozen=True)
class Perturbation:
    """Noise of a prior and of a scan, both as images; sums and multiples of it are noise too."""

    image: Tensor  # noise e_x of the image, standard deviation 1 in each real channel
    data: Tensor  # A^H e_y, where e_y is noise of the measurement, standard deviation 1 in each real channel

    @classmethod
    def draw(cls, likelihood: GaussianLikelihood, noise: NoiseStream) -> "Perturbation":
        """Draw one for each image."""
        image = noise.normal()
        return cls(image, likelihood.A.adjoint(noise.normal(tuple(likelihood.y.shape[-3:]))))

    def __add__(self, other: "Perturbation") -> "Perturbation":
        return Perturbation(self.image + other.image, self.data + other.data)

    def __mul__(self, factor: float) -> "Perturbation":
        return Perturbation(factor * self.image, factor * self.data)


def conditional(
    likelihood: GaussianLikelihood,
    mean: Tensor,
    variance: float,
    noise_std: Tensor,
    perturbation: Perturbation,
    n_iterations: int,
) -> Tensor:
    """Return m + w, the mean of N(mean, variance) given the scan and a draw w of its covariance P.

    P = (A^H A / noise_std^2 + 1 / variance)^-1, m = P (A^H y / noise_std^2 + mean / variance), and w = P (A^H
    e_y / noise_std + e_x / std) comes from the same conjugate gradients as m: perturb and optimise
    (Papandreou and Yuille 2010; Orieux et al. 2012).

    Args:
        likelihood: The scan.
        mean: Prior mean, [sample, *batch, (set,) y, x].
        variance: Prior variance in each real channel.
        noise_std: Noise level of the data, one value or one a sample.
        perturbation: Noise e_x and A^H e_y.
        n_iterations: Conjugate-gradient steps.
    """
    ratio = variance / noise_std[(...,) + (None,) * likelihood.A.image_ndim]
    shift = variance**0.5 * perturbation.image + ratio * perturbation.data
    return likelihood.proximal(mean + shift, variance, noise_std, n_iterations, x_init=mean)
