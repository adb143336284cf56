"""Laws of the noise schedules."""

import math

import pytest
import torch

from lightning_mri.diffusion import VE, VP
from lightning_mri.sampling import Geometric, Karras, LinearBeta

SCHEDULES = [Karras(), Geometric(), LinearBeta()]


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_every_schedule_descends_from_the_largest_level_through_the_smallest_to_zero(schedule):
    sigmas = schedule.sigmas(7, 3.0, 0.02)

    assert sigmas.shape == (8,)
    assert sigmas[[0, -2, -1]].tolist() == pytest.approx([3.0, 0.02, 0.0])
    assert (sigmas.diff() < 0).all()


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_one_step_starts_at_the_largest_level(schedule):
    assert schedule.sigmas(1, 3.0, 0.02).tolist() == pytest.approx([3.0, 0.0])


def test_karras_levels_are_those_of_the_paper_computed_by_hand():
    # halfway between 1 and 2^7 in sigma^(1/7) is 1.5^7
    assert Karras().sigmas(3, 128.0, 1.0).tolist() == pytest.approx([128.0, 1.5**7, 1.0, 0.0])
    assert Karras(rho=1).sigmas(3, 5.0, 1.0).tolist() == pytest.approx([5.0, 3.0, 1.0, 0.0])


def test_geometric_levels_have_constant_ratio_and_are_those_of_the_ve_process():
    process = VE()
    t = torch.linspace(1, 0, 5, dtype=torch.float64)

    torch.testing.assert_close(
        Geometric().sigmas(5, 16.0, 1.0)[:-1], 2.0 ** torch.arange(4, -1, -1, dtype=torch.float64)
    )
    torch.testing.assert_close(
        Geometric().sigmas(5, process.sigma_max, process.sigma_min)[:-1], process.sigma(t), rtol=1e-6, atol=0
    )


def test_vp_levels_are_those_of_the_vp_process_on_even_times():
    process = VP(beta_min=0.3, beta_max=11.0)
    t = torch.linspace(0.9, 0.1, 6, dtype=torch.float64)
    first, last = (float(process.sigma(t[i])) for i in (0, -1))

    torch.testing.assert_close(LinearBeta(0.3, 11.0).sigmas(6, first, last)[:-1], process.sigma(t))


def test_vp_rates_give_the_limits_of_the_default_process():
    assert math.sqrt(math.expm1(0.1 + 19.9 / 2)) == pytest.approx(152.2, abs=0.05)
    assert LinearBeta().sigmas(1000, VP().sigma_max, VP().sigma_min)[-2] == pytest.approx(VP().sigma_min)
