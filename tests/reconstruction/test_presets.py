import re
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import repeat

import pytest

from lightning_mri.reconstruction import PRESETS, Pick, choose_sampler, prepare, within_budget
from lightning_mri.sampling import DDS, HQS

from .conftest import Isotropic, Measured

SECONDS = 0.05


class Timed(Isotropic):
    """A prior on a clock of its own: only its evaluations take time."""

    now = 0.0
    seconds: Iterator[float] = repeat(SECONDS)

    def denoise(self, x, sigma, label=None):  # type: ignore[no-untyped-def]
        """Denoise, for each image a twentieth of a second unless told otherwise."""
        self.now += next(self.seconds) * len(x.reshape(-1, *x.shape[-2:]))
        return super().denoise(x, sigma, label)


def test_each_preset_doubles_the_work_of_the_one_before() -> None:
    assert {name: sampler.nfe for name, sampler in PRESETS.items()} == {"preview": 12, "standard": 24, "quality": 48}


def test_what_is_named_or_given_is_used() -> None:
    assert choose_sampler("quality", None) is PRESETS["quality"]
    assert choose_sampler(None, DDS(n_steps=3)) == DDS(n_steps=3)
    assert choose_sampler(None, None) == PRESETS["standard"]
    assert choose_sampler(None, None, 2.5).nfe == 192


@pytest.fixture
def timed(monkeypatch: pytest.MonkeyPatch) -> Timed:
    prior = Timed()
    monkeypatch.setattr(time, "perf_counter", lambda: prior.now)
    return prior


def numbers(picked: Pick) -> list[float]:
    """Return the numbers that a choice is told with."""
    return [float(number) for number in re.findall(r"[\d.]+", picked.description)]


Budget = Callable[..., Pick]


@pytest.fixture
def pick(measured: Measured, timed: Timed) -> Budget:
    """Return what a budget pays for on one slice."""
    problem = prepare(measured.kspace[:1], measured.mask, timed.scaling)

    def within(budget: float, preparation: float = 0.0, **options: int) -> Pick:
        return within_budget(budget, replace(problem, seconds=preparation), timed, **options)

    return within


def test_measurement_and_walk_take_the_whole_budget_and_no_more(measured: Measured, timed: Timed) -> None:
    problem = prepare(measured.kspace, measured.mask, timed.scaling)

    picked = within_budget(1.01, problem, timed)
    picked.sampler.sample(timed, problem.likelihood, [0])

    assert picked.sampler == HQS(n_steps=17)  # 20 evaluations of 0.05 s, 3 of which were the measurement
    assert timed.now == pytest.approx(3 * 1.0)  # for three slices
    assert numbers(picked) == [1.01, 17, 0.05, 0.15]


def test_the_slowest_step_counts(pick: Budget, timed: Timed) -> None:
    """Whatever precedes the end of the first of three steps, less such a step, is their start.

    Here 5 s - 3 s: measured and begun again is after 2 s + 3 x 3 s + 2 s.
    """
    for budget, n_steps in ((43.0, 10), (42.9, 9)):
        timed.seconds = iter([5.0, 1.0, 3.0])
        assert pick(budget).sampler.n_steps == n_steps


def test_what_else_takes_time_leaves_less_of_the_budget(pick: Budget) -> None:
    assert pick(1.02).sampler.n_steps == 17
    assert pick(1.02, preparation=0.3).sampler.n_steps == 11
    assert pick(1.02, n_samples=2).sampler.n_steps == 8
    assert pick(1.02, n_further=6).sampler.n_steps == 11
    assert pick(1.02, n_slices=3).sampler.n_steps == 19  # they share the measurement
    assert "uncertainty" in pick(1.02, n_further=6).description


def test_a_budget_too_small_does_the_least_and_says_so(pick: Budget) -> None:
    picked = pick(0.3)

    assert picked.sampler.n_steps == 8
    assert "too small" in picked.description
    assert numbers(picked)[-2:] == [8, 0.55]


def test_what_more_levels_would_not_improve_goes_into_walks(pick: Budget) -> None:
    assert pick(2.6).sampler == HQS(n_steps=24, n_restarts=2)


def test_no_budget_buys_more_than_the_most(pick: Budget) -> None:
    assert pick(1e4).sampler == choose_sampler(None, None, 1e4)
