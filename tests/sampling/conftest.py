"""Priors with closed forms, and a linear scan of 5 x 4 pixels small enough to be solved densely."""

import math
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from itertools import cycle, repeat

import pytest
import torch
from torch import Tensor

from lightning_mri.diffusion import Prior
from lightning_mri.physics import Damping, GaussianLikelihood, sense
from lightning_mri.sampling import Langevin, NoiseStream, PredictorCorrector, sampler
from lightning_mri.scaling import Scaling
from lightning_mri.tensors import complex_noise

from ..analytic import GaussianPrior, Matrix, MixturePrior

SHAPE = (5, 4)
N = 20
NOISE_STD = 0.2


def draw(*shape: int, seed: int) -> Tensor:
    """Return complex noise of standard deviation 1 in each real channel."""
    return complex_noise(shape, torch.Generator().manual_seed(seed))


class AnySize(Prior):
    """Isotropic Gaussian images of any size, through a denoiser that errs differently in every orientation.

    Args:
        error: Size of the error; 0 is the exact denoiser of N(0, sigma_data^2).
    """

    sigma_data, sigma_min, sigma_max = 0.5, 0.01, 10.0
    scaling = Scaling()
    labels = ("T1w", "FLAIR")

    def __init__(self, error: float = 0.0) -> None:
        self.error = error
        self.seen: list[tuple[tuple[int, ...], object]] = []

    def denoise(self, x, sigma, label=None):
        self.seen.append((tuple(x.shape), label))
        shrunk = x * self.sigma_data**2 / (self.sigma_data**2 + sigma**2)
        ramp = torch.linspace(-1, 1, x.shape[-1])
        shift = 0 if label is None else 0.1 * torch.as_tensor(label).expand(x.shape[:-2])[..., None, None]
        return shrunk + self.error * (ramp * x.real + 1j * x.imag.roll(1, -2)) + shift


def smooth_covariance(std: float = 0.5) -> Tensor:
    """Neighbouring pixels are alike: std^2 exp(-distance^2 / 4), plus a little of each pixel's own."""
    places = torch.cartesian_prod(torch.arange(SHAPE[0]), torch.arange(SHAPE[1])).double()
    kernel = 0.9 * torch.exp(-(torch.cdist(places, places) ** 2) / 4) + 0.1 * torch.eye(N, dtype=torch.float64)
    return (std**2 * kernel).to(torch.complex128)


@dataclass(frozen=True)
class LinearLangevin(Langevin):
    """Steps of e = 2 alpha (snr std)^2, which do not depend on the data: results are affine in image and noise."""

    stds: Iterator[float] = field(default_factory=lambda: repeat(1.0))

    def step(self, x: Tensor, score: Tensor, noise: Tensor, alpha: float = 1.0, ndim: int = 2) -> Tensor:
        e = 2 * alpha * (self.snr * next(self.stds)) ** 2
        return x + e * score + math.sqrt(2 * e) * noise


def sigmas_of(sampler: PredictorCorrector) -> list[float]:
    schedule = sampler.schedule or sampler.predictor.schedule
    return schedule.sigmas(sampler.n_steps, sampler.sigma_max, sampler.sigma_min).tolist()


def linear(sampler: PredictorCorrector) -> PredictorCorrector:
    """Return the sampler with `LinearLangevin` as its corrector."""
    alpha, n = sampler.predictor.alpha, sampler.corrector.n_steps
    stds = cycle([alpha(sigma) * sigma for sigma in sigmas_of(sampler)[:-1] for _ in range(n)])
    return replace(sampler, corrector=LinearLangevin(sampler.corrector.snr, n, stds))


class OneStream(NoiseStream):
    """The random numbers of a batch from one generator: as good for statistics, and a hundred times as fast."""

    def __init__(self, seeds: Tensor, image_shape: tuple[int, ...], device: object = "cpu") -> None:
        super().__init__(torch.empty(0, dtype=torch.int64), image_shape, device)
        self.batch_shape = tuple(seeds.shape)
        self.generator = torch.Generator().manual_seed(int(seeds.flatten()[0]))

    def normal(self, shape: tuple[int, ...] | None = None) -> Tensor:
        shape = self.image_shape if shape is None else tuple(shape)
        return complex_noise(self.batch_shape + shape, self.generator)


@pytest.fixture
def one_stream(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let samplers draw for thousands of tiny images at once."""
    monkeypatch.setattr(sampler, "NoiseStream", OneStream)


@pytest.fixture
def mixture_prior() -> MixturePrior:
    """Two overlapping kinds of images of 2 x 3 pixels: correlated ones, and fainter, independent ones."""
    factor = draw(6, 6, seed=11).to(torch.complex128) / math.sqrt(24)
    wide = GaussianPrior.dense(0.25 * draw(2, 3, seed=12), factor @ factor.mH + 0.01 * torch.eye(6), 0.01, 5.0)
    narrow = GaussianPrior(-0.25 * draw(2, 3, seed=12), 0.06, 0.01, 5.0)
    return MixturePrior([0.6, 0.4], [wide, narrow])


@pytest.fixture
def matrix() -> Matrix:
    """Four unequal measurements of six pixels: neither unitary nor of full rank."""
    gains = torch.tensor([1.5, 1.0, 0.6, 0.3])[:, None]
    return Matrix(gains * draw(4, 6, seed=13) / math.sqrt(6), (2, 3))


@pytest.fixture
def smooth_prior() -> GaussianPrior:
    return GaussianPrior.dense(0.3 * draw(*SHAPE, seed=7), smooth_covariance(), sigma_min=0.03, sigma_max=5.0)


@pytest.fixture
def isotropic_prior() -> GaussianPrior:
    return GaussianPrior(0.3 * draw(*SHAPE, seed=7), 0.25)


@pytest.fixture
def likelihood() -> GaussianLikelihood:
    """A scan by two coils of unequal strength, damped and undersampled: neither unitary nor of full rank."""
    strength = torch.tensor([1.0, 0.3])[:, None, None]
    maps = 0.4 * draw(1, 2, *SHAPE, seed=0) + strength
    mask = torch.rand(1, *SHAPE, generator=torch.Generator().manual_seed(1)) < 0.4
    A = sense(maps, mask, Damping(torch.linspace(0.6, 1.0, N).reshape(1, *SHAPE)))
    y = A(0.5 * draw(*SHAPE, seed=2)) + NOISE_STD * draw(2, *SHAPE, seed=3) * mask
    return GaussianLikelihood(A, y, torch.tensor(NOISE_STD))


def gram(likelihood: GaussianLikelihood) -> Tensor:
    """Return A^H A as a matrix, [n, n], in double precision."""
    columns = likelihood.A.normal(torch.eye(N, dtype=torch.complex64).reshape(N, *SHAPE))
    return columns.reshape(N, N).T.to(torch.complex128)


def vector(x: Tensor) -> Tensor:
    """Return images as vectors in double precision."""
    return x.flatten(-2).to(torch.complex128)


def mean_and_std(samples: Tensor) -> tuple[Tensor, Tensor]:
    """Return mean and standard deviation of each real channel over the first axis."""
    mean = samples.mean(0)
    return mean, ((samples - mean).abs().square().sum(0) / (2 * (len(samples) - 1))).sqrt()
