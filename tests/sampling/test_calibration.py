"""Simulation-based calibration (Talts et al. 2018): to samplers of the posterior, the truth is just another draw.

For x from the prior and y measured from it, the rank of any f(x) among f of posterior draws is uniform. The test
has the power to find fault: the samplers that claim less fail it.
"""

import pytest
import torch
from scipy.stats import chisquare

from lightning_mri.physics import GaussianLikelihood
from lightning_mri.sampling import (
    DAPS,
    DDS,
    HQS,
    PULA,
    EstimateType,
    Langevin,
    NoiseReestimation,
    PosteriorScore,
    PredictorCorrector,
    Projection,
    Relaxed,
)

from ..analytic import GaussianPrior
from .conftest import draw, linear

N_TRUTHS, N_DRAWS = 300, 9
NOISE_STD = 0.15
LEVELS = {"sigma_max": 3.0, "sigma_min": 0.01}
TRUST = {"noise": NoiseReestimation(kappa=0), "n_iterations": 5}

SCORE = PosteriorScore(n_iterations=5)
CLAIM = {
    "pULA": PULA(n_steps=40, n_langevin=4, step=1.0, n_iterations=5, **LEVELS),
    "PC": linear(PredictorCorrector(n_steps=40, corrector=Langevin(0.5, 4), consistency=SCORE, **LEVELS)),
}
BIASED = {
    "DAPS": DAPS(n_steps=30, n_ode_steps=5, n_iterations=5),
    "DDS": DDS(symmetry=None, **TRUST),
    "HQS": HQS(symmetry=None, **TRUST),
    "PC, Relaxed": PredictorCorrector(n_steps=30, consistency=Relaxed(), **LEVELS),
    "PC, Projection": PredictorCorrector(n_steps=30, consistency=Projection(), **LEVELS),
}


@pytest.fixture
def gaussian_prior(mixture_prior) -> GaussianPrior:
    """Correlated images of 2 x 3 pixels, along whose axes the variance differs ten times and more."""
    return mixture_prior.components[0]


def p_values(sampler, prior, matrix) -> list[float]:
    """Return the probability of rank histograms as uneven as these, for four functions of the image."""
    truth = prior.draw(N_TRUTHS, torch.Generator().manual_seed(21))
    y = matrix(truth) + NOISE_STD * draw(N_TRUTHS, 1, 1, 4, seed=22)
    likelihood = GaussianLikelihood(matrix, y, torch.full((N_TRUTHS,), NOISE_STD))
    samples = sampler.sample(prior, likelihood, range(N_DRAWS))
    known, unknown = draw(2, 2, 3, seed=23).conj()
    functions = [
        lambda x: (known * x).sum((-2, -1)).real,
        lambda x: (unknown * x).sum((-2, -1)).imag,
        lambda x: x.abs().square().sum((-2, -1)),
        lambda x: (matrix(x)[..., 0, 0, :] - y[..., 0, 0, :]).abs().square().sum(-1),
    ]
    ranks = [(f(samples) < f(truth)).sum(0) for f in functions]
    return [chisquare(torch.bincount(rank, minlength=N_DRAWS + 1)).pvalue for rank in ranks]


@pytest.mark.usefixtures("one_stream")
@pytest.mark.parametrize("sampler", CLAIM.values(), ids=CLAIM)
@pytest.mark.parametrize("kind_of_prior", ["gaussian_prior", "mixture_prior"])
def test_ranks_of_the_truth_are_uniform(sampler, kind_of_prior, matrix, request):
    assert sampler.estimate_type is EstimateType.POSTERIOR

    assert min(p_values(sampler, request.getfixturevalue(kind_of_prior), matrix)) > 0.01


@pytest.mark.usefixtures("one_stream")
@pytest.mark.parametrize("sampler", BIASED.values(), ids=BIASED)
def test_others_do_not_claim_what_they_fail(sampler, mixture_prior, matrix):
    assert sampler.estimate_type is not EstimateType.POSTERIOR

    assert min(p_values(sampler, mixture_prior, matrix)) < 1e-6
