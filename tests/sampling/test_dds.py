"""Decomposed diffusion sampling against the closed forms of its mean and spread."""

from itertools import pairwise

import pytest
import torch

from lightning_mri.sampling import DDS, Karras, NoiseReestimation

from .conftest import AnySize, gram, mean_and_std, vector

PLAIN = {"noise": NoiseReestimation(kappa=0), "refinement": None, "symmetry": None, "n_iterations": 20}
N_SAMPLES = 800


def walk(sampler, prior, likelihood):
    """Return mean and covariance of the results, by the affine recursion x0 = G x + g of the steps."""
    M, b, C, m = gram(likelihood), vector(likelihood.adjoint()), prior.covariance, vector(prior.mean)
    eye, sd = torch.eye(len(M)).to(M.dtype), prior.sigma_data
    sigmas = Karras().sigmas(sampler.n_steps, sampler.sigma_max, sampler.sigma_min).tolist()
    mean, covariance = torch.linalg.solve(M + 0.02 * eye, b), sigmas[0] ** 2 * eye
    kept = (1 - sampler.eta**2) ** 0.5
    for sigma, sigma_next in pairwise(sigmas):
        K = C @ torch.linalg.inv(C + sigma**2 * eye)
        ratio = likelihood.noise_std.item() ** 2 * (sigma**2 + sd**2) / (sigma**2 * sd**2)
        P = torch.linalg.inv(M + ratio * eye)
        G, g = ratio * P @ K, P @ (b + ratio * (m - K @ m))
        result = G @ mean + g, G @ covariance @ G.mH
        H = G + kept * sigma_next / sigma * (eye - K)
        mean = H @ mean + g - kept * sigma_next / sigma * (m - K @ m)
        covariance = H @ covariance @ H.mH + (sampler.eta * sigma_next) ** 2 * eye
    return result


@pytest.mark.usefixtures("one_stream")
@pytest.mark.parametrize("eta", [1.0, 0.6])
def test_draws_have_the_mean_and_spread_of_the_affine_recursion(smooth_prior, likelihood, eta):
    sampler = DDS(n_steps=12, eta=eta, **PLAIN)

    mean, std = mean_and_std(vector(sampler.sample(smooth_prior, likelihood, range(N_SAMPLES))))

    expected_mean, expected_covariance = walk(sampler, smooth_prior, likelihood)
    expected_std = expected_covariance.diagonal().real.sqrt()
    assert ((mean - expected_mean).abs() < 5 * expected_std / N_SAMPLES**0.5).all()
    assert ((std / expected_std - 1).abs() < 5 / (4 * N_SAMPLES) ** 0.5).all()


def test_an_isotropic_prior_gives_the_posterior_mean_and_too_small_a_spread(isotropic_prior, likelihood):
    sampler = DDS(n_steps=30, **PLAIN)
    truth = isotropic_prior.posterior(likelihood)

    mean, covariance = walk(sampler, isotropic_prior, likelihood)
    std = covariance.diagonal().real.sqrt()

    torch.testing.assert_close(mean, vector(truth.mean), rtol=0, atol=1e-3)
    ratio = std / truth.std.flatten()
    assert ratio.min() > 0.5
    assert ratio.max() < 0.8


def test_each_level_costs_one_evaluation(likelihood):
    prior, sampler = AnySize(), DDS(n_steps=7, symmetry=None)
    sampler.sample(prior, likelihood, [0])

    assert sampler.nfe == 7 == len(prior.seen)
