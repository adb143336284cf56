import math

import pytest
import torch

from lightning_mri.diffusion import VP
from lightning_mri.tensors import complex_noise

from ..analytic import GaussianPrior


def test_at_the_end_the_signal_has_faded_by_the_integral_of_beta() -> None:
    process = VP(beta_min=0.1, beta_max=20.0)
    faded = math.exp(-(0.1 + 20.0) / 2 / 2)  # exp(-1/2 integral of a straight line from 0.1 to 20)
    assert process.alpha(torch.tensor(process.sigma_max)).item() == pytest.approx(faded, rel=1e-5)
    assert process.sigma_max == pytest.approx(math.sqrt(1 - faded**2) / faded)


def test_the_lowest_level_is_that_of_the_sampling_time() -> None:
    process = VP(beta_min=0.3, beta_max=10.0, t_min_sampling=0.01)
    log_alpha = -(0.01**2) * 9.7 / 4 - 0.01 * 0.3 / 2
    assert process.sigma_min == pytest.approx(math.sqrt(math.exp(-2 * log_alpha) - 1))


def test_tiny_levels_have_exact_times() -> None:
    sigma = torch.tensor([1e-6, 1e-4, 1e-3])
    torch.testing.assert_close(VP(beta_min=0.1).t(sigma), sigma**2 / 0.1, rtol=1e-3, atol=0)
    torch.testing.assert_close(VP().sigma(VP().t(sigma)), sigma, rtol=1e-5, atol=0)


def test_levels_come_from_uniform_times() -> None:
    t = VP().t(VP().draw_sigma(20_000, torch.Generator().manual_seed(0)))
    assert t.mean().item() == pytest.approx(0.5, abs=0.01)
    assert t.std().item() == pytest.approx(12**-0.5, rel=0.02)


def test_the_network_sees_a_faded_image_of_unit_variance_and_999_t() -> None:
    sigma = torch.tensor([0.75, VP().sigma_max])
    c = VP().precondition(sigma)
    torch.testing.assert_close(c.c_in[0], torch.tensor(0.8))
    torch.testing.assert_close(c.c_noise[1], torch.tensor(999.0))
    assert torch.equal(c.c_out, -sigma)
    assert c.c_skip.tolist() == [1, 1]


def test_the_score_in_its_own_coordinates_is_that_of_a_faded_and_noisy_gaussian() -> None:
    """x_t = alpha x0 + sqrt(1 - alpha^2) z has variance alpha^2 v + 1 - alpha^2 and mean alpha m."""
    generator = torch.Generator().manual_seed(1)
    mean, variance = complex_noise((3, 5), generator).to(torch.complex128), 0.16
    prior, sigma = GaussianPrior(mean, variance), torch.tensor(0.9, dtype=torch.float64)
    alpha = VP().alpha(sigma)
    x_t = complex_noise((3, 5), generator).to(torch.complex128)
    denoised = prior.denoise(x_t / alpha, sigma)
    score = (alpha * denoised - x_t) / (1 - alpha**2)
    torch.testing.assert_close(score, -(x_t - alpha * mean) / (alpha**2 * variance + 1 - alpha**2))
    torch.testing.assert_close(score, prior.score(x_t / alpha, sigma) / alpha)
