"""The Gaussian mixture against its log density, and its posterior against weighted draws of the prior."""

import pytest
import torch

from lightning_mri.physics import GaussianLikelihood, sense
from tests.builders import noise

from ..analytic import GaussianPrior, MixturePrior

SHAPE, N = (3, 1), 3


@pytest.fixture
def mixture() -> MixturePrior:
    factor = noise(N, N, seed=0).to(torch.complex128) / 2
    wide = GaussianPrior.dense(noise(*SHAPE, seed=1), factor @ factor.mH + 0.02 * torch.eye(N))
    return MixturePrior([3.0, 1.0], [wide, GaussianPrior(-0.5 * noise(*SHAPE, seed=1), 0.1)])


def test_the_score_is_the_gradient_of_the_log_density(mixture: MixturePrior) -> None:
    x = noise(5, *SHAPE, seed=2).to(torch.complex128).requires_grad_(True)
    terms = []
    for weight, prior in zip((0.75, 0.25), mixture.components, strict=True):
        spread = prior.covariance + 0.4**2 * torch.eye(N)
        deviation = (x - prior.mean).flatten(1)
        exponent = -(deviation.conj() * torch.linalg.solve(spread, deviation.T).T).sum(1).real / 2
        terms.append(exponent + torch.log(torch.tensor(weight)) - torch.linalg.slogdet(spread)[1])
    (gradient,) = torch.autograd.grad(torch.stack(terms).logsumexp(0).sum(), x)

    torch.testing.assert_close(mixture.score(x.detach(), 0.4), gradient)


def test_drawn_images_have_the_moments_of_the_mixture(mixture: MixturePrior) -> None:
    drawn = mixture.draw(40_000, torch.Generator().manual_seed(3)).flatten(1).to(torch.complex128)
    a, b = (prior.mean.flatten() for prior in mixture.components)
    mean = 0.75 * a + 0.25 * b
    torch.testing.assert_close(drawn.mean(0), mean, atol=0.03, rtol=0)
    variance = ((drawn - mean).abs().square().sum(1) / (2 * N)).mean()
    assert mixture.sigma_data == pytest.approx(variance.sqrt().item(), rel=0.02)


def test_the_posterior_is_that_of_weighted_draws(mixture: MixturePrior) -> None:
    """Importance sampling: the prior's draws, weighted by their likelihood."""
    maps = noise(1, 2, *SHAPE, seed=5)
    A = sense(maps, torch.tensor([True, False, True]).reshape(1, *SHAPE))
    y = A(0.2 * noise(*SHAPE, seed=6))
    likelihood = GaussianLikelihood(A, y, torch.tensor(0.8))

    posterior = mixture.posterior(likelihood)

    drawn = mixture.draw(200_000, torch.Generator().manual_seed(7))
    weights = (-likelihood.residual(drawn).abs().square().sum((-3, -2, -1)) / (2 * 0.64)).double().softmax(0)
    vectors = drawn.flatten(1).to(torch.complex128)
    mean = (weights[:, None] * vectors).sum(0)
    centred = vectors - mean
    covariance = (weights[:, None] * centred).T @ centred.conj() / 2
    torch.testing.assert_close(posterior.mean.flatten(), mean, atol=0.01, rtol=0)
    torch.testing.assert_close(posterior.covariance, covariance, atol=0.01, rtol=0)
    assert 0.04 < posterior.weights[1] < 0.96


def test_equal_components_are_one_gaussian() -> None:
    one = GaussianPrior(noise(*SHAPE, seed=1), 0.3)
    x = noise(4, *SHAPE, seed=2)

    torch.testing.assert_close(MixturePrior([0.5, 0.5], [one, one]).denoise(x, 0.2), one.denoise(x, 0.2))
