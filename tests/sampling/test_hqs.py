"""Half-quadratic splitting against its closed forms: a fixed point, a whole trajectory, and the isotropic case."""

import pytest
import torch

from lightning_mri.physics import GaussianLikelihood, Mask, sense
from lightning_mri.sampling import HQS, Karras, NoiseReestimation

from .conftest import AnySize, gram, vector

PLAIN = {
    "noise": NoiseReestimation(kappa=0),
    "refinement": None,
    "symmetry": None,
    "n_iterations": 20,
    "low_acceleration": 1.0,
}


def tilted(prior, likelihood, sigma, times):
    """Return the mode of N(m, C + sigma^2) times the likelihood raised to a power."""
    precision = torch.linalg.inv(prior.covariance + sigma**2 * torch.eye(len(prior.covariance)))
    weight = times / likelihood.noise_std.double() ** 2
    pull = weight * vector(likelihood.adjoint()) + precision @ vector(prior.mean)
    return torch.linalg.solve(weight * gram(likelihood) + precision, pull)


def test_the_scan_is_neither_unitary_nor_of_full_rank(likelihood):
    eigenvalues = torch.linalg.eigvalsh(gram(likelihood))

    assert (eigenvalues > 1e-6).sum() < 12
    assert eigenvalues.max() > 1.1
    assert eigenvalues[eigenvalues > 1e-6].min() < 0.5


@pytest.mark.parametrize("c", [1.0, 4.0])
def test_steps_at_one_level_converge_to_their_fixed_point(smooth_prior, likelihood, c):
    """c w A^H (y - A x) / noise_std^2 = (C + sigma^2)^-1 (x - m), w = sd^2 / (sd^2 + sigma^2)."""
    sigma, sd = 0.4, smooth_prior.sigma_data
    sampler = HQS(n_steps=110, sigma_max=sigma, sigma_min=sigma, likelihood_weights=(c, c), **PLAIN)

    x = sampler.sample(smooth_prior, likelihood, [0])[0]

    expected = tilted(smooth_prior, likelihood, sigma, times=c * sd**2 / (sd**2 + sigma**2))
    torch.testing.assert_close(vector(x), expected, rtol=0, atol=2e-4)


@pytest.mark.parametrize("c", [1.0, 4.0])
def test_an_isotropic_prior_gives_the_mode_of_prior_and_c_likelihoods(isotropic_prior, likelihood, c):
    sampler = HQS(n_steps=60, sigma_max=0.5, sigma_min=0.2, likelihood_weights=(c, c), **PLAIN)

    x = sampler.sample(isotropic_prior, likelihood, [0])[0]

    torch.testing.assert_close(vector(x), tilted(isotropic_prior, likelihood, 0, times=c), rtol=0, atol=2e-4)


def test_a_single_count_of_an_isotropic_prior_is_the_posterior_mean(isotropic_prior, likelihood):
    sampler = HQS(n_steps=60, sigma_max=0.5, sigma_min=0.2, likelihood_weights=(1, 1), **PLAIN)

    x = sampler.sample(isotropic_prior, likelihood, [0])[0]

    expected = isotropic_prior.posterior(likelihood).mean.to(torch.complex64)
    torch.testing.assert_close(x, expected, rtol=0, atol=2e-4)


@pytest.mark.parametrize("momentum", [0.0, 0.5])
def test_a_whole_walk_is_the_affine_recursion_of_its_steps(smooth_prior, likelihood, momentum):
    """Regression: public code returns the state before the last update."""
    sampler = HQS(n_steps=6, momentum=momentum, **PLAIN)
    sigmas = Karras().sigmas(6, sampler.sigma_max, sampler.sigma_min).tolist()[:-1]
    first, last = sampler.likelihood_weights
    M, b = gram(likelihood), vector(likelihood.adjoint())
    C, m = smooth_prior.covariance, vector(smooth_prior.mean)
    eye, sd = torch.eye(len(M)), smooth_prior.sigma_data

    before = expected = torch.linalg.solve(M + 0.02 * eye, b)
    for step, sigma in enumerate(sigmas):
        weight = first * (last / first) ** (step / 5)
        ahead, before = expected + momentum * (expected - before), expected
        denoised = m + C @ torch.linalg.solve(C + sigma**2 * eye, ahead - m)
        ratio = likelihood.noise_std.item() ** 2 * (sigma**2 + sd**2) / (weight * sigma**2 * sd**2)
        expected = torch.linalg.solve(M + ratio * eye, b + ratio * denoised)

    x = sampler.sample(smooth_prior, likelihood, [0])[0]
    torch.testing.assert_close(vector(x), expected, rtol=0, atol=2e-4)


@pytest.mark.parametrize(("n_acquired", "last"), [(8, 1.8), (6, 2.2), (5, 3.0)])  # of 20
def test_a_share_of_the_last_weight_counts_up_to_r_3_and_all_of_it_from_r_4(likelihood, n_acquired, last):
    mask = torch.zeros_like(likelihood.A.find(Mask).mask)
    mask.view(-1)[:n_acquired] = True
    measured = likelihood.replace(A=likelihood.A.replace(Mask, Mask(mask)), y=likelihood.y * mask)
    plain = {"n_steps": 4, "low_acceleration": 1.0}

    x = HQS(n_steps=4).sample(AnySize(), measured, [0])

    torch.testing.assert_close(x, HQS(**plain, likelihood_weights=(8.0, last)).sample(AnySize(), measured, [0]))


@pytest.mark.parametrize(("n_coils", "weights"), [(2, [1.8, 3.0]), (1, 3.0)])
def test_the_last_weight_is_that_of_each_slice_and_of_several_coils(n_coils, weights):
    mask = (torch.arange(12) % torch.tensor([[2], [6]]) == 0)[:, None, None].expand(2, 1, 5, 12)
    maps, y = torch.ones(1, 1, n_coils, 5, 12, dtype=torch.complex64), torch.zeros(2, n_coils, 5, 12) + 0j
    likelihood = GaussianLikelihood(sense(maps, mask), y, torch.ones(2))

    assert HQS()._last_weight(likelihood).tolist() == pytest.approx(weights)


def test_several_walks_are_averaged(likelihood):
    steps = []
    one = HQS(n_steps=4).sample(AnySize(error=0.1), likelihood, [0])
    three = HQS(n_steps=4, n_restarts=3).sample(
        AnySize(error=0.1), likelihood, [0], progress=lambda at: steps.append((at.step, at.n_steps, at.x.clone()))
    )

    assert [step[:2] for step in steps] == [(k, 12) for k in range(1, 13)]
    torch.testing.assert_close(steps[3][2], one)
    ends = torch.stack([steps[k][2] for k in (3, 7, 11)])
    torch.testing.assert_close(three, ends.mean(0))
    assert (ends[1] - ends[0]).abs().max() > 1e-3
    assert HQS(n_steps=4, n_restarts=3).nfe == 12


def test_seeds_decide_the_symmetries_alone(likelihood):
    exact = HQS(n_steps=4).sample(AnySize(), likelihood, [0, 1])
    erring = HQS(n_steps=4).sample(AnySize(error=0.1), likelihood, [0, 1, 0])

    torch.testing.assert_close(exact[0], exact[1])  # this prior has every symmetry
    torch.testing.assert_close(erring[0], erring[2])
    assert (erring[0] - erring[1]).abs().max() > 1e-3
