"""What `test` scores: the images of every method put together from parts; their table, picture and page."""

import sys
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from lightning_mri.evaluation import (
    REFERENCE,
    Row,
    Table,
    View,
    comparison,
    interval_sections,
    picture,
    read_case,
    score,
    table_section,
    write_page,
)
from lightning_mri.files import atomic_folder
from lightning_mri.training.finished import short_name

TRAINED_ON = " (trained on this subject)"


@dataclass(frozen=True, eq=False)
class Case:
    """Slices of one scan at one acceleration, reconstructed by every method; magnitudes in units of the input.

    Args:
        scan: Name of the scan.
        subject: Who was scanned.
        contrast: Name of the contrast.
        acceleration: Nominal R.
        achieved: R that the mask gives.
        n_slices: How many slices the scan has.
        slices: Which ones these are.
        reference: Image of the fully sampled scan.
        images: That of each method.
        seconds: Time a slice of each method.
        std: Uncertainty of the last method; zero in slices without one, None if no slice has one.
        trained: Methods whose prior was trained on this subject: their scores tell how well it remembers.
        pixel_size: Size of a pixel (y, x) in mm, if known.
        left_out: Why slices could not be scored, by their numbers.
    """

    scan: str
    subject: str
    contrast: str
    acceleration: float
    achieved: float
    n_slices: int
    slices: tuple[int, ...]
    reference: Float[Tensor, "slice y x"]
    images: Mapping[str, Float[Tensor, "slice y x"]]
    seconds: Mapping[str, float]
    std: Float[Tensor, "slice y x"] | None = None
    trained: tuple[str, ...] = ()
    pixel_size: tuple[float, float] | None = None
    left_out: Mapping[int, str] = field(default_factory=dict)

    @classmethod
    def join(cls, parts: Sequence["Case"]) -> "Case":
        """Return all slices of one scan and acceleration.

        Raises:
            RuntimeError: If a slice is missing.
        """
        parts = sorted(parts, key=lambda part: part.slices)
        first, slices = parts[-1], tuple(index for part in parts for index in part.slices)
        left_out = {index: reason for part in parts for index, reason in part.left_out.items()}
        if sorted((*slices, *left_out)) != list(range(first.n_slices)):
            raise RuntimeError(f"{first.scan}: of its {first.n_slices} slices only {slices} were reconstructed")
        stds = [torch.zeros_like(part.reference) if part.std is None else part.std for part in parts]
        return replace(
            first,
            slices=slices,
            reference=torch.cat([part.reference for part in parts]),
            images={name: torch.cat([part.images[name] for part in parts]) for name in first.images},
            seconds={
                name: sum(part.seconds[name] * len(part.slices) for part in parts) / max(1, len(slices))
                for name in first.seconds
            },
            std=None if all(part.std is None for part in parts) else torch.cat(stds),
            left_out=left_out,
        )

    def rows(self) -> list[Row]:
        """Return the score of each method."""
        case = (self.scan, self.subject, self.contrast, self.acceleration, self.achieved)
        return [
            Row(
                *case,
                method + TRAINED_ON * (method in self.trained),
                score(image, self.reference),
                self.seconds[method],
            )
            for method, image in self.images.items()
        ]

    def view(self) -> View:
        """Return the case as the viewer shows it."""
        rows = self.rows()
        facts = {row.method: f"NRMSE {row.scores.nrmse:.4f}, SSIM {row.scores.ssim:.4f}" for row in rows}
        return View(
            name=f"{self.scan}, R = {self.acceleration:g}",
            images={REFERENCE: self.reference, **self.images},
            std=None if self.std is None else torch.where(self.std.amax((-2, -1), True) > 0, self.std, torch.nan),
            pixel_size=self.pixel_size,
            burnt=(f"R = {self.achieved:.1f}", self.contrast, "research use only"),
            facts=facts,
            scores={
                **{"subject": self.subject, "contrast": self.contrast, "R": round(self.achieved, 2)},
                **{f"NRMSE {row.method}": row.scores.nrmse for row in rows},
            },
            warnings=[f"{method} was trained on this subject" for method in self.trained],
        )


def join_cases(parts: Sequence[Case]) -> list[Case]:
    """Return the parts of each scan and acceleration as one.

    Raises:
        RuntimeError: If a slice is missing.
    """
    groups = defaultdict(list)
    for part in sorted(parts, key=lambda part: part.slices):
        groups[part.scan, part.acceleration].append(part)
    return [Case.join(group) for group in groups.values()]


def write_scores(folder: Path, cases: Sequence[Case], run: dict[str, str]) -> None:
    """Write and print the table of every case and method, and write a page of all cases and a picture of one.

    Args:
        folder: Where to.
        cases: What was reconstructed, all slices of each.
        run: How, for the page.
    """
    for case in cases:
        for index, reason in sorted(case.left_out.items()):
            print(
                f"WARNING: {case.scan}, R = {case.acceleration:g}: slice {index} is left out: {reason}", file=sys.stderr
            )
    cases = [case for case in cases if case.slices]
    if not cases:
        raise ValueError("at least one slice must be usable: nothing could be scored")
    table = Table(tuple(row for case in cases for row in case.rows()))
    print(table.text(), flush=True)
    for method in dict.fromkeys(method for case in cases for method in case.trained):
        subjects = sorted({case.subject for case in cases if method in case.trained})
        tested = {case.subject for case in cases}
        print(
            f"WARNING: {method} was trained on {len(subjects)} of the {len(tested)} subjects of this test"
            f" ({', '.join(subjects)}): its scores there say nothing of new subjects, and are marked in the table",
            file=sys.stderr,
        )
    table.write(folder)
    # the middle slice of a case that has an uncertainty, if any has
    case = next((case for case in cases if case.std is not None), cases[0])
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
    title = f"{case.scan}, slice {case.slices[index]}: {case.contrast}, {last}. Research use only"
    picture(folder / "picture.png", panels, n_columns=4, title=title, pixel_size=case.pixel_size)
    with atomic_folder(folder / "view") as part:
        for each in cases:
            each.view().write(part / short_name(f"{each.scan}-R{each.acceleration:g}"))
    views = sorted(path.parent for path in (folder / "view").rglob("case.json"))
    write_page(
        folder / "index.html",
        f"{last} and {len(others)} other methods on {len(cases)} case{'s' * (len(cases) != 1)}",
        cases=[read_case(view) for view in views],
        tables=[table_section("Results", table), *interval_sections([("test", table)])],
        facts={"What was run": run},
    )
