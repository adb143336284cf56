"""Ways to reconstruct one slice, for every experiment that compares them: the methods of its `Study`."""

import os
import shutil
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from torch import Tensor

from lightning_mri.baselines import BartPICS, Baseline, CGSense, L1Wavelet, Tunable, ZeroFilled, tune
from lightning_mri.diffusion import NetworkPrior
from lightning_mri.evaluation import SLICE, Panel, Study, nrmse, picture, ssim
from lightning_mri.files import write_whole
from lightning_mri.reconstruction import Problem, Reconstructor, label_of, seeds_of
from lightning_mri.sampling import Sampler, posterior
from lightning_mri.scaling import Scaling
from lightning_mri.weights import fingerprint

L1, BART = "L1-wavelet", "L1-wavelet (BART)"


class Slice(ABC):
    """One slice whose truth is known: the case of a `Study`, a frozen dataclass.

    Attributes:
        subject: Whose slice it is; seeds follow from it and the slice.
        slice_index: Number of the slice in its scan.
        contrast: Contrast name.
    """

    subject: str
    slice_index: int = 0
    contrast: str | None = None

    @property
    @abstractmethod
    def group(self) -> str:
        """What the slices of one line of a table share."""

    @property
    @abstractmethod
    def truth(self) -> Tensor:
        """True magnitude [1, y, x], in the units of k-space."""

    @abstractmethod
    def problem(self, scaling: Scaling) -> Problem:
        """Return the slice as prepared, coil maps included: all methods get the same."""

    @property
    def name(self) -> str:
        """Group and subject."""
        return f"{self.group}, {self.subject}"

    @property
    def tuning(self) -> "Sequence[Slice]":
        """Slices of others to choose the weights of baselines on; the slice itself, whose weights are an oracle's."""
        return [self]


@dataclass(frozen=True, eq=False)
class Row:
    """One slice by one method."""

    group: str  # see `Slice`
    subject: str  # see `Slice`
    method: str  # name of the method
    nrmse: float  # error of the magnitude over the whole slice, convention `slice`
    ssim: float  # likewise
    seconds: float  # processor time without preparation, which is the same for all
    acceleration: float  # achieved R
    remarks: list[str]  # chosen weight, or warnings
    image: Tensor  # complex image [y, x], in the units of k-space
    truth: Tensor  # true magnitude [y, x]

    @property
    def magnitude(self) -> Tensor:
        """Magnitude [y, x]."""
        return self.image.abs()


def row(case: Slice, method: str, problem: Problem, image: Tensor, seconds: float, remarks: Sequence[str] = ()) -> Row:
    """Score an image [1, y, x] in the units of k-space."""
    scores = (float(metric(image, case.truth, SLICE)) for metric in (nrmse, ssim))
    about = (seconds, problem.acceleration, list(remarks), image[0], case.truth[0])
    return Row(case.group, case.subject, method, *scores, *about)


def processor_seconds() -> float:
    """Return the processor time so far, that of programs such as BART included, which other work does not lengthen."""
    return sum(os.times()[:4])


def write(path: Path, text: str) -> None:
    """Write and print a table with what belongs to it; folders are made if needed."""
    write_whole(path, text)
    print(text)


def draw_pair(path: Path, theirs: Row, ours: Row, title: str) -> None:
    """Draw the truth, two images of one slice, and the error of the second one."""
    panels = [
        Panel("truth", ours.truth),
        *(Panel(each.method, each.image, f"NRMSE {each.nrmse:.3f}") for each in (theirs, ours)),
        Panel("error x 5", ours.magnitude - ours.truth, f"of {ours.method}", 5.0),
    ]
    picture(path, panels, n_columns=4, title=title)


@dataclass(frozen=True, eq=False)
class Sampled:
    """A prior with a sampler and nothing else: no guard. The image is the mean of ``n_samples`` draws."""

    name: str
    prior: NetworkPrior
    sampler: Sampler
    n_samples: int = 1

    @property
    def key(self) -> str:
        """What its results depend on."""
        return f"{fingerprint(self.prior)} {self.prior.labels} {self.sampler!r} x {self.n_samples}"

    def run(self, case: Slice) -> Row:
        """Return the row of a slice."""
        problem, begun = case.problem(self.prior.scaling), processor_seconds()
        label, _ = label_of(case.contrast, self.prior)
        seeds = seeds_of(case.subject, [case.slice_index], self.n_samples)
        if self.n_samples == 1:
            x = self.sampler.sample(self.prior, problem.likelihood, seeds, label)[0]
        else:
            x = posterior(self.sampler, self.prior, problem.likelihood, seeds, label, n_parallel=1).mean
        return row(case, self.name, problem, problem.finish(x), processor_seconds() - begun)


@dataclass(frozen=True, eq=False)
class Guarded(Sampled):
    """A prior as `predict` uses it, guard included, but for the uncertainty."""

    def run(self, case: Slice) -> Row:
        """Return the row of a slice, with its warnings."""
        problem, begun = case.problem(self.prior.scaling), processor_seconds()
        reconstructor = Reconstructor(self.prior, self.sampler, self.n_samples, uncertainty=None)
        result = reconstructor.solve(problem, case.subject, [case.slice_index], case.contrast)
        warnings = [warning for warning in result.warnings if "uncertainty" not in warning]
        return row(case, self.name, problem, result.image, processor_seconds() - begun, warnings)


@dataclass(frozen=True)
class Weight:
    """The weight of a baseline that was best where it was tuned."""

    weight: float


@dataclass(frozen=True, eq=False)
class Classical:
    """A baseline; if it has a weight, with the one of lowest mean NRMSE on the slices to tune on."""

    name: str  # for tables
    choice: Baseline  # the baseline
    folder: Path  # for the weights, which are kept as rows are
    # weights to try; those that the baseline names if not given, that of ``choice`` if empty
    weights: tuple[float, ...] | None = None
    scaling: Scaling = Scaling()  # noqa: RUF009 - frozen; scale contract of the problems
    version: str = ""  # what the baseline's results depend on beside its settings, such as a network's weights

    @property
    def key(self) -> str:
        """What its results depend on."""
        return f"{self.choice!r} {self.weights} {self.scaling} {self.version}"

    def run(self, case: Slice) -> Row:
        """Return the row of a slice, with the weight."""
        choice, problem = self.tuned(case), case.problem(self.scaling)
        begun = processor_seconds()
        image = problem.finish(choice.reconstruct(problem.likelihood))
        remarks = [f"{choice.weight:g}"] if isinstance(choice, Tunable) else []
        return row(case, self.name, problem, image, processor_seconds() - begun, remarks)

    def tuned(self, case: Slice) -> Baseline:
        """Return the baseline with the weight for a slice."""
        if not isinstance(self.choice, Tunable) or self.weights == ():
            return self.choice
        tuning, settings = case.tuning, self.choice
        study = Study(self.folder / "weights", Weight)
        best = study.keep(
            f"{self.name}, {case.group if case not in tuning else case.name}",
            f"{self.key} {tuning!r}",
            lambda: Weight(self._tune(settings, tuning)),
        )
        described: Any = settings  # every baseline is a dataclass, which its abstract class cannot say
        return replace(described, weight=best.weight)

    def _tune(self, choice: Tunable, slices: Sequence[Slice]) -> float:
        problems = [case.problem(self.scaling) for case in slices]
        truths = [
            p.to_image_units(case.truth.to(p.likelihood.y.dtype)) for p, case in zip(problems, slices, strict=True)
        ]
        return tune([problem.likelihood for problem in problems], truths, self.weights, choice).weight


def classical(folder: Path, weights: tuple[float, ...] | None = None) -> list[Classical]:
    """Return zero-filled, CG-SENSE, L1-wavelet and, where it is installed, BART's."""
    choices: dict[str, Baseline] = {"zero-filled": ZeroFilled(), "CG-SENSE": CGSense(), L1: L1Wavelet()}
    choices |= {BART: BartPICS()} if shutil.which("bart") else {}
    return [Classical(name, choice, folder, weights) for name, choice in choices.items()]
