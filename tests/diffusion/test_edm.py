import pytest
import torch

from lightning_mri.diffusion import EDM


def test_even_times_give_the_sampling_steps_of_the_paper() -> None:
    process = EDM(sigma_min=0.002, sigma_max=80.0)
    steps = torch.arange(18)
    paper = (80 ** (1 / 7) + steps / 17 * (0.002 ** (1 / 7) - 80 ** (1 / 7))) ** 7
    torch.testing.assert_close(process.sigma(1 - steps / 17), paper, rtol=2e-5, atol=0)


def test_logarithms_of_drawn_levels_are_normal() -> None:
    levels = EDM(p_mean=-1.9, p_std=1.4).draw_sigma(20_000, torch.Generator().manual_seed(0)).log()
    assert levels.mean().item() == pytest.approx(-1.9, abs=0.03)
    assert levels.std().item() == pytest.approx(1.4, rel=0.02)


def test_input_and_target_have_unit_variance_at_every_level() -> None:
    process, sigma = EDM(sigma_data=0.3), torch.tensor([0.01, 0.3, 5.0])
    c = process.precondition(sigma)
    torch.testing.assert_close(c.c_in**2 * (0.3**2 + sigma**2), torch.ones(3))
    target = ((1 - c.c_skip) ** 2 * 0.3**2 + c.c_skip**2 * sigma**2) / c.c_out**2
    torch.testing.assert_close(target, torch.ones(3))


def test_where_noise_and_signal_are_equal_all_coefficients_are_known_by_hand() -> None:
    c = EDM(sigma_data=0.5).precondition(torch.tensor([0.5]))
    half = 0.5**0.5
    assert c.c_skip.item() == pytest.approx(0.5)
    assert c.c_out.item() == pytest.approx(0.5 * half)
    assert c.c_in.item() == pytest.approx(2 * half)
    assert c.c_noise.item() == pytest.approx(-0.1732868)


def test_the_signal_keeps_its_size() -> None:
    assert EDM().alpha(torch.tensor([0.1, 50.0])).tolist() == [1, 1]
