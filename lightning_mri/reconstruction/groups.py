"""Slices of one scan that are prepared together, since the same lines were measured for their coil maps."""

from collections.abc import Callable, Sequence
from dataclasses import replace

import torch
from jaxtyping import Complex
from torch import Tensor

from lightning_mri.reconstruction.draws import ShareDone, part_of
from lightning_mri.reconstruction.prepare import measured_apart
from lightning_mri.reconstruction.result import Reconstruction


def calibrated_alike(calibration: Complex[Tensor, "batch coil y x"] | None, n: int) -> list[list[int]]:
    """Return the places of n slices that have the same lines, group by group; all in one where none were measured."""
    if calibration is None:
        return [list(range(n))]
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
    order = [row for rows in groups for row in rows]
    if len(groups) == 1:
        return reconstruct(order, progress)
    parts, n_done = [], 0
    for rows in groups:
        parts.append(reconstruct(rows, part_of(progress, n_done / len(order), len(rows) / len(order))))
        n_done += len(rows)
    whole, places = Reconstruction.join(parts), torch.tensor(order).argsort()
    mask = whole.mask if len(whole.mask) == 1 else whole.mask[places]
    return replace(whole.each(lambda values, axis: values.index_select(axis, places)), mask=mask)
