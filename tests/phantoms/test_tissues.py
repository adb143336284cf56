"""Tissue values against published ones, and their laws."""

import numpy as np
import pytest
import torch

from lightning_mri.phantoms.tissues import Tissue, TissueValues


@pytest.mark.parametrize(
    ("tissue", "field_strength", "t1", "t2_star"),
    [  # ms: Wansapura et al. 1999, Stanisz et al. 2005
        (Tissue.WHITE, 3.0, (750, 1100), (40, 53)),
        (Tissue.GREY, 3.0, (1200, 1820), (42, 56)),
        (Tissue.WHITE, 1.5, (550, 900), (50, 75)),
        (Tissue.GREY, 1.5, (900, 1250), (55, 85)),
    ],
)
def test_relaxation_times_lie_among_published_ones(
    tissue: Tissue, field_strength: float, t1: tuple[float, float], t2_star: tuple[float, float]
) -> None:
    values = TissueValues.published(field_strength)
    assert t1[0] < float(values.t1[tissue]) < t1[1]
    assert t2_star[0] < float(values.t2_star[tissue]) < t2_star[1]


def test_fat_and_water_are_220_hz_apart_at_1_5_t() -> None:
    offset = TissueValues.published(1.5).offset
    assert float(offset[Tissue.MUSCLE] - offset[Tissue.FAT]) == pytest.approx(217, abs=5)


def test_reversible_relaxation_adds_to_the_irreversible() -> None:
    values = TissueValues.published()
    torch.testing.assert_close(1000 / values.t2_star, 1000 / values.t2 + values.r2_prime)
    assert (values.t2_star < values.t2).all()


def test_a_contrast_agent_adds_to_the_rate_in_proportion_to_its_dose() -> None:
    values = TissueValues.published()
    rates = [1 / values.enhanced(dose).t1 for dose in (0.0, 0.7, 1.4)]
    torch.testing.assert_close(rates[2] - rates[1], rates[1] - rates[0])


def test_subjects_scatter_about_the_published_values() -> None:
    drawn = torch.stack([TissueValues.draw(np.random.default_rng(seed), 1.5).t1 for seed in range(200)])
    white = drawn[:, Tissue.WHITE]
    assert float(white.median()) == pytest.approx(float(TissueValues.published(1.5).t1[Tissue.WHITE]), rel=0.03)
    assert 0.03 < float(white.std() / white.mean()) < 0.12
