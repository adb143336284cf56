"""What every sampler is: a pure function of prior, likelihood and seeds."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch
from jaxtyping import Complex, Int
from torch import Tensor, nn

from lightning_mri.diffusion import Prior
from lightning_mri.physics import GaussianLikelihood
from lightning_mri.sampling.estimate_type import EstimateType
from lightning_mri.sampling.noise import NoiseStream, seeds_for


@dataclass(frozen=True)
class Progress:
    """Where a sampler stands after a step.

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
        """Return D(x, sigma) of the whole batch; of several map sets each image is denoised by itself."""
        return self.prior.denoise(x, sigma, self.label)

    def posterior_variance(self, sigma: float) -> float:
        """Return sigma^2 sd^2 / (sigma^2 + sd^2), the variance of x0 given x under N(0, sd^2)."""
        return sigma**2 * self.prior.sigma_data**2 / (sigma**2 + self.prior.sigma_data**2)

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
    """

    @property
    @abstractmethod
    def nfe(self) -> int:
        """Network evaluations for each sample."""

    @property
    @abstractmethod
    def estimate_type(self) -> EstimateType:
        """What a result may be taken for; only of posterior draws is the spread an error bar."""

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
            Images in image units, with a set axis in front of (y, x) where the maps have several sets.

        Raises:
            ValueError: If neither or both of ``likelihood`` and ``shape`` say how large the images are, or
                the seeds do not fit the batch.
        """
        batch_shape, image_shape, device = _geometry(prior, likelihood, shape)
        table = seeds_for(seeds, batch_shape)
        target = Target(
            prior=prior,
            # a copy: what it caches under inference mode must not reach the caller's
            likelihood=None if likelihood is None else likelihood.to(device),
            label=_labels_for(label, tuple(table.shape), image_shape[:-2]),
            noise=NoiseStream(table, image_shape, device),
            report=progress or _silent,
        )
        with torch.inference_mode():
            x = self._run(target)
        return x.clone()  # outside of inference mode, so that the caller may write into it

    @abstractmethod
    def _run(self, target: Target) -> Tensor:
        """Return the samples, [sample, *batch, (set,) y, x]."""


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
        parameter = next(prior.parameters(), None) if isinstance(prior, nn.Module) else None
        device = torch.device("cpu") if parameter is None else parameter.device
        whole, image_ndim = tuple(shape or ()), 2
    if len(whole) < image_ndim:
        raise ValueError(f"shape must be [*batch, y, x]: got {tuple(whole)}")
    return tuple(whole[:-image_ndim]), tuple(whole[-image_ndim:]), device


def _labels_for(label: Tensor | int | None, table_shape: tuple[int, ...], sets: tuple[int, ...]) -> Tensor | None:
    """Return one label for each image that the prior sees, [sample, *batch, (set)]."""
    if label is None:
        return None
    label = torch.as_tensor(label)
    if label.ndim and tuple(label.shape) != table_shape[1:]:
        raise ValueError(f"label must be one for all or one a slice, {table_shape[1:]}: got {tuple(label.shape)}")
    label = label.reshape((*label.shape, *[1] * len(sets)))
    return label.expand(*table_shape, *sets)
