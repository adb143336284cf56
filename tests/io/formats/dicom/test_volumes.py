"""Which images of a series form a volume, where files count them otherwise from place to place."""

from collections.abc import Callable
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.uid import generate_uid

from lightning_mri.io import read_scan
from lightning_mri.io.formats.dicom.reader import MIXED
from tests.builders import images_of
from tests.io.formats.dicom_slices import GAP, NORMAL, ORIGIN, PIXELS, enhanced, image, save

VALUES = PIXELS + 1
PLACES, VOLUMES = len(PIXELS), 3
EXPECTED = np.concatenate([VALUES + 5000 * volume for volume in range(VOLUMES)])
SHUFFLED = ((2, 0, 1), (1, 2, 0), (0, 1, 2), (2, 1, 0))
"""The volume of each image at each place, as they are counted."""

Said = Callable[[int, int], Any]


def put(dataset: Dataset, path: str, value: Any) -> None:
    """Set an element, ``Sequence.Sequence.Element``, with the first items that it lies in."""
    *sequences, name = path.split(".")
    for sequence in sequences:
        if sequence not in dataset:
            setattr(dataset, sequence, Sequence([Dataset()]))
        dataset = dataset[sequence][0]
    setattr(dataset, name, value)


def save_classic(folder: Path, said: dict[str, Said], counted: Any = SHUFFLED, **values: Any) -> Path:
    """Write a file for each image, numbered place by place."""
    series = generate_uid(None)
    for place in range(PLACES):
        for number, volume in enumerate(counted[place]):
            values["InstanceNumber"] = place * VOLUMES + number + 1
            dataset = image(place, VALUES[place] + 5000 * volume, series, **values)
            for name, value in said.items():
                put(dataset, name, value(place, volume))
            save(dataset, folder / f"{values['InstanceNumber']:02}.dcm")
    return folder


def save_enhanced(folder: Path, said: dict[str, Said], counted: Any = SHUFFLED) -> Path:
    """Write one file, whose frames are all first images at their places, then all second ones, and so on."""
    frames = [(place, counted[place][number]) for number, place in product(range(VOLUMES), range(PLACES))]
    dataset = enhanced(np.stack([VALUES[place] + 5000 * volume for place, volume in frames]))
    for (place, volume), group in zip(frames, dataset.PerFrameFunctionalGroupsSequence, strict=True):
        put(group, "PlanePositionSequence.ImagePositionPatient", [float(v) for v in ORIGIN + place * GAP * NORMAL])
        put(group, "PixelValueTransformationSequence.RescaleSlope", 1)
        for name, value in said.items():
            put(group, name, value(place, volume))
    return save(dataset, folder / "a.dcm")


def weighting(_: int, volume: int) -> float:
    return 500.0 * volume


def direction(_: int, volume: int) -> list[float]:
    return [0.6, -0.8 + 0.8 * volume, 0.0]


def heartbeat(place: int, volume: int) -> float:
    return 40 + 12 * volume + (0, 1, -1, 0.5)[place]


def dimensions(place: int, volume: int) -> list[int]:
    return [1, PLACES - place, volume + 1]


def dynamic(_: int, volume: int) -> int:
    return volume + 1


def irregular(place: int, volume: int) -> float:
    return 700.0 + 9 * ((volume + place) % VOLUMES)


GRADIENT = "DiffusionGradientOrientation"
DELAY = "CardiacSynchronizationSequence.NominalCardiacTriggerDelayTime"


@pytest.mark.parametrize(
    ("save_as", "said"),
    [
        (save_classic, {"DiffusionBValue": weighting}),
        (save_classic, {GRADIENT: direction}),
        (save_classic, {"InversionTime": heartbeat}),
        (save_classic, {"TriggerTime": heartbeat}),
        (save_classic, {"FlipAngle": weighting}),
        (save_classic, {"TriggerTime": irregular, "TemporalPositionIdentifier": dynamic}),
        (save_classic, {"TriggerTime": irregular, "AcquisitionNumber": dynamic}),
        (save_enhanced, {"MRDiffusionSequence.DiffusionBValue": weighting}),
        (save_enhanced, {f"MRDiffusionSequence.DiffusionGradientDirectionSequence.{GRADIENT}": direction}),
        (save_enhanced, {"MRModifierSequence.InversionTimes": lambda *of: [heartbeat(*of)]}),
        (save_enhanced, {DELAY: heartbeat}),
        (save_enhanced, {"MRTimingAndRelatedParametersSequence.FlipAngle": weighting}),
        (save_enhanced, {DELAY: irregular, "FrameContentSequence.TemporalPositionIndex": dynamic}),
        (save_enhanced, {DELAY: irregular, "FrameContentSequence.DimensionIndexValues": dimensions}),
        (save_enhanced, {DELAY: heartbeat, "FrameContentSequence.DimensionIndexValues": lambda *_: [1, 1, 1]}),
    ],
)
def test_each_volume_holds_one_of_what_tells_images_at_one_place_apart(
    tmp_path: Path, save_as: Callable[..., Path], said: dict[str, Said]
) -> None:
    """Regression: they were sorted by the number of image or frame alone, and mixed without a word."""
    path = save_as(tmp_path, said)
    np.testing.assert_array_equal(images_of(path), EXPECTED)
    assert (read_scan(path).n_volumes, MIXED in read_scan(path).warnings) == (VOLUMES, False)


@pytest.mark.parametrize(
    ("save_as", "said"),
    [
        (save_classic, {"DiffusionBValue": lambda _, volume: 1000.0 * (volume == 1)}),
        (save_classic, {"TriggerTime": lambda place, volume: 700.0 + (volume + place) % VOLUMES}),
        (save_enhanced, {"MRDiffusionSequence.DiffusionBValue": weighting}),
        (save_enhanced, {DELAY: lambda place, volume: 700.0 + (volume + place) % VOLUMES}),
    ],
)
def test_volumes_that_are_counted_alike_at_all_places_stay_in_that_order(
    tmp_path: Path, save_as: Callable[..., Path], said: dict[str, Said]
) -> None:
    """Times that differ by 1 or 2 ms are one."""
    path = save_as(tmp_path, said, [(2, 1, 0)] * PLACES)
    last_first = EXPECTED.reshape(VOLUMES, *PIXELS.shape)[::-1]
    np.testing.assert_array_equal(images_of(path), last_first.reshape(EXPECTED.shape))


def test_both_parts_of_complex_images_are_of_one_measurement(tmp_path: Path) -> None:
    """Regression: magnitudes and phases, counted otherwise, were paired by their numbers."""
    series, phase = generate_uid(None), np.array([-3.0, 1.0, 2.0])
    for part, order in (("M", (0, 1, 2)), ("P", (2, 0, 1))):
        for place, (number, volume) in product(range(2), enumerate(order)):
            values = {"ImageType": ["ORIGINAL", "PRIMARY", part], "InstanceNumber": number, "RescaleIntercept": 0}
            stored, values["RescaleSlope"] = (1 + volume, 100) if part == "M" else (1, phase[volume])
            pixels = np.full(PIXELS.shape[1:], stored)
            dataset = image(place, pixels, series, **values, DiffusionBValue=weighting(place, volume))
            save(dataset, tmp_path / f"{part}{place}{number}.dcm")
    expected = 100 * np.arange(1, VOLUMES + 1) * np.exp(1j * phase)
    np.testing.assert_allclose(images_of(tmp_path)[:, 2, 3], np.repeat(expected, 2), rtol=1e-5)


def test_files_of_one_frame_each_are_counted_by_their_numbers(tmp_path: Path) -> None:
    """Regression: by their names, which say nothing."""
    series = generate_uid(None)
    for place, volume in product(range(PLACES), range(VOLUMES)):
        dataset = enhanced(VALUES[place : place + 1] + 5000 * volume)
        dataset.SeriesInstanceUID, dataset.InstanceNumber = series, place * VOLUMES + volume + 1
        position = [float(v) for v in ORIGIN + place * GAP * NORMAL]
        put(dataset.PerFrameFunctionalGroupsSequence[0], "PlanePositionSequence.ImagePositionPatient", position)
        save(dataset, tmp_path / f"{(dataset.InstanceNumber * 5) % 13:02}.dcm")
    np.testing.assert_array_equal(images_of(tmp_path), EXPECTED)


def test_places_with_other_b_values_are_a_warning(tmp_path: Path) -> None:
    save_classic(tmp_path, {"DiffusionBValue": lambda place, volume: 500.0 * volume + 100 * (place == 2)})
    assert MIXED in read_scan(tmp_path).warnings


def save_moved(folder: Path, name: str, shifts: tuple[float, ...], n_last: int = PLACES) -> Path:
    """Write volumes that lie ``shifts`` mm further along the normal, the last one of ``n_last`` slices."""
    series = generate_uid(None)
    for (volume, shift), place in product(enumerate(shifts), range(PLACES)):
        if volume == len(shifts) - 1 and place >= n_last:
            continue
        dataset = image(place, VALUES[place] + 5000 * volume, series, SpacingBetweenSlices=GAP, **{name: volume + 1})
        dataset.ImagePositionPatient = [float(v) for v in ORIGIN + (place * GAP + shift) * NORMAL]
        save(dataset, folder / f"{place}{volume}.dcm")
    return folder


@pytest.mark.parametrize("name", ["AcquisitionNumber", "TemporalPositionIdentifier", "EchoTime"])
@pytest.mark.parametrize("shifts", [(0.0, 0.3, 0.6), (0.0, 0.0, -0.6)])
def test_volumes_that_follow_the_head_stay_whole(tmp_path: Path, name: str, shifts: tuple[float, ...]) -> None:
    """Regression: three volumes of four slices, moved by 0.3 mm each, were one of twelve."""
    scan = read_scan(save_moved(tmp_path, name, shifts))
    np.testing.assert_array_equal(images_of(tmp_path), EXPECTED)
    assert (scan.n_volumes, scan.slice_spacing) == (VOLUMES, pytest.approx(GAP))
    assert [text.split(" mm")[0] for text in scan.warnings if "places" in text] == ["places differ by up to 0.6"]


@pytest.mark.parametrize(("shifts", "n_last"), [((0.0, 0.3, 0.6), PLACES - 1), ((0.0, 1.4, 2.9), PLACES)])
def test_volumes_that_moved_too_far_or_lack_a_slice_are_refused(
    tmp_path: Path, shifts: tuple[float, ...], n_last: int
) -> None:
    with pytest.raises(ValueError, match=r"volumes must have as many slices each, moved by .*: got places"):
        read_scan(save_moved(tmp_path, "AcquisitionNumber", shifts, n_last))


def test_slices_measured_in_two_parts_are_one_volume(tmp_path: Path) -> None:
    """As in two breath-holds: one after the other, or interleaved."""
    save_moved(tmp_path, "AcquisitionNumber", (0.0, GAP / 2))
    assert (read_scan(tmp_path).n_volumes, read_scan(tmp_path).slice_spacing) == (1, pytest.approx(GAP / 2))


def test_private_b_values_tell_volumes_apart(tmp_path: Path) -> None:
    """Regression: volumes mixed images of b = 0 and b = 1000 without a word."""
    save_classic(tmp_path, {})
    for path in tmp_path.iterdir():
        dataset = pydicom.dcmread(path)
        place, number = divmod(int(dataset.InstanceNumber) - 1, VOLUMES)
        block = dataset.private_block(0x0043, "GEMS_PARM_01", create=True)
        block.add_new(0x39, "IS", [1_000_000_000 + 500 * SHUFFLED[place][number], 8, 0, 0])
        save(dataset, path)
    np.testing.assert_array_equal(images_of(tmp_path), EXPECTED)
    assert MIXED not in read_scan(tmp_path).warnings
