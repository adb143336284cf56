"""The predictor-corrector sampler draws from the posterior, or from the prior where there is no scan."""

import pytest
import torch

from lightning_mri.diffusion.analytic import GaussianPrior
from lightning_mri.sampling import (
    Langevin,
    LinearBeta,
    PosteriorScore,
    PredictorCorrector,
    Projection,
    Relaxed,
    ReverseDiffusionVE,
    ReverseDiffusionVP,
)

from .conftest import SHAPE, AnySize, draw, mean_and_std, vector

N_SAMPLES = 160


def deviation(samples, truth):
    """Return the rms error of the mean in units of the true std, and the mean ratio of the stds."""
    mean, std = mean_and_std(samples)
    error = ((mean - truth.mean).abs() / truth.std).square().mean().sqrt()
    return error.item(), (std / truth.std).mean().item()


def test_the_posterior_score_gives_mean_and_spread_of_the_posterior(smooth_prior, likelihood):
    """Correlated pixels, for which the score is approximate at high noise: the correctors make up for it.

    Of 160 draws the mean alone has an error of 0.11 standard deviations; a Langevin chain of this snr is
    wider by up to 4 %. A short walk is worse, which shows that the limit is approached.
    """
    truth, consistency = smooth_prior.posterior(likelihood), PosteriorScore(n_iterations=9)
    many = PredictorCorrector(n_steps=60, corrector=Langevin(snr=0.25, n_steps=4), consistency=consistency)
    few = PredictorCorrector(n_steps=20, corrector=Langevin(n_steps=0), consistency=consistency)

    error, ratio = deviation(many.sample(smooth_prior, likelihood, range(N_SAMPLES)), truth)
    short_error, short_ratio = deviation(few.sample(smooth_prior, likelihood, range(N_SAMPLES)), truth)

    assert error < 0.17
    assert 0.95 < ratio < 1.08
    assert short_error > 2 * error
    assert abs(short_ratio - 1) > abs(ratio - 1)


@pytest.mark.parametrize(
    ("predictor", "schedule"), [(ReverseDiffusionVE(), None), (ReverseDiffusionVP(), LinearBeta())]
)
def test_an_isotropic_prior_needs_no_corrector(isotropic_prior, likelihood, predictor, schedule):
    """The score is then exact at every level, and the predictor alone walks to the posterior."""
    sampler = PredictorCorrector(
        n_steps=60,
        predictor=predictor,
        corrector=Langevin(n_steps=0),
        consistency=PosteriorScore(n_iterations=9),
        sigma_max=10.0,
        sigma_min=0.03,
        **({} if schedule is None else {"schedule": schedule}),
    )

    error, ratio = deviation(
        sampler.sample(isotropic_prior, likelihood, range(N_SAMPLES)), isotropic_prior.posterior(likelihood)
    )

    assert error < 0.17
    assert 0.95 < ratio < 1.08


def test_vp_reverse_diffusion_gives_the_published_mean_and_spread():
    """Prior N(0.7, 0.3^2), 1000 steps: published 0.705 and 0.301; in closed form 0.700 and 0.301."""
    prior = GaussianPrior(torch.full((45, 47), 0.7 + 0.7j), 0.09)
    sampler = PredictorCorrector(
        n_steps=1000,
        predictor=ReverseDiffusionVP(),
        corrector=Langevin(n_steps=0),
        schedule=LinearBeta(),
        sigma_max=152.2,
        sigma_min=0.0105,
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
    """Regression: methods.md, section 7, defect 10. A prior that knows the image lets no noise through."""
    image = draw(*SHAPE, seed=0)
    prior = GaussianPrior(image, 1e-12)
    sampler = PredictorCorrector(n_steps=5, predictor=predictor, sigma_max=5.0, sigma_min=0.01)

    x = sampler.sample(prior, None, [0], shape=SHAPE)[0]

    torch.testing.assert_close(x, image, rtol=0, atol=2e-4)


@pytest.mark.parametrize("consistency", [Projection(n_iterations=30), Relaxed(weight=1.0)])
@pytest.mark.parametrize("predictor", [ReverseDiffusionVE(), ReverseDiffusionVP()])
def test_consistency_acts_on_the_result(likelihood, consistency, predictor):
    sampler = PredictorCorrector(n_steps=8, predictor=predictor, consistency=consistency, sigma_max=2.0)

    x = sampler.sample(AnySize(), likelihood, [0])[0]

    constraint = consistency.of(likelihood)
    before = (constraint.state(x, 1.0) - x).norm()
    free = (constraint.state(sampler.sample(AnySize(), None, [0], shape=SHAPE)[0], 1.0) - x).norm()
    assert before < 0.1 * free


def test_the_projected_result_is_the_nearest_explanation_of_the_data(likelihood):
    """In the measured directions nothing but the data is left, noise included: a biased rule."""
    sampler = PredictorCorrector(n_steps=8, consistency=Projection(n_iterations=30), sigma_max=2.0)

    x = sampler.sample(AnySize(), likelihood, range(2))

    misfit = likelihood.adjoint() - likelihood.A.normal(x)
    assert vector(misfit).abs().max() < 1e-3


def test_evaluations_are_counted():
    prior, sampler = AnySize(), PredictorCorrector(n_steps=6, corrector=Langevin(n_steps=2))
    sampler.sample(prior, None, [0], shape=SHAPE)

    assert sampler.nfe == 18 == len(prior.seen)
