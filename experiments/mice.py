"""The mice that methods are compared on, how they are scanned, what is known of the scanner, where structures lie."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from pathlib import Path

import torch
import yaml
from methods import Classical, Row, Sampled, Slice
from scipy.ndimage import binary_erosion, binary_fill_holes
from torch import Tensor
from torch.nn.functional import avg_pool2d

from lightning_mri.cli.options import find_configuration
from lightning_mri.datasets import CacheEntry, LowFieldBatch, LowFieldDataset, LowFieldMouse
from lightning_mri.datasets.low_field_mouse import mouse_of
from lightning_mri.phantoms.mouse_atlas import MouseTissue
from lightning_mri.physics import (
    GaussianLikelihood,
    LowField,
    MeasuredSpectrum,
    ModelMismatch,
    ScannerEstimate,
    estimate_noise_std,
    estimate_scanner,
    sense,
    without_degradation,
)
from lightning_mri.reconstruction import Problem, prepare_likelihood
from lightning_mri.scaling import Scaling
from lightning_mri.tensors import centre_crop

REAL_MATRIX = (80, 112)
MOST_REFERENCES, MOST_SLICES, ALL = 20, 8, 10**6
STRUCTURES = {"ventricles": (MouseTissue.FLUID, 0.3), "hippocampus": (MouseTissue.HIPPOCAMPUS, 0.5)}
"""Tissue, and the least share of a pixel that it must fill; ventricles are hardly wider than a pixel."""

INSIDE, N_INSIDE = "inside", 3
"""Of real mice: the brain without this many pixels at its edge, where brain extraction has cut to zero."""


def regimes() -> dict[str, LowField]:
    """Return the four regimes of the AAPM 2026 abstract, which prints the SNR; the other numbers are ours."""
    stems = ("noise", "noise_blur", "noise_blur_t2star", "noise_blur_t2star_b0")
    scanners = {}
    for stem in stems:
        layer = yaml.safe_load(find_configuration(f"mouse/regimes/{stem}").read_text())
        described = layer["data"]["init_args"]["degradation"]
        snr_db = tuple(described.pop("snr_db"))
        scanners[stem.replace("_", " + ").replace("t2star", "T2*").replace("b0", "B0")] = LowField(snr_db, **described)
    return scanners


@dataclass(frozen=True, eq=False)
class Cohort:
    """Mice in one regime."""

    regime: str  # name of the degradation
    mice: LowFieldMouse  # their data
    # slices of others, on which the weights of baselines are chosen; those of its validation if not given
    tuning: Sequence["Case"] = field(default=())

    def __post_init__(self) -> None:
        """Draw the mice, or read them."""
        self.mice.prepare_data()
        self.mice.setup()

    @property
    def is_real(self) -> bool:
        """Whether the mice were measured."""
        return self.mice.root is not None

    def cases(self, *sides: str) -> list["Case"]:
        """Return one slice of each mouse of some sides of the split."""
        return [Case(self, entry) for side in sides for entry in self.mice.entries(side)]

    @cached_property
    def spectrum(self) -> MeasuredSpectrum:
        """How the power of mice at high field falls off; of mice that are not compared on."""
        entries = [*self.mice.entries("train"), *self.mice.entries("val")][:MOST_REFERENCES]
        images = [self.slices(entry)[0].reference for entry in entries]
        return MeasuredSpectrum.of(images, (self.mice.degradation.pixel_size,) * 2)

    def slices(self, entry: CacheEntry, n: int = ALL, mismatch: ModelMismatch | None = None) -> LowFieldDataset:
        """Return the slices of a mouse, ``n`` at a time."""
        return self.mice.low_field([entry], n, mismatch)


@dataclass(frozen=True, eq=False, repr=False)
class Case(Slice):
    """One slice of a mouse."""

    cohort: Cohort  # where it comes from
    entry: CacheEntry  # the animal
    scanner: str = "true"  # what a reconstruction knows of the scanner, among `SCANNERS`
    contrast: str | None = None  # what a prior is asked for: of heads, anything; their T2w is not that of mice

    def __repr__(self) -> str:
        """Return all that the slice depends on."""
        return f"{self.entry} {self.cohort.mice.matrix} {self.cohort.mice.degradation!r} {self.scanner} {self.contrast}"

    @property
    def group(self) -> str:
        """The regime."""
        return self.cohort.regime

    @property
    def subject(self) -> str:  # type: ignore[override]
        """The animal."""
        return self.entry.name

    @property
    def slice_index(self) -> int:  # type: ignore[override]
        """The middle, of synthetic mice the one before, which has a hippocampus."""
        n = self.entry.shape[0]
        return n // 2 if self.cohort.is_real else max(n // 2 - 1, 0)

    @property
    def truth(self) -> Tensor:
        """Magnitude at high field, [1, y, x]."""
        return self.batch.reference.abs()

    @property
    def tuning(self) -> "Sequence[Case]":
        """Validation mice."""
        return self.cohort.tuning or self.cohort.cases("val")

    @cached_property
    def batch(self) -> LowFieldBatch:
        """The slice as measured."""
        return self.cohort.slices(self.entry, 1)[self.slice_index]

    @cached_property
    def scan(self) -> LowFieldBatch:
        """Slices of the mouse, this one among them: eight at most."""
        return self.cohort.slices(self.entry, MOST_SLICES)[self.slice_index // MOST_SLICES]

    def problem(self, scaling: Scaling) -> Problem:
        """Return the slice as prepared, with what is known of the scanner."""
        return prepare_likelihood(SCANNERS[self.scanner](self), scaling)

    @cached_property
    def regions(self) -> Mapping[str, Tensor]:
        """Pixels [1, y, x] of the brain and of structures in it, by name; without those that are not in the slice."""
        mice = self.cohort.mice
        if self.cohort.is_real:
            brain = self.truth > 0
            inside = torch.from_numpy(binary_erosion(brain[0].numpy(), iterations=N_INSIDE))
            return {"brain": brain, INSIDE: inside[None]}
        mouse, offsets = mouse_of(self.entry.name, mice.cohort)
        fine = mouse.fractions(offsets[self.slice_index], (mice.cohort.size,) * 2, mice.cohort.pixel_size)
        share = avg_pool2d(fine[None], 2)[0]
        brain = torch.from_numpy(binary_fill_holes((share[: MouseTissue.FLUID + 1].sum(0) > 0.5).numpy()))
        inside = {name: brain & (share[tissue] > least) for name, (tissue, least) in STRUCTURES.items()}
        regions = {name: centre_crop(region, mice.matrix)[None] for name, region in {"brain": brain, **inside}.items()}
        return {name: region for name, region in regions.items() if bool(region.any())}


def estimated(case: Case) -> ScannerEstimate:
    """Return what slices of a mouse tell of the scanner, beside the spectrum of other mice at high field."""
    scan, cohort = case.scan, case.cohort
    assert scan.pixel_size is not None, "simulated scans have one"
    return estimate_scanner(scan.kspace, scan.mask, scan.pixel_size, cohort.mice.degradation.readout_s, cohort.spectrum)


def _estimated_scanner(case: Case) -> GaussianLikelihood:
    """Return the slice with the blur, decay and noise that were estimated; its B0 phase stays in the image."""
    true, likelihood = case.cohort.mice.degradation, case.batch.likelihood
    scanner = LowField(readout_s=true.readout_s, pixel_size=true.pixel_size).matched(estimated(case))
    shape = (likelihood.y.shape[-2], likelihood.y.shape[-1])
    A = sense(torch.ones(1, 1, 1, *shape, dtype=torch.complex64), case.batch.mask, scanner.damping(shape))
    return likelihood.replace(A=A, noise_std=estimate_noise_std(likelihood.y, case.batch.mask))


def _misjudged_scanner(case: Case, factor: float) -> GaussianLikelihood:
    return case.cohort.slices(case.entry, 1, ModelMismatch(factor))[case.slice_index].likelihood


SCANNERS: dict[str, Callable[[Case], GaussianLikelihood]] = {
    "true": lambda case: case.batch.likelihood,
    "none": lambda case: without_degradation(case.batch.likelihood),
    "25 % too strong": partial(_misjudged_scanner, factor=1.25),
    "25 % too weak": partial(_misjudged_scanner, factor=0.75),
    "estimated": _estimated_scanner,
}
"""What a method knows of the scanner; none: neither damping nor phase."""


@dataclass(frozen=True, eq=False)
class Knowing:
    """A method with what it knows of the scanner, and the contrast that its prior is asked for."""

    method: Classical | Sampled
    scanner: str = "true"
    contrast: str | None = None

    @property
    def name(self) -> str:
        """That of the method."""
        return self.method.name

    @property
    def key(self) -> str:
        """What its results depend on."""
        return f"{self.method.key} {self.scanner} {self.contrast}"

    def run(self, case: Case) -> Row:
        """Return the row of a slice."""
        return self.method.run(replace(case, scanner=self.scanner, contrast=self.contrast))


def synthetic_cohort(data: Path, regime: str, scanner: LowField, n_train: int, n_test: int) -> Cohort:
    """Return synthetic mice in one regime, whose images are kept in a folder."""
    settings = {"slices_per_subject": 4, "crop": (96, 96), "cache_dir": data, "n_processes": 1}
    return Cohort(regime, LowFieldMouse(None, scanner, n_train, n_test=n_test, **settings))


def real_cohort(data: Path, root: Path, like: Cohort) -> Cohort:
    """Return eight real, brain-extracted mice in the regime of synthetic ones: six that test, two to know them by."""
    settings = {"n_subjects": 1, "n_val": 1, "n_test": 6, "crop": REAL_MATRIX, "cache_dir": data, "n_processes": 1}
    return Cohort(like.regime, LowFieldMouse(root, like.mice.degradation, **settings), like.cases("val"))
