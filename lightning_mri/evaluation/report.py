"""The result table: one row for each case, contrast, R and method, and its summary over subjects."""

import csv
import io
import math
import statistics
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from itertools import groupby
from pathlib import Path

from lightning_mri.evaluation.metrics import FASTMRI, SLICE, Convention, Scores

METRICS = ("nrmse", "psnr", "ssim", "nmse", "seconds")


@dataclass(frozen=True)
class Row:
    """One reconstruction of one case.

    Args:
        case: Name of the scan.
        subject: Whose scan it is; subjects, not scans, are what a summary counts.
        contrast: Contrast name.
        acceleration: Nominal R.
        achieved: R that the mask gives.
        method: Who made the image.
        scores: The four metrics.
        seconds: Time a slice.
    """

    case: str
    subject: str
    contrast: str
    acceleration: float
    achieved: float
    method: str
    scores: Scores
    seconds: float

    def value(self, metric: str) -> float:
        """Return one of the five numbers by its name in `METRICS`."""
        return self.seconds if metric == "seconds" else float(getattr(self.scores, metric))


@dataclass(frozen=True)
class Spread:
    """Mean and standard deviation over subjects; the latter is nan for a single one."""

    mean: float
    std: float


@dataclass(frozen=True)
class Summary:
    """One method at one contrast and acceleration, over all subjects.

    Args:
        contrast: Contrast name.
        acceleration: Nominal R.
        achieved: Mean R that the masks give.
        method: Who made the images.
        n_subjects: Number of subjects.
        values: Spread of each of `METRICS`.
    """

    contrast: str
    acceleration: float
    achieved: float
    method: str
    n_subjects: int
    values: dict[str, Spread]


@dataclass(frozen=True)
class Table:
    """Rows of one convention and one region, which every rendering states.

    Methods keep the order in which they first appear, so that baselines stay where the experiment put them.

    Args:
        rows: What was measured.
        convention: Of all the rows.
        region: Where, in words.
    """

    rows: tuple[Row, ...]
    convention: Convention = FASTMRI
    region: str = "whole image"

    def by_subject(self, metric: str) -> dict[tuple[str, float, str], dict[str, float]]:
        """Return the value of each subject, the mean of its scans, by contrast, nominal R and method."""
        scans: dict[tuple[str, float, str], dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
        for row in self.rows:
            scans[row.contrast, row.acceleration, row.method][row.subject].append(row.value(metric))
        return {
            key: {subject: statistics.fmean(values) for subject, values in each.items()} for key, each in scans.items()
        }

    def summary(self) -> tuple[Summary, ...]:
        """Return mean and deviation over subjects; several scans of one subject are averaged first."""
        order = {method: index for index, method in enumerate(dict.fromkeys(row.method for row in self.rows))}

        def key(row: Row) -> tuple[str, float, int]:
            return row.contrast, row.acceleration, order[row.method]

        return tuple(_summarise(list(rows)) for _, rows in groupby(sorted(self.rows, key=key), key))

    def caption(self) -> str:
        """Return what a reader must know to compare the numbers with others."""
        subjects = len({row.subject for row in self.rows})
        return (
            f"convention {self.convention.name} ({_meaning(self.convention)}); region: {self.region}; "
            f"{subjects} subject{'s' * (subjects != 1)}, mean +- standard deviation over subjects; "
            "R as achieved by the mask; psnr in dB, seconds a slice"
        )

    def text(self) -> str:
        """Return the summary as aligned plain text."""
        header, body = self.cells()
        widths = [max(map(len, column)) for column in zip(header, *body, strict=True)]
        lines = [
            "  ".join(f"{cell:{align}{width}}" for cell, align, width in zip(line, "<<<>>>>>>", widths, strict=True))
            for line in (header, ["-" * width for width in widths], *body)
        ]
        return "\n".join([*(line.rstrip() for line in lines), self.caption()]) + "\n"

    def markdown(self) -> str:
        """Return the summary as a Markdown table with its caption below."""
        return f"{markdown_table(*self.cells(), n_words=3)}\n{self.caption()}\n"

    def csv(self) -> str:
        """Return every row, with full precision, convention and region in each, for other programs."""
        buffer = io.StringIO()
        writer = csv.writer(buffer, lineterminator="\n")
        names = [field.name for field in fields(Row) if field.name not in ("scores", "seconds")]
        writer.writerow([*names, *METRICS, "convention", "region"])
        for row in self.rows:
            numbers = [repr(row.value(metric)) for metric in METRICS]
            writer.writerow([*(getattr(row, name) for name in names), *numbers, self.convention.name, self.region])
        return buffer.getvalue()

    @classmethod
    def read(cls, path: Path) -> "Table":
        """Read what `csv` gives.

        Raises:
            OSError: If the file cannot be read.
            ValueError: If it is no such table.
        """
        try:
            with path.open(newline="", encoding="utf-8") as file:
                lines = list(csv.DictReader(file))
            rows = tuple(_row(line) for line in lines)
            convention = {each.name: each for each in (FASTMRI, SLICE)}[lines[0]["convention"]]
        except (KeyError, ValueError, IndexError) as error:
            raise ValueError(f"{path}: it must be a table that test has written: {error!r}") from error
        return cls(rows, convention, lines[0]["region"])

    def write(self, folder: Path) -> None:
        """Write ``table.csv``, ``table.md`` and ``table.txt`` into a folder, which is made if needed.

        Raises:
            OSError: If the folder cannot be written.
        """
        folder.mkdir(parents=True, exist_ok=True)
        for ending, content in (("csv", self.csv()), ("md", self.markdown()), ("txt", self.text())):
            (folder / f"table.{ending}").write_text(content, encoding="utf-8")

    def cells(self) -> tuple[list[str], list[list[str]]]:
        """Return header and lines of the summary as text, three columns of words and six of numbers."""
        header = ["contrast", "R", "method", "n", *METRICS]
        return header, [
            [
                row.contrast,
                _acceleration(row),
                row.method,
                str(row.n_subjects),
                *(_FORMATS[metric](row.values[metric]) for metric in METRICS),
            ]
            for row in self.summary()
        ]


def _row(line: Mapping[str, str]) -> Row:
    """Return a row as `Table.csv` writes it."""
    scores = Scores(**{each.name: float(line[each.name]) for each in fields(Scores)})
    words = (line["case"], line["subject"], line["contrast"], float(line["acceleration"]), float(line["achieved"]))
    return Row(*words, line["method"], scores, float(line["seconds"]))


def markdown_table(header: Sequence[str], rows: Iterable[Sequence[object]], n_words: int = 1) -> str:
    """Return a Markdown table whose first columns hold words, the others numbers.

    Args:
        header: Titles of the columns.
        rows: Cells of each line.
        n_words: Number of columns that are aligned to the left.
    """
    rule = ["---"] * n_words + ["---:"] * (len(header) - n_words)
    return "".join(f"| {' | '.join(map(str, line))} |\n" for line in (header, rule, *rows))


def mean_std(values: Iterable[float], digits: int = 4) -> str:
    """Return mean +- standard deviation as text; a single value has no latter, and none gives a dash."""
    values = list(values)
    return _number(digits)(_spread(values)) if values else "-"


def _summarise(rows: Sequence[Row]) -> Summary:
    """Return the spread over subjects of the rows of one method at one contrast and acceleration."""
    subjects = dict.fromkeys(row.subject for row in rows)
    scans_of = {subject: [row for row in rows if row.subject == subject] for subject in subjects}
    values = {
        metric: _spread(statistics.fmean(row.value(metric) for row in scans) for scans in scans_of.values())
        for metric in METRICS
    }
    first = rows[0]
    achieved = statistics.fmean(row.achieved for row in rows)
    return Summary(first.contrast, first.acceleration, achieved, first.method, len(scans_of), values)


def _spread(values: Iterable[float]) -> Spread:
    """Return mean and sample standard deviation."""
    values = list(values)
    return Spread(statistics.fmean(values), statistics.stdev(values) if len(values) > 1 else math.nan)


def _meaning(convention: Convention) -> str:
    """Return the definition of a convention in words."""
    one = "volume" if convention.ndim == 3 else "slice"
    return f"magnitude, per {one}, peak = {one} maximum of the reference"


def _acceleration(row: Summary) -> str:
    """Return the achieved R, and the nominal one where it differs by more than the last digit shown."""
    differs = abs(row.achieved - row.acceleration) >= 0.05
    return f"{row.achieved:.1f}" + (f" (nominal {row.acceleration:g})" if differs else "")


def _number(digits: int) -> Callable[[Spread], str]:
    """Return a format for mean +- standard deviation; a single subject has no latter."""

    def text(spread: Spread) -> str:
        mean = f"{spread.mean:.{digits}f}"
        return mean if math.isnan(spread.std) else f"{mean} +- {spread.std:.{digits}f}"

    return text


_FORMATS = {
    "nrmse": _number(4),
    "psnr": _number(2),
    "ssim": _number(4),
    "nmse": _number(4),
    "seconds": lambda spread: f"{spread.mean:.3g}",
}
