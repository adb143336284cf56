"""The order of training images, and what is random about each, follow from the seed; the place in it can be resumed."""

import pytest
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from lightning_mri.datasets import ResumableLoader
from lightning_mri.datasets.loading import Order, Seeded, WholeBatches


class Numbers(Dataset[Tensor]):
    """Index and a draw from the global random source."""

    def __init__(self, n: int) -> None:
        self.n = n

    def __len__(self) -> int:
        return self.n

    def __getitem__(self, index: int) -> Tensor:
        return torch.stack([torch.tensor(float(index)), torch.rand(())])


def epoch(loader: ResumableLoader[Tensor]) -> list[list[float]]:
    return [row for batch in loader for row in batch.tolist()]


@pytest.mark.parametrize("n_workers", [0, 2])
def test_everything_follows_from_the_seed(n_workers: int) -> None:
    torch.manual_seed(1)
    here = ResumableLoader(Numbers(11), 3, seed=5)
    first, second = epoch(here), epoch(here)
    torch.manual_seed(2)
    there = ResumableLoader(Numbers(11), 3, seed=5, num_workers=n_workers, persistent_workers=n_workers > 0)
    assert (epoch(there), epoch(there)) == (first, second)
    assert epoch(ResumableLoader(Numbers(11), 3, seed=6)) != first


def test_every_epoch_has_its_own_order_and_its_own_changes() -> None:
    loader = ResumableLoader(Numbers(12), 4, seed=0)
    first, second = epoch(loader), epoch(loader)
    assert sorted(i for i, _ in first) == sorted(i for i, _ in second) == list(range(12))
    assert [i for i, _ in first] != [i for i, _ in second]
    assert not {r for _, r in first} & {r for _, r in second}


def test_a_last_smaller_batch_is_left_out_unless_it_is_alone() -> None:
    assert [len(batch) for batch in ResumableLoader(Numbers(7), 3, seed=0)] == [3, 3]
    assert [len(batch) for batch in ResumableLoader(Numbers(2), 3, seed=0)] == [2]


@pytest.mark.parametrize("n_done", [0, 1, 2, 3, 4, 6])
def test_a_loader_goes_on_where_another_was(n_done: int) -> None:
    """Three batches an epoch; the other one has workers, which read in advance."""
    whole = ResumableLoader(Numbers(10), 3, seed=3)
    expected = epoch(whole) + epoch(whole) + epoch(whole)
    cut = ResumableLoader(Numbers(10), 3, seed=3, num_workers=1)
    seen = 0
    while seen < n_done:
        for _ in cut:
            seen += 1
            if seen == n_done:
                break
    state = cut.state_dict()
    rest = ResumableLoader(Numbers(10), 3, seed=99)
    length = len(rest)
    rest.load_state_dict(state)
    assert len(rest) == length
    rows: list[list[float]] = []
    while len(rows) < len(expected) - 3 * n_done:
        rows += epoch(rest)
    assert rows == expected[3 * n_done :]


def test_the_global_random_source_is_left_alone() -> None:
    torch.manual_seed(4)
    expected = torch.rand(3)
    torch.manual_seed(4)
    Seeded(Numbers(5))[17, 2]
    assert torch.equal(torch.rand(3), expected)


def test_processes_share_an_epoch(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of eleven images three processes get four each: all of them, and one twice."""
    monkeypatch.setattr(torch.distributed, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.distributed, "get_world_size", lambda: 3)
    shares = []
    for rank in range(3):
        monkeypatch.setattr(torch.distributed, "get_rank", lambda rank=rank: rank)
        shares.append([index for _, index in Order(Seeded(Numbers(11)), seed=0)])
    assert [len(share) for share in shares] == [4, 4, 4]
    drawn = sorted(index for share in shares for index in share)
    assert set(drawn) == set(range(11))
    assert len(drawn) == 12


@pytest.mark.parametrize(("n", "batch_size", "n_processes"), [(7, 3, 1), (7, 3, 2), (6, 2, 3), (7, 2, 3), (2, 3, 4)])
def test_whole_batches_are_dealt_out(
    monkeypatch: pytest.MonkeyPatch, n: int, batch_size: int, n_processes: int
) -> None:
    """Each process has as many turns, and every batch of a single process is counted by one of them."""
    turns, counted = set(), {}
    for rank in range(n_processes):
        monkeypatch.setattr("lightning_mri.datasets.loading.processes", lambda rank=rank: (n_processes, rank))
        sampler = WholeBatches(Numbers(n), batch_size)
        batches = [batch[:, 0].tolist() for batch in DataLoader(Numbers(n), batch_size, sampler=sampler)]
        turns.add(len(batches))
        found = [(sampler.place(turn), batch) for turn, batch in enumerate(batches)]
        assert not counted.keys() & {place for place, _ in found}
        counted |= {place: batch for place, batch in found if place is not None}
    assert len(turns) == 1
    whole = list(range(n))
    assert counted == {place: whole[place * batch_size :][:batch_size] for place in range(-(-n // batch_size))}
