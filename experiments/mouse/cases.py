"""The mice that ways to reconstruct are compared on, and where their structures lie."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import torch
from scipy.ndimage import binary_fill_holes
from torch import Tensor
from torch.nn.functional import avg_pool2d

from lightning_mri.datasets import CacheEntry, LowFieldBatch, LowFieldDataset, LowFieldMouse
from lightning_mri.datasets.low_field_mouse import mouse_of
from lightning_mri.phantoms.mouse_atlas import Tissue
from lightning_mri.physics import REGIMES, GaussianLikelihood, MeasuredSpectrum, ModelMismatch
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


@dataclass(frozen=True)
class Case:
    """One slice of a mouse as measured.

    Args:
        batch: The slice.
        regions: Pixels of its brain and of structures in it, by name.
        scan: Slices of the mouse, this one among them: eight at most.
        misjudge: Returns the slice with its scanner misjudged.
    """

    batch: LowFieldBatch
    regions: Mapping[str, Tensor]
    scan: LowFieldBatch
    misjudge: Callable[[ModelMismatch], GaussianLikelihood]


@dataclass(frozen=True)
class Herd:
    """Mice in one regime.

    Args:
        name: What kind of mice they are; the folder of their results.
        regime: Name of the degradation.
        mice: Their data.
        n_cases: How many are compared on.
    """

    name: str
    regime: str
    mice: LowFieldMouse
    n_cases: int

    @cached_property
    def cases(self) -> list[Case]:
        """One slice of each test mouse."""
        return [self._case(entry) for entry in self.mice.entries("test")[: self.n_cases]]

    @cached_property
    def spectrum(self) -> MeasuredSpectrum:
        """How the power of mice at high field falls off; of mice that are not compared on."""
        entries = [*self.mice.entries("train"), *self.mice.entries("val")][:MOST_REFERENCES]
        images = [self._slices(entry)[0].reference for entry in entries]
        return MeasuredSpectrum.of(images, (self.mice.degradation.pixel_size,) * 2)

    def _slices(self, entry: CacheEntry, n: int = ALL, misjudged: ModelMismatch | None = None) -> LowFieldDataset:
        """Return the slices of a mouse, ``n`` at a time."""
        mice = self.mice
        return LowFieldDataset(mice.cache, [entry], mice.matrix, mice.degradation, n, misjudged)

    def _case(self, entry: CacheEntry) -> Case:
        slices, real = self._slices(entry, 1), self.mice.root is not None
        shown = len(slices) // 2 if real else max(len(slices) // 2 - 1, 0)
        batch, scan = slices[shown], self._slices(entry, MOST_SLICES)[shown // MOST_SLICES]
        regions = {BRAIN: batch.reference.abs() > 0} if real else _regions(self.mice, entry.name, shown)
        return Case(batch, regions, scan, lambda wrong: self._slices(entry, 1, wrong)[shown].likelihood)


def synthetic_herd(data: Path, regime: str, sizes: Sizes) -> Herd:
    """Return the synthetic mice in one regime.

    Args:
        data: Folder for their images.
        regime: Name of the degradation.
        sizes: How many, and how large.
    """
    mice = LowFieldMouse(
        degradation=REGIMES[regime],
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


def real_herd(data: Path, root: Path, regime: str, sizes: Sizes) -> Herd:
    """Return real, brain-extracted mice in one regime: the middle slice of each; nothing is trained or tuned on them.

    Args:
        data: Folder for their images.
        root: Folder of their files.
        regime: Name of the degradation.
        sizes: How many.
    """
    others = {"n_subjects": 1, "n_val": 1, "n_test": sizes.n_real, "n_processes": 1}
    mice = LowFieldMouse(root, REGIMES[regime], crop=REAL_MATRIX, cache_dir=data, **others)
    return _ready(REAL, regime, mice, sizes.n_real)


def _ready(name: str, regime: str, mice: LowFieldMouse, n_cases: int) -> Herd:
    mice.prepare_data()
    mice.setup()
    return Herd(name, regime, mice, n_cases)


def _regions(mice: LowFieldMouse, name: str, shown: int) -> dict[str, Tensor]:
    """Return where brain and structures are in a synthetic slice; without those that it does not show."""
    mouse, offsets = mouse_of(name, mice.cohort)
    fine = mouse.fractions(offsets[shown], (mice.cohort.size,) * 2, mice.cohort.pixel_size)
    share = avg_pool2d(fine[None], 2)[0]
    brain = torch.from_numpy(binary_fill_holes((share[: Tissue.FLUID + 1].sum(0) > 0.5).numpy()))
    inside = {name: brain & (share[tissue] > least) for name, (tissue, least) in STRUCTURES.items()}
    regions = {name: centre_crop(region, mice.matrix)[None] for name, region in {BRAIN: brain, **inside}.items()}
    return {name: region for name, region in regions.items() if bool(region.any())}
