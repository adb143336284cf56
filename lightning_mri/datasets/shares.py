"""Batches of slices shared out over processes by cost, so that all of them are busy until the last one is done."""

from collections.abc import Callable, Iterator, Sequence
from itertools import accumulate, pairwise
from typing import Any

from torch.utils.data import DataLoader, Dataset
from torch.utils.data.distributed import DistributedSampler

from lightning_mri.datasets.loading import processes

Claim = Callable[[Any], bool]
"""Asks for an item in the name of a process; true for the first process that asks, and never for one that is done."""


def turns(costs: Sequence[float], n_processes: int, rank: int) -> tuple[range, range]:
    """Return the indices of a process's own block, and those that it may help with when that is done.

    Blocks are consecutive and cost the same but for less than one item, so that most scans lie in one block. A process
    goes on through the blocks of the others, from behind its own to before it.
    """
    before = [0.0, *accumulate(costs)]
    middles = [(a + b) / 2 * n_processes for a, b in pairwise(before)]
    starts = [sum(middle < each * before[-1] for middle in middles) for each in (rank, rank + 1)]
    return range(*starts), range(starts[1], starts[0] + len(costs))


def scan_loader(dataset: Dataset[Any], n_workers: int = 0, claim: Claim | None = None) -> DataLoader[Any]:
    """Return a loader that yields the batches of a dataset as they are, each in one process alone.

    Args:
        dataset: Has ``items``, and their ``costs``.
        n_workers: Processes that read ahead.
        claim: Lets a process that is done with its share help the others; without it each has its share alone.
    """
    return DataLoader(dataset, None, sampler=Shares(dataset, *processes(), claim), num_workers=n_workers)


class Shares(DistributedSampler[Any]):
    """The indices that one process loads; none for some processes where there are fewer than processes.

    Lightning's own samplers repeat indices in tests, and refuse fewer indices than processes in predictions.
    """

    def __init__(self, dataset: Any, n_processes: int, rank: int, claim: Claim | None = None) -> None:
        super().__init__(dataset, n_processes, rank)
        self.claim = claim
        self.own, self.others = turns(dataset.costs, n_processes, rank)

    def __iter__(self) -> Iterator[int]:
        """Yield the indices of this process, then those that no other one has begun."""
        if self.claim is None:
            yield from self.own
            return
        items = self.dataset.items  # type: ignore[attr-defined]
        for turn in (*self.own, *self.others):
            if self.claim(items[index := turn % len(items)]):
                yield index

    def __len__(self) -> int:
        return len(self.own) if self.claim is None else len(self.own) + len(self.others)
