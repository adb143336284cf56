"""What `test` scores: the images of every method put together from parts; their table, picture and page."""

import math
import sys
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from functools import partial
from itertools import groupby
from pathlib import Path
from statistics import fmean
from typing import Any, TypeVar

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from lightning_mri.datasets import Failed
from lightning_mri.evaluation import (
    REFERENCE,
    LesionScores,
    Row,
    Scores,
    Table,
    View,
    comparison,
    head_of,
    interval_sections,
    lesion_scores,
    picture,
    read_case,
    score,
    table_section,
    write_page,
    write_tables,
)
from lightning_mri.evaluation.metrics import WINDOW
from lightning_mri.evaluation.tables import TRAINED_ON
from lightning_mri.files import atomic_folder
from lightning_mri.io.geometry import for_readers
from lightning_mri.messages import count, first_few
from lightning_mri.training.finished import short_name
from lightning_mri.training.overview import failed_scans
from lightning_mri.training.wandb_tables import log_tables

S = TypeVar("S", Scores, LesionScores)


@dataclass(frozen=True, eq=False)
class ScoredScan:
    """Slices of one scan at one acceleration, reconstructed by every method; magnitudes in units of the input."""

    scan: str  # name of the scan
    subject: str  # who was scanned
    contrast: str  # name of the contrast
    acceleration: float  # nominal R
    achieved: float  # R that the mask gives
    n_slices: int  # how many slices the scan has
    slices: tuple[int, ...]  # which ones these are
    reference: Float[Tensor, "slice y x"]  # image of the fully sampled scan
    images: Mapping[str, Float[Tensor, "slice y x"]]  # that of each method
    seconds: Mapping[str, float]  # time a slice of each method
    # uncertainty of the last method; zero in slices without one, None if no slice has one
    std: Float[Tensor, "slice y x"] | None = None
    trained: tuple[str, ...] = ()  # methods whose prior was trained on this subject: scores tell how it remembers
    pixel_size: tuple[float, float] | None = None  # size of a pixel (y, x) in mm, if known
    left_out: Mapping[int, str] = field(default_factory=dict)  # why slices could not be scored, by their numbers
    misfit: Mapping[str, float] = field(default_factory=dict)  # RMS of y - A x in units of the noise, of each method
    nfe: Mapping[str, int] = field(default_factory=dict)  # network evaluations a slice of each method
    lesions: Bool[Tensor, "slice y x"] | None = None  # where lesions are, if that is known
    n_volumes: int = 1  # how many volumes, such as time frames, follow each other along the slices of the scan
    affine: Float[Tensor, "4 4"] | None = None  # takes indices of its images to RAS+ coordinates in mm, if known
    warnings: tuple[str, ...] = ()  # what had to be guessed about the scan or is wrong with a slice, a sentence each
    # what ran in all priors, in words: the sampler, and what a time budget paid for
    made: Mapping[str, str] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """Scan and acceleration, for readers."""
        return f"{self.scan}, R = {self.acceleration:g}"

    @classmethod
    def join(cls, parts: Sequence["ScoredScan"]) -> "ScoredScan":
        """Return all slices of one scan and acceleration."""
        parts = sorted(parts, key=lambda part: part.slices)
        template = max(parts, key=lambda part: part.slices)  # not one whose slices were all left out
        slices = tuple(index for part in parts for index in part.slices)
        left_out = {index: reason for part in parts for index, reason in part.left_out.items()}
        if sorted((*slices, *left_out)) != list(range(template.n_slices)):
            raise RuntimeError(f"{template.scan}: of its {template.n_slices} slices only {slices} were reconstructed")
        n = max(1, len(slices))

        def mean(of: Callable[[ScoredScan], Mapping[str, float]], power: int = 1) -> dict[str, float]:
            sums = {name: sum(of(p)[name] ** power * len(p.slices) for p in parts if p.slices) for name in of(template)}
            return {name: (total / n) ** (1 / power) for name, total in sums.items()}

        lesions = [part.lesions for part in parts if part.lesions is not None]
        stds = [torch.zeros_like(part.reference) if part.std is None else part.std for part in parts]
        return replace(
            template,
            slices=slices,
            reference=torch.cat([part.reference for part in parts]),
            images={name: torch.cat([part.images[name] for part in parts]) for name in template.images},
            seconds=mean(lambda part: part.seconds),
            misfit=mean(lambda part: part.misfit, 2),
            lesions=None if template.lesions is None else torch.cat(lesions),
            std=None if all(part.std is None for part in parts) else torch.cat(stds),
            left_out=left_out,
            warnings=tuple(dict.fromkeys(warning for part in parts for warning in part.warnings)),
            # each process measures what a time budget pays for
            nfe={name: round(value) for name, value in mean(lambda part: part.nfe).items()},
            made={name: "; ".join(dict.fromkeys(p.made[name] for p in parts if p.made)) for name in template.made},
        )

    def rows(self, region: Bool[Tensor, "slice y x"] | None = None) -> list[Row]:
        """Return the score of each method in a region or of the whole image; how lesions came out with theirs."""
        volumes = self._volumes(region)

        def scores(image: Tensor) -> Scores:
            parts = ((image[k], self.reference[k], None if region is None else region[k]) for k in volumes)
            return _mean([score(x, reference, region=part) for x, reference, part in parts])

        def lesions(image: Tensor) -> LesionScores | None:
            if region is None or region is not self.lesions:
                return None
            found = [lesion_scores(image[k], self.reference[k], region[k]) for k in volumes]
            known = [each for each in found if each is not None]
            return _mean(known) if known else None

        return [
            Row(
                case=self.scan,
                subject=self.subject,
                contrast=self.contrast,
                acceleration=self.acceleration,
                achieved=self.achieved,
                method=method + TRAINED_ON * (method in self.trained),
                scores=scores(image),
                seconds=self.seconds[method],
                misfit=self.misfit.get(method, math.nan),
                nfe=self.nfe.get(method, 0),
                lesions=lesions(image),
                n_left_out=len(self.left_out),
                warnings="; ".join(self.warnings),
            )
            for method, image in self.images.items()
        ]

    def regions(self) -> dict[str, Bool[Tensor, "slice y x"]]:
        """Return head and lesions, each if there is enough of it to score."""
        found = {"head": head_of(self.reference)}
        found |= {} if self.lesions is None else {"lesions": self.lesions}
        return {name: region for name, region in found.items() if _reaches(region)}

    def _volumes(self, region: Tensor | None) -> list[list[int]]:
        """Return the rows of each volume that a region reaches: a metric and its peak are of one volume."""
        n = self.n_slices // self.n_volumes
        volumes = [[*rows] for _, rows in groupby(range(len(self.slices)), lambda row: self.slices[row] // n)]
        return [rows for rows in volumes if region is None or _reaches(region[rows])]

    def view(self) -> View:
        """Return the case as the viewer shows it."""
        rows = self.rows()
        facts = {row.method: f"NRMSE {row.scores.nrmse:.4f}, SSIM {row.scores.ssim:.4f}" for row in rows}
        std = None if self.std is None else torch.where(self.std.amax((-2, -1), True) > 0, self.std, torch.nan)
        images = {REFERENCE: self.reference, **self.images}
        shown = partial(for_readers, affine=self.affine, pixel_size=self.pixel_size)
        _, pixel_size, orientation = shown(self.reference)
        return View(
            name=self.name,
            images={name: shown(self._of_scan(image))[0] for name, image in images.items()},
            std=None if std is None else shown(self._of_scan(std))[0],
            pixel_size=pixel_size,
            n_volumes=self.n_volumes,
            burnt=(f"R = {self.achieved:.1f}", self.contrast, "research use only"),
            facts={**facts, "orientation": orientation, **self.made},
            scores={
                **{"subject": self.subject, "contrast": self.contrast, "R": self.achieved},
                **{f"NRMSE {row.method}": row.scores.nrmse for row in rows},
            },
            warnings=[
                *self.warnings,
                *(f"{method} was trained on this subject" for method in self.trained),
                *(f"slice {index}: left out: {reason}" for index, reason in sorted(self.left_out.items())),
            ],
        )

    def _of_scan(self, images: Float[Tensor, "slice y x"]) -> Float[Tensor, "_all y x"]:
        """Return images of all slices of the scan, nan where one is left out."""
        found = torch.full((self.n_slices, *images.shape[1:]), torch.nan)
        found[list(self.slices)] = images.float()
        return found


def _reaches(region: Bool[Tensor, "slice y x"]) -> bool:
    """Return whether a region has pixels where all metrics are known."""
    edge = WINDOW // 2
    return bool(region[:, edge:-edge, edge:-edge].any())


def _mean(scores: Sequence[S]) -> S:
    """Return the mean of each score over volumes, and of counts the sum."""
    means: dict[str, Any] = {}
    for each in fields(scores[0]):
        values = [getattr(one, each.name) for one in scores]
        means[each.name] = sum(values) if isinstance(values[0], int) else fmean(values)
    return type(scores[0])(**means)


def join_cases(parts: Sequence[ScoredScan]) -> list[ScoredScan]:
    """Return the parts of each scan and acceleration as one."""
    groups = defaultdict(list)
    for part in sorted(parts, key=lambda part: part.slices):
        groups[part.scan, part.acceleration].append(part)
    return [ScoredScan.join(group) for group in groups.values()]


def tables_of(cases: Sequence[ScoredScan]) -> list[Table]:
    """Return one table for the whole image, and one for each region that some case has."""
    regions = [(case, case.regions()) for case in cases]
    names = dict.fromkeys(name for _, found in regions for name in found)
    whole = Table(tuple(row for case in cases for row in case.rows()))
    return [
        whole,
        *(
            Table(tuple(row for case, found in regions if name in found for row in case.rows(found[name])), region=name)
            for name in names
        ),
    ]


def write_scores(
    folder: Path,
    cases: Sequence[ScoredScan],
    run: dict[str, str],
    wandb_project: str | None = None,
    failures: Sequence[Failed] = (),
) -> None:
    """Write and print the table of every case and method, and write a page of all cases and a picture of one.

    Args:
        folder: Where to.
        cases: What was scored.
        run: What was run, as name -> value.
        wandb_project: W&B project that gets the tables, too.
        failures: Scans that failed.
    """
    warnings = [*failed_scans(failures), *_warn(cases)]
    cases = [case for case in cases if case.slices]
    if not cases:
        raise ValueError("at least one slice must be usable: nothing could be scored")
    tables = tables_of(cases)
    print(tables[0].text(), flush=True)
    write_tables(folder, tables, run)
    if wandb_project is not None:
        log_tables(wandb_project, folder, run)
    _draw(folder / "picture.png", next((case for case in cases if case.std is not None), cases[0]))
    with atomic_folder(folder / "view") as part:
        names = [short_name(f"{each.scan}-R{each.acceleration:g}") for each in cases]
        for each, name in zip(cases, names, strict=True):
            each.view().write(part / name)
    *others, last = cases[0].images
    write_page(
        folder / "index.html",
        f"{last} and {count(len(others), 'other method')} on {count(len(cases), 'case')}",
        cases=[read_case(folder / "view" / name) for name in names],
        tables=[
            *(table_section(f"Results, {table.region}", table) for table in tables),
            *interval_sections([("test", table) for table in tables]),
        ],
        facts={"What was run": run},
        warnings=warnings,
    )


def _warn(cases: Sequence[ScoredScan]) -> list[str]:
    """Say, and return, what had to be guessed, which slices are left out, and which methods know the subjects."""
    guessed: dict[str, dict[str, None]] = defaultdict(dict)
    for case in cases:
        for warning in case.warnings:
            guessed[warning][case.scan] = None
    warnings = [f"{first_few([*scans])}: {warning}" for warning, scans in guessed.items()]
    warnings += [
        f"{case.name}: slice {index} is left out: {reason}"
        for case in cases
        for index, reason in sorted(case.left_out.items())
    ]
    scored = [case for case in cases if case.slices]
    tested = {case.subject for case in scored}
    for method in dict.fromkeys(method for case in scored for method in case.trained):
        subjects = sorted({case.subject for case in scored if method in case.trained})
        warnings.append(
            f"{method} was trained on {len(subjects)} of the {len(tested)} subjects of this test"
            f" ({', '.join(subjects)}): its scores there say nothing of new subjects, and are marked in the table"
        )
    print("".join(f"WARNING: {warning}\n" for warning in warnings), end="", file=sys.stderr)
    return warnings


def _draw(path: Path, case: ScoredScan) -> None:
    """Draw the middle slice of a case by every method."""
    index = len(case.slices) // 2
    *others, last = case.images
    panels = comparison(
        case.images[last][index],
        None if case.std is None else case.std[index],
        case.reference[index],
        {name: case.images[name][index] for name in others},
        name=last,
        acceleration=case.achieved,
    )
    shown = [for_readers(panel.image, case.affine, case.pixel_size) for panel in panels]
    panels = [replace(panel, image=image) for panel, (image, *_) in zip(panels, shown, strict=True)]
    _, pixel_size, orientation = shown[0]
    about = f"{case.contrast}, {last}, {orientation}"
    title = f"{case.scan}, slice {case.slices[index]}: {about}. Research use only"
    picture(path, panels, n_columns=4, title=title, pixel_size=pixel_size)
