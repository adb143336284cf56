from dataclasses import dataclass

import pytest
import torch
from torch import Tensor

from lightning_mri.physics import Damping, GaussianLikelihood, sense
from tests.builders import noise

from ..analytic import GaussianPrior

SHAPE, N = (3, 5), 15


def correlated(seed: int = 0, rank: int = N) -> Tensor:
    """Return a covariance without any symmetry but its own, complex and of the given rank."""
    factor = noise(N, rank, seed=seed).to(torch.complex128) / N**0.5
    return factor @ factor.mH


@dataclass(frozen=True)
class Identity:
    """A scan that shows the image itself."""

    def normal(self, x: Tensor) -> Tensor:
        return x


@dataclass(frozen=True)
class NoisyImage:
    """The likelihood of y = x + noise."""

    A: Identity
    y: Tensor
    noise_std: Tensor

    def score(self, x: Tensor) -> Tensor:
        return (self.y - x) / self.noise_std[..., None, None] ** 2


def test_the_denoiser_is_the_formula() -> None:
    mean, covariance, x = noise(*SHAPE, seed=1), correlated(), noise(2, *SHAPE, seed=2)
    prior = GaussianPrior.dense(mean, covariance)
    gain = covariance @ torch.linalg.inv(covariance + 0.3**2 * torch.eye(N))
    expected = mean + ((x - mean).flatten(1).to(torch.complex128) @ gain.T).reshape(2, *SHAPE)
    torch.testing.assert_close(prior.denoise(x, 0.3), expected.to(torch.complex64))
    torch.testing.assert_close(prior.covariance, covariance)


def test_the_score_is_the_gradient_of_the_log_density() -> None:
    """For circular images log p = -(x - m)^H (C + sigma^2)^-1 (x - m) / 2, C per real channel."""
    mean, covariance = noise(*SHAPE, seed=1).to(torch.complex128), correlated()
    x = noise(*SHAPE, seed=2).to(torch.complex128).requires_grad_(True)
    deviation = (x - mean).flatten()
    precision = torch.linalg.inv(covariance + 0.3**2 * torch.eye(N))
    log_density = -(deviation.conj() @ precision @ deviation).real / 2
    (gradient,) = torch.autograd.grad(log_density, x)
    score = GaussianPrior.dense(mean, covariance).score(x.detach(), 0.3)
    torch.testing.assert_close(score, gradient)


def test_independent_pixels_are_a_diagonal_covariance() -> None:
    mean, variance, x = (noise(*SHAPE, seed=1), torch.linspace(0, 2, N).reshape(SHAPE), noise(4, *SHAPE, seed=2))
    sigma = torch.tensor([0.1, 0.5, 1.0, 9.0])
    prior = GaussianPrior(mean, variance)
    dense = GaussianPrior.dense(mean, torch.diag(variance.flatten()).to(torch.complex64))
    torch.testing.assert_close(prior.denoise(x, sigma), dense.denoise(x, sigma))
    torch.testing.assert_close(prior.denoise(x, sigma)[:, 0, 0], mean[0, 0].expand(4))
    torch.testing.assert_close(prior.covariance, dense.covariance)
    assert prior.sigma_data == pytest.approx(1.0)
    assert dense.sigma_data == pytest.approx(1.0)


def test_one_variance_serves_all_pixels() -> None:
    x = noise(7, *SHAPE, seed=2)
    prior = GaussianPrior(torch.zeros(SHAPE, dtype=torch.complex64), 0.25)
    torch.testing.assert_close(prior.denoise(x, 0.5), x / 2)
    assert prior.denoise(x.to(torch.complex128), 0.5).dtype == torch.complex128


def test_drawn_images_have_its_mean_and_covariance() -> None:
    mean, covariance = noise(*SHAPE, seed=1), correlated()
    drawn = GaussianPrior.dense(mean, covariance).draw(40_000, torch.Generator().manual_seed(3))
    deviation = (drawn - mean).flatten(1).to(torch.complex128)
    torch.testing.assert_close(drawn.mean(0), mean, atol=0.03, rtol=0)
    torch.testing.assert_close(deviation.T @ deviation.conj() / 80_000, covariance, atol=0.03, rtol=0)
    circular = deviation.T @ deviation / 80_000
    assert circular.abs().max() < 0.04


@pytest.mark.parametrize("rank", [N, 4])
def test_the_posterior_of_a_noisy_image_is_the_denoiser(rank: int) -> None:
    prior = GaussianPrior.dense(noise(*SHAPE, seed=1), correlated(rank=rank))
    y, sigma = noise(2, *SHAPE, seed=4), torch.tensor([0.2, 0.7])
    posterior = prior.posterior(NoisyImage(Identity(), y, sigma))
    torch.testing.assert_close(posterior.mean.to(torch.complex64), prior.denoise(y, sigma), rtol=1e-4, atol=1e-5)
    assert posterior.covariance.shape == (2, N, N)


def test_the_posterior_of_a_scan_is_that_of_the_dense_matrices() -> None:
    """Two slices, two unequal coils, damped, a third of k-space: neither unitary nor of full rank."""
    mean, covariance = noise(*SHAPE, seed=1), correlated()
    maps = noise(2, 1, 2, *SHAPE, seed=5) * torch.tensor([1.0, 0.3])[:, None, None]
    mask = torch.rand(2, 1, *SHAPE, generator=torch.Generator().manual_seed(6)) < 0.35
    A = sense(maps, mask, Damping(torch.linspace(0.5, 1, N).reshape(1, 1, *SHAPE)))
    noise_std = torch.tensor([0.1, 0.4])
    y = A(noise(2, *SHAPE, seed=7)) + 0.1 * noise(2, 2, *SHAPE, seed=8) * mask
    posterior = GaussianPrior.dense(mean, covariance).posterior(GaussianLikelihood(A, y, noise_std))

    columns = A(torch.eye(N, dtype=torch.complex64).reshape(N, 1, *SHAPE)).to(torch.complex128)
    for index in range(2):
        matrix = columns[:, index].reshape(N, -1).T
        precision = torch.linalg.inv(covariance) + matrix.mH @ matrix / noise_std[index].double() ** 2
        pull = matrix.mH @ (y[index].flatten() - matrix @ mean.flatten().to(torch.complex128))
        expected = torch.linalg.inv(precision)
        step = expected @ pull / noise_std[index].double() ** 2
        found = posterior.mean[index] - mean
        torch.testing.assert_close(found.flatten(), step, rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(posterior.covariance[index], expected, rtol=1e-4, atol=1e-5)
        std = expected.diagonal().real.sqrt().reshape(SHAPE)
        torch.testing.assert_close(posterior.std[index], std, rtol=1e-4, atol=1e-5)


def test_without_information_the_posterior_is_the_prior() -> None:
    prior = GaussianPrior(noise(*SHAPE, seed=1), 0.09)
    nothing = torch.zeros(1, *SHAPE, dtype=torch.bool)
    maps = noise(1, 2, *SHAPE, seed=5)
    y = torch.zeros(2, *SHAPE, dtype=torch.complex64)
    posterior = prior.posterior(GaussianLikelihood(sense(maps, nothing), y, torch.tensor(0.1)))
    torch.testing.assert_close(posterior.mean, prior.mean)
    torch.testing.assert_close(posterior.std, torch.full(SHAPE, 0.3, dtype=torch.float64))
