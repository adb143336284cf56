"""Each consistency against its closed form on an operator that is neither unitary nor of full rank."""

import pytest
import torch

from lightning_mri.physics import GaussianLikelihood, sense
from lightning_mri.sampling import PosteriorScore, Projection, Relaxed
from lightning_mri.sampling.consistency import Constraint

from .conftest import NOISE_STD, SHAPE, draw, gram, vector


def test_projection_finds_the_nearest_image_that_explains_the_data(likelihood):
    """x + A^+ (alpha y - A x), which moves nothing that the operator does not see."""
    x, alpha = draw(3, *SHAPE, seed=5), 0.7

    constraint = Projection(n_iterations=30).constraint(likelihood)
    projected = constraint.state(x, alpha, 0.1)

    M = gram(likelihood)
    excess = alpha * vector(likelihood.adjoint()) - vector(x) @ M.T
    expected = vector(x) + excess @ torch.linalg.pinv(M, rtol=1e-6, hermitian=True).T
    torch.testing.assert_close(vector(projected), expected, rtol=0, atol=1e-3)
    assert torch.equal(constraint.result(x), constraint.state(x, 1.0, 0.1))


def test_relaxed_consistency_is_a_step_of_the_gradient_divided_by_the_largest_eigenvalue(likelihood):
    x, alpha = draw(3, *SHAPE, seed=5), 0.7

    relaxed = Relaxed(weight=0.3).constraint(likelihood).state(x, alpha, 0.1)

    M = gram(likelihood)
    step = 0.3 / torch.linalg.eigvalsh(M).max()
    expected = vector(x) + step * (alpha * vector(likelihood.adjoint()) - vector(x) @ M.T)
    torch.testing.assert_close(vector(relaxed), expected, rtol=0, atol=1e-4)


def test_relaxed_consistency_of_one_coil_mixes_measured_and_generated_kspace():
    mask = torch.rand(1, *SHAPE, generator=torch.Generator().manual_seed(0)) < 0.5
    A = sense(torch.ones(1, 1, *SHAPE, dtype=torch.complex64), mask)
    y, x = A(draw(*SHAPE, seed=1)), draw(*SHAPE, seed=2)

    relaxed = Relaxed(weight=0.3).constraint(GaussianLikelihood(A, y, torch.tensor(1.0))).state(x, 0.5, 0.1)

    torch.testing.assert_close(A(relaxed), 0.7 * A(x) + 0.3 * 0.5 * y)


def test_the_estimate_is_pulled_without_attenuation(likelihood):
    denoised, step = draw(3, *SHAPE, seed=5), 0.3 / torch.linalg.eigvalsh(gram(likelihood)).max()

    pulled = Relaxed(0.3, of="estimate").constraint(likelihood).denoised(denoised, 0.1)

    excess = vector(likelihood.adjoint()) - vector(denoised) @ gram(likelihood).T
    torch.testing.assert_close(vector(pulled), vector(denoised) + step * excess, rtol=0, atol=1e-4)


@pytest.mark.parametrize("of", ["state", "estimate"])
@pytest.mark.parametrize(("variance", "share"), [(1e-9, 0.0), (0.04, 0.5), (1e9, 1.0)])
def test_a_fading_pull_has_the_share_of_the_data_in_the_mean_of_two_gaussians(likelihood, of, variance, share):
    """The noise level of these data is 0.2."""
    x, steady = draw(3, *SHAPE, seed=5), Relaxed(0.3).constraint(likelihood)
    fading = Relaxed(0.3, of=of, fades=True).constraint(likelihood)

    pulled = fading.state(x, 1.0, variance) if of == "state" else fading.denoised(x, variance)

    torch.testing.assert_close(pulled - x, share * (steady.state(x, 1.0, variance) - x), rtol=0, atol=1e-5)


def test_a_whole_fading_pull_of_the_estimate_is_the_posterior_score_of_a_unitary_scan():
    mask = torch.ones(1, *SHAPE, dtype=torch.bool)
    A = sense(torch.ones(1, 1, *SHAPE, dtype=torch.complex64), mask)
    unitary = GaussianLikelihood(A, A(draw(*SHAPE, seed=1)), torch.tensor(NOISE_STD))
    denoised = draw(2, *SHAPE, seed=2)

    pulled = Relaxed(1.0, of="estimate", fades=True).constraint(unitary).denoised(denoised, 0.1)

    torch.testing.assert_close(pulled, PosteriorScore().constraint(unitary).denoised(denoised, 0.1))


def test_the_posterior_score_of_an_isotropic_prior_is_exact(isotropic_prior, likelihood):
    """E[x0 | x, y] equals the posterior mean under the Gaussian that the noisy image makes of the prior."""
    sigma, x = 0.3, draw(*SHAPE, seed=5)
    variance = 0.25 * sigma**2 / (0.25 + sigma**2)

    mean = PosteriorScore(n_iterations=30).constraint(likelihood).denoised(isotropic_prior.denoise(x, sigma), variance)

    M, weight = gram(likelihood), 1 / likelihood.noise_std.double() ** 2
    precision = weight * M + (1 / 0.25 + 1 / sigma**2) * torch.eye(len(M))
    pull = weight * vector(likelihood.adjoint()) + vector(isotropic_prior.mean) / 0.25 + vector(x) / sigma**2
    torch.testing.assert_close(vector(mean), torch.linalg.solve(precision, pull), rtol=0, atol=1e-3)


def test_the_posterior_score_becomes_that_of_prior_and_likelihood_as_sigma_falls(smooth_prior, likelihood):
    sigma, x = 0.003, draw(*SHAPE, seed=5)
    denoised = smooth_prior.denoise(x.to(torch.complex128), sigma)

    mean = PosteriorScore(n_iterations=30).constraint(likelihood).denoised(denoised.to(torch.complex64), sigma**2)

    pulled = (mean - denoised) / sigma**2
    expected = likelihood.score(x)
    assert (pulled - expected).norm() < 0.01 * expected.norm()


def test_no_constraint_keeps_everything():
    x = draw(*SHAPE, seed=5)
    assert Constraint().denoised(x, 0.1) is x
    assert Constraint().state(x, 0.5, 0.1) is x
    assert Constraint().result(x) is x
