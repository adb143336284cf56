"""Sampler, a pure function of prior, likelihood and seeds, and the mean and standard deviation of its draws."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from enum import Enum

import torch
from jaxtyping import Complex, Float, Int
from torch import Tensor

from lightning_mri.described import check_fields
from lightning_mri.diffusion import Prior
from lightning_mri.physics import GaussianLikelihood
from lightning_mri.sampling.noise import NoiseStream, seeds_for
from lightning_mri.sampling.schedules import Schedule


class EstimateType(Enum):
    """What one result of a sampler may be taken for; its value is the sentence for people.

    Only the spread of `POSTERIOR` draws is an error bar, and that for the given prior, coil maps and noise level, which
    must be far above the sampler's last level, ``sigma_min``.
    """

    POSTERIOR = "a draw from the posterior, in the limit of many steps that end far below the noise level"
    APPROXIMATE = "an approximate draw, whose spread is no error bar"
    POINT = "a point estimate, whose spread means nothing"


@dataclass(frozen=True)
class Progress:
    """State of a sampler after a step.

    Args:
        step: Steps done, 1 ... ``n_steps``.
        n_steps: Steps in all.
        sigma: Noise level of the step, in image units.
        x: Image after the step, [sample, *batch, (set,) y, x].
        likelihood: Likelihood after the step; its maps differ from the given ones where they were refined.
    """

    step: int
    n_steps: int
    sigma: float
    x: Tensor
    likelihood: GaussianLikelihood | None


def _silent(progress: Progress) -> None:
    """Report nothing."""


@dataclass(frozen=True)
class Target:
    """The distribution that one call of `Sampler.sample` draws from, and its source of randomness.

    Args:
        prior: Denoiser of the clean images.
        likelihood: The scan; None for draws from the prior.
        label: Contrast of each image, [sample, *batch, (set)]; None for no contrast.
        noise: One random stream for each image.
        report: Called after each step.
    """

    prior: Prior
    likelihood: GaussianLikelihood | None
    label: Tensor | None
    noise: NoiseStream
    report: Callable[[Progress], None] = field(default=_silent)

    def denoise(self, x: Tensor, sigma: float) -> Tensor:
        """Return D(x, sigma) of the whole batch, zero where no coil sees it; of several map sets each by itself."""
        return self.apply_support(self.estimate(x, sigma, self.label))

    def estimate(self, x: Tensor, sigma: Tensor | float, label: Tensor | None) -> Tensor:
        """Return what the prior makes of any images, [*batch, y, x].

        Raises:
            ValueError: If that is not one complex image for each.
        """
        denoised = self.prior.denoise(x, sigma, label)
        if not isinstance(denoised, Tensor) or denoised.shape != x.shape or not denoised.is_complex():
            is_tensor = isinstance(denoised, Tensor)
            got = f"{tuple(denoised.shape)} of {denoised.dtype}" if is_tensor else type(denoised).__name__
            raise ValueError(f"prior.denoise must return complex images {tuple(x.shape)}, as it gets them: got {got}")
        return denoised

    def apply_support(self, x: Tensor) -> Tensor:
        """Return x, zero where no coil sees it: else a network feeds on its own output where no data holds it."""
        return x if self.likelihood is None else self.likelihood.apply_support(x)

    def posterior_variance(self, sigma: float) -> float:
        """Return sigma^2 sd^2 / (sigma^2 + sd^2), the variance of x0 given x under N(0, sd^2)."""
        return sigma**2 * self.prior.sigma_data**2 / (sigma**2 + self.prior.sigma_data**2)

    def measurement(self) -> GaussianLikelihood:
        """Return the likelihood, for samplers that need one.

        Raises:
            ValueError: If there is none.
        """
        if self.likelihood is None:
            raise ValueError("likelihood must be given: to draw from the prior use PredictorCorrector")
        return self.likelihood

    @property
    def n_samples(self) -> int:
        """Number of draws for each slice."""
        return self.noise.batch_shape[0]

    @property
    def image_ndim(self) -> int:
        """Number of axes that belong to one image: 2, or 3 with several map sets."""
        return len(self.noise.image_shape)


class Sampler(ABC):
    """Draws images from posterior proportional to likelihood times prior.

    A sampler is a frozen set of choices: it keeps nothing between calls. Result i is a function of the
    prior, the likelihood of its slice and ``seeds[i]``, to rounding whatever else is in the batch.

    Attributes:
        estimate_type: What a result may be taken for; only of posterior draws is the spread an error bar.
    """

    estimate_type: EstimateType

    @property
    @abstractmethod
    def nfe(self) -> int:
        """Network evaluations for each sample."""

    def sample(
        self,
        prior: Prior,
        likelihood: GaussianLikelihood | None,
        seeds: Int[Tensor, "..."] | Sequence[int],
        label: Int[Tensor, "..."] | int | None = None,
        shape: Sequence[int] | None = None,
        progress: Callable[[Progress], None] | None = None,
    ) -> Complex[Tensor, "sample *batch y x"]:
        """Return one image for each seed and slice.

        Args:
            prior: Denoiser of the clean images.
            likelihood: The scan, a batch of slices; None for draws from the prior where the sampler can.
            seeds: One a sample, shared by all slices, or one for each (sample, slice).
            label: Index of the contrast in ``prior.labels``, one for all slices or one each; None for no
                contrast.
            shape: [*batch, y, x] of the images where there is no likelihood.
            progress: Called after each step.

        Returns:
            Images in image units, with a set axis in front of (y, x) where the maps have several sets. They are zero
            where every map is.

        Raises:
            ValueError: If neither or both of ``likelihood`` and ``shape`` say how large the images are, or
                the seeds do not fit the batch, or the prior returns something else than an image for each.
        """
        batch_shape, image_shape, device = _geometry(prior, likelihood, shape)
        table = seeds_for(seeds, batch_shape)
        target = Target(
            prior=prior,
            # a copy: what it caches under inference mode must not reach the caller's
            likelihood=None if likelihood is None else likelihood.to(device),
            label=_labels_for(label, len(prior.labels), tuple(table.shape), image_shape[:-2]),
            noise=NoiseStream(table, image_shape, device),
            report=progress or _silent,
        )
        with torch.inference_mode():
            x = target.apply_support(self._run(target))
        return x.clone()  # outside of inference mode, so that the caller may write into it

    @abstractmethod
    def _run(self, target: Target) -> Tensor:
        """Return the samples, [sample, *batch, (set,) y, x]."""


class Annealed(Sampler):
    """A sampler that goes down ``n_steps`` noise levels of a schedule, from ``sigma_max`` to ``sigma_min``."""

    n_steps: int
    sigma_max: float
    sigma_min: float
    schedule: Schedule

    def __post_init__(self) -> None:
        check_fields(self, int, float)
        self.sigmas()  # refuses levels that are none

    @property
    def nfe(self) -> int:
        """Network evaluations for each sample: one for each level, unless a sampler says otherwise."""
        return self.n_steps

    def sigmas(self) -> list[float]:
        """Return the noise levels, the last one 0."""
        return self.schedule.sigmas(self.n_steps, self.sigma_max, self.sigma_min).tolist()


def _geometry(
    prior: Prior, likelihood: GaussianLikelihood | None, shape: Sequence[int] | None
) -> tuple[tuple[int, ...], tuple[int, ...], torch.device]:
    """Return shape of the batch, shape of one image, and device."""
    if (likelihood is None) == (shape is None):
        raise ValueError(
            "the image's size comes from the likelihood or, without one, from shape: "
            f"got {'neither' if shape is None else 'both'}"
        )
    if likelihood is not None:
        whole, image_ndim, device = likelihood.image_shape, likelihood.A.image_ndim, likelihood.y.device
    else:
        whole, image_ndim, device = tuple(shape or ()), 2, prior.device
    if len(whole) < image_ndim:
        raise ValueError(f"shape must be [*batch, y, x]: got {tuple(whole)}")
    return tuple(whole[:-image_ndim]), tuple(whole[-image_ndim:]), device


def _labels_for(
    label: Tensor | int | None, n_labels: int, table_shape: tuple[int, ...], sets: tuple[int, ...]
) -> Tensor | None:
    """Return one label for each image that the prior sees, [sample, *batch, (set)]."""
    if label is None:
        return None
    label = torch.as_tensor(label)
    if label.ndim and tuple(label.shape) != table_shape[1:]:
        raise ValueError(f"label must be one for all or one a slice, {table_shape[1:]}: got {tuple(label.shape)}")
    if not bool(((label >= 0) & (label <= n_labels)).all()):
        raise ValueError(f"label must be 0 ... {n_labels}, the last for none: got {label.tolist()}")
    label = label.reshape((*label.shape, *[1] * len(sets)))
    return label.expand(*table_shape, *sets)


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
    count, kept = 0, []
    for group in seeds.split(n_parallel or n_samples):
        for x in sampler.sample(prior, likelihood, group, label, progress=progress):
            kept += [x] if keep else []
            count += 1  # running moments (Welford 1962)
            mean = mean + (x - mean) / count
            deviation = x.abs() - magnitude
            magnitude = magnitude + deviation / count
            squares = squares + deviation * (x.abs() - magnitude)
    return Posterior(mean, (squares / (n_samples - 1)).sqrt(), n_samples, torch.stack(kept) if keep else None)
