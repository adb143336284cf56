"""One step of each predictor, checked by hand and against the exact step of a Gaussian."""

import math
from itertools import pairwise

import pytest
import torch

from lightning_mri.diffusion import VP
from lightning_mri.sampling import (
    AncestralVE,
    AncestralVP,
    DiscreteReverseDiffusionVP,
    ReverseDiffusionVE,
    ReverseDiffusionVP,
)

ALL = [AncestralVE(), AncestralVP(), ReverseDiffusionVE(), ReverseDiffusionVP()]


def pixel(value):
    return torch.full((1, 1, 1), value, dtype=torch.complex64)


@pytest.mark.parametrize(
    ("predictor", "drift", "spread"),
    [
        (ReverseDiffusionVE(), 16, 4),  # 25 - 9
        (AncestralVE(), 16, 3 / 5 * 4),
    ],
)
def test_the_ve_steps_by_hand(predictor, drift, spread):
    x_next, x_mean = predictor.step(pixel(1.0), pixel(0.5j), pixel(2.0), sigma=5.0, sigma_next=3.0)

    assert x_mean.item() == pytest.approx(1 + drift * 0.5j)
    assert x_next.item() == pytest.approx(1 + drift * 0.5j + spread * 2)


@pytest.mark.parametrize(
    ("predictor", "growth", "drift", "spread"),
    [
        (ReverseDiffusionVP(), 2 - math.sqrt(0.5), 0.5, math.sqrt(0.5)),
        (AncestralVP(), math.sqrt(2), math.sqrt(2) / 2, math.sqrt(0.5)),
    ],
)
def test_the_vp_steps_by_hand(predictor, growth, drift, spread):
    # sigma^2 = 3 and sigma_next^2 = 1: alpha^2 = 1/4 and 1/2, beta = 1/2
    x_next, x_mean = predictor.step(pixel(1.0), pixel(0.5j), pixel(2.0), math.sqrt(3), 1.0)

    assert x_mean.item() == pytest.approx(growth + drift * 0.5j)
    assert x_next.item() == pytest.approx(growth + drift * 0.5j + spread * 2)


@pytest.mark.parametrize("predictor", ALL)
def test_a_short_step_keeps_a_gaussian_on_its_path(predictor):
    """N(0, 0.4^2) at sigma is N(0, alpha^2 (0.4^2 + sigma^2)): the error of the step is of second order."""
    sigma, errors = 0.7, []
    for share in (0.99, 0.995):
        before, after = (predictor.alpha(s) ** 2 * (0.16 + s**2) for s in (sigma, share * sigma))
        units = torch.eye(3).to(torch.complex128)[..., None]
        moved = [predictor.step(*unit[:, None], sigma, share * sigma)[0].item().real for unit in units]
        variance = (moved[0] - moved[1] / before) ** 2 * before + moved[2] ** 2
        errors.append(abs(variance - after))

    assert errors[0] < 1e-3 * 0.16
    assert 3 < errors[0] / errors[1] < 5


@pytest.mark.parametrize("predictor", [ReverseDiffusionVE(), AncestralVE()])
def test_the_last_ve_mean_is_the_denoised_image(predictor):
    """Tweedie: x + sigma^2 score = D, so that nothing noisy is left."""
    x, denoised, sigma = pixel(1.0 + 2j), pixel(0.25), 0.1
    _, x_mean = predictor.step(x, (denoised - x) / sigma**2, pixel(1.0), sigma, 0.0)

    torch.testing.assert_close(x_mean, denoised)


def test_the_ancestral_step_to_zero_adds_no_noise():
    x, x_mean = AncestralVE().step(pixel(1.0), pixel(0.5j), pixel(1.0), 0.1, 0.0)

    assert torch.equal(x, x_mean)


@pytest.mark.parametrize("predictor", ALL)
def test_signal_coefficients_keep_the_variance_or_the_signal(predictor):
    keeps_signal = type(predictor).__name__.endswith("VE")
    assert predictor.alpha(7.0) ** 2 * (1 if keeps_signal else 1 + 7.0**2) == pytest.approx(1)


def test_the_discrete_rates_are_those_of_the_published_code():
    """1000 even times from 1 to 0.001: linspace(0.1 / N, 20 / N, N)[floor(t (N - 1))], beside the exact ratio."""
    published, exact = DiscreteReverseDiffusionVP(), ReverseDiffusionVP()
    sigmas = published.schedule.sigmas(1000, VP().sigma_max, VP().sigma_min).tolist()
    betas = torch.linspace(0.1 / 1000, 20 / 1000, 1000, dtype=torch.float64)
    times = torch.linspace(1, 1e-3, 1000)  # in single precision, as published

    rates = [published.beta(*pair) for pair in pairwise(sigmas)]

    torch.testing.assert_close(torch.tensor(rates, dtype=torch.float64), betas[(times * 999).long()])
    ratios = [published.beta(*pair) / exact.beta(*pair) for pair in pairwise(sigmas)]
    assert ratios[0] == pytest.approx(1.01, abs=1e-3)
    assert ratios[990] == pytest.approx(0.965, abs=2e-3)  # t = 0.01
    x_mean = published.step(pixel(1.0), pixel(0.5j), pixel(2.0), *sigmas[:2])[1]
    assert x_mean.item() == pytest.approx(2 - math.sqrt(0.98) + 0.01j)
