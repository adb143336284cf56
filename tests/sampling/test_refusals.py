"""What no sampler can do is said where the value enters."""

import math
from collections.abc import Callable
from functools import partial

import pytest
import torch

from lightning_mri.diffusion import Prior
from lightning_mri.physics import Mask
from lightning_mri.sampling import (
    DAPS,
    DDS,
    DPS,
    HQS,
    PULA,
    Denoise,
    Geometric,
    Karras,
    Langevin,
    MapRefinement,
    NoiseReestimation,
    PredictorCorrector,
    Relaxed,
    Sampler,
    posterior,
)
from lightning_mri.sampling.noise import seeds_for
from lightning_mri.sampling.predictors import DiscreteReverseDiffusionVP
from tests.builders import refusals, wrong

from .conftest import SHAPE, AnySize
from .test_sampler import SAMPLERS, scan

ALL = (PredictorCorrector(2), DAPS(2), DDS(2), DPS(2), DPS(2, n_parallel=9), HQS(2), PULA(2), Denoise())
KINDS = (PredictorCorrector, DAPS, DDS, DPS, HQS, PULA)


NUMBERS = (
    (NoiseReestimation, ("kappa",)),
    (Langevin, ("snr",)),
    (Relaxed, ("weight", "last")),
    (Denoise, ("level",)),
    (DDS, ("eta",)),
    (DPS, ("zeta",)),
    (HQS, ("momentum", "low_acceleration")),
    (PULA, ("step",)),
    (Karras, ("rho",)),
)


class Wrong(AnySize):
    """A prior that returns something else than its images; nothing at all unless told."""

    def __init__(self, change: Callable[[torch.Tensor], object] = lambda _: None) -> None:
        super().__init__()
        self.change = change

    def denoise(self, x, sigma, label=None):
        return self.change(x)


def draw(sampler: Sampler, seeds: object = (0,), prior: Prior = AnySize(), **settings: object) -> object:  # noqa: B008
    return sampler.sample(prior, scan(), seeds, **settings)  # type: ignore[arg-type]


def unacquired() -> object:
    likelihood = scan()
    mask = likelihood.A.find(Mask)
    return likelihood.replace(y=likelihood.y + ~mask.mask)


test_what_breaks_a_rule_is_named = refusals(
    (lambda: MapRefinement(sigma_max=0.1, sigma_min=0.2), r"sigma_min must be in \[0, sigma_max\]: got 0\.2 and 0"),
    (lambda: NoiseReestimation(kappa=-0.1), r"kappa must not be negative: got -0\.1"),
    (lambda: Relaxed(weight=1.2), r"weight must be in \[0, 1\]: got 1.2"),
    (lambda: Relaxed(last=-1), r"last must be in \[0, 1\]: got -1"),
    (lambda: Relaxed(fades="no"), "fades must be True or False: got 'no'"),
    (lambda: Relaxed(of="image"), "of must be state or estimate: got 'image'"),
    *((partial(kind, n_steps="4"), "n_steps must be a whole number: got '4'") for kind in KINDS),  # type: ignore[arg-type]
    *wrong(Denoise, "level must be a number: got '1'", level="1"),
    *((partial(kind, **{name: math.nan}), f"{name} must .*: got nan") for kind, names in NUMBERS for name in names),
    *wrong(HQS, "likelihood_weights must be positive: got", likelihood_weights=(math.nan, 3.0)),
    *wrong(HQS, "likelihood_weights must be positive: got", likelihood_weights=(8.0, math.nan)),
    (lambda: Karras(rho=0.0), "rho must be positive: got 0.0"),
    (lambda: Langevin(snr=0), "snr must be positive"),
    (lambda: Langevin(n_steps=-1), "n_steps must not be negative"),
    *((partial(kind, n_steps=0), "n_steps must be at least 1: got 0") for kind in KINDS),
    *((partial(kind, sigma_max=0.001), "sigma_max >= sigma_min > 0: got 0.001 and 0.0") for kind in KINDS[1:]),
    (lambda: DAPS(n_ode_steps=0), "n_ode_steps must be at least 1: got 0"),
    (lambda: DDS(eta=1.5), r"eta must be in \[0, 1\]: got 1\.5"),
    (lambda: DPS(zeta=-1.0), "zeta must not be negative: got -1"),
    (lambda: DPS(n_parallel=0), "n_parallel must be at least 1: got 0"),
    (lambda: HQS(n_restarts=0), "n_restarts must be positive: got 0"),
    (lambda: HQS(momentum=1.0), r"momentum must be in \[0, 1\): got 1.0"),
    (lambda: HQS(likelihood_weights=(4.0, 0.0)), r"likelihood_weights must be positive: got \(4.0, 0.0\)"),
    (lambda: HQS(low_acceleration=0.0), "low_acceleration must be positive: got 0.0"),
    (lambda: PULA(step=2.0), "step must be between 0 and 2: got 2"),
    (lambda: PULA(n_langevin=0), "n_langevin must be at least 1: got 0"),
    (lambda: PULA(averaged="no"), "averaged must be True or False: got 'no'"),
    (lambda: posterior(HQS(), AnySize(), scan(), [3]), "two samples for a standard deviation: got 1"),
    (lambda: posterior(HQS(), AnySize(), scan(), [3, 4], n_parallel=0), "n_parallel must be at least 1: got 0"),
    (unacquired, "y must be zero where the mask is False"),
    (lambda: draw(HQS(), label=torch.tensor([0, 1])), r"label must be one for all or one a slice, \(3,\): got \(2"),
    (lambda: draw(HQS(), torch.zeros(1, 2, dtype=torch.int64)), "seeds must have shape"),
    (lambda: draw(HQS(n_steps=2), [0.5]), "seeds must be integers: got torch.float32"),
    (lambda: draw(HQS(n_steps=2), [True]), "seeds must be integers: got torch.bool"),
    *(
        (partial(draw, sampler, prior=Wrong()), "prior.denoise must return complex images .*: got NoneType")
        for sampler in ALL
    ),
    (lambda: draw(HQS(n_steps=2), prior=Wrong(torch.Tensor.abs)), "must return complex images .* of torch.float32"),
    (lambda: draw(DAPS(2), prior=Wrong(lambda x: x[..., 1:])), r"must return .* \(1, 3, 5, 4\).*: got \(1, 3, 5, 3\)"),
    (lambda: seeds_for([], (3,)), "seeds must"),
    (lambda: seeds_for(torch.tensor(3), (3,)), "seeds must"),
    (lambda: seeds_for(torch.zeros(2, 4, dtype=torch.int64), (3,)), "seeds must"),
    (lambda: Karras().sigmas(0, 1.0, 0.1), "must"),
    (lambda: Geometric().sigmas(3, 0.1, 1.0), "must"),
    (lambda: Karras().sigmas(3, 1.0, 0.0), "must"),
    (lambda: PredictorCorrector(predictor=DiscreteReverseDiffusionVP(), n_steps=50), "must be 1000 and LinearBeta"),
    (
        lambda: PredictorCorrector(predictor=DiscreteReverseDiffusionVP(), schedule=Geometric()),
        "must be 1000 and LinearBeta",
    ),
    (
        lambda: PredictorCorrector(predictor=DiscreteReverseDiffusionVP(), sigma_max=1.0),
        r"sigma_max and sigma_min must be \(152\.1.*\) for .*: got 1\.0 and 0\.01",
    ),
    (
        lambda: draw(PredictorCorrector(predictor=DiscreteReverseDiffusionVP(n_times=3), n_steps=3)),
        r"sigma_max and sigma_min must be .*: got 10\.0 and 0\.01",
    ),
    (lambda: draw(HQS(), label=torch.tensor([0, 1, 3])), r"label must be 0 ... 2, .*: got \[0, 1, 3\]"),
    (lambda: draw(HQS(), label=-1), "label must be 0 ... 2, the last for none: got -1"),
)


@pytest.mark.parametrize("sampler", [DAPS(), DDS(), DPS(), HQS(), PULA()])
def test_what_needs_a_likelihood_says_so(sampler: Sampler) -> None:
    with pytest.raises(ValueError, match="likelihood must be given"):
        sampler.sample(AnySize(), None, [0], shape=SHAPE)


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_the_size_comes_from_one_place(sampler: Sampler) -> None:
    for likelihood, shape, words in (
        (scan(), SHAPE, "got both"),
        (None, None, "got neither"),
        (None, (5,), r"shape must be \[\*batch, y, x\]: got \(5,\)"),
    ):
        with pytest.raises(ValueError, match=words):
            sampler.sample(AnySize(), likelihood, [3], shape=shape)
