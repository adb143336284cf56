"""Draws of a sampler for a batch of slices: the mean is the image, their spread its standard deviation."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Complex, Float, Int
from torch import Tensor

from lightning_mri.diffusion import Prior
from lightning_mri.io.contrasts import contrast_of
from lightning_mri.physics import GaussianLikelihood, Maps
from lightning_mri.reconstruction.problem import Problem
from lightning_mri.reconstruction.uncertainty import Uncertainty
from lightning_mri.sampling import EstimateType, Progress, Sampler, posterior
from lightning_mri.tensors import derive_seed

ShareDone = Callable[[float], None]
"""Called with the share of the work that is done, 0 ... 1."""

IMAGES_ON_GPU = 64
"""Slices times samples that a GPU computes at once, which fewer leave idle."""

NOTHING = "nothing"
"""What there is a standard deviation of where none was asked for."""


@dataclass(frozen=True, eq=False)
class Estimate:
    """What one method made of prepared slices, in image units.

    Args:
        problem: What was reconstructed.
        image: Images [batch, (set,) y, x]; the mean, if several samples were drawn.
        std: Standard deviation of the magnitude over draws, nan where there were none.
        likelihood: That of the problem, with the maps as the method left them.
        samples: The draws [sample, batch, (set,) y, x], where they were to be kept.
    """

    problem: Problem
    image: Complex[Tensor, "..."]
    std: Float[Tensor, "..."]
    likelihood: GaussianLikelihood
    samples: Complex[Tensor, "..."] | None = None


@dataclass(frozen=True, eq=False)
class Draws:
    """Prior, sampler and seeds for a batch of slices.

    Args:
        prior: What is known of images.
        sampler: How the images are drawn.
        seeds: One a sample and slice.
        label: Contrast, as index of ``prior.labels``.
        uncertainty: Further draws for the standard deviation of a point estimate.
        keep: Whether the draws are kept.
    """

    prior: Prior
    sampler: Sampler
    seeds: Int[Tensor, "sample slice"]
    label: int | None = None
    uncertainty: Uncertainty | None = None
    keep: bool = False

    @property
    def further(self) -> Uncertainty | None:
        """The further draws that are made: none where the samples themselves have a spread."""
        return None if self._spread else self.uncertainty

    @property
    def std_from(self) -> str:
        """What the standard deviation is that of."""
        if self.further is not None:
            return self.further.description
        return f"{len(self.seeds)} samples" if self._spread else NOTHING

    @property
    def _spread(self) -> bool:
        # a point estimate has none: that of HQS over seeds is the spread of its symmetries
        return len(self.seeds) > 1 and self.sampler.estimate_type is not EstimateType.POINT

    def of(self, row: int, trial: bool) -> "Draws":
        """Return the same for one slice of the batch; a trial is one sample, and no standard deviation."""
        one = replace(self, seeds=self.seeds[:, row : row + 1])
        return replace(one, seeds=one.seeds[:1], uncertainty=None, keep=False) if trial else one

    def draw(self, problem: Problem, progress: ShareDone | None = None) -> Estimate:
        """Return mean and standard deviation."""
        further = self.further
        n_further = 0 if further is None else further.n_samples * further.sampler.nfe
        n_own = max(1, len(self.seeds) * self.sampler.nfe)  # a sampler may do without the network
        share = n_own / (n_own + n_further)
        first = part_of(progress, 0, share)
        estimate = self._mean(self.sampler, problem, problem.likelihood, self.seeds, first, self.keep)
        if further is None:
            no_spread = self.sampler.estimate_type is EstimateType.POINT
            return replace(estimate, std=torch.full_like(estimate.std, math.nan)) if no_spread else estimate
        first_seeds, rest = self.seeds[0].tolist(), part_of(progress, share, 1 - share)
        seeds = [[derive_seed(seed, "uncertainty", i) for seed in first_seeds] for i in range(further.n_samples)]
        drawn = self._mean(further.sampler, problem, estimate.likelihood, torch.tensor(seeds), rest, keep=True).samples
        assert drawn is not None
        return replace(estimate, std=further.std(drawn, estimate.image, estimate.likelihood))

    def _mean(
        self,
        sampler: Sampler,
        problem: Problem,
        likelihood: GaussianLikelihood,
        seeds: Tensor,
        progress: ShareDone | None,
        keep: bool,
    ) -> Estimate:
        """Return mean and spread of one sample for each row of seeds; a single one has the spread nan."""
        # a single sample keeps a CPU busy, and its memory small
        together = min(len(seeds), max(1, IMAGES_ON_GPU // len(likelihood.y))) if likelihood.y.is_cuda else 1
        watch = _Watch(likelihood, progress, math.ceil(len(seeds) / together))
        if len(seeds) == 1:
            image = sampler.sample(self.prior, likelihood, seeds, self.label, progress=watch)[0]
            likelihood = _of_one_sample(watch.likelihood)
            std = torch.full_like(image.real, math.nan)
            return Estimate(problem, image, std, likelihood, image[None] if keep else None)
        drawn = posterior(sampler, self.prior, likelihood, seeds, self.label, together, keep, watch)
        # the maps of each sample were refined for that sample, those of the scan go with the mean
        return Estimate(problem, drawn.mean, drawn.std, likelihood, drawn.samples)


def part_of(progress: ShareDone | None, start: float, length: float) -> ShareDone | None:
    """Return a report of a part that fills ``length`` of the whole from ``start``."""
    return None if progress is None else lambda done: progress(start + length * done)


class _Watch:
    """Keep the likelihood that a sampler ends with, and report the share of the work that is done."""

    def __init__(self, likelihood: GaussianLikelihood, progress: ShareDone | None, n_calls: int) -> None:
        self.likelihood, self.progress, self.n_calls, self.n_done = likelihood, progress, n_calls, 0

    def __call__(self, step: Progress) -> None:
        """Take note of one step."""
        if step.likelihood is not None:
            self.likelihood = step.likelihood
        done = self.n_done + step.step / step.n_steps
        self.n_done += step.step == step.n_steps
        if self.progress:
            self.progress(done / self.n_calls)


def _of_one_sample(likelihood: GaussianLikelihood) -> GaussianLikelihood:
    """Return the likelihood without the axis of samples that refinement puts in front of its maps."""
    factor = likelihood.A.find(Maps)
    if factor is None or factor.maps.ndim == likelihood.y.ndim + 1:
        return likelihood
    return likelihood.replace(A=likelihood.A.replace(Maps, Maps(factor.maps[0])))


def numbers_of(slices: Sequence[int] | None, n: int) -> list[int]:
    """Return the numbers in the scan of ``n`` slices; 0, 1, ... if they are not given."""
    numbers = list(range(n)) if slices is None else [int(index) for index in slices]
    if len(numbers) != n or min(numbers, default=0) < 0:
        raise ValueError(f"slices must be the number, from 0, of each of {n} slices: got {numbers}")
    return numbers


def seeds_of(scan: str, slices: Sequence[int], n_samples: int) -> Int[Tensor, "sample slice"]:
    """Return the seed of each sample of each slice, from (scan, slice, sample) and nothing else.

    Args:
        scan: Name of the scan.
        slices: Indices in the scan.
        n_samples: Number of samples.
    """
    return torch.tensor([[derive_seed(scan, int(index), sample) for index in slices] for sample in range(n_samples)])


def label_of(contrast: str | None, prior: Prior) -> tuple[int | None, str]:
    """Return the index of a contrast in a prior, and its name there, FLAIR for flair; None, and why, if it has none."""
    if contrast is None:
        return None, "none: the file does not say the contrast"
    known = contrast if contrast in prior.labels else contrast_of(contrast)
    if known not in prior.labels:
        return None, f"none: the prior does not know {contrast}"
    return prior.label_index(known), known
