"""One evaluation on the image as measured is the posterior mean where noise is all that is wrong with it."""

import pytest
import torch

from lightning_mri.physics import GaussianLikelihood, sense
from lightning_mri.sampling import Denoise, Relaxed

from ..analytic import GaussianPrior
from .conftest import SHAPE, draw

NOISE_STDS = torch.tensor([0.1, 0.4])


@pytest.fixture
def noisy() -> GaussianLikelihood:
    """Two fully sampled slices of one coil, of different noise levels."""
    mask = torch.ones(2, 1, *SHAPE, dtype=torch.bool)
    return GaussianLikelihood(
        sense(torch.ones(2, 1, 1, *SHAPE, dtype=torch.complex64), mask), draw(2, 1, *SHAPE, seed=0), NOISE_STDS
    )


@pytest.fixture
def prior() -> GaussianPrior:
    """Gaussian images whose pixels differ in variance."""
    return GaussianPrior(draw(*SHAPE, seed=1), torch.linspace(0.01, 1, 20, dtype=torch.float64).reshape(SHAPE))


def test_it_is_the_posterior_mean_of_each_slice(noisy, prior):
    x = Denoise().sample(prior, noisy, [0, 1])

    share = prior.variances.reshape(SHAPE) / (prior.variances.reshape(SHAPE) + NOISE_STDS[:, None, None] ** 2)
    expected = prior.mean + share * (noisy.adjoint() - prior.mean)
    torch.testing.assert_close(x, expected.to(x.dtype).expand(2, 2, *SHAPE), rtol=0, atol=1e-5)


def test_a_lower_level_keeps_more_of_what_was_measured(noisy, prior):
    kept = Denoise(level=1e-4).sample(prior, noisy, [0])[0]
    torch.testing.assert_close(kept, noisy.adjoint(), rtol=0, atol=0.01)


def test_the_result_is_pulled_as_by_the_relaxed_consistency(noisy, prior):
    pulled, estimate = (Denoise(weight=weight).sample(prior, noisy, [0]) for weight in (0.3, 0.0))
    torch.testing.assert_close(pulled, Relaxed(0.3).constraint(noisy).result(estimate))


def test_levels_beyond_those_of_the_prior_are_its_nearest(noisy, prior):
    prior.sigma_min, prior.sigma_max = NOISE_STDS.tolist()
    beyond = noisy.replace(noise_std=torch.tensor([0.01, 4.0]))
    assert torch.equal(Denoise().sample(prior, beyond, [0]), Denoise().sample(prior, noisy, [0]))


def test_settings_out_of_range_are_refused():
    with pytest.raises(ValueError, match="level must be positive: got 0"):
        Denoise(level=0)
    with pytest.raises(ValueError, match=r"weight must be in \[0, 1\]: got 2"):
        Denoise(weight=2)
