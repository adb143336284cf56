"""Work is shared out whole, in blocks of equal cost, and nobody is idle while there is some left."""

from heapq import heappop, heappush

from hypothesis import given
from hypothesis import strategies as st

from lightning_mri.datasets.shares import turns

COSTS = st.lists(st.floats(0.1, 10), min_size=1, max_size=40)


@given(COSTS, st.integers(1, 9))
def test_blocks_are_consecutive_whole_and_equal_but_for_an_item(costs: list[float], n: int) -> None:
    own = [turns(costs, n, rank)[0] for rank in range(n)]
    assert [index for block in own for index in block] == list(range(len(costs)))
    for block in own:
        assert abs(sum(costs[index] for index in block) - sum(costs) / n) <= max(costs) * (1 + 1e-9)


@given(COSTS, st.integers(1, 9))
def test_everybody_may_help_with_everything(costs: list[float], n: int) -> None:
    for rank in range(n):
        own, others = turns(costs, n, rank)
        assert sorted(index % len(costs) for index in (*own, *others)) == list(range(len(costs)))


def test_blocks_follow_the_cost_and_not_the_number() -> None:
    assert [list(turns([4, 1, 1, 1, 1], 2, rank)[0]) for rank in range(2)] == [[0], [1, 2, 3, 4]]
    assert [list(turns([1, 1], 4, rank)[0]) for rank in range(4)] == [[], [0], [], [1]]


@given(COSTS, st.lists(st.floats(0.2, 5), min_size=1, max_size=6))
def test_with_help_no_process_waits_longer_than_one_item_takes(costs: list[float], speeds: list[float]) -> None:
    order = [
        [index % len(costs) for turn in turns(costs, len(speeds), rank) for index in turn]
        for rank in range(len(speeds))
    ]
    free, begun, ends = [(0.0, rank) for rank in range(len(speeds))], set[int](), []
    while free:
        time, rank = heappop(free)
        index = next((index for index in order[rank] if index not in begun), None)
        if index is None:
            ends.append((time, rank))
            continue
        begun.add(index)
        heappush(free, (time + costs[index] / speeds[rank], rank))
    assert len(begun) == len(costs)
    assert max(ends)[0] - min(ends)[0] <= max(costs) / min(speeds) * (1 + 1e-9)
