"""Synthetic heads behind a simulated array: the slices of the experiments that change one thing at a time."""

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import torch
from methods import Slice
from torch import Tensor

from lightning_mri.phantoms import Geometry, Head, Scanner
from lightning_mri.physics import Equispaced, SamplingPattern, fft2c, find_acs, ifft2c
from lightning_mri.reconstruction import Problem, prepare
from lightning_mri.scaling import Scaling
from lightning_mri.tensors import complex_noise, derive_seed


class Change(ABC):
    """What happens to coil images [1, coil, y, x] before they are measured."""

    @abstractmethod
    def __call__(self, images: Tensor) -> Tensor:
        """Return the changed images."""


@dataclass(frozen=True)
class Scenario:
    """One kind of scan."""

    name: str  # for the table
    n_coils: int = 8  # coils of the array
    matrix: tuple[int, int] = (192, 160)  # pixels (y, x) before ``change``
    plane_mm: tuple[float, float] = (250.0, 208.0)  # field of view (y, x) before ``change``
    pattern: SamplingPattern = Equispaced(4, 16)  # noqa: RUF009 - frozen; which samples are acquired
    snr_db: float = 20.0  # signal-to-noise ratio of fully sampled k-space
    change: Change | None = None  # what happens to the coil images, if anything does
    partial_fourier: float = 1.0  # part of the phase-encode lines that partial Fourier leaves
    contrasts: tuple[str, ...] = ("T2w",)  # what is scanned, in turn
    rotation_deg: float = 0.0  # how far the head turns half-way through the scan, just before the centre of k-space
    breaks_maps: bool = False  # whether the first coil has the wrong sign in the calibration lines, and nowhere else
    noise_factor: float = 1.0  # what the noise level is multiplied with that reconstructions are given


@dataclass(frozen=True)
class Case(Slice):
    """One head of a scenario; no prior was trained on it."""

    scenario: Scenario  # how it is scanned
    subject: str  # name of the head; array, noise and mask follow from it
    contrast: str  # what is scanned
    n_tuning: int = 1  # number of other heads, scanned alike, to choose the weights of baselines on

    @property
    def group(self) -> str:
        """The scenario."""
        return self.scenario.name

    @property
    def truth(self) -> Tensor:
        """True root of the sum of squares over coils, [1, y, x]."""
        return _measured(self)[-1]

    @property
    def tuning(self) -> "Sequence[Case]":
        """Other heads of the scenario."""
        return heads(self.subject.split("-")[0], "validation", self.scenario, self.n_tuning)

    def problem(self, scaling: Scaling) -> Problem:
        """Return the scan as prepared, with the noise level that reconstructions are given."""
        kspace, mask, _ = _measured(self)
        problem, factor = prepare(kspace, mask, scaling), self.scenario.noise_factor
        return problem if factor == 1 else prepare(kspace, mask, scaling, noise_std=factor * problem.noise_std)


def heads(study: str, side: str, scenario: Scenario, n: int) -> list[Case]:
    """Return heads of one side, ``test`` or ``validation``; the scenario's contrasts take turns."""
    names = scenario.contrasts
    return [Case(scenario, f"{study}-{side}-{i}", names[i % len(names)], n) for i in range(n)]


@lru_cache(maxsize=8)
def _measured(case: Case) -> tuple[Tensor, Tensor, Tensor]:
    """Return k-space [1, coil, y, x], mask and truth; noise and mask follow from the subject."""
    scenario, subject = case.scenario, case.subject
    images = _coil_images(case)
    kspace = fft2c(images)
    if scenario.rotation_deg:
        before = fft2c(_coil_images(case, scenario.rotation_deg))
        half = kspace.shape[-1] // 2
        kspace[..., :half] = before[..., :half]
    matrix = (kspace.shape[-2], kspace.shape[-1])
    generator = torch.Generator().manual_seed(derive_seed(subject, "noise"))
    noise_std = (kspace.abs().square().mean() / (2 * 10 ** (scenario.snr_db / 10))).sqrt()
    mask = scenario.pattern.draw(matrix, derive_seed(subject, "mask"))
    mask[..., round(scenario.partial_fourier * matrix[1]) :] = False
    measured = (kspace + noise_std * complex_noise(kspace.shape, generator)) * mask
    if scenario.breaks_maps:
        measured[:, 0, :, find_acs(mask).x] *= -1
    return measured, mask, torch.linalg.vector_norm(images, dim=1)


def _coil_images(case: Case, rotation_deg: float = 0.0) -> Tensor:
    """Return noiseless images [1, coil, y, x], changed."""
    scenario = case.scenario
    rows, columns = scenario.matrix
    pixel = (scenario.plane_mm[0] / rows, scenario.plane_mm[1] / columns)
    geometry = Geometry(scenario.matrix, pixel, tilt=(0.0, 0.0, rotation_deg))
    image = Head(case.subject).slice(case.contrast, geometry).image
    images = ifft2c(Scanner(scenario.n_coils, math.inf, 1).measure(image[None], derive_seed(case.subject), pixel))
    return images if scenario.change is None else scenario.change(images)
