import math

import pytest
import torch

from lightning_mri.diffusion import DDPM, VP
from lightning_mri.tensors import complex_noise

from ..analytic import GaussianPrior


def abar() -> torch.Tensor:
    """Return the product of 1 - beta after every step, written out."""
    product, products = 1.0, []
    for step in range(1000):
        product *= 1 - (1e-4 + (0.02 - 1e-4) * step / 999)
        products.append(product)
    return torch.tensor(products, dtype=torch.float64)


def test_step_k_has_the_level_of_the_product_of_k_rates_and_the_code_k() -> None:
    sigma = ((1 - abar()) / abar()).sqrt()
    steps = torch.arange(1000, dtype=torch.float64)
    c = DDPM().precondition(sigma)
    torch.testing.assert_close(c.c_noise, steps, atol=1e-6, rtol=0)
    torch.testing.assert_close(c.c_in, abar().sqrt())
    torch.testing.assert_close(DDPM().sigma(steps / 999), sigma)
    assert DDPM().sigma_min == pytest.approx(math.sqrt(1e-4 / (1 - 1e-4)))
    assert DDPM().sigma_max == pytest.approx(float(sigma[-1]))


def test_between_two_steps_the_code_is_between_or_that_of_the_nearest() -> None:
    low, high = (float(DDPM().levels[step].exp()) for step in (417, 418))
    sigma = torch.tensor([low, low**0.7 * high**0.3, low**0.4 * high**0.6, high])
    interpolated = DDPM().precondition(sigma).c_noise
    torch.testing.assert_close(interpolated, torch.tensor([417.0, 417.3, 417.6, 418.0]), atol=2e-3, rtol=0)
    assert DDPM(interpolate=False).precondition(sigma).c_noise.tolist() == [417, 417, 418, 418]


def test_beyond_its_steps_the_network_hears_the_first_and_the_last() -> None:
    sigma = torch.tensor([1e-4, 1e4])
    assert DDPM().precondition(sigma).c_noise.tolist() == [0, 999]
    torch.testing.assert_close(DDPM().sigma(DDPM().t(sigma)), sigma, rtol=1e-3, atol=0)


def test_levels_come_from_uniform_steps() -> None:
    sigma = DDPM().draw_sigma(20_000, torch.Generator().manual_seed(0))
    steps = DDPM().precondition(sigma).c_noise
    torch.testing.assert_close(steps, steps.round(), atol=0.02, rtol=0)
    assert steps.mean().item() == pytest.approx(499.5, rel=0.02)
    assert (steps.round().min(), steps.round().max()) == (0, 999)


@pytest.mark.parametrize("n_times", [100, 1000, 10_000])
def test_many_small_steps_are_the_variance_preserving_process(n_times: int) -> None:
    chain, continuous = DDPM(beta_min=0.1 / n_times, beta_max=20 / n_times, n_times=n_times), VP()
    done = torch.tensor([0.2, 0.5, 0.9], dtype=torch.float64) * n_times  # steps done at time t are n_times t
    levels = chain.sigma((done - 1) / (n_times - 1))
    error = (levels / continuous.sigma(done / n_times)).log().abs().max()
    assert error < 60 / n_times
    assert n_times == 10_000 or error > 0.5 / n_times


def test_the_score_in_its_own_coordinates_is_that_of_a_faded_and_noisy_gaussian() -> None:
    """x_k = sqrt(abar) x0 + sqrt(1 - abar) z has variance abar v + 1 - abar and mean sqrt(abar) m."""
    generator = torch.Generator().manual_seed(1)
    mean, variance = complex_noise((3, 5), generator).to(torch.complex128), 0.16
    sigma, share = DDPM().levels[300].exp(), abar()[300]
    x_k = complex_noise((3, 5), generator).to(torch.complex128)
    denoised = GaussianPrior(mean, variance).denoise(x_k / DDPM().alpha(sigma), sigma)
    score = (share.sqrt() * denoised - x_k) / (1 - share)
    torch.testing.assert_close(score, -(x_k - share.sqrt() * mean) / (share * variance + 1 - share))
