"""Slices of one scan that are prepared together: of each the same coils are live, and the same lines measured."""

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import replace

import torch
from jaxtyping import Bool, Complex
from torch import Tensor

from lightning_mri.physics import live_coils
from lightning_mri.reconstruction.draws import ShareDone, part_of
from lightning_mri.reconstruction.prepare import measured_apart
from lightning_mri.reconstruction.result import Reconstruction


def measured_alike(
    kspace: Complex[Tensor, "batch coil y x"],
    mask: Bool[Tensor, "1 y x"],
    calibration: Complex[Tensor, "batch coil _y _x"] | None,
) -> list[list[int]]:
    """Return the places of the slices, group by group: of one group the same coils are live, and the same lines."""
    keys = live_coils(torch.where(mask.to(kspace.device), kspace, 0)).cpu()
    if calibration is not None:
        lines = measured_apart(calibration).flatten(1).cpu()
        keys = torch.cat([keys & live_coils(calibration).cpu(), lines], 1)
    groups = defaultdict(list)
    for row, key in enumerate(keys.numpy()):
        groups[key.tobytes()].append(row)
    return list(groups.values())


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
