"""Slices and volumes of a synthetic subject, as a scanner would measure them."""

from dataclasses import replace

import pytest
import torch

from lightning_mri.data.synthetic import CONTRASTS, Geometry, Head, training_slices
from lightning_mri.data.synthetic.heads import Protocol
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
    fractions = head.anatomy.compose(geometry.plane()).fractions[:, ::2, ::2]
    depth = head.anatomy.compose(geometry.plane()).depth[::2, ::2]
    ventricle, white = (fractions[2] > 0.95) & (depth > 30), (fractions[1] > 0.9) & (depth > 15)
    assert ventricle.sum() > 20
    assert flair.image.abs()[ventricle].median() < 0.6 * flair.image.abs()[white].median()
    assert t2.image.abs()[ventricle].median() > 1.5 * t2.image.abs()[white].median()
    assert flair.lesions.any()
    assert flair.image.abs()[flair.lesions].median() > 1.15 * flair.image.abs()[white].median()


def test_a_volume_is_its_slices_and_neighbours_look_alike(head: Head) -> None:
    volume = head.volume("T2w", n_slices=3, spacing_mm=1.5, geometry=SMALL)
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
        assert drawn.contrast in CONTRASTS
    assert len({drawn.contrast for drawn in pool}) > 2


def test_only_the_wanted_contrasts_appear() -> None:
    assert {drawn.contrast for drawn in training_slices(0, 6, ["PD", "T2w"], size=32)} <= {"PD", "T2w"}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"orientation": "oblique"}, "orientation must be one of axial, sagittal, coronal: got 'oblique'"),
        ({"pixel_size": (1.0, 0.0)}, "pixel_size positive"),
        ({"shape": (1, 20)}, "shape must be at least 2 x 2"),
    ],
)
def test_what_is_no_slice_is_refused(arguments: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Geometry(**arguments)


def test_unknown_contrasts_are_refused(head: Head) -> None:
    with pytest.raises(ValueError, match="contrast must be one of"):
        head.slice("CT", SMALL)
    with pytest.raises(ValueError, match=r"contrasts must be some of .*: got CT"):
        next(training_slices(0, 1, ["CT"]))
