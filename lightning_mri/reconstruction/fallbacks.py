"""Other ways to reconstruct a slice whose reconstruction disagrees with its data."""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch

from lightning_mri.baselines import Baseline, L1Wavelet
from lightning_mri.physics import estimate_noise_std, sense
from lightning_mri.reconstruction.draws import Estimate
from lightning_mri.reconstruction.maps import ESPIRIT_LINES
from lightning_mri.reconstruction.problem import LOWEST_NOISE, Problem

SAME_NOISE = 0.1
"""Logarithm of the ratio below which two noise levels count as one: a reconstruction hardly differs by 10 %."""


Draw = Callable[[Problem], Estimate]
"""The user's choice of prior and sampler, which reconstructs any problem."""


class Fallback(ABC):
    """Another way to reconstruct the same data."""

    @property
    @abstractmethod
    def description(self) -> str:
        """What is done, to follow "reconstructed with"."""

    @abstractmethod
    def reconstruct(self, problem: Problem, draw: Draw) -> Estimate | None:
        """Return the slices reconstructed that way; None where it would change nothing.

        Args:
            problem: Slices of parallel imaging, A = Mask @ Fourier @ Maps.
            draw: The first way, with prior and sampler.
        """


@dataclass(frozen=True)
class SoftSense(Fallback):
    """Two sets of coil maps, for a field of view that cuts or wraps the object (Uecker et al. 2014)."""

    description = "two sets of coil maps"

    def reconstruct(self, problem: Problem, draw: Draw) -> Estimate | None:
        """Return what the sampler makes of two sets; None for one coil, few lines, or maps that have two."""
        n_sets, n_coils = problem.maps.shape[1:3]
        if n_sets > 1 or n_coils < 2 or min(problem.acs.shape) < ESPIRIT_LINES:
            return None
        maps, likelihood = problem.calibration.maps(problem.acs, 2), problem.likelihood
        A = sense(maps, problem.acquired)
        return draw(replace(problem, likelihood=likelihood.replace(A=A), maps=maps, phase=None))


@dataclass(frozen=True)
class EstimatedNoise(Fallback):
    """The noise level estimated from the data, or a multiple: a larger one trusts a wrong model less.

    Args:
        factor: Multiple of the estimate.
    """

    factor: float = 1.0

    def __post_init__(self) -> None:
        if not self.factor > 0:
            raise ValueError(f"factor must be positive: got {self.factor}")

    @property
    def description(self) -> str:
        """What is done."""
        times = "" if self.factor == 1 else f"{self.factor:g} x "
        return f"{times}the noise level estimated from the data"

    def reconstruct(self, problem: Problem, draw: Draw) -> Estimate | None:
        """Return what the sampler makes of that noise level; None where it is the one used before."""
        noise = (self.factor * estimate_noise_std(problem.likelihood.y, problem.acquired)).clamp(min=LOWEST_NOISE)
        if bool(((noise / problem.likelihood.noise_std).log().abs() < SAME_NOISE).all()):
            return None
        return draw(replace(problem, likelihood=problem.likelihood.replace(noise_std=noise)))


@dataclass(frozen=True)
class BaselineFallback(Fallback):
    """A method without a learnt prior.

    Args:
        baseline: Which one.
    """

    baseline: Baseline

    @property
    def description(self) -> str:
        """What is done."""
        return f"{self.baseline!r} instead of the prior, without standard deviation"

    def reconstruct(self, problem: Problem, draw: Draw) -> Estimate | None:
        """Return what the baseline makes of the slices; the sampler is not asked."""
        image = self.baseline.reconstruct(problem.likelihood)
        return Estimate(problem, image, torch.full_like(image.real, math.nan), problem.likelihood)


FALLBACKS: tuple[Fallback, ...] = (
    SoftSense(),
    EstimatedNoise(),
    EstimatedNoise(3.0),
    BaselineFallback(L1Wavelet(0.002)),
    BaselineFallback(L1Wavelet(0.008)),
    BaselineFallback(L1Wavelet(0.032)),
)
"""From what changes least to giving up the prior."""
