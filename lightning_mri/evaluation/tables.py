"""The result tables: one row for each case, contrast, R, region and method, and their summary over subjects."""

import math
import statistics
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

from lightning_mri.evaluation.lesions import LesionScores
from lightning_mri.evaluation.metrics import FASTMRI, Convention, Scores
from lightning_mri.evaluation.paired import Interval, bootstrapped_mean
from lightning_mri.messages import count, first_few

METRICS = ("nrmse", "psnr", "ssim", "nmse", "misfit", "nfe", "seconds")
LESIONS = tuple(each.name for each in fields(LesionScores))
MEANS = {"misfit": ".2f", "nfe": ".0f", "seconds": ".3g"}
"""Format of metrics whose deviation is not shown."""
WHOLE = "whole image"
N_WARNINGS = 2
TRAINED_ON = " (trained on this subject)"
"""End of a method's name in rows of subjects that its prior was trained on: they tell how well it remembers."""


@dataclass(frozen=True)
class Row:
    """One reconstruction of one case.

    Args:
        case: Name of the scan.
        subject: Whose scan it is; subjects, not scans, are what a summary counts.
        contrast: Contrast name.
        acceleration: Nominal R.
        achieved: R that the mask gives.
        method: Who made the image; ends in `TRAINED_ON` if it had learnt from this subject.
        scores: The four metrics, averaged over the volumes of the scan.
        seconds: Time a slice.
        misfit: Standard deviation of y - A x over that of the noise, 1 for a perfect fit; nan if not known.
        nfe: Network evaluations a slice.
        lesions: How lesions came out, where there are any.
        n_left_out: Slices of the scan that could not be scored.
        warnings: What had to be guessed about the scan, in sentences.
    """

    case: str
    subject: str
    contrast: str
    acceleration: float
    achieved: float
    method: str
    scores: Scores
    seconds: float
    misfit: float = math.nan
    nfe: int = 0
    lesions: LesionScores | None = None
    n_left_out: int = 0
    warnings: str = ""

    @property
    def name(self) -> str:
        """The method's name, whether it had learnt from this subject or not."""
        return self.method.removesuffix(TRAINED_ON)

    @property
    def group(self) -> tuple[str, float, str]:
        """What a summary counts together: contrast, nominal R and method."""
        return self.contrast, self.acceleration, self.method

    @property
    def is_remembered(self) -> bool:
        """Whether the method had learnt from this subject, so that its scores say nothing of new ones."""
        return self.method.endswith(TRAINED_ON)

    def value(self, metric: str) -> float:
        """Return a metric or lesion score by its name; nan where it is not known."""
        holders = (self, self.scores, self.lesions)
        return float(next((getattr(each, metric) for each in holders if hasattr(each, metric)), math.nan))

    def plain(self) -> dict[str, Any]:
        """Return all of it as numbers and words, None for what is not known."""
        words = {name: value for name, value in vars(self).items() if isinstance(value, str | int | float)}
        found = asdict(self.lesions) if self.lesions else dict.fromkeys(LESIONS)
        known = {**words, **asdict(self.scores), **found}
        return {name: finite(value) for name, value in known.items()}


@dataclass(frozen=True)
class Spread:
    """Mean and sample standard deviation; the latter is nan for a single value and where a value is not finite."""

    mean: float
    std: float

    @classmethod
    def of(cls, values: Iterable[float]) -> "Spread":
        """Return the spread of one value or more."""
        values = list(values)
        mean = statistics.fmean(values)
        return cls(mean, statistics.stdev(values) if len(values) > 1 and math.isfinite(mean) else math.nan)

    def __format__(self, digits: str) -> str:
        """Return ``mean +- deviation``, or the mean alone."""
        mean = f"{self.mean:{digits}}"
        return mean if math.isnan(self.std) else f"{mean} +- {self.std:{digits}}"


@dataclass(frozen=True)
class Summary:
    """One method at one contrast and nominal R: the mean R achieved, and the spread of each metric over subjects."""

    contrast: str
    acceleration: float
    method: str
    achieved: float
    n_subjects: int
    values: dict[str, Spread]


@dataclass(frozen=True)
class MethodDifference:
    """By how much a metric of one method is above that of another: mean over subjects with its interval."""

    contrast: str
    acceleration: float
    region: str
    method: str
    less: str
    metric: str
    n_subjects: int
    mean: Interval

    def plain(self) -> dict[str, Any]:
        """Return all of it as numbers and words, None for an interval of one subject."""
        values = {name: value for name, value in vars(self).items() if name != "mean"}
        interval = zip(("mean", "low", "high"), vars(self.mean).values(), strict=True)
        return {**values, **{name: finite(value) for name, value in interval}}


@dataclass(frozen=True)
class Table:
    """Rows of one convention and one region, which every rendering states.

    Methods keep the order in which they first appear, so that baselines stay where the experiment put them; what one
    remembers of a subject stands below its other scores.

    Args:
        rows: What was measured.
        convention: Of all the rows.
        region: Where, in words.
    """

    rows: tuple[Row, ...]
    convention: Convention = FASTMRI
    region: str = WHOLE

    def by_subject(self, metric: str) -> dict[tuple[str, float, str], dict[str, float]]:
        """Return the value of each subject, the mean of its scans, by contrast, nominal R and method."""
        scans: dict[tuple[str, float, str], dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
        for row in self.rows:
            scans[row.group][row.subject].append(row.value(metric))
        return {
            key: {subject: statistics.fmean(values) for subject, values in each.items()} for key, each in scans.items()
        }

    def summary(self) -> tuple[Summary, ...]:
        """Return mean and deviation over subjects; several scans of one subject are averaged first."""
        order, subjects = self._order(), {metric: self.by_subject(metric) for metric in self.metrics}
        found = []
        for group in sorted({row.group for row in self.rows}, key=lambda each: (*each[:2], order[each[2]])):
            achieved = statistics.fmean(row.achieved for row in self.rows if row.group == group)
            values = {metric: Spread.of(each[group].values()) for metric, each in subjects.items()}
            found.append(Summary(*group, achieved, len(subjects["nrmse"][group]), values))
        return tuple(found)

    def _order(self) -> dict[str, tuple[int, bool]]:
        names = list(dict.fromkeys(row.name for row in self.rows))
        return {row.method: (names.index(row.name), row.is_remembered) for row in self.rows}

    @property
    def metrics(self) -> tuple[str, ...]:
        """Names of the numbers that there are."""
        return (*METRICS, *LESIONS) if any(row.lesions for row in self.rows) else METRICS

    def caption(self) -> str:
        """Return what a reader must know to compare the numbers with others."""
        subjects = len({row.subject for row in self.rows})
        one = self.convention.extent
        left_out = sum({(row.case, row.acceleration): row.n_left_out for row in self.rows}.values())
        warned = {row.case: row.warnings for row in self.rows if row.warnings}
        of = f"{count(len(warned), 'scan')}: {first_few(sorted(set(warned.values())), N_WARNINGS)}"
        return (
            f"convention {self.convention.name} (magnitude, per {one}, peak = {one} maximum of the reference); "
            f"region: {self.region}; "
            f"{count(subjects, 'subject')}, mean +- standard deviation over subjects; "
            "R as achieved by the mask; psnr in dB, misfit in units of the noise, nfe and seconds a slice"
            + f"; {count(left_out, 'slice')} could not be scored" * bool(left_out)
            + f"; warnings of {of}" * bool(warned)
            + "; scores of methods on subjects that they were trained on were left out of the differences"
            * self.remembers
        )

    @property
    def remembers(self) -> bool:
        """Whether some method had learnt from some subject."""
        return any(row.is_remembered for row in self.rows)

    def text(self) -> str:
        """Return the summary as aligned plain text."""
        header, body = self.cells()
        widths = [max(map(len, column)) for column in zip(header, *body, strict=True)]
        lines = [
            "  ".join(
                f"{cell:{align}{width}}"
                for cell, align, width in zip(line, "<<<" + ">" * (len(header) - 3), widths, strict=True)
            )
            for line in (header, ["-" * width for width in widths], *body)
        ]
        return "\n".join([*(line.rstrip() for line in lines), self.caption()]) + "\n"

    def markdown(self) -> str:
        """Return the summary as a Markdown table with its caption below."""
        return f"{markdown_table(*self.cells(), n_words=3)}\n{self.caption()}\n"

    def rows_of_files(self) -> list[dict[str, Any]]:
        """Return every row with convention and region, for other programs."""
        return [{**row.plain(), "convention": self.convention.name, "region": self.region} for row in self.rows]

    def differences(self) -> list[MethodDifference]:
        """Return by how much each method's scores are above those of the last one, subject by subject.

        Without rows of subjects that a method was trained on: neither is it compared by them nor others with it.
        """
        unseen, order = replace(self, rows=tuple(row for row in self.rows if not row.is_remembered)), self._order()
        found = []
        for metric in ("nrmse", "nmse", "psnr", "ssim"):
            values = unseen.by_subject(metric)
            for contrast, acceleration, method in values:
                group = [each for each in values if each[:2] == (contrast, acceleration)]
                last = max(group, key=lambda each: order[each[2]])
                theirs, ours = values[contrast, acceleration, method], values[last]
                paired = [theirs[subject] - ours[subject] for subject in theirs if subject in ours]
                if method != last[2] and paired:
                    about = (contrast, acceleration, self.region, method, last[2], metric, len(paired))
                    found.append(MethodDifference(*about, bootstrapped_mean(paired)))
        return found

    def cells(self) -> tuple[list[str], list[list[str]]]:
        """Return header and lines of the summary as text, three columns of words and six of numbers."""
        header = ["contrast", "R", "method", "n", *self.metrics]
        return header, [
            [
                row.contrast,
                _acceleration(row),
                row.method,
                str(row.n_subjects),
                *(_cell(metric, row.values[metric]) for metric in self.metrics),
            ]
            for row in self.summary()
        ]


def finite(value: Any) -> Any:
    """Return a value as files have it: None in place of a number that is not finite."""
    return None if isinstance(value, float) and not math.isfinite(value) else value


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
    return f"{Spread.of(values):.{digits}f}" if values else "-"


def _acceleration(row: Summary) -> str:
    """Return the achieved R, and the nominal one where it differs by more than the last digit shown."""
    differs = abs(row.achieved - row.acceleration) >= 0.05
    return f"{row.achieved:.1f}" + (f" (nominal {row.acceleration:g})" if differs else "")


def _cell(metric: str, spread: Spread) -> str:
    """Return mean and deviation of a score, and the mean alone of what it took."""
    if metric in MEANS:
        return "-" if metric == "misfit" and math.isnan(spread.mean) else f"{spread.mean:{MEANS[metric]}}"
    return f"{spread:{'.4f' if metric in ('nrmse', 'ssim', 'nmse') else '.2f'}}"
