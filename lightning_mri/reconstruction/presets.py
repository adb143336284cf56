"""Named choices between speed and quality, and the one that fits a time budget."""

import math
import time
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from types import MappingProxyType
from typing import Literal

import torch

from lightning_mri.diffusion import Prior
from lightning_mri.reconstruction.problem import Problem
from lightning_mri.sampling import HQS, Progress, Sampler

Preset = Literal["preview", "standard", "quality"]

PRESETS: Mapping[Preset, Sampler] = MappingProxyType(
    {"preview": HQS(n_steps=12), "standard": HQS(n_steps=24), "quality": HQS(n_steps=24, n_restarts=2)}
)
"""Samplers by name: time grows with their network evaluations, 12, 24 and 48, the last ones in two trajectories."""

FEWEST, MOST = 8, 24
"""Levels that a time budget chooses between: with fewer the image is poor, more have not made it better."""

MAX_RESTARTS = 8
"""Trajectories that a larger budget pays for."""

N_MEASURED = 3
"""Steps of the trial; the first one may have to set things up and is not measured."""


@dataclass(frozen=True)
class Pick:
    """What a time budget pays for.

    Args:
        sampler: As many levels as fit; its description repeats the run, whatever the machine.
        description: What was measured and chosen, in words, and whether it keeps to the budget.
    """

    sampler: HQS
    description: str


def choose_sampler(preset: Preset | None, sampler: Sampler | None, budget: float | None = None) -> Sampler:
    """Return the sampler that was named or given; `HQS` as it is by default where nothing was.

    For a time budget it is the longest that it may choose, until `within_budget` has measured.

    Args:
        preset: Name in `PRESETS`.
        sampler: Sampler.
        budget: Seconds a slice.

    Raises:
        ValueError: If more than one of them is given.
    """
    choices = {"preset": preset, "sampler": sampler, "budget": budget}
    given = [f"{name} {value!r}" for name, value in choices.items() if value is not None]
    if len(given) > 1:
        raise ValueError(f"preset, sampler and budget exclude each other, give one: got {' and '.join(given)}")
    if budget is not None:
        return HQS(n_steps=MOST, n_restarts=MAX_RESTARTS)
    return PRESETS[preset] if preset is not None else sampler or HQS()


def within_budget(
    budget: float,
    problem: Problem,
    prior: Prior,
    label: int | None = None,
    n_samples: int = 1,
    n_further: int = 0,
    n_slices: int | None = None,
) -> Pick:
    """Measure a few steps on the problem itself and return the longest `HQS` that keeps to a time budget.

    What is left of a budget beyond the most levels that help goes into further trajectories.

    Counted are preparation, start, this measurement, and every network evaluation with its data step; not what the
    guard may try where data and model disagree. Slices of one batch share its time equally.

    Args:
        budget: Seconds a slice.
        problem: A batch of slices.
        prior: What is known of images.
        label: Contrast, as index of ``prior.labels``.
        n_samples: Samples a slice.
        n_further: Network evaluations a slice for other purposes, such as the uncertainty.
        n_slices: Slices of the scan, which share the time of the measurement; those of the batch if not given.

    """
    n_measured = len(problem.scale)
    start, step = (seconds / n_measured for seconds in _measure(problem, prior, label))
    measurement = (start + N_MEASURED * step) * n_measured / (n_slices or n_measured)
    fixed = problem.seconds + measurement + n_samples * start + n_further * step
    affordable = math.floor((budget - fixed) / (n_samples * step))
    n_steps = min(max(affordable, FEWEST), MOST)
    n_restarts = min(max(affordable // MOST, 1), MAX_RESTARTS)
    description = (
        f"{budget:g} s a slice: {n_restarts * n_steps} network evaluations of {step:.3g} s, {fixed:.3g} s for "
        f"preparation, start, measurement{' and uncertainty' if n_further else ''}"
    )
    if affordable < FEWEST:
        needed = fixed + n_samples * n_steps * step
        description += f"; the budget is too small for {FEWEST}, the fewest: a slice will take {needed:.3g} s"
    return Pick(HQS(n_steps=n_steps, n_restarts=n_restarts), description)


def _measure(problem: Problem, prior: Prior, label: int | None) -> tuple[float, float]:
    """Return the seconds of a trajectory's start, and of each further step, for the whole batch."""
    times = [time.perf_counter()]

    def watch(progress: Progress) -> None:
        if progress.x.is_cuda:
            torch.cuda.synchronize(progress.x.device)
        times.append(time.perf_counter())

    HQS(n_steps=N_MEASURED).sample(prior, problem.likelihood, [0], label, progress=watch)
    first, *steps = (after - before for before, after in pairwise(times))
    step = max(steps)
    return max(first - step, 0.0), step
