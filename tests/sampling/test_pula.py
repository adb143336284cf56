"""pULA: its trajectory against the exact recursion, and the recursion against the exact posterior."""

import pytest
import torch

from lightning_mri.sampling import PULA, EstimateType, MapRefinement, NoiseReestimation

from . import recursions
from .recursions import Dense, assert_drawn_from, deviation

N_SAMPLES = 600


@pytest.mark.usefixtures("one_stream")
@pytest.mark.parametrize("averaged", [True, False])
def test_draws_have_the_mean_and_spread_of_the_affine_recursion(smooth_prior, likelihood, averaged):
    sampler = PULA(n_steps=6, n_langevin=2, step=0.8, averaged=averaged, sigma_max=2.0, sigma_min=0.1, n_iterations=25)

    samples = sampler.sample(smooth_prior, likelihood, range(N_SAMPLES))

    assert_drawn_from(recursions.pula(sampler, Dense.of(smooth_prior, likelihood)), samples)


@pytest.mark.parametrize(
    ("n_steps", "mean_error", "excess"), [(40, 0.06, 0.036), (160, 0.018, 0.009), (400, 0.008, 0.004)]
)
def test_the_posterior_is_reached_as_levels_grow(smooth_prior, likelihood, n_steps, mean_error, excess):
    """Mean in units of the posterior's standard deviation, and largest excess of a pixel's, at 4 steps a level."""
    sampler = PULA(n_steps=n_steps, n_langevin=4, step=1.0, sigma_max=3.0)

    found = recursions.pula(sampler, Dense.of(smooth_prior, likelihood))

    error, narrowest, widest = deviation(found, smooth_prior.posterior(likelihood))
    assert error < mean_error
    assert 0.998 < narrowest <= widest < 1 + excess


def test_independent_noise_leaves_measured_directions_too_wide(isotropic_prior, likelihood):
    """At one level with sigma^2 far below the prior and noise_std far below sigma: variance 1 / (1 - step / 2)."""
    quiet = likelihood.replace(noise_std=torch.tensor(0.01))
    M = Dense.of(isotropic_prior, quiet).M
    direction = torch.linalg.eigh(M).eigenvectors[:, -1]
    level = {"n_steps": 1, "n_langevin": 60, "step": 0.5, "sigma_max": 0.1, "sigma_min": 0.1}

    spreads = []
    for averaged in (False, True):
        found = recursions.pula(PULA(averaged=averaged, **level), Dense.of(isotropic_prior, quiet)).covariance
        spreads.append((direction.conj() @ found @ direction).real.item())

    assert spreads[0] / spreads[1] == pytest.approx(1 / (1 - 0.5 / 2), rel=0.02)


def test_noise_is_averaged_with_the_last_only_if_asked_for(smooth_prior, likelihood):
    mixed, own = (PULA(n_steps=3, averaged=value).sample(smooth_prior, likelihood, [0]) for value in (True, False))
    assert (mixed - own).abs().max() > 0.01


def test_it_claims_the_posterior_for_given_noise_and_maps_alone():
    assert PULA().estimate_type is EstimateType.POSTERIOR
    assert PULA(noise=NoiseReestimation()).estimate_type is EstimateType.APPROXIMATE
    assert PULA(refinement=MapRefinement()).estimate_type is EstimateType.APPROXIMATE
