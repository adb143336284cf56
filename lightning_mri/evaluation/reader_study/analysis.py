"""What a study found: every item's difference with its interval, non-inferiority, agreement; table and forest plot."""

import math
import textwrap
import warnings
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float

from lightning_mri.evaluation.pictures import PLAIN
from lightning_mri.evaluation.reader_study.design import HALLUCINATION, Key
from lightning_mri.evaluation.reader_study.scores import ReaderScores, Score
from lightning_mri.evaluation.reader_study.statistics import (
    ALPHA,
    FEW_PATIENTS,
    Agreement,
    Difference,
    agreement,
    mean_over_readers,
    paired_difference,
)
from lightning_mri.evaluation.table_files import csv_text
from lightning_mri.evaluation.tables import markdown_table
from lightning_mri.files import atomic, write_whole
from lightning_mri.lazy import lazy
from lightning_mri.output import OutputFolder

matplotlib, figures = lazy("matplotlib"), lazy("matplotlib.figure")
FILES = ("table.csv", "table.md", "forest.png")
COLUMNS = (
    *("item", "primary", "mean_reference", "mean_test", "sd_reference", "sd_test", "difference", "low", "high"),
    *("p_not_worse", "p_wilcoxon", "n", "non_inferior"),
    *(f"{name}_{of}" for of in ("between", "within") for name in ("kappa", "icc", "icc_low", "icc_high", "n")),
)
"""Header of the CSV table."""
GREEN, RED = "#1a6e3c", "#b3261e"
WIDTH = 90
"""Characters in a line of the plot's title."""
Table = Float[np.ndarray, "method reader scan"]


@dataclass(frozen=True)
class ItemResult:
    """What was found for one item.

    Args:
        item: Its name.
        primary: Whether the claim rests on it.
        means: Mean over readers of each one's mean over patients, of the reference and of the test method, of the
            images whose pair was scored.
        deviations: Standard deviations over patients of the readers' mean scores.
        difference: Test less reference.
        non_inferior: Whether the interval lies above a loss of the margin, and is of enough patients.
        between: Agreement between the readers who scored any image.
        within: Agreement of readers with themselves, over the repeats of all of them.
    """

    item: str
    primary: bool
    means: tuple[float, float]
    deviations: tuple[float, float]
    difference: Difference
    non_inferior: bool
    between: Agreement
    within: Agreement

    @property
    def sensitivity(self) -> str | None:
        """Whether readers whose scores say nothing may explain the result, which then shows no loss; None if not."""
        agreed = self.within if math.isnan(self.between.p_chance) else self.between  # of one reader, or of equal scores
        if agreed.p_chance < ALPHA:
            return None
        if math.isnan(agreed.p_chance):
            return f"{self.item}: it is not known whether readers agree: nor whether a loss could have been seen"
        p = f"p {agreed.p_chance:.2g} of {agreed.n} images"
        return f"{self.item}: readers agree no better than by chance ({p}): a loss could not have been seen"


@dataclass(frozen=True)
class Analysis:
    """What a study found.

    Args:
        key: Key of the study.
        items: Of each item.
        hallucinations: Marks on reference and test images, by all readers, those of repeats left out.
        notes: What is missing or was filled in by hand.
    """

    key: Key
    items: tuple[ItemResult, ...]
    hallucinations: tuple[int, int]
    notes: tuple[str, ...]

    @property
    def verdict(self) -> str:
        """The claim in a sentence: the test method is not worse only if every primary item says so."""
        primary = [item for item in self.items if item.primary]  # none in a key made before that was refused
        held = bool(primary) and all(item.non_inferior for item in primary)
        names = ", ".join(item.item for item in primary) or "no item: none is primary"
        said = "is not inferior" if held else "is not shown to be non-inferior"
        n = min((item.difference.n_patients for item in primary), default=FEW_PATIENTS)
        few = f": {n} patients are too few, {FEW_PATIENTS} are needed" if n < FEW_PATIENTS else ""
        return f"{self.key.test} {said} to {self.key.reference} by {self.key.margin:g} points in {names}{few}"

    def write(self, folder: Path, inputs: Sequence[Path] = ()) -> None:
        """Write ``table.csv``, ``table.md`` and ``forest.png``.

        Args:
            folder: Made if needed.
            inputs: Files that the study was read from.

        Raises:
            OSError: If they cannot be written, or an input or another program's file would be lost.
        """
        table, text, picture = (folder / name for name in FILES)
        with OutputFolder(folder).replacing("study", FILES, inputs):
            write_whole(table, csv_text([COLUMNS, *map(_csv_row, self.items)]))
            write_whole(text, self.markdown())
            with atomic(picture) as part:
                _forest(part, self)

    def markdown(self) -> str:
        """Return verdict, table and notes."""
        key = self.key
        columns = ("item", key.reference, key.test, "difference", "95 %", "p (not worse)", "p (Wilcoxon)", "n")
        header = (*columns, "kappa, ICC between", "kappa, ICC within")
        lines = [
            f"# {key.study}\n\n**{self.verdict}.**\n",
            markdown_table(header, map(_markdown_row, self.items), n_words=len(header)),
            "Mean over readers of each one's mean over patients, +- standard deviation over patients of the readers' "
            "mean scores, where both images of a pair were scored. Difference: test less reference, each reader and "
            "each patient of a reader weighing the same, with a bootstrap over patients; nothing is claimed from fewer "
            f"than {FEW_PATIENTS}. p: of the patients' differences, averaged over the readers who scored them. "
            "In bold: primary items. kappa: quadratic weights, mean over pairs of readers, each over the images that "
            "both scored; ICC(A,1): two-way random effects, absolute agreement, single scores, over the n images that "
            "all scored.",
            "",
            f"Suspected hallucinations marked, repeats not counted: {self.hallucinations[0]} in {key.reference}, "
            f"{self.hallucinations[1]} in {key.test}. Key: sha256 {key.sha256}.",
            *(f"\nNote: {note}." for note in self.notes),
        ]
        return "\n".join(lines) + "\n"


def analyze(key: Key, scores: ReaderScores) -> Analysis:
    """Open a study.

    Repeats count for the agreement of readers with themselves alone. An item that is not primary and has fewer than two
    patients with both images scored is noted and left out.

    Args:
        key: Key of the study.
        scores: All answers.

    Raises:
        ValueError: If a primary item has fewer than two patients with both images scored.
    """
    marked = [score for score in scores.scores if score.item == HALLUCINATION and not score.reading.repeat]
    marks = Counter(score.method for score in marked)
    items, notes = list[ItemResult](), list(scores.notes)
    for item in key.items:
        try:
            items.append(_item(item, key, [s for s in scores.scores if s.item == item]))
        except ValueError as error:
            if item in key.primary:
                raise
            notes.append(f"not in the table: {error}")
    few = [item for item in items if item.difference.n_patients < FEW_PATIENTS]
    notes += [
        f"{item.item}: {item.difference.n_patients} patients are too few for its interval to hold" for item in few
    ]
    notes += [item.sensitivity for item in items if item.primary and item.sensitivity]
    notes += [key.scaling] if key.scaling else []
    return Analysis(key, tuple(items), (marks[key.reference], marks[key.test]), tuple(notes))


def _item(item: str, key: Key, scores: Sequence[Score]) -> ItemResult:
    first, second = (_table(key, scores, repeat) for repeat in (False, True))
    of_patients = _of_patients(np.where(np.isfinite(first).all(0), first, np.nan), key)
    try:
        difference = paired_difference(of_patients[1] - of_patients[0], key.margin)
    except ValueError as error:
        raise ValueError(f"{item}: {error}") from error
    of_readers = np.nanmean(of_patients[:, :, np.isfinite(of_patients[0]).any(0)], axis=1)
    means = np.array([mean_over_readers(each)[0] for each in of_patients])
    readers = np.isfinite(first).any((0, 2))  # who scored any image
    return ItemResult(
        item,
        item in key.primary,
        _pair(means),
        _pair(of_readers.std(1, ddof=1)),
        difference,
        difference.is_non_inferior(key.margin),
        agreement(first[:, readers].transpose(0, 2, 1).reshape(-1, int(readers.sum()))),
        agreement(np.stack([first.ravel(), second.ravel()], 1)),
    )


def _of_patients(table: Table, key: Key) -> Float[np.ndarray, "method reader patient"]:
    """Return each patient's mean over scans, NaN where none was scored."""
    patients = np.array([key.patients[scan] for scan in _scans(key)])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        return np.stack([np.nanmean(table[..., patients == one], -1) for one in np.unique(patients)], -1)


def _pair(values: Float[np.ndarray, "2"]) -> tuple[float, float]:
    return float(values[0]), float(values[1])


def _table(key: Key, scores: Sequence[Score], repeat: bool) -> Table:
    """Return scores by method (reference, test), reader and scan; NaN where there is none."""
    scans = {scan: index for index, scan in enumerate(_scans(key))}
    table = np.full((2, key.n_readers, len(scans)), np.nan)
    for score in scores:
        if score.reading.repeat == repeat:
            method = int(score.method == key.test)
            table[method, score.reading.reader - 1, scans[score.reading.scan]] = score.score
    return table


def _scans(key: Key) -> list[str]:
    return sorted({reading.scan for reading in key.readings})


def _csv_row(item: ItemResult) -> list[str]:
    d = item.difference
    numbers = (*item.means, *item.deviations, d.mean, d.low, d.high, d.p_not_worse, d.p_wilcoxon, d.n_patients)
    agreed_on = [v for a in (item.between, item.within) for v in (a.kappa, a.icc, a.icc_low, a.icc_high, a.n)]
    return [
        item.item,
        str(item.primary),
        *(f"{v:.6g}" for v in numbers),
        str(item.non_inferior),
        *(f"{v:.6g}" for v in agreed_on),
    ]


def _markdown_row(item: ItemResult) -> tuple[str, ...]:
    d = item.difference
    means = (f"{mean:.2f} +- {deviation:.2f}" for mean, deviation in zip(item.means, item.deviations, strict=True))
    agreed = (_agreed(each) for each in (item.between, item.within))
    return (
        f"**{item.item}**" if item.primary else item.item,
        *means,
        f"{d.mean:+.2f}",
        f"{d.low:+.2f} to {d.high:+.2f}",
        _number(d.p_not_worse, ".2g"),
        _number(d.p_wilcoxon, ".2g"),
        f"{d.n_patients}",
        *agreed,
    )


def _agreed(found: Agreement) -> str:
    """Return kappa, ICC with its interval, and how many images that is of."""
    interval = "" if math.isnan(found.icc) else f" ({found.icc_low:.2f} to {found.icc_high:.2f})"
    return f"{_number(found.kappa, '.2f')}, {_number(found.icc, '.2f')}{interval}, n {found.n}"


def _number(value: float, digits: str) -> str:
    return "-" if math.isnan(value) else f"{value:{digits}}"


def _forest(path: Path, analysis: Analysis) -> None:
    """Draw each item's difference and interval beside zero and the margin."""
    items, key = analysis.items[::-1], analysis.key
    with matplotlib.rc_context({**PLAIN, "font.size": 10}):
        figure = figures.Figure(figsize=(8, 2.2 + 0.42 * len(items)), dpi=150, layout="constrained")
        axes = figure.subplots()
        for row, item in enumerate(items):
            d = item.difference
            color = GREEN if item.non_inferior else RED
            axes.plot([d.low, d.high], [row, row], color=color, lw=2)
            axes.plot(d.mean, row, "s" if item.primary else "o", color=color, ms=7)
            text = f"{d.mean:+.2f} ({d.low:+.2f}, {d.high:+.2f})"
            axes.annotate(text, (1.02, row), xycoords=("axes fraction", "data"), va="center")
        axes.axvline(0, color="#888", lw=1)
        axes.axvline(-key.margin, color=RED, lw=1, ls="--")
        top = (-key.margin, len(items) - 0.45)
        axes.annotate(f"margin -{key.margin:g}", top, ha="center", va="bottom", color=RED)
        axes.set_yticks(range(len(items)), [item.item for item in items])
        bounds = [abs(bound) for item in items for bound in (item.difference.low, item.difference.high)]
        widest = 1.15 * max(key.margin, *bounds)
        axes.set(xlim=(-widest, widest), ylim=(-0.6, len(items) - 0.4))
        axes.set_xlabel(f"{key.test} less {key.reference}, points of 5 (squares: primary items; 95 % intervals)")
        # not by matplotlib's own wrapping, which takes dollars for mathematics whatever it is told
        title = "\n".join(textwrap.wrap(f"{key.study}: {analysis.verdict}", WIDTH))
        axes.set_title(title, fontsize=10, pad=18)
        axes.spines[["top", "right", "left"]].set_visible(False)
        axes.tick_params(axis="y", length=0)
        figure.savefig(path, format="png")
