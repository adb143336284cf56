"""What 8 and 64 GPUs gain: how `predict` shares out a folder of uneven scans, played through with its own splitter.

python experiments/many_gpus.py --output experiments/results/many_gpus.md
"""

import math
from collections.abc import Sequence
from heapq import heapify, heappop, heappush
from pathlib import Path

import numpy as np
import torch
from jsonargparse import auto_cli
from torch.utils.flop_counter import FlopCounterMode

from lightning_mri.datasets.shares import turns
from lightning_mri.datasets.slices import slice_groups
from lightning_mri.files import write_whole
from lightning_mri.models.unet import ddpmpp

MATRICES = ((640, 320), (640, 320), (512, 256), (768, 396))
NO_SPREAD, USUAL = 0.0, 0.3
"""Standard deviation of the logarithm of a batch's time about its cost: coils, chosen fallbacks, samples."""


def many_gpus(n_scans: int = 1000, batch_size: int = 4, seed: int = 0, output: Path | None = None) -> None:
    """Play a prediction through, and count the operations of training.

    Args:
        n_scans: Scans of 10 to 44 slices, of four matrices.
        batch_size: Slices reconstructed together.
        seed: Of sizes and times.
        output: Markdown file to write to.
    """
    costs, rng = costs_of(n_scans, batch_size, seed), np.random.default_rng(seed)
    lines = [
        f"{n_scans} scans, {len(costs)} batches of at most {batch_size} slices. Command:"
        " `python experiments/many_gpus.py --output experiments/results/many_gpus.md`",
        "",
        "| GPUs | time of a batch | one of them | speed-up | efficiency | without help |",
        "| ---: | --- | --- | ---: | ---: | ---: |",
    ]
    for n in (8, 64):
        for spread, slow in ((NO_SPREAD, 1.0), (USUAL, 1.0), (USUAL, 0.5)):
            seconds = np.asarray(costs) * np.exp(spread * rng.standard_normal(len(costs)))
            speeds = [slow if rank == n - 1 else 1.0 for rank in range(n)]
            best = sum(seconds) / sum(speeds)
            helping, alone = (last_end(costs, seconds, speeds, help_others) for help_others in (True, False))
            what = "as expected" if spread == 0 else f"x exp({spread:g} z)"
            lines.append(
                f"| {n} | {what} | {'as the others' if slow == 1 else 'half as fast'} | {sum(seconds) / helping:.1f} |"
                f" {best / helping:.1%} | {best / alone:.1%} |"
            )
    text = "\n".join([*lines, "", operations()]) + "\n"
    print(text)
    if output is not None:
        write_whole(output, text)


def costs_of(n_scans: int, batch_size: int, seed: int) -> list[float]:
    """Return the expected cost of each batch of the scans, as `predict` reckons it: slices times samples."""
    rng = np.random.default_rng(seed)
    scans = [(int(rng.integers(10, 45)), math.prod(MATRICES[rng.integers(len(MATRICES))])) for _ in range(n_scans)]
    return [len(part) * samples / 1e6 for n_slices, samples in scans for part in slice_groups(n_slices, batch_size)]


def last_end(costs: Sequence[float], seconds: Sequence[float], speeds: Sequence[float], help_others: bool) -> float:
    """Return when the last process is done, each taking the next batch of its turn that nobody has begun."""
    order = []
    for rank in range(len(speeds)):
        own, others = turns(costs, len(speeds), rank)
        order.append(iter([index % len(costs) for index in (*own, *(others if help_others else ()))]))
    free, begun, end = [(0.0, rank) for rank in range(len(speeds))], set[int](), 0.0
    heapify(free)
    while free:
        now, rank = heappop(free)
        index = next((index for index in order[rank] if index not in begun), None)
        if index is None:
            end = max(end, now)
            continue
        begun.add(index)
        heappush(free, (now + seconds[index] / speeds[rank], rank))
    return end


def operations() -> str:
    """Return what a training step of the published network takes and moves, counted without running it."""
    with torch.device("meta"), FlopCounterMode(display=False) as counter:
        net = ddpmpp(n_labels=10)
        net(torch.zeros(1, 2, 320, 320), torch.zeros(1), torch.zeros(1, dtype=torch.long))
    n, forward = sum(each.numel() for each in net.parameters()), counter.get_total_flops()
    return (
        f"The network of `pretrain/fastmri_brain`, {n / 1e6:.1f} M weights: {forward / 1e12:.3f} T operations for an"
        f" image of 320 x 320, {3 * forward / 1e12:.2f} T with its gradient, {3e7 * forward / 1e18:.1f} E for 10"
        f" million images; gradients of {4 * n / 1e6:.0f} MB per step; a checkpoint of {16 * n / 1e9:.2f} GB: weights,"
        " average and two moments."
    )


if __name__ == "__main__":
    auto_cli(many_gpus, as_positional=False)
