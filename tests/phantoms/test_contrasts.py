"""Signal equations against values worked out by hand, and the looks that name each contrast."""

import math

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
BRAIN = (Tissue.WHITE, Tissue.GREY, Tissue.FLUID)


def drawn(contrast: str, n: int = 40) -> list[torch.Tensor]:
    """Signals of white matter, grey matter and fluid of n subjects."""
    signals = []
    for seed in range(n):
        rng, field_strength = np.random.default_rng(seed), (1.5, 3.0)[seed % 2]
        sequence = draw_sequence(contrast, rng, field_strength)
        signals.append(sequence.signal(TissueValues.draw(rng, field_strength))[list(BRAIN)])
    return signals


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


@pytest.mark.parametrize("field_strength", [1.5, 3.0])
def test_susceptibility_weighting_shows_dark_veins_and_a_dark_pallidum(field_strength: float) -> None:
    for seed in range(20):
        rng = np.random.default_rng(seed)
        sequence = draw_sequence("SWI", rng, field_strength)
        signal = sequence.signal(values := TissueValues.draw(rng, field_strength))
        assert signal[Tissue.VEIN] < 0.75 * signal[Tissue.GREY]
        assert signal[Tissue.PALLIDUM] < signal[Tissue.DEEP_GREY]
        assert sequence.phase(values)[Tissue.VEIN] > 1


def test_diffusion_weighting_shows_dark_fluid_and_acute_lesions_brighter_than_old_ones() -> None:
    for seed in range(20):
        rng = np.random.default_rng(seed)
        signal = draw_sequence("DWI", rng).signal(TissueValues.draw(rng))
        assert signal[Tissue.FLUID] < 0.6 * signal[Tissue.WHITE]
        assert signal[Tissue.LESION] > 1.5 * signal[Tissue.GREY]
        assert signal[Tissue.LESION] > 1.5 * signal[Tissue.GLIOSIS]


@pytest.mark.parametrize("contrast", ["T1w", "T1w-post"])
def test_t1_weighting_orders_white_grey_fluid(contrast: str) -> None:
    assert all(white > grey > fluid for white, grey, fluid in drawn(contrast))


def test_t2_weighting_orders_fluid_grey_white() -> None:
    assert all(fluid > 1.2 * grey > 1.2 * white for white, grey, fluid in drawn("T2w"))


def test_proton_density_weighting_shows_grey_brighter_than_white() -> None:
    assert np.mean([bool(grey > white) for white, grey, _ in drawn("PD")]) > 0.9


def test_flair_has_dark_fluid_grey_above_white_and_bright_lesions() -> None:
    for white, grey, fluid in drawn("FLAIR"):
        assert fluid < 0.5 * white
        assert white < grey < 2 * white
    signal = draw_sequence("FLAIR", np.random.default_rng(0)).signal(PUBLISHED)
    assert signal[Tissue.LESION] > 1.2 * signal[Tissue.GREY]


def test_other_contains_nothing_like_flair() -> None:
    for seed in range(200):
        rng = np.random.default_rng(seed)
        sequence = draw_sequence("other", rng)
        assert isinstance(sequence, GradientEcho | RandomIntensities)
        white, grey, fluid = sequence.signal(TissueValues.draw(rng))[list(BRAIN)]
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
