"""Slices and volumes of a synthetic subject, as a scanner would measure them."""

from dataclasses import replace

import pytest
import torch

from lightning_mri.phantoms import CONTRASTS, LABELS, Geometry, Head, LesionKind, Tissue, training_slices
from lightning_mri.phantoms.protocol import Protocol
from lightning_mri.phantoms.training import OTHERS
from lightning_mri.scaling import Scaling

SMALL = Geometry(shape=(61, 54), pixel_size=(3.6, 3.4), offset_mm=12.0)


@pytest.fixture(scope="module")
def head() -> Head:
    return Head("subject-7", lesions=True)


def test_a_slice_is_deterministic_and_leaves_the_global_random_state_alone(head: Head) -> None:
    state = torch.get_rng_state()
    first = Head("subject-7", lesions=True).slice("T2w", SMALL)
    assert torch.equal(first.image, head.slice("T2w", SMALL).image)
    assert torch.equal(state, torch.get_rng_state())
    assert first.image.shape == first.lesions.shape == (61, 54)
    assert first.image.dtype == torch.complex64


def test_scans_and_contrasts_of_a_subject_differ(head: Head) -> None:
    images = [head.slice("T1w", SMALL, scan=0), head.slice("T1w", SMALL, scan=1), head.slice("PD", SMALL)]
    assert not torch.equal(images[0].image, images[1].image)
    assert not torch.equal(images[0].image, images[2].image)


def test_flair_shows_dark_ventricles_and_bright_lesions_and_t2_bright_ventricles() -> None:
    head = Head(4, lesions=True)
    geometry = Geometry(shape=(121, 110), pixel_size=(1.8, 1.8), offset_mm=12.0)
    flair, t2 = head.slice("FLAIR", geometry), head.slice("T2w", geometry)
    fractions, _, depth = (part[..., ::2, ::2] for part in head.anatomy.compose(geometry.plane()))
    ventricle, white = (fractions[2] > 0.95) & (depth > 30), (fractions[1] > 0.9) & (depth > 15)
    assert ventricle.sum() > 20
    assert flair.image.abs()[ventricle].median() < 0.6 * flair.image.abs()[white].median()
    assert t2.image.abs()[ventricle].median() > 1.5 * t2.image.abs()[white].median()
    assert flair.lesions.any()
    assert flair.image.abs()[flair.lesions > 0].median() > 1.15 * flair.image.abs()[white].median()


def twins(contrast: str) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """A slice through an infarct: magnitudes with and without it, and where it is acute."""
    geometry = Geometry(shape=(99, 91), pixel_size=(2.2, 2.2), offset_mm=15.0)
    ill, healthy = (Head(11, lesions).slice(contrast, geometry) for lesions in (True, False))
    assert not healthy.lesions.any()
    return ill.image.abs(), healthy.image.abs(), ill.lesions == LesionKind.ACUTE


@pytest.mark.parametrize("contrast", ["FLAIR", "DWI"])
def test_the_lesion_mask_lies_where_the_image_is_brighter_than_the_healthy_twin_s(contrast: str) -> None:
    ill, healthy, acute = twins(contrast)
    brighter = ill - healthy
    found = brighter > 0.4 * brighter[acute].median()
    assert acute.sum() > 100
    assert ill[acute].median() > 1.2 * healthy[acute].median()
    assert 2 * (found & acute).sum() / (found.sum() + acute.sum()) > 0.8  # Dice


def test_susceptibility_weighting_shows_the_sagittal_sinus_dark_and_out_of_phase() -> None:
    head, geometry = Head(3, field_strength=3.0), Geometry(shape=(131, 115), pixel_size=(1.6, 1.6), offset_mm=40.0)
    image = head.slice("SWI", geometry).image
    shares = head.anatomy.compose(geometry.plane()).fractions[:, 1::2, 1::2]  # odd sizes: see the lesion mask
    vein, brain = shares[Tissue.VEIN] > 0.9, shares[Tissue.GREY] + shares[Tissue.WHITE] > 0.95
    assert vein.sum() > 10
    near = torch.nn.functional.max_pool2d(vein[None].float(), 15, 1, 7)[0].bool() & brain
    assert image[vein].abs().median() < 0.75 * image[near].abs().median()
    turn = (image[vein].mean() * image[near].mean().conj()).angle().abs()
    assert turn > 0.5


def test_the_mask_of_an_odd_matrix_lies_on_its_pixels() -> None:
    geometry = Geometry(shape=(61, 55), pixel_size=(3.0, 3.0), offset_mm=15.0)
    finer = Geometry(shape=(183, 165), pixel_size=(1.0, 1.0), offset_mm=15.0)
    coarse, fine = (Head(11, lesions=True).slice("T2w", g).lesions for g in (geometry, finer))
    agreement = (coarse == fine[1::3, 1::3])[coarse > 0].float().mean()  # pixel 30 of 61 and pixel 91 of 183
    assert agreement > 0.9


def test_a_volume_is_its_slices_and_neighbours_look_alike(head: Head) -> None:
    volume = torch.stack([part.image for part in head.slices("T2w", n_slices=3, spacing_mm=1.5, geometry=SMALL)])
    assert volume.shape == (3, 61, 54)
    assert torch.equal(volume[1], head.slice("T2w", SMALL).image)
    assert torch.equal(volume[2], head.slice("T2w", replace(SMALL, offset_mm=13.5)).image)
    correlation = torch.corrcoef(volume[:2].abs().flatten(1))[0, 1]
    assert correlation > 0.95
    overlap = (volume[0].conj() * volume[1]).sum() / (volume[0].norm() * volume[1].norm())
    assert overlap.real > 0.95  # phase included


def test_a_thick_slice_blurs_what_lies_in_it(head: Head) -> None:
    thin = head.slice("T1w", SMALL).image
    thick = head.slice("T1w", replace(SMALL, thickness_mm=5.0)).image
    assert 0.02 < (thick - thin).norm() / thin.norm() < 0.5


def test_the_first_pixel_lies_half_a_field_of_view_from_the_middle() -> None:
    plane = Geometry(shape=(6, 9), pixel_size=(2.0, 1.0), offset_mm=7.0, shift_mm=(0.0, 3.0)).plane()
    assert plane.points[:, 0, 0].tolist() == pytest.approx([9 / 2 - 3, 6, 7])  # x falls, y falls, z is the offset
    assert plane.points.shape == (3, 12, 18)
    assert plane.spacing == (1.0, 0.5)


def test_truncation_of_k_space_keeps_the_mean_and_rings_at_edges() -> None:
    protocol = Protocol("PD", 0)
    protocol.windows = [(1.0, 0.0), (1.0, 0.0)]
    edge = torch.zeros(48, 40, dtype=torch.complex64)
    edge[:, 11:31] = 1
    image = protocol.measure(edge, (24, 20))
    assert float(image.mean().real) == pytest.approx(0.5, abs=1e-5)
    assert float(image.abs().max()) > 1.05


def test_training_slices_are_scaled_finite_and_independent_of_how_they_are_drawn() -> None:
    pool = list(training_slices(3, 9, size=49))
    later = next(training_slices(3, 1, size=49, first=8))
    assert torch.equal(pool[8].image, later.image)
    for drawn in pool:
        assert drawn.image.shape == (49, 49)
        assert drawn.image.isfinite().all()
        assert float(Scaling().of(drawn.image)) == pytest.approx(1, rel=1e-4)
        assert drawn.contrast in LABELS
    assert len({drawn.contrast for drawn in pool}) > 2


def test_other_stands_for_susceptibility_and_diffusion_weighting_too(monkeypatch: pytest.MonkeyPatch) -> None:
    shown: list[str] = []
    slice_of = Head.slice

    def spy(self: Head, contrast: str, *arguments: object) -> object:
        shown.append(contrast)
        return slice_of(self, contrast, *arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(Head, "slice", spy)
    pool = list(training_slices(5, 16, ["other"], size=24))
    assert {drawn.contrast for drawn in pool} == {"other"}
    assert set(shown) == {"SWI", "other"} == set(OTHERS) - {None}


@pytest.mark.parametrize("contrast", CONTRASTS)
def test_every_contrast_is_finite_and_shows_a_head(contrast: str, head: Head) -> None:
    image = head.slice(contrast, SMALL).image
    assert image.isfinite().all()
    assert image.abs()[20:40, 18:36].mean() > 5 * image.abs()[:4].mean()


def test_only_the_wanted_contrasts_appear() -> None:
    assert {drawn.contrast for drawn in training_slices(0, 6, ["PD", "T2w"], size=32)} <= {"PD", "T2w"}
