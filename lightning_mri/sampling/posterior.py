"""Mean and standard deviation of a sampler's draws."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Complex, Float, Int
from torch import Tensor

from lightning_mri.diffusion import Prior
from lightning_mri.physics import GaussianLikelihood
from lightning_mri.sampling.sampler import Progress, Sampler


@dataclass(frozen=True)
class Posterior:
    """Summary of several draws.

    Args:
        mean: Complex mean, in image units: the estimate that PSNR and NRMSE reward.
        std: Standard deviation of the magnitude, in image units: what a reader of magnitude images needs.
        n_samples: Number of draws.
        samples: The draws themselves, where they were to be kept.
    """

    mean: Complex[Tensor, "*batch y x"]
    std: Float[Tensor, "*batch y x"]
    n_samples: int
    samples: Complex[Tensor, "sample *batch y x"] | None = None


def posterior(
    sampler: Sampler,
    prior: Prior,
    likelihood: GaussianLikelihood,
    seeds: Int[Tensor, "..."] | Sequence[int],
    label: Int[Tensor, "..."] | int | None = None,
    n_parallel: int | None = None,
    keep: bool = False,
    progress: Callable[[Progress], None] | None = None,
) -> Posterior:
    """Draw one image for each seed and return their mean and standard deviation.

    The memory grows with ``n_parallel`` and not with the number of seeds, unless the draws are kept.

    Args:
        sampler: How to draw; the spread means what that sampler's description says.
        prior: Denoiser of the clean images.
        likelihood: The scan.
        seeds: One a sample, shared by all slices, or one for each (sample, slice); two samples at least.
        label: Index of the contrast, one for all slices or one each; None for no contrast.
        n_parallel: Samples drawn at once; all of them if not given.
        keep: Whether to return the draws, too.
        progress: Called after each step of each group of samples.

    Raises:
        ValueError: If there are fewer than two seeds, or ``n_parallel`` is less than one.
    """
    seeds = seeds if isinstance(seeds, Tensor) else torch.tensor(list(seeds))
    n_samples = len(seeds)
    if n_samples < 2:
        raise ValueError(f"seeds must hold at least two samples for a standard deviation: got {n_samples}")
    if n_parallel is not None and n_parallel < 1:
        raise ValueError(f"n_parallel must be at least 1: got {n_parallel}")
    mean = magnitude = squares = torch.zeros(())
    n_seen, kept = 0, []
    for group in seeds.split(n_parallel or n_samples):
        for x in sampler.sample(prior, likelihood, group, label, progress=progress):
            kept += [x] if keep else []
            n_seen += 1  # running moments (Welford 1962)
            mean = mean + (x - mean) / n_seen
            deviation = x.abs() - magnitude
            magnitude = magnitude + deviation / n_seen
            squares = squares + deviation * (x.abs() - magnitude)
    return Posterior(mean, (squares / (n_samples - 1)).sqrt(), n_samples, torch.stack(kept) if keep else None)
