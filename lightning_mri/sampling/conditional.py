"""Exact draws of an image that is Gaussian about a prior mean, given the scan: no Markov chain needed."""

import math
from dataclasses import dataclass

from torch import Tensor

from lightning_mri.physics import GaussianLikelihood, conjugate_gradient
from lightning_mri.sampling.noise import NoiseStream
from lightning_mri.tensors import norm

N_ITERATIONS = 300  # at most: it takes tens where the noise is 0.03 image units, hundreds where it is 0.003
CONVERGED = 0.01  # error in standard deviations of the draw, root mean square over directions


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
    n_iterations: int,
    perturbation: Perturbation | None = None,
) -> Tensor:
    """Return m, the mean of N(mean, variance) given the scan, or m + w with a draw w of its covariance P.

    P = (A^H A / noise_std^2 + 1 / variance)^-1 and m = P (A^H y / noise_std^2 + mean / variance). A draw is the m of
    a prior mean and of data that have noise of their own: mean + std e_x and y + noise_std e_y (perturb and optimise,
    Papandreou and Yuille 2010; Orieux et al. 2012). What is solved for is the distance from that prior mean, so that
    what no data see keeps its noise: exactly where whole readouts are sampled (`NormalInverse`), else by conjugate
    gradients, until the error u has u^H P^-1 u below `CONVERGED`^2 times that of w.

    Args:
        likelihood: The scan.
        mean: Prior mean, [sample, *batch, (set,) y, x].
        variance: Prior variance in each real channel.
        noise_std: Noise level of the data, one value or one a sample.
        n_iterations: Largest number of conjugate-gradient steps, where they are taken.
        perturbation: Noise e_x and A^H e_y; None for the mean.
    """
    A, ndim = likelihood.A, likelihood.A.image_ndim
    noise_std = noise_std[(...,) + (None,) * ndim]
    weight = noise_std.square() / variance
    start = mean if perturbation is None else mean + variance**0.5 * perturbation.image
    b = likelihood.adjoint() - A.normal(start)
    b = b if perturbation is None else b + noise_std * perturbation.data
    inverse = likelihood.normal_inverse
    if inverse is not None:
        return start + inverse(b, weight)
    # a residual r is at most r^H r / (weight noise_std^2) in units of P, and w has 2 for each pixel
    goal = CONVERGED * weight * (2 * variance * math.prod(start.shape[-ndim:])) ** 0.5
    return start + conjugate_gradient(
        lambda u: A.normal(u) + weight * u, b, None, n_iterations, goal / norm(b, ndim), ndim
    )
