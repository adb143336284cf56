"""A Gaussian image given a scan is drawn exactly: mean and covariance against dense matrices."""

import math

import pytest
import torch

from lightning_mri.phantoms.coils import CoilArray
from lightning_mri.physics import Damping, Equispaced, GaussianLikelihood, fft2c, sense
from lightning_mri.sampling import DAPS, PULA, Langevin, PredictorCorrector
from lightning_mri.sampling.conditional import CONVERGED, N_ITERATIONS, Perturbation, conditional
from lightning_mri.tensors import norm

from ..analytic import GaussianPrior
from .conftest import SHAPE, OneStream, draw, gram, mean_and_std, vector
from .recursions import EYE


def parts(likelihood, n):
    return Perturbation.draw(likelihood, OneStream(torch.arange(n), SHAPE))


def test_without_perturbation_it_is_the_mean_to_a_small_part_of_the_spread(likelihood):
    prior_mean, noise_std = draw(3, *SHAPE, seed=5), likelihood.noise_std

    found = conditional(likelihood, prior_mean, 0.3, noise_std, n_iterations=100)

    precision = gram(likelihood) / noise_std.double() ** 2 + EYE / 0.3
    right = vector(likelihood.adjoint()) / noise_std.double() ** 2 + vector(prior_mean) / 0.3
    off = vector(found) - torch.linalg.solve(precision, right.T).T
    assert ((off.conj() * (off @ precision.T)).real.mean(-1) / 2 < CONVERGED**2).all()


def test_draws_have_the_covariance_of_the_conditional(likelihood):
    n, noise_std = 6000, torch.tensor(0.5)
    zero = torch.zeros(n, *SHAPE, dtype=torch.complex64)

    found = vector(conditional(likelihood, zero, 0.3, noise_std, 30, parts(likelihood, n)))

    expected = torch.linalg.inv(gram(likelihood) / 0.25 + EYE / 0.3)
    deviation = found - found.mean(0)
    covariance = deviation.T @ deviation.conj() / (2 * n)
    largest = expected.abs().max()
    assert (covariance - expected).abs().max() < 5 * largest / math.sqrt(n)


def test_at_low_noise_each_direction_has_its_own_spread():
    """A noise of 0.001, eigenvalues of A^H A from 1 to 1e-6, and lines that were not measured, in closed form."""
    shape, n, noise_std, variance = (12, 15), 400, 1e-3, 0.09
    weights = torch.logspace(0, -3, 180).reshape(1, *shape)
    mask = (torch.arange(15) % 3 > 0).expand(1, *shape)
    A = sense(torch.ones(1, 1, *shape, dtype=torch.complex64), mask, Damping(weights))
    scan = GaussianLikelihood(A, torch.zeros(1, *shape, dtype=torch.complex64), torch.tensor(noise_std))
    noise = Perturbation.draw(scan, OneStream(torch.arange(n), shape))

    found = conditional(scan, torch.zeros_like(noise.image), variance, scan.noise_std, N_ITERATIONS, noise)

    expected = 1 / ((mask * weights).square() / noise_std**2 + 1 / variance)
    ratio = fft2c(found).abs().square().mean(0) / (2 * expected[0])
    assert ratio[mask[0]].mean().item() == pytest.approx(1, abs=0.02)
    assert ratio[~mask[0]].mean().item() == pytest.approx(1, abs=0.02)
    assert (ratio - 1).abs().max() < 5 / math.sqrt(n)


@pytest.mark.slow
@pytest.mark.usefixtures("one_stream")
@pytest.mark.parametrize(
    "sampler",
    [
        DAPS(n_steps=10),
        PULA(n_steps=10),
        PredictorCorrector(60, corrector=Langevin(n_steps=0), sigma_max=1.0, sigma_min=2.5e-4),
    ],
    ids=["DAPS", "PULA", "PC"],
)
def test_at_low_noise_samplers_have_the_mean_and_spread_of_the_posterior(sampler):
    """Six smooth coils, R = 4, a noise of 0.001: less than a tenth of the directions is seen by less than the noise."""
    prior = GaussianPrior(torch.zeros(12, 12, dtype=torch.complex64), 0.09)
    maps = CoilArray.draw(6, 3).maps((12, 12), (19.0, 19.0), 0.0).to(torch.complex64)
    A = sense((maps / norm(maps, 3) * 12)[None], Equispaced(4, 2).draw((12, 12), 1))
    scan = GaussianLikelihood(A, A(0.3 * draw(12, 12, seed=2)), torch.tensor(1e-3))
    truth = prior.posterior(scan)

    mean, std = mean_and_std(sampler.sample(prior, scan, range(30)))

    ratio = std.square().mean().sqrt() / truth.std.square().mean().sqrt()
    error = (mean - truth.mean).abs().square().mean().sqrt() / truth.std.square().mean().sqrt() / 2**0.5
    assert 0.95 < ratio < 1.2  # pULA of so few levels is 13 % too wide
    assert error < 0.3  # of 30 draws 0.18


def test_noises_add_up():
    a, b = (Perturbation(draw(*SHAPE, seed=i), draw(*SHAPE, seed=10 + i)) for i in range(2))
    mixed = (a + b) * 0.5

    torch.testing.assert_close(mixed.image, (a.image + b.image) / 2)
    torch.testing.assert_close(mixed.data, (a.data + b.data) / 2)
