"""One reverse-diffusion step, checked by hand and against the exact step of a Gaussian."""

import math

import pytest
import torch

from lightning_mri.sampling import ReverseDiffusionVE, ReverseDiffusionVP


def pixel(value):
    return torch.full((1, 1, 1), value, dtype=torch.complex64)


def test_the_ve_step_by_hand():
    x_next, x_mean = ReverseDiffusionVE().step(pixel(1.0), pixel(0.5j), pixel(2.0), sigma=5.0, sigma_next=3.0)

    assert x_mean.item() == pytest.approx(1 + 8j)
    assert x_next.item() == pytest.approx(1 + 8j + 8)


def test_the_vp_step_by_hand():
    # sigma^2 = 3 and sigma_next^2 = 1: alpha^2 = 1/4 and 1/2, beta = 1/2
    x_next, x_mean = ReverseDiffusionVP().step(pixel(1.0), pixel(0.5j), pixel(2.0), math.sqrt(3), 1.0)

    assert x_mean.item() == pytest.approx(2 - math.sqrt(0.5) + 0.25j)
    assert x_next.item() == pytest.approx(2 - math.sqrt(0.5) + 0.25j + math.sqrt(0.5) * 2)


def test_the_last_ve_mean_is_the_denoised_image():
    """Tweedie: x + sigma^2 score = D, so that nothing noisy is left (methods.md, section 7, defect 10)."""
    x, denoised, sigma = pixel(1.0 + 2j), pixel(0.25), 0.1
    _, x_mean = ReverseDiffusionVE().step(x, (denoised - x) / sigma**2, pixel(1.0), sigma, 0.0)

    torch.testing.assert_close(x_mean, denoised)


def test_signal_coefficients_keep_the_variance_or_the_signal():
    assert ReverseDiffusionVE().alpha(7.0) == 1
    alpha = ReverseDiffusionVP().alpha(7.0)
    assert alpha**2 * (1 + 7.0**2) == pytest.approx(1)
