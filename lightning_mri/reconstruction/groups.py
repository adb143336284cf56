"""Slices of one scan that are prepared together, since the same lines were measured for their coil maps."""

from collections.abc import Callable, Sequence
from dataclasses import replace

import torch
from jaxtyping import Complex
from torch import Tensor

from lightning_mri.reconstruction.draws import ShareDone, part_of
from lightning_mri.reconstruction.prepare import measured_apart
from lightning_mri.reconstruction.result import Reconstruction


def calibrated_alike(calibration: Complex[Tensor, "batch coil y x"] | None) -> list[list[int]]:
    """Return the places of slices that have the same lines, group by group; no group where no lines were measured."""
    if calibration is None:
        return []
    groups: list[tuple[Tensor, list[int]]] = []
    for row, lines in enumerate(measured_apart(calibration)):
        same = next((rows for pattern, rows in groups if torch.equal(pattern, lines)), None)
        if same is None:
            groups.append((lines, [row]))
        else:
            same.append(row)
    return [rows for _, rows in groups]


def one_by_one(
    groups: Sequence[list[int]],
    reconstruct: Callable[[list[int], ShareDone | None], Reconstruction],
    progress: ShareDone | None,
) -> Reconstruction:
    """Return what was made of each group, with the slices in their order.

    Args:
        groups: Places of the slices of each group.
        reconstruct: Called with the places and with what is to be called with the share of the work that is done.
        progress: What that is reported to.
    """
    parts, n_done, n = [], 0, sum(map(len, groups))
    for rows in groups:
        parts.append(reconstruct(rows, part_of(progress, n_done / n, len(rows) / n)))
        n_done += len(rows)
    return in_order(parts, groups)


def in_order(parts: Sequence[Reconstruction], groups: Sequence[Sequence[int]]) -> Reconstruction:
    """Return groups of slices as one reconstruction.

    Args:
        parts: What was made of each group.
        groups: The places that the slices of each group have in the whole.
    """
    whole = Reconstruction.join(parts)
    order = torch.tensor([row for rows in groups for row in rows]).argsort()
    mask = whole.mask if len(whole.mask) == 1 else whole.mask[order]
    return replace(whole.each(lambda values, axis: values.index_select(axis, order)), mask=mask)
