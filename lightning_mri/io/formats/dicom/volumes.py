"""Volumes of a DICOM series: which of the images at each place belong together."""

from bisect import bisect
from collections import defaultdict
from collections.abc import Sequence
from itertools import chain, compress, islice, pairwise
from pathlib import Path

import numpy as np

from lightning_mri.io.formats.dicom.files import Frame
from lightning_mri.io.geometry import GAP_TOLERANCE

SAME_PLACE_MM = 0.01
MOVED = 1 / 3
"""Share of the distance of slices that a volume may have moved: interleaved parts of one lie half of it apart."""
OVERLAP = 0.5
"""Slices of one volume that overlap by more than this share of their thickness are of several."""
JITTER_MS = 2
"""Times that differ by no more are one: those that the heartbeat gives differ a little from slice to slice."""


def places_of(path: Path, frames: list[Frame]) -> list[list[Frame]]:
    """Return the images at each place along the normal, as they are counted; one each where places are not known."""
    if not all(frame.is_placed for frame in frames):
        return [[frame] for frame in sorted(frames, key=lambda frame: frame.order[-1])]
    placed = sorted(frames, key=lambda frame: frame.distance)
    places = _at_one_place(placed)
    counts = sorted({len(images) for images in places})
    gaps = np.diff([images[0].distance for images in places])
    is_even = len(gaps) == 0 or np.allclose(gaps, gaps.mean(), rtol=GAP_TOLERANCE)
    if len(counts) > 1 or not is_even:
        moved = _at_moved_places(placed)
        if moved is None and len(counts) > 1:
            rule = "the series must have the same number of images at each place"
            raise ValueError(f"{path}: {rule}: got {counts[0]} to {counts[-1]}")
        overlap = gaps.min() < OVERLAP * (placed[0].thickness or 0)
        if moved is None and counts == [1] and overlap and len({frame.order[:-1] for frame in placed}) > 1:
            rule = "volumes must have as many slices each, moved by less than a third of their distance"
            raise ValueError(f"{path}: {rule}: got places {gaps.min():.2g} ... {gaps.max():.2g} mm apart")
        places = moved or places
    return [sorted(images, key=lambda frame: frame.order) for images in places]


def _at_one_place(placed: Sequence[Frame]) -> list[list[Frame]]:
    """Return the images, sorted by place, that lie in one."""
    places = [[placed[0]]]
    for frame in placed[1:]:
        if frame.distance - places[-1][0].distance > SAME_PLACE_MM:
            places.append([])
        places[-1].append(frame)
    return places


def _at_moved_places(placed: Sequence[Frame]) -> list[list[Frame]] | None:
    """Return the images, sorted by place, of each slice, where the scanner followed the head from volume to volume.

    What tells the volumes apart is what images at one place are counted in, all of it or the echo, the time or the
    acquisition alone; None if none of these does.
    """
    n_counts = len(placed[0].order) - 1
    for told in (slice(n_counts), *(slice(i, i + 1) for i in range(n_counts))):
        volumes = defaultdict(list)
        for frame in placed:
            volumes[frame.order[told]].append(frame)
        if len(volumes) < 2 or len({len(volume) for volume in volumes.values()}) > 1:
            continue
        at = np.array([[frame.distance for frame in volume] for volume in volumes.values()])
        if at.shape[1] > 1 and np.abs(at - at[0]).max() < MOVED * np.diff(at[0]).min():
            return [list(images) for images in zip(*volumes.values(), strict=True)]
    return None


def displacement(volumes: Sequence[Sequence[Frame]]) -> float:
    """Return how far in mm slices lie from those of the first volume, at most; 0 up to `SAME_PLACE_MM`."""
    if not all(frame.is_placed for volume in volumes for frame in volume):
        return 0.0
    at = np.array([[frame.position for frame in volume] for volume in volumes])
    distance = float(np.linalg.norm(at - at[0], axis=2).max())
    return distance if distance > SAME_PLACE_MM else 0.0


def volumes_of(components: dict[str, list[list[Frame]]]) -> dict[str, list[list[Frame]]]:
    """Return the volumes of each component, given its images at each place as they are counted.

    Where they are counted otherwise from place to place, or in the other component, they are sorted by those of their
    traits whose values are the same at all places: a number that runs through a file tells no volumes apart.
    """
    columns = list(chain.from_iterable(components.values()))
    n_dimensions = min(len(frame.dimensions) for frame in chain.from_iterable(columns))
    tables = [_traits(images, n_dimensions) for images in columns]
    values = ([tuple(sorted(trait)) for trait in zip(*table, strict=True)] for table in tables)
    is_common = [len(set(trait)) == 1 for trait in zip(*values, strict=True)]
    orders = [_order(table, is_common) for table in tables]
    if len(set(orders)) > 1:
        columns = [[images[i] for i in order] for images, order in zip(columns, orders, strict=True)]
    rest = iter(columns)
    return {
        component: [list(volume) for volume in zip(*islice(rest, len(places)), strict=True)]
        for component, places in components.items()
    }


def _traits(images: Sequence[Frame], n_dimensions: int) -> list[tuple[float, ...]]:
    """Return what may tell images at one place apart: what was measured before counters, the least reliable last."""
    inversion = _ranks([frame.inversion_ms for frame in images])
    trigger = _ranks([frame.trigger_ms for frame in images])
    return [
        (
            *frame.diffusion,
            inversion[i],
            frame.flip_angle,
            *frame.order[:-1],
            *frame.dimensions[:n_dimensions],
            trigger[i],
        )
        for i, frame in enumerate(images)
    ]


def _ranks(times_ms: Sequence[float]) -> list[int]:
    """Return of each time how many distinct ones are shorter."""
    distinct = [later for earlier, later in pairwise(sorted(times_ms)) if later - earlier > JITTER_MS]
    return [bisect(distinct, time) for time in times_ms]


def _order(table: Sequence[tuple[float, ...]], is_used: Sequence[bool]) -> tuple[int, ...]:
    """Return in which order rows are sorted by some of their columns; equal ones stay in theirs."""
    keys = [tuple(compress(row, is_used)) for row in table]
    return tuple(sorted(range(len(keys)), key=keys.__getitem__))
