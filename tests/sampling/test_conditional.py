"""A Gaussian image given a scan is drawn exactly: mean and covariance against dense matrices."""

import math

import torch

from lightning_mri.sampling.conditional import Perturbation, conditional

from .conftest import SHAPE, OneStream, draw, gram, vector
from .recursions import EYE


def parts(likelihood, n):
    return Perturbation.draw(likelihood, OneStream(torch.arange(n), SHAPE))


def test_without_perturbation_it_is_the_mean(likelihood):
    prior_mean, still = draw(3, *SHAPE, seed=5), parts(likelihood, 3) * 0.0

    found = conditional(likelihood, prior_mean, 0.3, likelihood.noise_std, still, n_iterations=30)

    weight = likelihood.noise_std.double() ** 2 / 0.3
    right = vector(likelihood.adjoint()) + weight * vector(prior_mean)
    expected = torch.linalg.solve(gram(likelihood) + weight * EYE, right.T).T
    torch.testing.assert_close(vector(found), expected, rtol=0, atol=1e-4)


def test_draws_have_the_covariance_of_the_conditional(likelihood):
    n, noise_std = 6000, torch.tensor(0.5)
    zero = torch.zeros(n, *SHAPE, dtype=torch.complex64)

    found = vector(conditional(likelihood, zero, 0.3, noise_std, parts(likelihood, n), n_iterations=30))

    expected = torch.linalg.inv(gram(likelihood) / 0.25 + EYE / 0.3)
    deviation = found - found.mean(0)
    covariance = deviation.T @ deviation.conj() / (2 * n)
    largest = expected.abs().max()
    assert (covariance - expected).abs().max() < 5 * largest / math.sqrt(n)


def test_noises_add_up():
    a, b = (Perturbation(draw(*SHAPE, seed=i), draw(*SHAPE, seed=10 + i)) for i in range(2))
    mixed = (a + b) * 0.5

    torch.testing.assert_close(mixed.image, (a.image + b.image) / 2)
    torch.testing.assert_close(mixed.data, (a.data + b.data) / 2)
