"""Volumes of a DICOM series: which of the images at each place belong together."""

from bisect import bisect
from collections import defaultdict
from collections.abc import Sequence
from itertools import chain, compress, islice, pairwise
from pathlib import Path

from lightning_mri.io.formats.dicom.files import Frame

SAME_PLACE_MM = 0.01
JITTER_MS = 2
"""Times that differ by no more are one: those that the heartbeat gives differ a little from slice to slice."""


def places_of(path: Path, frames: list[Frame]) -> list[list[Frame]]:
    """Return the images at each place along the normal, as they are counted; one each where places are not known."""
    if not all(frame.is_placed for frame in frames):
        return [[frame] for frame in sorted(frames, key=lambda frame: frame.order[-1])]
    at = defaultdict(list)
    placed = sorted(frames, key=lambda frame: frame.distance)
    start = placed[0].distance
    for frame in placed:
        if frame.distance - start > SAME_PLACE_MM:
            start = frame.distance
        at[start].append(frame)
    counts = sorted({len(images) for images in at.values()})
    if len(counts) > 1:
        rule = "the series must have the same number of images at each place"
        raise ValueError(f"{path}: {rule}: got {counts[0]} to {counts[-1]}")
    return [sorted(images, key=lambda frame: frame.order) for images in at.values()]


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
        (*frame.diffusion, inversion[i], *frame.order[:-1], *frame.dimensions[:n_dimensions], trigger[i])
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
