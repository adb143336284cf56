"""Decomposed diffusion sampling against the closed forms of its mean and spread."""

import pytest
import torch

from lightning_mri.sampling import DDS, NoiseReestimation

from . import recursions
from .recursions import Dense, assert_drawn_from, deviation

PLAIN = {"noise": NoiseReestimation(kappa=0), "refinement": None, "symmetry": None, "n_iterations": 20}
N_SAMPLES = 800


@pytest.mark.usefixtures("one_stream")
@pytest.mark.parametrize("eta", [1.0, 0.6])
def test_draws_have_the_mean_and_spread_of_the_affine_recursion(smooth_prior, likelihood, eta):
    sampler = DDS(n_steps=12, eta=eta, **PLAIN)

    samples = sampler.sample(smooth_prior, likelihood, range(N_SAMPLES))

    assert_drawn_from(recursions.dds(sampler, Dense.of(smooth_prior, likelihood)), samples)


def test_an_isotropic_prior_gives_the_posterior_mean_and_too_small_a_spread(isotropic_prior, likelihood):
    sampler = DDS(n_steps=30, **PLAIN)
    truth = isotropic_prior.posterior(likelihood)

    found = recursions.dds(sampler, Dense.of(isotropic_prior, likelihood))

    torch.testing.assert_close(found.mean, truth.mean, rtol=0, atol=1e-3)
    assert 0.5 < deviation(found, truth)[1] <= deviation(found, truth)[2] < 0.8
