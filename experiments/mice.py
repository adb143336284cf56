"""The mice that methods are compared on, the regimes they are scanned in, and where their structures lie."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import torch
import yaml
from scipy.ndimage import binary_fill_holes
from torch import Tensor
from torch.nn.functional import avg_pool2d

from lightning_mri.cli.options import find_configuration
from lightning_mri.datasets import CacheEntry, LowFieldBatch, LowFieldDataset, LowFieldMouse
from lightning_mri.datasets.low_field_mouse import mouse_of
from lightning_mri.phantoms.mouse_atlas import Tissue
from lightning_mri.physics import GaussianLikelihood, LowField, MeasuredSpectrum, ModelMismatch
from lightning_mri.tensors import centre_crop

REAL_MATRIX = (80, 112)
MOST_REFERENCES, MOST_SLICES, ALL = 20, 8, 10**6
BRAIN, SYNTHETIC, REAL = "brain", "synthetic", "real"
STRUCTURES = {"ventricles": (Tissue.FLUID, 0.3), "hippocampus": (Tissue.HIPPOCAMPUS, 0.5)}
"""Tissue, and the least share of a pixel that it must fill; ventricles are hardly wider than a pixel."""


@dataclass(frozen=True)
class Sizes:
    """How large the comparison is.

    Args:
        n_steps: Optimiser steps of every training of a prior, eight images each.
        n_unet_steps: Those of the supervised network.
        n_subjects: Mice to train on.
        n_val: Mice to tune on.
        n_test: Mice kept for the comparison.
        n_scored: How many of them are compared on, one slice of each.
        slices_per_subject: Slices of each mouse; the one before the middle is compared on: it has a hippocampus.
        matrix: Pixels along y and x that are trained on and reconstructed.
        paper_levels: Noise levels of the published sampler, two evaluations each.
        physics_levels: Noise levels of ours, one evaluation each.
        n_draws: Draws whose mean is one of our images, and whose spread is its uncertainty.
        n_real: Real mice to compare on, where there are any; the others, two at least, tell what mice are like.
    """

    n_steps: int = 500
    n_unet_steps: int = 1000
    n_subjects: int = 60
    n_val: int = 4
    n_test: int = 10
    n_scored: int = 10
    slices_per_subject: int = 4
    matrix: int = 96
    paper_levels: int = 50
    physics_levels: int = 20
    n_draws: int = 8
    n_real: int = 6


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


@dataclass(frozen=True, eq=False, repr=False)
class Case:
    """One slice of a mouse as measured.

    Args:
        cohort: Where it comes from.
        entry: The animal.
    """

    cohort: "Cohort"
    entry: CacheEntry

    def __repr__(self) -> str:
        """Return all that the slice depends on."""
        mice = self.cohort.mice
        return f"{self.cohort.kind} {self.entry} {mice.matrix} {mice.degradation!r}"

    @property
    def name(self) -> str:
        """Kind, regime and animal."""
        return f"{self.cohort.kind}, {self.cohort.regime}, {self.entry.name}"

    @property
    def is_real(self) -> bool:
        """Whether it was measured."""
        return self.cohort.mice.root is not None

    @cached_property
    def shown(self) -> int:
        """Index of the slice: the middle, of synthetic mice the one before, which has a hippocampus."""
        n = len(self.cohort.slices(self.entry, 1))
        return n // 2 if self.is_real else max(n // 2 - 1, 0)

    @cached_property
    def batch(self) -> LowFieldBatch:
        """The slice."""
        return self.cohort.slices(self.entry, 1)[self.shown]

    @cached_property
    def scan(self) -> LowFieldBatch:
        """Slices of the mouse, this one among them: eight at most."""
        return self.cohort.slices(self.entry, MOST_SLICES)[self.shown // MOST_SLICES]

    @cached_property
    def regions(self) -> Mapping[str, Tensor]:
        """Pixels of the brain and of structures in it, by name."""
        if self.is_real:
            return {BRAIN: self.batch.reference.abs() > 0}
        return _regions(self.cohort.mice, self.entry.name, self.shown)

    def mismatched(self, mismatch: ModelMismatch) -> GaussianLikelihood:
        """Return the slice with its scanner misjudged."""
        return self.cohort.slices(self.entry, 1, mismatch)[self.shown].likelihood


@dataclass(frozen=True, eq=False)
class Cohort:
    """Mice in one regime.

    Args:
        kind: Synthetic or real.
        regime: Name of the degradation.
        mice: Their data.
        n_cases: How many are compared on.
    """

    kind: str
    regime: str
    mice: LowFieldMouse
    n_cases: int

    @cached_property
    def cases(self) -> list[Case]:
        """One slice of each test mouse."""
        return [Case(self, entry) for entry in self.mice.entries("test")[: self.n_cases]]

    @cached_property
    def spectrum(self) -> MeasuredSpectrum:
        """How the power of mice at high field falls off; of mice that are not compared on."""
        entries = [*self.mice.entries("train"), *self.mice.entries("val")][:MOST_REFERENCES]
        images = [self.slices(entry)[0].reference for entry in entries]
        return MeasuredSpectrum.of(images, (self.mice.degradation.pixel_size,) * 2)

    def slices(self, entry: CacheEntry, n: int = ALL, mismatch: ModelMismatch | None = None) -> LowFieldDataset:
        """Return the slices of a mouse, ``n`` at a time."""
        mice = self.mice
        return LowFieldDataset(mice.cache, [entry], mice.matrix, mice.degradation, n, mismatch)


def synthetic_cohort(data: Path, regime: str, scanner: LowField, sizes: Sizes) -> Cohort:
    """Return the synthetic mice in one regime, whose images are kept in a folder."""
    mice = LowFieldMouse(
        degradation=scanner,
        n_subjects=sizes.n_subjects,
        n_val=sizes.n_val,
        n_test=sizes.n_test,
        slices_per_subject=sizes.slices_per_subject,
        crop=(sizes.matrix, sizes.matrix),
        n_reconstructions=sizes.n_val * 2,
        cache_dir=data,
        n_processes=1,
    )
    return _ready(SYNTHETIC, regime, mice, min(sizes.n_scored, sizes.n_test))


def real_cohort(data: Path, root: Path, regime: str, scanner: LowField, sizes: Sizes) -> Cohort:
    """Return real, brain-extracted mice in one regime; nothing is trained or tuned on them."""
    others = {"n_subjects": 1, "n_val": 1, "n_test": sizes.n_real, "n_processes": 1}
    return _ready(REAL, regime, LowFieldMouse(root, scanner, crop=REAL_MATRIX, cache_dir=data, **others), sizes.n_real)


def _ready(kind: str, regime: str, mice: LowFieldMouse, n_cases: int) -> Cohort:
    mice.prepare_data()
    mice.setup()
    return Cohort(kind, regime, mice, n_cases)


def _regions(mice: LowFieldMouse, name: str, shown: int) -> dict[str, Tensor]:
    """Return where brain and structures are in a synthetic slice; without those that it does not show."""
    mouse, offsets = mouse_of(name, mice.cohort)
    fine = mouse.fractions(offsets[shown], (mice.cohort.size,) * 2, mice.cohort.pixel_size)
    share = avg_pool2d(fine[None], 2)[0]
    brain = torch.from_numpy(binary_fill_holes((share[: Tissue.FLUID + 1].sum(0) > 0.5).numpy()))
    inside = {name: brain & (share[tissue] > least) for name, (tissue, least) in STRUCTURES.items()}
    regions = {name: centre_crop(region, mice.matrix)[None] for name, region in {BRAIN: brain, **inside}.items()}
    return {name: region for name, region in regions.items() if bool(region.any())}
