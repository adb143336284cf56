"""Loading images to train on: an order that follows from the seed, and a place in it that can be taken up again."""

import math
import os
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

import torch
from torch import distributed
from torch.utils.data import DataLoader, Dataset
from torch.utils.data.distributed import DistributedSampler

from lightning_mri.tensors import derive_seed

Item = TypeVar("Item", covariant=True)


def processes() -> tuple[int, int]:
    """Return how many processes run together, and which of them this is."""
    parallel = distributed.is_available() and distributed.is_initialized()
    return (distributed.get_world_size(), distributed.get_rank()) if parallel else (1, 0)


def run_seed() -> int:
    """Return the seed of the run, as ``seed_everything`` left it for all processes; 0 if it was never called."""
    return int(os.environ.get("PL_GLOBAL_SEED", 0))


def check_positive(**counts: int) -> None:
    """Check that counts are positive."""
    for name, count in counts.items():
        if count < 1:
            raise ValueError(f"{name} must be positive: got {count}")


class MakesBatches(ABC):
    """What a dataset is that makes whole batches, drawing from the global random source."""

    @abstractmethod
    def batch(self, indices: Sequence[int]) -> Any:
        """Return one batch of the items of these indices."""


class Seeded(Dataset[Item]):
    """A dataset whose random changes of an item follow from a seed that comes with the item's index.

    Whatever the dataset draws from PyTorch's global source is drawn anew for each item, in any process and after
    any number of items; the source itself is left as it was.
    """

    def __init__(self, dataset: Dataset[Item]) -> None:
        self.dataset = dataset

    def __len__(self) -> int:
        return len(self.dataset)  # type: ignore[arg-type]

    def __getitem__(self, key: tuple[int, int]) -> Item:
        """Return an item, given its seed and its index."""
        seed, index = key
        with _seeded(seed):
            return self.dataset[index]

    def __getitems__(self, keys: Sequence[tuple[int, int]]) -> Any:
        """Return a batch of items, or what a `MakesBatches` makes of it by the seed of the first."""
        if not isinstance(self.dataset, MakesBatches):
            return [self[key] for key in keys]
        with _seeded(keys[0][0]):
            return self.dataset.batch([index for _, index in keys])


@contextmanager
def _seeded(seed: int) -> Iterator[None]:
    """Seed the CPU's global random source, and leave it as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        yield


class Order(DistributedSampler[tuple[int, int]]):
    """Every index once an epoch, in an order that follows from (seed, epoch), each with a seed of its own.

    With several processes each has its share, the last ones filled up from the first. The epoch is set by
    `ResumableLoader`: Lightning's count of epochs is off by one after a run that is extended beyond its last step.
    """

    def __init__(self, dataset: Seeded[Any], seed: int) -> None:
        super().__init__(dataset, *processes())
        self.seed, self.data_epoch, self.skip = seed, 0, 0

    def __iter__(self) -> Iterator[tuple[int, int]]:
        """Yield (seed, index) for what is left of the epoch after the first ``skip``."""
        generator = torch.Generator().manual_seed(derive_seed("order", self.seed, self.data_epoch))
        order = torch.randperm(len(self.dataset), generator=generator).tolist()  # type: ignore[arg-type]
        filled = (order * (self.total_size // len(order) + 1))[: self.total_size]
        share = filled[self.rank : self.total_size : self.num_replicas]
        return ((derive_seed("item", self.seed, self.data_epoch, index), index) for index in share[self.skip :])


class WholeBatches(DistributedSampler[int]):
    """The batches that a single process would validate on, dealt out in turn, so that the scores are the same.

    Every process gets as many; where that does not come out even, the last turn is filled up with batches that another
    process counts.

    Args:
        dataset: Items to validate on.
        batch_size: Items in a batch; only the last batch has fewer.
    """

    def __init__(self, dataset: Dataset[Any], batch_size: int) -> None:
        super().__init__(dataset, *processes())
        n: int = len(dataset)  # type: ignore[arg-type]
        self.batches = [range(start, min(start + batch_size, n)) for start in range(0, n, batch_size)]

    def place(self, turn: int) -> int | None:
        """Return which batch of all this process has in a turn; None where another one counts it."""
        place = turn * self.num_replicas + self.rank
        return place if place < len(self.batches) else None

    def __iter__(self) -> Iterator[int]:
        """Yield the indices of this process's batches, one after another."""
        n_turns = math.ceil(len(self.batches) / self.num_replicas)
        for place in range(self.rank, n_turns * self.num_replicas, self.num_replicas):
            yield from self.batches[place % len(self.batches)]

    def __len__(self) -> int:
        return sum(1 for _ in self)


# torchdata 0.11's StatefulDataLoader, tried: it needs this sampler all the same, refuses a state of another number of
# workers, and after one that was saved at an epoch's end yields an empty epoch.
class ResumableLoader(DataLoader[Item]):
    """A loader that knows how far it is, by the protocol that Lightning has for that.

    Its state is what was handed out, not what workers have read in advance. Everything happens when the first
    batch is asked for, so that a state may be loaded until then.

    Args:
        dataset: Items to load, one at a time.
        batch_size: Items in a batch; a last smaller batch is left out unless it is alone.
        seed: Seed of order and random changes.
        loading: Arguments of ``DataLoader``.

    Attributes:
        limit: Batches after which an epoch is left, where that is before its end.
    """

    def __init__(self, dataset: Dataset[Item], batch_size: int, seed: int, **loading: Any) -> None:
        self.order = Order(Seeded(dataset), seed)
        whole = len(self.order) >= batch_size
        super().__init__(self.order.dataset, batch_size, sampler=self.order, drop_last=whole, **loading)
        self.epoch, self.done = -1, 0
        self.limit = len(self)
        self._resumed = False

    @property
    def images(self) -> Dataset[Item]:
        """The items, as the loader was given them."""
        seeded = self.order.dataset
        assert isinstance(seeded, Seeded)
        return seeded.dataset

    def __iter__(self) -> Iterator[Any]:  # type: ignore[override] # as the base class documents
        """Yield the batches that are left of this epoch, or those of the next one."""
        if not self._resumed or self.done >= min(self.limit, len(self)):
            self.epoch, self.done = self.epoch + 1, 0
        self._resumed = False
        assert self.batch_size is not None
        self.order.data_epoch, self.order.skip = self.epoch, self.done * self.batch_size
        for batch in super().__iter__():
            self.done += 1
            yield batch

    def state_dict(self) -> dict[str, int]:
        """Return the seed, the epoch, and the batches of it that are done."""
        return {"seed": self.order.seed, "epoch": self.epoch, "done": self.done}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Take up where another loader was."""
        self.order.seed = state["seed"]
        self.epoch, self.done, self._resumed = state["epoch"], state["done"], state["epoch"] >= 0
