"""The page of the stroke experiment: tables, goals and pictures from the reconstructions that are there."""

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from methods import Row, write
from numpy.typing import NDArray
from torch import Tensor

from lightning_mri.evaluation import Interval, Panel, bootstrapped_mean, lesion_scores, markdown_table, picture

SOURCE_ONLY, SCRATCH, JOINT = "source only", "scratch on 20", "joint on 20"
FEW, ALL = "fine-tuned on 20", "fine-tuned on all"
LONGER = "source only, trained on as long"
ORDER = (SOURCE_ONLY, LONGER, SCRATCH, JOINT, *(f"fine-tuned on {n}" for n in (1, 5, 10, 20, "all")))
"""Order of the priors in tables and pictures; others follow as they were run."""
GOALS = (
    ("20 subjects within 2 % of all", FEW, ALL, lambda change: change.value <= 2),
    ("scratch on 20 at least 10 % worse than fine-tuned on 20", SCRATCH, FEW, lambda change: change.value >= 10),
    ("source only at least 5 % worse than fine-tuned on 20", SOURCE_ONLY, FEW, lambda change: change.value >= 5),
    ("the same, had the source been trained on for as long", LONGER, FEW, lambda change: change.value >= 5),
    ("joint worse than sequential", JOINT, FEW, lambda change: change.value > 0),
)


@dataclass
class Results:
    """What there is so far."""

    about: str  # how it came to be, for the head of the page
    lesions: Mapping[str, Tensor]  # mask of the infarct of a scan's slice [1, y, x], by the scan's name
    # reconstructions of the test subjects, by the name of the prior and the seed
    rows: dict[tuple[str, int], list[Row]] = field(default_factory=dict)
    # NRMSE of each test subject at R = 4, by learning rate and steps
    grid: dict[tuple[float, int], list[float]] = field(default_factory=dict)

    def write(self, folder: Path) -> None:
        """Write ``stroke.md``, and ``stroke.png`` and ``stroke_grid.png`` where there is something to draw."""
        folder.mkdir(parents=True, exist_ok=True)
        parts = [f"# Fine-tuning on few FLAIR subjects with infarcts\n\n{self.about}\n", self._errors(), self._goals()]
        if self.grid:
            parts += [self._optimum(), "![curves and heat map](stroke_grid.png)\n"]
            _draw(self.grid).savefig(folder / "stroke_grid.png")
        parts.append(self._lesions())
        if (FEW, 0) in self.rows:
            parts.append("![one slice, fully sampled and by each prior](stroke.png)\n")
            self._draw_case(folder / "stroke.png")
        write(folder / "stroke.md", "\n".join(parts))

    @property
    def names(self) -> list[str]:
        """Names of the priors, in their order."""
        names = dict.fromkeys(name for name, _ in self.rows)
        return sorted(names, key=lambda name: ORDER.index(name) if name in ORDER else len(ORDER))

    def of(self, name: str, *groups: str, seed: int | None = None) -> list[Row]:
        """Return the rows of a prior over all seeds or of one, of some accelerations or all."""
        runs = [rows for (own, run), rows in self.rows.items() if own == name and seed in (None, run)]
        return [row for rows in runs for row in rows if not groups or row.group in groups]

    def seeds(self, name: str) -> list[int]:
        """Return the seeds that a prior was trained with."""
        return sorted(seed for own, seed in self.rows if own == name)

    def change(self, name: str, other: str, seed: int | None = None) -> Interval | None:
        """Return by how many per cent the NRMSE of one prior is above another's from R = 4 on, geometric mean."""
        mine, theirs = (self._logs(each, seed) for each in (name, other))
        if not mine or not theirs:
            return None
        found = bootstrapped_mean([mine[subject] - theirs[subject] for subject in mine])
        return Interval(*(100 * math.expm1(value) for value in (found.value, found.low, found.high)))

    def _logs(self, name: str, seed: int | None) -> dict[str, float]:
        """Return each subject's mean log NRMSE from R = 4 on."""
        rows = [row for row in self.of(name, seed=seed) if row.acceleration > 3]
        subjects = sorted({row.subject for row in rows})
        return {one: statistics.fmean(math.log(r.nrmse) for r in rows if r.subject == one) for one in subjects}

    def _errors(self) -> str:
        groups = list(dict.fromkeys(row.group for row in self.of(self.names[0])))
        lines = []
        for name in self.names:
            errors = [statistics.fmean(row.nrmse for row in self.of(name, group)) for group in groups]
            change = self.change(name, ALL) if name != ALL else None
            each = [self.change(name, ALL, seed) for seed in self.seeds(name)] if change else []
            by_seed = ", ".join(f"{one.value:+.1f}" for one in each if one) or "-"
            scores = [f"{error:.4f}" for error in errors]
            lines.append([name, len(self.seeds(name)), *scores, f"{change:+.1f}" if change else "-", by_seed])
        header = ["prior", "seeds", *groups, f"% above {ALL}, R >= 4 (95 %)", "seed by seed"]
        return "NRMSE of the magnitude, convention `slice`, mean over subjects and seeds:\n\n" + markdown_table(
            header, lines
        )

    def _goals(self) -> str:
        lines = []
        for goal, name, other, is_met in GOALS:
            change = self.change(name, other)
            verdict = "not run" if change is None else "met" if is_met(change) else "**missed**"
            lines.append([goal, "-" if change is None else f"{change:+.1f}", verdict])
        about = (
            "Goals from R = 4 on, in % of NRMSE, judged by the mean; 95 % bootstrap intervals over test subjects:\n\n"
        )
        return about + markdown_table(["goal", "%", ""], lines)

    def _optimum(self) -> str:
        cells, errors = list(self.grid), np.log(np.array(list(self.grid.values())))
        rates, steps = (sorted({cell[axis] for cell in cells}) for axis in (0, 1))
        edge = np.array([rate in (rates[0], rates[-1]) or n in (steps[0], steps[-1]) for rate, n in cells])
        draws = np.random.default_rng(0).integers(errors.shape[1], size=(4000, errors.shape[1]))
        inside = statistics.fmean(bool(~edge[errors[:, draw].mean(1).argmin()]) for draw in draws)
        rate, n = cells[int(errors.mean(1).argmin())]
        means = _means(self.grid)
        lines = [
            [f"{rate:g}", *("-" if np.isnan(mean) else f"{mean:.4f}" for mean in means[k])]
            for k, rate in enumerate(rates)
        ]
        verdict = "met" if inside >= 0.95 else "**missed**"
        return (
            "Learning rate x steps of `brain-noflair` on 20 subjects, NRMSE of the test subjects at R = 4. The best is"
            f" {rate:g} x {n}. In {inside:.0%} of 4,000 bootstrap samples of the subjects the optimum lies inside the"
            f" grid. Goal, an optimum inside the grid: {verdict}.\n\n"
            + markdown_table(["rate", *map(str, steps)], lines)
        )

    def _lesions(self) -> str:
        lines = []
        for name in self.names:
            rows = [row for row in self.of(name) if row.acceleration > 3]
            found = [lesion_scores(row.magnitude[None], row.truth[None], self.lesions[row.subject]) for row in rows]
            kept = [each for each in found if each is not None]
            counts = [
                sum(values) for values in zip(*((k.n_missed, k.n_lesions, k.n_invented) for k in kept), strict=True)
            ]
            means = [
                statistics.fmean(values) for values in zip(*((k.contrast_to_noise, k.dice) for k in kept), strict=True)
            ]
            lines.append([name, *(f"{mean:.3f}" for mean in means), f"{counts[0]} of {counts[1]}", counts[2]])
        return "Infarcts from R = 4 on, see `lesion_scores`:\n\n" + markdown_table(
            ["prior", "contrast to noise", "Dice", "missed", "invented"], lines
        )

    def _draw_case(self, path: Path) -> None:
        counted = [row for row in self.rows[FEW, 0] if row.acceleration > 3]
        easiest = [row for row in counted if row.group == counted[0].group]
        chosen = max(easiest, key=lambda row: int(self.lesions[row.subject].sum()))
        same = {
            name: next(row for row in self.of(name, chosen.group) if row.subject == chosen.subject)
            for name in self.names
        }
        panels = [Panel("fully sampled", chosen.truth)]
        panels += [Panel(name, row.image, f"NRMSE {row.nrmse:.3f}") for name, row in same.items()]
        picture(path, panels, n_columns=4, title=f"{chosen.subject}, {chosen.group}")


def _means(grid: Mapping[tuple[float, int], Sequence[float]]) -> NDArray[np.float64]:
    """Return the mean error by rate and steps, nan where that was not run."""
    rates, steps = (sorted({cell[axis] for cell in grid}) for axis in (0, 1))
    return np.array([[np.mean(grid[rate, n]) if (rate, n) in grid else np.nan for n in steps] for rate in rates])


def _draw(grid: Mapping[tuple[float, int], Sequence[float]]) -> Figure:
    """Draw the grid as curves over steps and as a heat map."""
    rates, steps = (sorted({cell[axis] for cell in grid}) for axis in (0, 1))
    means = _means(grid)
    figure = Figure(figsize=(9, 3.6), dpi=150, layout="constrained")
    left, right = figure.subplots(1, 2)
    for rate, line in zip(rates, means, strict=True):
        left.plot(steps, line, ".-", label=f"{rate:g}")
    left.set(xscale="log", xlabel="steps", ylabel="NRMSE, R = 4")
    left.legend(title="learning rate", frameon=False, fontsize=8)
    image = right.imshow(means, cmap="viridis_r", aspect="auto")
    right.set(xticks=range(len(steps)), xticklabels=steps, yticks=range(len(rates)), xlabel="steps")
    right.set(yticklabels=[f"{rate:g}" for rate in rates], ylabel="learning rate")
    figure.colorbar(image, label="NRMSE")
    return figure
