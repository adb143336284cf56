"""What a study found: every item's difference with its interval, non-inferiority, agreement; table and forest plot."""

import csv
import io
import math
import warnings
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float

from lightning_mri.evaluation.reader_study.design import HALLUCINATION, Key
from lightning_mri.evaluation.reader_study.scores import Score, Scores
from lightning_mri.evaluation.reader_study.statistics import Agreement, Difference, agreement, paired_difference
from lightning_mri.files import atomic
from lightning_mri.lazy import lazy
from lightning_mri.output import OutputFolder

matplotlib, figures = lazy("matplotlib"), lazy("matplotlib.figure")
FILES = ("table.csv", "table.md", "forest.png")
FEW_PATIENTS = 10
"""Below it a bootstrap over patients covers too little: scores are whole numbers, and all differences may be equal."""
Table = Float[np.ndarray, "method reader scan"]


@dataclass(frozen=True)
class ItemResult:
    """What was found for one item.

    Args:
        item: Its name.
        primary: Whether the claim rests on it.
        means: Mean score of the reference and of the test method, each patient weighing the same.
        deviations: Standard deviations over patients of the readers' mean scores.
        difference: Test less reference.
        non_inferior: Whether the interval lies above a loss of the margin.
        between: Agreement between readers.
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


@dataclass(frozen=True)
class Analysis:
    """What a study found.

    Args:
        key: Key of the study.
        items: Of each item.
        hallucinations: Marks on reference and test images, by all readers.
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
        return f"{self.key.test} {said} to {self.key.reference} by {self.key.margin:g} points in {names}"

    def write(self, folder: Path, inputs: Sequence[Path] = ()) -> None:
        """Write ``table.csv``, ``table.md`` and ``forest.png``.

        Args:
            folder: Made if needed.
            inputs: Files that the study was read from.

        Raises:
            OSError: If they cannot be written, or an input or another program's file would be lost.
        """
        rows = io.StringIO()
        writer = csv.writer(rows, lineterminator="\n")
        writer.writerow(_cells(None))
        writer.writerows(_cells(item) for item in self.items)
        with OutputFolder(folder).replacing("study", FILES, inputs):
            for name, text in zip(FILES, (rows.getvalue(), self.markdown()), strict=False):
                with atomic(folder / name) as part:
                    part.write_text(text, encoding="utf-8")
            with atomic(folder / FILES[-1]) as part:
                _forest(part, self)

    def markdown(self) -> str:
        """Return verdict, table and notes."""
        key = self.key
        columns = ("item", key.reference, key.test, "difference", "95 %", "p (not worse)", "p (Wilcoxon)", "n")
        header = f"| {' | '.join((*columns, 'kappa, ICC between', 'kappa, ICC within'))} |"
        lines = [
            f"# {key.study}",
            "",
            f"**{self.verdict}.**",
            "",
            header,
            "| --- " * 10 + "|",
        ]
        lines += [_line(item) for item in self.items]
        lines += [
            "",
            "Mean +- standard deviation over patients of the readers' mean scores. Difference: test less reference, "
            "each reader and each patient weighing the same, with a bootstrap over patients. In bold: primary items. "
            "kappa: quadratic weights; ICC(A,1): two-way random effects, absolute agreement, single scores.",
            "",
            f"Suspected hallucinations marked: {self.hallucinations[0]} in {key.reference}, "
            f"{self.hallucinations[1]} in {key.test}. Key: sha256 {key.sha256}.",
            *(f"\nNote: {note}." for note in self.notes),
        ]
        return "\n".join(lines) + "\n"


def analyze(key: Key, scores: Scores) -> Analysis:
    """Open a study.

    Repeats count for the agreement of readers with themselves alone. An item that is not primary and has fewer than two
    patients with both images scored is noted and left out.

    Args:
        key: Key of the study.
        scores: All answers.

    Raises:
        ValueError: If a primary item has fewer than two patients with both images scored.
    """
    marks = Counter(score.method for score in scores.scores if score.item == HALLUCINATION)
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
    return Analysis(key, tuple(items), (marks[key.reference], marks[key.test]), tuple(notes))


def _item(item: str, key: Key, scores: Sequence[Score]) -> ItemResult:
    first, second = (_table(key, scores, repeat) for repeat in (False, True))
    of_patients, differences = _of_patients(first, key), _of_patients(first[1:] - first[:1], key)[0]
    try:
        difference = paired_difference(differences, key.margin)
    except ValueError as error:
        raise ValueError(f"{item}: {error}") from error
    return ItemResult(
        item,
        item in key.primary,
        (float(np.nanmean(of_patients[0])), float(np.nanmean(of_patients[1]))),
        (_deviation(of_patients[0]), _deviation(of_patients[1])),
        difference,
        difference.is_non_inferior(key.margin),
        agreement(first.transpose(0, 2, 1).reshape(-1, key.n_readers)),
        agreement(np.stack([first.ravel(), second.ravel()], 1)),
    )


def _of_patients(table: Table, key: Key) -> Float[np.ndarray, "method reader patient"]:
    """Return each patient's mean over scans, NaN where none was scored."""
    patients = np.array([key.patients[scan] for scan in _scans(key)])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        return np.stack([np.nanmean(table[..., patients == one], -1) for one in np.unique(patients)], -1)


def _deviation(table: Float[np.ndarray, "reader patient"]) -> float:
    """Return the standard deviation over patients of the readers' mean scores."""
    return float(np.std(np.nanmean(table[:, np.isfinite(table).any(0)], axis=0), ddof=1))


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


def _cells(item: ItemResult | None) -> list[str]:
    """Return the cells of a row of the CSV table; its header for None."""
    if item is None:
        agreed = [
            f"{name}_{of}" for of in ("between", "within") for name in ("kappa", "icc", "icc_low", "icc_high", "n")
        ]
        first = (
            "item,primary,mean_reference,mean_test,sd_reference,sd_test,difference,low,high,p_not_worse,p_wilcoxon,n"
        )
        return [*first.split(","), "non_inferior", *agreed]
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


def _line(item: ItemResult) -> str:
    """Return a row of the Markdown table."""
    d = item.difference
    means = (f"{mean:.2f} +- {deviation:.2f}" for mean, deviation in zip(item.means, item.deviations, strict=True))
    agreed = (
        "-" if math.isnan(a.icc) else f"{a.kappa:.2f}, {a.icc:.2f} ({a.icc_low:.2f} to {a.icc_high:.2f})"
        for a in (item.between, item.within)
    )
    name = f"**{item.item}**" if item.primary else item.item
    cells = (
        name,
        *means,
        f"{d.mean:+.2f}",
        f"{d.low:+.2f} to {d.high:+.2f}",
        f"{d.p_not_worse:.2g}",
        f"{d.p_wilcoxon:.2g}",
        f"{d.n_patients}",
        *agreed,
    )
    return f"| {' | '.join(cells)} |"


def _forest(path: Path, analysis: Analysis) -> None:
    """Draw each item's difference and interval beside zero and the margin."""
    items, key = analysis.items[::-1], analysis.key
    with matplotlib.rc_context({"font.family": "DejaVu Sans", "font.size": 10}):
        figure = figures.Figure(figsize=(8, 2.2 + 0.42 * len(items)), dpi=150, layout="constrained")
        axes = figure.subplots()
        for row, item in enumerate(items):
            d = item.difference
            color = "#1a6e3c" if item.non_inferior else "#b3261e"
            axes.plot([d.low, d.high], [row, row], color=color, lw=2)
            axes.plot(d.mean, row, "s" if item.primary else "o", color=color, ms=7)
            axes.annotate(
                f"{d.mean:+.2f} ({d.low:+.2f}, {d.high:+.2f})",
                (1.02, row),
                xycoords=("axes fraction", "data"),
                va="center",
            )
        axes.axvline(0, color="#888", lw=1)
        axes.axvline(-key.margin, color="#b3261e", lw=1, ls="--")
        axes.annotate(
            f"margin -{key.margin:g}", (-key.margin, len(items) - 0.45), ha="center", va="bottom", color="#b3261e"
        )
        axes.set_yticks(range(len(items)), [item.item for item in items])
        axes.set_ylim(-0.6, len(items) - 0.4)
        widest = max(
            key.margin, *(abs(bound) for item in items for bound in (item.difference.low, item.difference.high))
        )
        axes.set_xlim(-1.15 * widest, 1.15 * widest)
        axes.set_xlabel(f"{key.test} less {key.reference}, points of 5 (squares: primary items; 95 % intervals)")
        axes.set_title(f"{key.study}: {analysis.verdict}", fontsize=10, wrap=True, pad=18)
        for side in ("top", "right", "left"):
            axes.spines[side].set_visible(False)
        axes.tick_params(axis="y", length=0)
        figure.savefig(path, format="png")
