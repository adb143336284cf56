"""The curve of a training: too little, right, too much; as a table, a picture and a sentence.

Whether it helped is a question of subjects: the mean paired difference must exceed its error bar, Student's interval
of 95 % over the held-out subjects.
"""

import math
import textwrap
from collections.abc import Sequence
from pathlib import Path

from matplotlib import colormaps, rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from lightning_mri.evaluation import Interval, mean_of
from lightning_mri.evaluation.pictures import PLAIN
from lightning_mri.evaluation.table_files import csv_text, read_csv
from lightning_mri.files import atomic, write_whole
from lightning_mri.messages import error_context

Row = dict[str, float]
LOSS = "val/loss/"
SUBJECT = "val/nrmse/subject_"
KEPT = 0.9
"""Share of the largest gain that still counts as right."""


def write_curve(path: Path, rows: Sequence[Row]) -> None:
    """Write a curve as CSV."""
    names = list(dict.fromkeys(key for row in rows for key in row))
    write_whole(path, csv_text([names, *([row.get(name, "") for name in names] for row in rows)], end="\r\n"))


def read_curve(path: Path) -> list[Row]:
    """Read a curve as `write_curve` writes it.

    Raises:
        OSError: If it is no such table, or has no row.
    """
    with error_context(path, "it must be a curve that fit has written"):
        lines = read_csv(path)
        if not all({"step", "val/nrmse"} <= line.keys() and None not in line.values() for line in lines) or not lines:
            raise ValueError("every line, of one or more, must have all columns, with step and val/nrmse among them")
        return [{key: float(value) for key, value in line.items() if value} for line in lines]


def draw_curve(path: Path, rows: Sequence[Row], name: str) -> None:
    """Draw a curve as PNG: reconstruction with what is too little, right and too much, and denoising beside it."""
    with atomic(path) as part, rc_context(PLAIN):
        _draw(rows, name).savefig(part, format="png")


def change(row: Row, start: Row) -> Interval | None:
    """Return the mean change of the subjects' NRMSE and its error bar; None if there are fewer than two of them."""
    names = [name for name in start if name.startswith(SUBJECT) and name in row]
    changes = [row[name] - start[name] for name in names]
    if not all(map(math.isfinite, changes)):
        return Interval(math.nan, math.nan, math.nan)
    return mean_of(changes) if len(names) > 1 else None


def verdict(rows: Sequence[Row]) -> str:
    """Return in words whether the run helped, and was too short, right or too long."""
    best = min(rows, key=_error)
    rose = [best[key] > rows[0][key] for key in best if key.startswith(LOSS)]
    return f"{_verdict(rows, best)}{' Yet every denoising loss rose.' if rose and all(rose) else ''}"


def _verdict(rows: Sequence[Row], best: Row) -> str:
    first, last = rows[0], rows[-1]
    came = f"NRMSE of slices {first['val/nrmse']:.4f} before training"
    if math.isinf(lowest := min(map(_error, rows[1:]), default=_error(first))):
        return f"Training diverged: no validation gave a number; {came}."
    if best is first:
        return f"Training did not help: {came}, {lowest:.4f} at best after it."
    came += f", {best['val/nrmse']:.4f} at best after {best['step']:.0f} of {last['step']:.0f} steps"
    changed = change(best, first)
    if changed is None:
        return f"Not known whether it helped: {came}; fewer than two held-out subjects have no error bar."
    came += f", a change of {changed:.4f} over subjects"
    if not changed.high < 0:  # nor where it is no number
        return f"Not shown to help: {came}, within its error bar."
    if best is last:
        return f"Still improving at the end: {came}; a longer phase may be better."
    return f"Best checkpoint found: {came}, {last['val/nrmse']:.4f} at the end."


def _error(row: Row) -> float:
    """Return the NRMSE of a validation, infinite where it is no number, as of weights that diverged."""
    return math.inf if math.isnan(row["val/nrmse"]) else row["val/nrmse"]


def right(rows: Sequence[Row]) -> tuple[float, float] | None:
    """Return the first and last step around the best that keep nine tenths of the gain; None if none was shown."""
    values = [*map(_error, rows)]
    best = values.index(min(values))
    changed = change(rows[best], rows[0])
    if changed is None or not changed.high < 0:
        return None
    limit = values[best] + (1 - KEPT) * (values[0] - values[best])
    low = high = best
    while values[low - 1] <= limit:
        low -= 1
    while high + 1 < len(values) and values[high + 1] <= limit:
        high += 1
    return rows[low]["step"], rows[high]["step"]


def _draw(rows: Sequence[Row], name: str) -> Figure:
    figure = Figure(figsize=(10, 4), dpi=150, layout="constrained")
    left, other = figure.subplots(1, 2)
    figure.suptitle("\n".join([name, *textwrap.wrap(verdict(rows), 120)]), fontsize=9.5)
    _draw_reconstruction(left, rows)
    _draw_losses(other, rows)
    for axes in (left, other):
        axes.set_xlabel("optimiser steps")
        axes.set_xlim(0, rows[-1]["step"])
        axes.spines[["top", "right"]].set_visible(False)
    return figure


def _draw_reconstruction(axes: Axes, rows: Sequence[Row]) -> None:
    steps, values = [row["step"] for row in rows], [row["val/nrmse"] for row in rows]
    changes = [change(row, rows[0]) for row in rows]
    bars = [0.0 if each is None or math.isnan(each.value) else each.value - each.low for each in changes]
    axes.plot(steps, values, "o-", color="black", markersize=3.5, linewidth=1.2, clip_on=False, zorder=3)
    axes.errorbar(steps, values, bars, fmt="none", ecolor="black", elinewidth=0.8, capsize=2)
    axes.set_ylabel("NRMSE of held-out slices;\nbars: 95 % of the change over subjects")
    shown = [(value - bar, value + bar) for value, bar in zip(values, bars, strict=True) if math.isfinite(value)]
    if not shown:
        return
    low, high = min(below for below, _ in shown), max(above for _, above in shown)
    room = 0.12 * (high - low or high)
    axes.set_ylim(low - room, high + 2 * room)
    if (bounds := right(rows)) is None:
        return
    # halfway to the neighbours, so that a single best validation has a width
    at = [steps.index(bound) for bound in bounds]
    low = (steps[at[0] - 1] + bounds[0]) / 2
    high = steps[-1] if at[1] + 1 == len(steps) else (bounds[1] + steps[at[1] + 1]) / 2
    axes.axvspan(low, high, color="#cfe8cf", linewidth=0)
    regions = [(0, low, "too little"), (low, high, "right"), (high, steps[-1], "too much")]
    for start, end, word in regions:
        if end - start > 0.1 * steps[-1]:
            place = (start + end) / 2
            axes.annotate(word, (place, 0.97), xycoords=("data", "axes fraction"), ha="center", va="top", fontsize=9)


def _draw_losses(axes: Axes, rows: Sequence[Row]) -> None:
    levels = sorted((key for key in rows[0] if key.startswith(LOSS)), key=lambda key: float(key.split("_")[-1]))
    shades = colormaps["viridis"]
    for index, level in enumerate(levels):
        values = [row[level] / rows[0][level] for row in rows]
        shade = shades(0.9 * index / max(1, len(levels) - 1))
        label = f"sigma = {level.split('_')[-1]}"
        axes.plot([row["step"] for row in rows], values, color=shade, linewidth=1.4, label=label)
    axes.axhline(1, color="grey", linewidth=0.6, linestyle=":")
    axes.set_ylabel("held-out loss / loss at the start")
    if levels:
        axes.legend(frameon=False, fontsize=8, loc="center left", bbox_to_anchor=(1, 0.5))
