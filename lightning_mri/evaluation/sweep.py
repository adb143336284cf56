"""What a sweep found: a table by the best validation value, and a heat map with the optimum and its neighbours."""

import math
import statistics
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from matplotlib import rc_context
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from lightning_mri.evaluation.metrics import SLICE
from lightning_mri.evaluation.pictures import PLAIN
from lightning_mri.evaluation.table_files import csv_text, read_csv
from lightning_mri.evaluation.tables import markdown_table
from lightning_mri.files import atomic, write_whole
from lightning_mri.messages import error_context

TRIALS, TABLE, HEAT_MAP, STORAGE = "trials.csv", "table.md", "heatmap.png", "sweep.journal"
SEED = "seed_everything"
PER_SLICE = ("val/nrmse", "val/ssim")
"""What training logs by the convention `SLICE`."""
START = "before training"
SPREAD = "_std"
"""End of the name under which the spread of a value over subjects is logged."""


@dataclass(frozen=True)
class Result:
    """What became of a trial."""

    number: int  # number of the trial
    parameters: Mapping[str, Any]  # what was tried
    value: float | None  # its best validation value, if there is one
    spread: float | None  # standard deviation of that value over the held-out subjects, if it was logged
    state: str  # finished, stopped early or failed
    reason: str = ""  # why it failed
    start: float | None = None  # the value before its first step, if it was logged

    @property
    def point(self) -> tuple[tuple[str, Any], ...]:
        """The parameters without the seed."""
        return tuple((name, value) for name, value in self.parameters.items() if name != SEED)


@dataclass(frozen=True)
class Point:
    """What the trials of one set of parameters gave, over its seeds."""

    parameters: Mapping[str, Any]  # the parameters, without the seed
    value: float  # mean of the best values
    seeds: float | None  # their standard deviation over seeds; None with one
    subjects: float | None  # mean standard deviation over subjects, if it was logged
    n: int  # number of trials
    best: int  # number of the best of them
    start: float | None = None  # mean value before the first step, if it was logged


def validations(folder: Path, metric: str) -> list[tuple[int, float]]:
    """Return step and value of each validation that a trial has logged into its folder so far."""
    return [(int(row["step"]), float(row[metric])) for row in _rows(folder) if row.get(metric)]


def best_and_spread(folder: Path, metric: str, maximise: bool) -> tuple[float, float | None] | None:
    """Return the best value of a trial, and its spread over subjects there; None if no validation gave a number."""
    rows = [row for row in _rows(folder) if row.get(metric) and math.isfinite(float(row[metric]))]
    if not rows:
        return None
    best = (max if maximise else min)(rows, key=lambda row: float(row[metric]))
    spread = best.get(metric + SPREAD)
    return float(best[metric]), float(spread) if spread else None


def start_of(folder: Path, metric: str) -> float | None:
    """Return the value of a trial before its first step; None if it was not logged."""
    return next((float(value) for row in _rows(folder) if (value := row.get(f"start/{metric}"))), None)


def points_of(results: Sequence[Result], maximise: bool) -> list[Point]:
    """Return the points that have values, the best first."""
    groups: dict[tuple[tuple[str, Any], ...], list[Result]] = defaultdict(list)
    for result in results:
        if result.value is not None:
            groups[result.point].append(result)
    found = [_point(dict(key), group, maximise) for key, group in groups.items()]
    return sorted(found, key=lambda point: point.value, reverse=maximise)


def _point(parameters: Mapping[str, Any], group: Sequence[Result], maximise: bool) -> Point:
    """Return what some trials that have values gave together."""
    values = {result.number: result.value for result in group if result.value is not None}
    seeds = statistics.stdev(values.values()) if len(values) > 1 else None
    best = (max if maximise else min)(values, key=values.__getitem__)
    subjects, start = _mean(result.spread for result in group), _mean(result.start for result in group)
    return Point(parameters, statistics.mean(values.values()), seeds, subjects, len(values), best, start)


def _mean(values: Iterable[float | None]) -> float | None:
    """Return the mean of those that are known; None if none is."""
    known = [value for value in values if value is not None]
    return statistics.mean(known) if known else None


def write_sweep(folder: Path, results: Sequence[Result], metric: str, maximise: bool = False) -> str:
    """Write ``trials.csv``, ``table.md`` and, of two parameters, ``heatmap.png``; return the table."""
    names = list(dict.fromkeys(name for result in results for name in result.parameters))
    rows: list[list[Any]] = [["trial", *names, metric, metric + SPREAD, START, "state", "reason"]]
    for each in results:
        chosen = [each.parameters.get(name) for name in names]
        rows.append([each.number, *chosen, each.value, each.spread, each.start, each.state, each.reason])
    write_whole(folder / TRIALS, csv_text(rows, end="\r\n"))
    points = points_of(results, maximise)
    text = _table(points, metric) + "".join(_notes(results, maximise))
    write_whole(folder / TABLE, text)
    varied = [name for name in names if len({str(point.parameters.get(name)) for point in points}) > 1]
    if len(varied) == 2:
        with atomic(folder / HEAT_MAP) as part, rc_context(PLAIN):
            _heat_map(points, varied, metric).savefig(part, format="png")
    return text


def _table(points: Sequence[Point], metric: str) -> str:
    names = list(dict.fromkeys(name for point in points for name in point.parameters))
    spreads = ["SD over subjects", "SD over seeds"]
    convention = f" (convention {SLICE.name})" if metric in PER_SLICE else ""
    header, lines = ["rank", *names, f"best {metric}{convention}", START, *spreads, "trials", "best trial"], []
    for rank, point in enumerate(points, 1):
        values = ["-" if each is None else f"{each:.4f}" for each in (point.start, point.subjects, point.seeds)]
        chosen = [_plain(point.parameters.get(name)) for name in names]
        lines.append([str(rank), *chosen, f"{point.value:.4f}", *values, str(point.n), trial_name(point.best)])
    return markdown_table(header, lines, n_words=len(header))


def _notes(results: Sequence[Result], maximise: bool) -> Iterator[str]:
    """Yield what a reader of the table must know beside it."""
    gains = [each.value - each.start for each in results if each.value is not None and each.start is not None]
    if gains and not any(gain > 0 if maximise else gain < 0 for gain in gains):
        yield "\nNo trial was better than before training.\n"
    for each in results:
        if each.value is None:
            yield f"\nTrial {each.number} failed ({dict(each.parameters)}): {each.reason}\n"


def is_sweep(folder: Path) -> bool:
    """Return whether a folder holds what `write_sweep` writes."""
    return (folder / TRIALS).is_file() and (folder / TABLE).is_file()


def begun(folder: Path) -> list[Path]:
    """Return the folders of the trials that a sweep has begun, whether it has a table yet or not."""
    return sorted(folder.glob("trial-*")) if (folder / STORAGE).is_file() else []


def read_sweep(folder: Path) -> tuple[dict[str, Any], list[str]]:
    """Return the table of a sweep as a page shows it, and what stands below it.

    Raises:
        OSError: If ``table.md`` is not what `write_sweep` writes.
    """
    path = folder / TABLE
    with error_context(path, "it must be the table of a sweep"):
        lines = path.read_text(encoding="utf-8").splitlines()
        header, _, *rows = ([*line.strip("| ").split(" | ")] for line in lines if line.startswith("| "))
        if header[-1] != "best trial" or any(len(row) != len(header) for row in rows):
            raise ValueError("every line must have all columns, with the best trial last")
    section = {"title": "Sweep", "caption": "", "header": header, "rows": rows, "best": [0], "n_words": len(header)}
    return section, [line for line in lines if line and not line.startswith("| ")]


def trial_name(number: int) -> str:
    """Return the name of a trial's folder."""
    return f"trial-{number:04d}"


def _heat_map(points: Sequence[Point], varied: Sequence[str], metric: str) -> Figure:
    """Draw the value over two parameters, each cell with its number; the best one and those beside it are framed."""
    y_name, x_name = varied
    ys, xs = (sorted({point.parameters[name] for point in points}, key=_order) for name in varied)
    place = {(point.parameters[y_name], point.parameters[x_name]): point.value for point in reversed(points)}
    grid = [[place.get((y, x), float("nan")) for x in xs] for y in ys]
    figure = Figure(figsize=(2 + 1.1 * len(xs), 1.5 + 0.6 * len(ys)), dpi=150, layout="constrained")
    axes = figure.subplots()
    shown = axes.imshow(grid, cmap="viridis", aspect="auto", origin="lower")
    figure.colorbar(shown, ax=axes, label=f"best {metric}")
    best = (ys.index(points[0].parameters[y_name]), xs.index(points[0].parameters[x_name]))
    values = [point.value for point in points]
    middle = (min(values) + max(values)) / 2
    for row, line in enumerate(grid):
        for column, value in enumerate(line):
            distance = abs(row - best[0]) + abs(column - best[1])
            style = "bold" if distance == 0 else "normal"
            colour = "white" if value <= middle else "black"
            text = "-" if math.isnan(value) else f"{value:.4f}"
            axes.text(column, row, text, ha="center", va="center", color=colour, fontsize=8, fontweight=style)
            if distance <= 1:
                lines: dict[str, Any] = {"linewidth": 1.2, "linestyle": "--"} if distance else {"linewidth": 2.5}
                corner = (column - 0.46, row - 0.46)
                axes.add_patch(Rectangle(corner, 0.92, 0.92, fill=False, edgecolor="red", **lines))
    axes.set_xticks(range(len(xs)), [_plain(x) for x in xs])
    axes.set_yticks(range(len(ys)), [_plain(y) for y in ys])
    axes.set(xlabel=x_name, ylabel=y_name)
    axes.set_title("red: the optimum; dashed: its neighbours", fontsize=9)
    return figure


def _rows(folder: Path) -> list[dict[str, str]]:
    path = folder / "metrics.csv"
    return read_csv(path) if path.is_file() else []


def _plain(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def _order(value: Any) -> tuple[bool, Any]:
    number = isinstance(value, int | float)
    return not number, value if number else str(value)
