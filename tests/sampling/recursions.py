"""Mean and covariance of each sampler's result for a Gaussian prior, by dense recursions over its steps.

Every step of these samplers is affine in the image and in its noise, so that x_next = H x + h + noise gives mean
H mean + h and covariance H covariance H^H + that of the noise. Nothing here draws, iterates or shares code with
the samplers, except for the coefficients of a predictor.
"""

from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

from lightning_mri.physics import GaussianLikelihood
from lightning_mri.sampling import DAPS, DDS, PULA, Karras, PredictorCorrector

from ..analytic import Gaussian, GaussianPrior
from .conftest import SHAPE, N, gram, mean_and_std, vector

EYE = torch.eye(N, dtype=torch.complex128)


@dataclass(frozen=True)
class Dense:
    """Prior N(m, C) and scan with A^H A = M, A^H y = b, as matrices."""

    C: Tensor
    m: Tensor
    M: Tensor
    b: Tensor
    eta: float
    sd: float

    @classmethod
    def of(cls, prior: GaussianPrior, likelihood: GaussianLikelihood) -> "Dense":
        b, eta = vector(likelihood.adjoint()), likelihood.noise_std.item()
        return cls(prior.covariance, vector(prior.mean), gram(likelihood), b, eta, prior.sigma_data)

    def denoiser(self, sigma: float) -> tuple[Tensor, Tensor]:
        """Return K and k of D = K x + k."""
        K = self.C @ torch.linalg.inv(self.C + sigma**2 * EYE)
        return K, self.m - K @ self.m

    def given(self, variance: float) -> tuple[Tensor, Tensor, Tensor]:
        """Return P, F and f of E[u | y] = F u + f for u ~ N(., variance), with covariance P."""
        P = torch.linalg.inv(self.M / self.eta**2 + EYE / variance)
        return P, P / variance, P @ self.b / self.eta**2

    def r2(self, sigma: float) -> float:
        return sigma**2 * self.sd**2 / (sigma**2 + self.sd**2)

    def as_gaussian(self, mean: Tensor, covariance: Tensor) -> Gaussian:
        return Gaussian(mean.reshape(SHAPE), covariance)


def pula(sampler: PULA, dense: Dense) -> Gaussian:
    sigmas = sampler.schedule.sigmas(sampler.n_steps, sampler.sigma_max, sampler.sigma_min).tolist()[:-1]
    covariance, _, mean = dense.given(sigmas[0] ** 2)
    G = torch.block_diag(EYE, dense.M)  # covariance of the noises e_x and A^H e_y
    L_last, g = torch.zeros(N, 2 * N, dtype=torch.complex128), sampler.step
    for sigma in sigmas:
        P, F, f = dense.given(sigma**2)
        L = torch.cat([P / sigma, P / dense.eta], 1)
        K, k = dense.denoiser(sigma)
        H, h = (1 - g) * EYE + g * F @ K, g * (F @ k + f)
        for _ in range(sampler.n_langevin):
            mean, covariance = H @ mean + h, H @ covariance @ H.mH
            if sampler.averaged:
                shared = g / 2 * H @ L_last @ G @ L.mH  # noise in the image and, again, in this step
                covariance, L_last = covariance + g * P + shared + shared.mH, L
            else:
                covariance = covariance + 2 * g * P
    return dense.as_gaussian(K @ mean + k, K @ covariance @ K.mH)


def daps(sampler: DAPS, dense: Dense) -> Gaussian:
    sigmas = sampler.schedule.sigmas(sampler.n_steps, sampler.sigma_max, sampler.sigma_min).tolist()
    mean, covariance = torch.zeros_like(dense.m), sigmas[0] ** 2 * EYE
    for sigma, sigma_next in pairwise(sigmas):
        H, h = EYE, torch.zeros_like(dense.m)
        for s, s_next in pairwise(Karras().sigmas(sampler.n_ode_steps, sigma, min(sigma, sampler.sigma_min)).tolist()):
            K, k = dense.denoiser(s)
            E = EYE + (s_next - s) / s * (EYE - K)
            H, h = E @ H, E @ h - (s_next - s) / s * k
        P, F, f = dense.given(dense.r2(sigma))
        mean, covariance = F @ (H @ mean + h) + f, F @ H @ covariance @ (F @ H).mH + P
        result = dense.as_gaussian(mean, covariance)
        covariance = covariance + sigma_next**2 * EYE
    return result


def dds(sampler: DDS, dense: Dense) -> Gaussian:
    """Without refinement, symmetry and re-estimated noise."""
    sigmas = Karras().sigmas(sampler.n_steps, sampler.sigma_max, sampler.sigma_min).tolist()
    mean, covariance = torch.linalg.solve(dense.M + 0.02 * EYE, dense.b), sigmas[0] ** 2 * EYE
    kept = (1 - sampler.eta**2) ** 0.5
    for sigma, sigma_next in pairwise(sigmas):
        K, k = dense.denoiser(sigma)
        _, F, f = dense.given(dense.r2(sigma))
        G, g = F @ K, F @ k + f
        result = dense.as_gaussian(G @ mean + g, G @ covariance @ G.mH)
        H, h = G + kept * sigma_next / sigma * (EYE - K), g - kept * sigma_next / sigma * k
        mean, covariance = H @ mean + h, H @ covariance @ H.mH + (sampler.eta * sigma_next) ** 2 * EYE
    return result


def pc(sampler: PredictorCorrector, dense: Dense) -> Gaussian:
    """With `LinearLangevin` and `PosteriorScore`."""
    predictor, corrector = sampler.predictor, sampler.corrector
    sigmas = (
        (sampler.schedule or predictor.schedule).sigmas(sampler.n_steps, sampler.sigma_max, sampler.sigma_min).tolist()
    )
    alpha = predictor.alpha
    mean, covariance = torch.zeros_like(dense.m), (alpha(sigmas[0]) * sigmas[0]) ** 2 * EYE
    for sigma, sigma_next in pairwise(sigmas):
        a = alpha(sigma)
        K, k = dense.denoiser(sigma)
        _, F, f = dense.given(dense.r2(sigma))
        S, s = (F @ K - EYE) / (a * sigma) ** 2, a * (F @ k + f) / (a * sigma) ** 2  # score = S x + s
        e = 2 * (a / alpha(sigma_next)) ** 2 * (corrector.snr * a * sigma) ** 2
        H = EYE + e * S
        for _ in range(corrector.n_steps):
            mean, covariance = H @ mean + e * s, H @ covariance @ H.mH + 2 * e * EYE
        of_x, of_score, of_noise = (coefficient(predictor, i, sigma, sigma_next) for i in range(3))
        H = of_x[1] * EYE + of_score[1] * S
        mean, without = H @ mean + of_score[1] * s, H @ covariance @ H.mH
        covariance = without + of_noise[0] ** 2 * EYE
    return dense.as_gaussian(mean, without)


def coefficient(predictor, i, sigma, sigma_next):
    """Return the factor of state (0), score (1) or noise (2) in a predictor's result and in its mean."""
    units = [torch.full((1, 1), float(i == j), dtype=torch.complex128) for j in range(3)]
    return [value.item().real for value in predictor.step(*units, sigma, sigma_next)]


def assert_drawn_from(expected: Gaussian, samples: Tensor) -> None:
    """Check mean and standard deviation of each pixel, to five standard errors."""
    mean, std = mean_and_std(samples)
    assert ((mean - expected.mean).abs() < 5 * expected.std / len(samples) ** 0.5).all()
    assert ((std / expected.std - 1).abs() < 5 / (4 * len(samples)) ** 0.5).all()


def deviation(found: Gaussian, truth: Gaussian) -> tuple[float, float, float]:
    """Return the rms error of the mean in units of the true std, and smallest and largest ratio of the stds."""
    error = ((found.mean - truth.mean).abs() / truth.std).square().mean().sqrt()
    ratio = found.std / truth.std
    return error.item(), ratio.min().item(), ratio.max().item()
