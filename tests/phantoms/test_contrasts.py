"""Signal equations against values worked out by hand, and the looks that name each contrast."""

import math
from collections.abc import Callable, Iterator

import numpy as np
import pytest
import torch

from lightning_mri.phantoms.contrasts import (
    CONTRASTS,
    DiffusionEcho,
    GradientEcho,
    InversionRecovery,
    Mprage,
    RandomIntensities,
    Sequence,
    SpinEcho,
    draw_sequence,
)
from lightning_mri.phantoms.tissues import DENSITY, T1, T2, Tissue, TissueValues

PUBLISHED = TissueValues.published(3.0)


def drawn(contrast: str, n: int = 40) -> Iterator[tuple[Sequence, TissueValues, torch.Tensor]]:
    """Sequence, tissues and signals of n subjects, every second one at 1.5 T."""
    for seed in range(n):
        rng, field_strength = np.random.default_rng(seed), (1.5, 3.0)[seed % 2]
        sequence = draw_sequence(contrast, rng, field_strength)
        values = TissueValues.draw(rng, field_strength)
        yield sequence, values, sequence.signal(values)


def brain(signal: torch.Tensor) -> tuple[float, float, float]:
    """Signal of white matter, grey matter and fluid."""
    white, grey, fluid = signal[[Tissue.WHITE, Tissue.GREY, Tissue.FLUID]].tolist()
    return white, grey, fluid


def test_spin_echo_after_ln2_t1_and_ln4_t2_leaves_an_eighth() -> None:
    grey = int(Tissue.GREY)
    sequence = SpinEcho(tr=math.log(2) * float(T1[grey]), te=math.log(4) * float(T2[grey]))
    assert float(sequence.signal(PUBLISHED)[grey]) == pytest.approx(float(DENSITY[grey]) / 8, rel=1e-5)


def test_inversion_recovery_nulls_a_tissue_at_ln2_of_its_t1() -> None:
    fluid = float(T1[Tissue.FLUID])
    signal = InversionRecovery(tr=50 * fluid, ti=math.log(2) * fluid, te=0.0).signal(PUBLISHED)
    assert float(signal[Tissue.FLUID]) < 1e-6
    assert float(signal[Tissue.WHITE]) > 0.5


def test_gradient_echo_at_90_degrees_is_saturation_recovery() -> None:
    signal = GradientEcho(tr=300.0, te=0.0, flip=90.0).signal(PUBLISHED)
    torch.testing.assert_close(signal, DENSITY * (1 - torch.exp(-300 / T1)))


def test_mprage_with_complete_recovery_is_inversion_recovery() -> None:
    signal = Mprage(tr=1e7, ti=900.0, efficiency=1.0).signal(PUBLISHED)
    expected = DENSITY * (1 - 2 * torch.exp(-900 / T1)).abs() * torch.exp(-3 / PUBLISHED.t2_star)
    torch.testing.assert_close(signal, expected)


def test_diffusion_weighting_of_ln2_over_d_halves_the_spin_echo() -> None:
    white = int(Tissue.WHITE)
    b = 1000 * math.log(2) / float(PUBLISHED.diffusivity[white])
    weighted, plain = DiffusionEcho(4000.0, 80.0, b).signal(PUBLISHED), SpinEcho(4000.0, 80.0).signal(PUBLISHED)
    assert float(weighted[white] / plain[white]) == pytest.approx(0.5, rel=1e-5)


def test_fat_is_out_of_phase_at_1_15_ms_and_in_phase_at_2_3_ms_at_3_t() -> None:
    out, within = (GradientEcho(100.0, te, 20.0).phase(PUBLISHED)[Tissue.FAT] for te in (1.152, 2.304))
    assert math.cos(float(out)) == pytest.approx(-1, abs=1e-3)
    assert math.cos(float(within)) == pytest.approx(1, abs=1e-3)


def test_only_gradient_echoes_have_a_phase() -> None:
    for contrast in ("T2w", "PD", "FLAIR", "DWI"):
        assert (draw_sequence(contrast, np.random.default_rng(0)).phase(PUBLISHED) == 0).all()


def test_susceptibility_weighting_shows_dark_veins_and_a_dark_pallidum() -> None:
    for sequence, values, signal in drawn("SWI"):
        assert signal[Tissue.VEIN] < 0.75 * signal[Tissue.GREY]
        assert signal[Tissue.PALLIDUM] < signal[Tissue.DEEP_GREY]
        assert sequence.phase(values)[Tissue.VEIN] > 1


def test_diffusion_weighting_shows_dark_fluid_and_acute_lesions_brighter_than_old_ones() -> None:
    for _, _, signal in drawn("DWI"):
        assert signal[Tissue.FLUID] < 0.6 * signal[Tissue.WHITE]
        assert signal[Tissue.LESION] > 1.5 * signal[Tissue.GREY]
        assert signal[Tissue.LESION] > 1.5 * signal[Tissue.GLIOSIS]


@pytest.mark.parametrize(
    ("contrast", "is_so", "share"),
    [
        ("T1w", lambda white, grey, fluid: white > grey > fluid, 1),
        ("T1w-post", lambda white, grey, fluid: white > grey > fluid, 1),
        ("T2w", lambda white, grey, fluid: fluid > 1.2 * grey > 1.2 * white, 1),
        ("PD", lambda white, grey, _: grey > white, 0.925),
        ("FLAIR", lambda white, grey, fluid: 2 * fluid < white < grey < 2 * white, 1),
    ],
)
def test_a_weighting_orders_white_grey_and_fluid(contrast: str, is_so: Callable[..., bool], share: float) -> None:
    assert np.mean([is_so(*brain(signal)) for _, _, signal in drawn(contrast)]) >= share


def test_flair_has_bright_lesions() -> None:
    signal = draw_sequence("FLAIR", np.random.default_rng(0)).signal(PUBLISHED)
    assert signal[Tissue.LESION] > 1.2 * signal[Tissue.GREY]


def test_other_contains_nothing_like_flair() -> None:
    for sequence, _, signal in drawn("other", 200):
        assert isinstance(sequence, GradientEcho | RandomIntensities)
        white, grey, fluid = brain(signal)
        assert not (grey > 1.05 * white and fluid < 0.5 * white)


def test_contrast_agent_shortens_t1_of_blood_and_spares_the_brain() -> None:
    enhanced = PUBLISHED.enhanced(1.0)
    assert enhanced.t1[[Tissue.BLOOD, Tissue.VEIN]].max() < 300
    assert enhanced.t1[Tissue.WHITE] > 0.9 * PUBLISHED.t1[Tissue.WHITE]
    sequence = SpinEcho(tr=500.0, te=10.0)
    assert sequence.signal(enhanced)[Tissue.BLOOD] > 3 * sequence.signal(PUBLISHED)[Tissue.BLOOD]


@pytest.mark.parametrize("contrast", CONTRASTS)
def test_signals_are_finite_and_not_negative(contrast: str) -> None:
    sequence = draw_sequence(contrast, np.random.default_rng(3))
    assert isinstance(sequence, Sequence)
    signal = sequence.signal(PUBLISHED)
    assert signal.shape == (len(Tissue),)
    assert signal.isfinite().all()
    assert (signal >= 0).all()
