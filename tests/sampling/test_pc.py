"""The predictor-corrector sampler draws from the posterior, or from the prior where there is no scan."""

import pytest
import torch
from torch import Tensor

from lightning_mri.diffusion import Prior
from lightning_mri.physics import GaussianLikelihood, fft2c, ifft2c, sense
from lightning_mri.sampling import (
    AncestralVE,
    AncestralVP,
    EstimateType,
    Geometric,
    Langevin,
    MapRefinement,
    NoiseReestimation,
    PosteriorScore,
    PredictorCorrector,
    Projection,
    Relaxed,
    ReverseDiffusionVE,
    ReverseDiffusionVP,
)
from lightning_mri.scaling import Scaling

from ..analytic import GaussianPrior
from . import recursions
from .conftest import SHAPE, AnySize, draw, linear, mean_and_std, sigmas_of, vector
from .recursions import Dense, assert_drawn_from

N_SAMPLES = 300


def deviation(samples, truth):
    """Return the rms error of the mean in units of the true std, and the mean ratio of the stds."""
    mean, std = mean_and_std(samples)
    error = ((mean - truth.mean).abs() / truth.std).square().mean().sqrt()
    return error.item(), (std / truth.std).mean().item()


PREDICTORS = [ReverseDiffusionVE(), AncestralVE(), ReverseDiffusionVP(), AncestralVP()]


@pytest.mark.usefixtures("one_stream")
@pytest.mark.parametrize("predictor", PREDICTORS)
def test_draws_have_the_mean_and_spread_of_the_affine_recursion(smooth_prior, likelihood, predictor):
    sampler = linear(
        PredictorCorrector(
            n_steps=10,
            predictor=predictor,
            corrector=Langevin(snr=0.4, n_steps=2),
            consistency=PosteriorScore(n_iterations=20),
            sigma_max=3.0,
            sigma_min=0.1,
        )
    )

    samples = sampler.sample(smooth_prior, likelihood, range(N_SAMPLES))

    assert_drawn_from(recursions.pc(sampler, Dense.of(smooth_prior, likelihood)), samples)


def test_the_posterior_score_leads_to_the_posterior_as_langevin_time_grows(smooth_prior, likelihood):
    """Correlated pixels, whose score is approximate at high noise: correctors make up for it, levels do not.

    Bias of the mean in posterior standard deviations, and mean excess of these, are inverse to levels x corrector
    steps x snr^2, for 60, 240 and 960; twice the levels at equal Langevin time change nothing.
    """
    dense, truth = Dense.of(smooth_prior, likelihood), smooth_prior.posterior(likelihood)

    def bias(n_steps, n_corrections, snr):
        corrector = Langevin(snr, n_corrections)
        sampler = PredictorCorrector(n_steps=n_steps, corrector=corrector, sigma_max=5.0, sigma_min=0.01)
        found = recursions.pc(sampler, dense)
        error = ((found.mean - truth.mean).abs() / truth.std).square().mean().sqrt()
        return error.item(), (found.std / truth.std).mean().item() - 1

    assert bias(60, 4, 0.5) == pytest.approx((0.079, 0.021), abs=2e-3)
    assert bias(120, 8, 0.5) == pytest.approx((0.026, 0.006), abs=2e-3)
    assert bias(240, 16, 0.5) == pytest.approx((0.0074, 0.0014), abs=5e-4)
    assert bias(240, 8, 0.3536) == pytest.approx(bias(120, 8, 0.5), abs=2e-3)


class Stationary(Prior):
    """Gaussian images whose k-space is independent, of mean 0 and a variance that falls from its centre."""

    sigma_min, sigma_max, sigma_data = 0.01, 5.0, 0.5
    scaling, labels = Scaling(), ()

    def __init__(self, shape: tuple[int, int]) -> None:
        y, x = ((torch.arange(n) - n // 2) / n for n in shape)
        variance = 0.1 + 0.9 * torch.exp(-40 * (y[:, None].square() + x.square()))
        self.variance = self.sigma_data**2 * variance / variance.mean()

    def denoise(self, x, sigma, label=None):
        return ifft2c(fft2c(x) * self.variance / (self.variance + sigma**2))


@pytest.mark.usefixtures("one_stream")
@pytest.mark.parametrize("snr", [0.25, 0.5])
def test_the_shipped_corrector_leaves_correlated_images_as_wide_as_its_last_steps_say(snr):
    """Each sample of k-space of posterior variance v rests at w = v / (1 - e / (2 v)), e = 2 snr^2 / mean w/v^2.

    One coil and a mask, so that the posterior's samples of k-space are independent, too: at snr 0.5 those measured are
    23 % too wide, the others 3 %, whatever the Langevin time.
    """
    shape, prior = (33, 30), Stationary((33, 30))
    mask = torch.rand(1, *shape, generator=torch.Generator().manual_seed(1)) < 0.4
    A = sense(torch.ones(1, 1, *shape, dtype=torch.complex64), mask)
    likelihood = GaussianLikelihood(A, torch.zeros(1, *shape, dtype=torch.complex64), torch.tensor(0.2))
    v = w = 1 / (1 / prior.variance + mask[0] / 0.2**2)
    for _ in range(50):
        w = v / (1 - snr**2 / (w / v**2).mean() / v)

    sampler = PredictorCorrector(30, corrector=Langevin(snr, 4), sigma_max=5.0, sigma_min=0.01)
    drawn = fft2c(sampler.sample(prior, likelihood, range(8))).abs().square().mean(0) / 2

    for where in (mask[0], ~mask[0]):
        found, resting = ((each / v)[where].mean().sqrt().item() for each in (drawn, w))
        assert found == pytest.approx(resting, abs=0.025)


@pytest.mark.usefixtures("one_stream")
@pytest.mark.parametrize("predictor", [ReverseDiffusionVE(), ReverseDiffusionVP()])
def test_an_isotropic_prior_needs_no_corrector(isotropic_prior, likelihood, predictor):
    """The score is then exact at every level, and the predictor alone leads to the posterior."""
    sampler = PredictorCorrector(
        n_steps=50,
        predictor=predictor,
        corrector=Langevin(n_steps=0),
        consistency=PosteriorScore(n_iterations=12),
        sigma_max=10.0,
        sigma_min=0.03,
    )

    error, ratio = deviation(
        sampler.sample(isotropic_prior, likelihood, range(N_SAMPLES)), isotropic_prior.posterior(likelihood)
    )

    assert error < 0.12  # of 300 draws the mean alone has an error of 0.08
    assert 0.99 < ratio < 1.08


def test_vp_reverse_diffusion_gives_the_published_mean_and_spread():
    """Prior N(0.7, 0.3^2), 1000 steps: published 0.705 and 0.301; in closed form 0.700 and 0.301."""
    prior = GaussianPrior(torch.full((45, 47), 0.7 + 0.7j), 0.09)
    sampler = PredictorCorrector(
        n_steps=1000, predictor=ReverseDiffusionVP(), corrector=Langevin(n_steps=0), sigma_max=152.2, sigma_min=0.0105
    )

    values = torch.view_as_real(sampler.sample(prior, None, range(2), shape=(45, 47)))

    assert values.mean().item() == pytest.approx(0.700, abs=4 * 0.301 / values.numel() ** 0.5)
    assert values.std().item() == pytest.approx(0.301, abs=4 * 0.301 / (2 * values.numel()) ** 0.5)


def test_draws_without_a_likelihood_follow_the_prior():
    prior = GaussianPrior(torch.full((31, 33), 0.5j), 0.04)
    sampler = PredictorCorrector(n_steps=150, corrector=Langevin(snr=0.1), sigma_max=3.0, sigma_min=0.01)

    mean, std = mean_and_std(sampler.sample(prior, None, range(3), shape=(2, 31, 33)).reshape(-1, 1))

    assert mean.item() == pytest.approx(0.5j, abs=0.02)
    assert std.item() == pytest.approx(0.2, rel=0.03)


@pytest.mark.parametrize("predictor", [ReverseDiffusionVE(), ReverseDiffusionVP()])
def test_the_result_is_the_mean_of_the_last_step_and_not_its_noisy_state(predictor):
    """A prior that knows the image lets no noise through."""
    image = draw(*SHAPE, seed=0)
    prior = GaussianPrior(image, 1e-12)
    sampler = PredictorCorrector(n_steps=5, predictor=predictor, sigma_max=5.0, sigma_min=0.01)

    x = sampler.sample(prior, None, [0], shape=SHAPE)[0]

    torch.testing.assert_close(x, image, rtol=0, atol=2e-4)


def test_the_corrector_is_given_what_the_predictor_keeps():
    """The ratio of alpha^2 = 1 / (1 + sigma^2) between two levels, for the variance-preserving process."""
    given = []

    class Noted(Langevin):
        def step(self, x, score, noise, alpha=1.0, ndim=2):
            given.append(alpha)
            return x

    sampler = PredictorCorrector(3, ReverseDiffusionVP(), Noted(), sigma_max=3.0, sigma_min=0.1)
    sampler.sample(AnySize(), None, [0], shape=SHAPE)

    levels = 1 + torch.tensor(sigmas_of(sampler)).square()
    assert given == pytest.approx((levels[1:] / levels[:-1]).tolist())


@pytest.mark.parametrize("consistency", [Projection(n_iterations=30), Relaxed(weight=1.0)])
@pytest.mark.parametrize("predictor", [ReverseDiffusionVE(), ReverseDiffusionVP()])
def test_consistency_acts_on_the_result(likelihood, consistency, predictor):
    sampler = PredictorCorrector(8, predictor, consistency=consistency, schedule=Geometric(), sigma_max=2.0)

    x = sampler.sample(AnySize(), likelihood, [0])[0]

    constraint = consistency.constraint(likelihood)
    before = (constraint.result(x) - x).norm()
    free = (constraint.result(sampler.sample(AnySize(), None, [0], shape=SHAPE)[0]) - x).norm()
    assert before < 0.1 * free


@pytest.mark.parametrize("of", ["state", "estimate"])
def test_the_last_pull_acts_on_the_result_alone(likelihood, of):
    def sample(last: float | None) -> Tensor:
        rule = Relaxed(0.3, of=of, fades=True, last=last)
        return PredictorCorrector(4, consistency=rule, sigma_max=2.0).sample(AnySize(), likelihood, [0])[0]

    expected = Relaxed(0.6).constraint(likelihood).result(sample(0.0))

    torch.testing.assert_close(sample(0.6), expected)
    torch.testing.assert_close(sample(None), sample(0.0), rtol=0, atol=0)


@pytest.mark.parametrize("of", ["state", "estimate"])
def test_without_weight_the_prior_is_drawn_from(likelihood, of):
    sampler = PredictorCorrector(4, consistency=Relaxed(0.0, of=of), sigma_max=2.0)
    free = sampler.sample(AnySize(), None, [0], shape=SHAPE)[0]
    torch.testing.assert_close(sampler.sample(AnySize(), likelihood, [0])[0], free, rtol=0, atol=0)


def test_the_projected_result_is_the_nearest_explanation_of_the_data(likelihood):
    """In the measured directions nothing but the data is left, noise included: a biased rule."""
    sampler = PredictorCorrector(n_steps=8, consistency=Projection(n_iterations=30), sigma_max=2.0)

    x = sampler.sample(AnySize(), likelihood, range(2))

    misfit = likelihood.adjoint() - likelihood.A.normal(x)
    assert vector(misfit).abs().max() < 1e-3


def test_only_the_posterior_score_claims_the_posterior():
    assert PredictorCorrector().estimate_type is EstimateType.POSTERIOR
    assert (
        PredictorCorrector(consistency=PosteriorScore(noise=NoiseReestimation())).estimate_type
        is EstimateType.APPROXIMATE
    )
    assert PredictorCorrector(refinement=MapRefinement()).estimate_type is EstimateType.APPROXIMATE
    assert {PredictorCorrector(consistency=rule).estimate_type for rule in (Projection(), Relaxed())} == {
        EstimateType.APPROXIMATE
    }
