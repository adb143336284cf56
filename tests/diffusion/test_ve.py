import pytest
import torch

from lightning_mri.diffusion import VE


def test_half_way_the_level_is_the_geometric_mean() -> None:
    process = VE(sigma_min=0.04, sigma_max=100.0)
    torch.testing.assert_close(process.sigma(torch.tensor([0.0, 0.5, 1.0])), torch.tensor([0.04, 2.0, 100.0]))


def test_logarithms_of_drawn_levels_are_uniform() -> None:
    process = VE(sigma_min=0.01, sigma_max=100.0)
    levels = process.draw_sigma(20_000, torch.Generator().manual_seed(0)).log10()
    assert levels.mean().item() == pytest.approx(0, abs=0.03)
    assert levels.std().item() == pytest.approx(4 / 12**0.5, rel=0.02)
    assert levels.min() >= -2
    assert levels.max() <= 2


def test_the_network_sees_the_noisy_image_as_it_is_and_says_the_noise_to_remove() -> None:
    sigma = torch.tensor([0.5, 20.0])
    c = VE().precondition(sigma)
    assert c.c_skip.tolist() == c.c_in.tolist() == VE().alpha(sigma).tolist() == [1, 1]
    assert torch.equal(c.c_out, sigma)
    torch.testing.assert_close(c.c_noise, torch.tensor([-1.3862944, 2.3025851]))
