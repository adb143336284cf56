"""Gaussian and Gaussian-mixture priors, whose denoisers and posteriors have closed forms: the truth for samplers."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Complex, Float
from torch import Tensor

from lightning_mri.diffusion import Prior
from lightning_mri.physics import GaussianLikelihood, LinearOperator
from lightning_mri.scaling import Scaling


@dataclass(frozen=True, eq=False)
class Matrix(LinearOperator):
    """Any matrix as an operator from images of one size to data of one coil and one row: quick for tiny images."""

    matrix: Tensor
    size: tuple[int, int]

    def __call__(self, x: Tensor) -> Tensor:
        return (x.flatten(-2) @ self.matrix.T)[..., None, None, :]

    def adjoint(self, y: Tensor) -> Tensor:
        return (y[..., 0, 0, :] @ self.matrix.conj()).unflatten(-1, self.size)

    def image_shape(self, data_shape: tuple[int, ...]) -> tuple[int, ...]:
        return (*data_shape[:-3], *self.size)


@dataclass(frozen=True)
class Gaussian:
    """A circular complex Gaussian distribution, E[(x - mean) (x - mean)^H] = 2 covariance of flattened images."""

    mean: Complex[Tensor, "*batch y x"]
    covariance: Complex[Tensor, "*batch n n"]

    @property
    def std(self) -> Float[Tensor, "*batch y x"]:
        """Standard deviation of each real channel of each pixel."""
        variance = self.covariance.diagonal(dim1=-2, dim2=-1).real
        return variance.clamp(min=0).sqrt().reshape(self.mean.shape)


class GaussianPrior(Prior):
    """N(mean, variance of each real channel of each pixel): D(x; sigma) = mean + C (C + sigma^2)^-1 (x - mean).

    Everything is computed in double precision and returned in that of the input.
    """

    def __init__(
        self,
        mean: Complex[Tensor, "y x"],
        variance: Float[Tensor, "y x"] | float,
        sigma_min: float = 0.002,
        sigma_max: float = 80.0,
    ) -> None:
        variances = torch.as_tensor(variance, dtype=torch.float64).expand(mean.shape)
        assert (variances >= 0).all()
        assert (variances > 0).any()
        self.mean = mean.to(torch.complex128)
        self.basis: Tensor | None = None
        self.variances = variances.flatten()
        self.sigma_data = float(self.variances.mean().sqrt())
        self.sigma_min, self.sigma_max = sigma_min, sigma_max
        self.scaling, self.labels = Scaling(), ()

    @classmethod
    def dense(
        cls,
        mean: Complex[Tensor, "y x"],
        covariance: Complex[Tensor, "n n"],
        sigma_min: float = 0.002,
        sigma_max: float = 80.0,
    ) -> "GaussianPrior":
        """Return the prior of correlated pixels, of a Hermitian covariance C: E[(x - mean) (x - mean)^H] = 2 C."""
        n, covariance = mean.numel(), covariance.to(torch.complex128)
        assert covariance.shape == (n, n)
        assert torch.allclose(covariance, covariance.mH)
        variances, basis = torch.linalg.eigh(covariance)
        variances = torch.where(variances.abs() < 1e-12 * variances.max(), 0, variances)
        prior = cls(mean, variances.reshape(mean.shape), sigma_min, sigma_max)
        prior.basis = basis
        return prior

    @property
    def covariance(self) -> Complex[Tensor, "n n"]:
        """Covariance of the flattened image per real channel."""
        if self.basis is None:
            return torch.diag(self.variances).to(torch.complex128)
        return (self.basis * self.variances) @ self.basis.mH

    def denoise(
        self, x: Complex[Tensor, "*batch y x"], sigma: Float[Tensor, "..."] | float, label: object = None
    ) -> Complex[Tensor, "*batch y x"]:
        """Return E[x0 | x = x0 + sigma z], exactly; see `Prior.denoise`."""
        noise = torch.as_tensor(sigma, dtype=torch.float64, device=x.device)[..., None] ** 2
        shrinkage = self.variances / (self.variances + noise)
        shrunk = self._filter((x - self.mean).flatten(-2), shrinkage)
        return (self.mean + shrunk.reshape(x.shape)).to(x.dtype)

    def draw(self, n: int, generator: torch.Generator | None = None) -> Complex[Tensor, "{n} y x"]:
        """Draw n images, complex64."""
        noise = torch.randn(2, n, self.mean.numel(), dtype=torch.float64, generator=generator)
        drawn = self._filter(torch.complex(*noise), self.variances.sqrt())
        return (self.mean + drawn.reshape(n, *self.mean.shape)).to(torch.complex64)

    def posterior(self, likelihood: GaussianLikelihood) -> Gaussian:
        """Return the distribution of images given a measurement, exactly.

        mean + (1 + C A^H A / noise_std^2)^-1 C A^H (y - A mean) / noise_std^2, with the covariance
        (1 + C A^H A / noise_std^2)^-1 C. The operator is applied to every unit image: for small images only.
        """
        n, shape, covariance = self.mean.numel(), self.mean.shape, self.covariance
        noise = likelihood.noise_std.to(torch.float64)[..., None, None]
        identity = torch.eye(n, dtype=torch.complex128)
        units = identity.to(torch.complex64).reshape(n, *(1,) * likelihood.noise_std.ndim, *shape)
        gram = likelihood.A.normal(units).flatten(-2).movedim(0, -1).to(torch.complex128)
        covariance = torch.linalg.solve(identity + covariance @ gram / noise**2, covariance)
        pull = likelihood.score(self.mean.to(torch.complex64).expand(*noise.shape[:-2], *shape))
        step = covariance @ pull.to(torch.complex128).flatten(-2)[..., None]
        return Gaussian(self.mean + step[..., 0].unflatten(-1, shape), covariance)

    def log_density(self, x: Complex[Tensor, "*batch y x"], sigma: Float[Tensor, "..."] | float) -> Tensor:
        """Return log p(x0 + sigma z) up to a constant that depends on the number of pixels alone."""
        variances = self.variances + torch.as_tensor(sigma, dtype=torch.float64, device=x.device)[..., None] ** 2
        deviation = (x - self.mean).flatten(-2)
        deviation = deviation if self.basis is None else deviation @ self.basis.conj()
        return -(deviation.abs().square() / (2 * variances) + variances.log()).sum(-1)

    def _filter(self, x: Tensor, gains: Tensor) -> Tensor:
        """Scale the components of flattened images along the covariance's principal axes."""
        if self.basis is None:
            return gains * x
        return (gains * (x @ self.basis.conj())) @ self.basis.mT


@dataclass(frozen=True)
class Mixture:
    """A mixture of Gaussian distributions of images."""

    weights: Float[Tensor, " component"]
    components: tuple[Gaussian, ...]

    @property
    def mean(self) -> Complex[Tensor, "y x"]:
        """Mean image."""
        return _weighted(self.weights, [component.mean for component in self.components])

    @property
    def covariance(self) -> Complex[Tensor, "n n"]:
        """Covariance of the flattened image per real channel, within and between the components."""
        shifts = [(component.mean - self.mean).flatten() for component in self.components]
        between = _weighted(self.weights, [torch.outer(shift, shift.conj()) / 2 for shift in shifts])
        return _weighted(self.weights, [component.covariance for component in self.components]) + between


class MixturePrior(Prior):
    """Images of one of several Gaussians: D is the mean of their denoisers, weighted by responsibility."""

    def __init__(self, weights: Sequence[float], components: Sequence[GaussianPrior]) -> None:
        self.weights = torch.tensor(weights, dtype=torch.float64) / sum(weights)
        self.components = tuple(components)
        own = tuple(Gaussian(prior.mean, prior.covariance) for prior in components)
        variance = Mixture(self.weights, own).covariance.diagonal().real.mean()
        self.sigma_data = float(variance.sqrt())
        self.sigma_min, self.sigma_max = components[0].sigma_min, components[0].sigma_max
        self.scaling, self.labels = Scaling(), ()

    def denoise(
        self, x: Complex[Tensor, "*batch y x"], sigma: Float[Tensor, "..."] | float, label: object = None
    ) -> Complex[Tensor, "*batch y x"]:
        """Return E[x0 | x = x0 + sigma z], exactly; see `Prior.denoise`."""
        log_density = torch.stack([prior.log_density(x, sigma) for prior in self.components], -1)
        shares = (log_density + self.weights.log()).softmax(-1)[..., None, None]
        means = [shares[..., i, :, :] * prior.denoise(x, sigma) for i, prior in enumerate(self.components)]
        return torch.stack(means).sum(0).to(x.dtype)

    def draw(self, n: int, generator: torch.Generator | None = None) -> Complex[Tensor, "{n} y x"]:
        """Draw n images, complex64."""
        chosen = torch.multinomial(self.weights, n, replacement=True, generator=generator)
        drawn = torch.stack([prior.draw(n, generator) for prior in self.components])
        return drawn[chosen, torch.arange(n)]

    def posterior(self, likelihood: GaussianLikelihood) -> Mixture:
        """Return the distribution of images given a measurement of one slice, exactly.

        A component's weight grows with its evidence p(y | component) = p(y | x) p(x) / p(x | y), for any x.
        """
        own = tuple(prior.posterior(likelihood) for prior in self.components)
        at = own[0].mean
        log_evidence = torch.stack(
            [
                prior.log_density(at, 0.0)
                - GaussianPrior.dense(given.mean, (given.covariance + given.covariance.mH) / 2).log_density(at, 0.0)
                for prior, given in zip(self.components, own, strict=True)
            ]
        )
        return Mixture((log_evidence + self.weights.log()).softmax(0), own)


def _weighted(weights: Tensor, values: Sequence[Tensor]) -> Tensor:
    return torch.einsum("i,i...->...", weights.to(values[0].dtype), torch.stack(list(values)))
