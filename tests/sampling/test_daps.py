"""DAPS: its trajectory against the exact recursion; where it is exact, and by how much it is biased elsewhere."""

import pytest

from lightning_mri.sampling import DAPS, EstimateType

from . import recursions
from .recursions import Dense, assert_drawn_from, deviation

N_SAMPLES = 600


@pytest.mark.usefixtures("one_stream")
@pytest.mark.parametrize("n_ode_steps", [1, 3])
def test_draws_have_the_mean_and_spread_of_the_affine_recursion(smooth_prior, likelihood, n_ode_steps):
    sampler = DAPS(n_steps=8, n_ode_steps=n_ode_steps, sigma_max=2.0, sigma_min=0.05, n_iterations=25)

    samples = sampler.sample(smooth_prior, likelihood, range(N_SAMPLES))

    assert_drawn_from(recursions.daps(sampler, Dense.of(smooth_prior, likelihood)), samples)


def test_an_isotropic_prior_gives_the_posterior_exactly(isotropic_prior, likelihood):
    found = recursions.daps(DAPS(n_steps=30, n_ode_steps=1, sigma_max=3.0), Dense.of(isotropic_prior, likelihood))

    error, narrowest, widest = deviation(found, isotropic_prior.posterior(likelihood))

    assert error < 1e-3
    assert 0.999 < narrowest <= widest < 1.001


def test_correlated_pixels_bias_it_less_with_more_levels(smooth_prior, likelihood):
    """Mean off by 0.15, 0.06 and 0.015 posterior standard deviations, spread by 3, 1 and 0.2 %."""
    dense, truth = Dense.of(smooth_prior, likelihood), smooth_prior.posterior(likelihood)

    biases = [
        deviation(recursions.daps(DAPS(n_steps=n, n_ode_steps=1, sigma_max=3.0), dense), truth) for n in (50, 200, 1000)
    ]

    assert [bias[0] for bias in biases] == pytest.approx([0.147, 0.057, 0.015], rel=0.05)
    assert [bias[2] - 1 for bias in biases] == pytest.approx([0.029, 0.009, 0.002], abs=1e-3)


def test_the_published_ode_makes_draws_a_fifth_too_wide(isotropic_prior, likelihood):
    """The end of the ODE has the prior's spread already, and r is added to it, at however many levels."""
    dense, truth = Dense.of(isotropic_prior, likelihood), isotropic_prior.posterior(likelihood)

    for n_steps in (50, 200):
        _, narrowest, widest = deviation(
            recursions.daps(DAPS(n_steps=n_steps, n_ode_steps=5, sigma_max=3.0), dense), truth
        )
        assert narrowest > 1.15
        assert widest < 1.3


def test_it_does_not_claim_the_posterior():
    assert DAPS().estimate_type is EstimateType.APPROXIMATE
