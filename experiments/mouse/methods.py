"""Ways to reconstruct a low-field mouse: what is known of the scanner, how it is used, and with which prior."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from functools import cache

import torch
from cases import Case, Herd, Sizes
from torch import Tensor

from lightning_mri.baselines import Baseline
from lightning_mri.diffusion import NetworkPrior
from lightning_mri.physics import (
    GaussianLikelihood,
    LowField,
    ModelMismatch,
    ScannerEstimate,
    estimate_noise_std,
    estimate_scanner,
    sense,
    without_degradation,
)
from lightning_mri.reconstruction import label_of, prepare_likelihood, seeds_of
from lightning_mri.sampling import (
    DDS,
    HQS,
    PredictorCorrector,
    Relaxed,
    ReverseDiffusionVP,
    Sampler,
    posterior,
)
from lightning_mri.sampling.adaptation import KNOWN_NOISE
from lightning_mri.scaling import Scaling
from lightning_mri.weights import load_prior

CONTRAST = "T2w"
# chosen on validation mice among seven pairs from 0.5 to 16, and among 0.01, 0.03, 0.1, 0.3
LIKELIHOOD_WEIGHTS, TUNED_WEIGHT = (8.0, 1.0), 0.1


class Knowledge(ABC):
    """What a method knows of the scanner."""

    @abstractmethod
    def likelihood(self, case: Case, herd: Herd) -> GaussianLikelihood:
        """Return the measurement of a slice with the scanner that it is taken to come from."""


@dataclass(frozen=True)
class Right(Knowledge):
    """Everything, as it is."""

    def likelihood(self, case: Case, herd: Herd) -> GaussianLikelihood:
        """Return the likelihood as simulated."""
        return case.batch.likelihood


@dataclass(frozen=True)
class Blind(Knowledge):
    """Neither damping nor phase."""

    def likelihood(self, case: Case, herd: Herd) -> GaussianLikelihood:
        """Return the likelihood without them."""
        return without_degradation(case.batch.likelihood)


@dataclass(frozen=True)
class Wrong(Knowledge):
    """Everything, ``misjudged``."""

    misjudged: ModelMismatch

    def likelihood(self, case: Case, herd: Herd) -> GaussianLikelihood:
        """Return the likelihood as misjudged."""
        return case.misjudge(self.misjudged)


@dataclass(frozen=True)
class Found(Knowledge):
    """What the scan itself tells, beside the spectrum of other mice at high field; its B0 phase stays in the image."""

    def likelihood(self, case: Case, herd: Herd) -> GaussianLikelihood:
        """Return the likelihood as estimated from slices of the mouse."""
        true = herd.mice.degradation
        scanner = LowField(readout_s=true.readout_s, pixel_size=true.pixel_size).matched(estimated(case, herd))
        likelihood = case.batch.likelihood
        shape = (likelihood.y.shape[-2], likelihood.y.shape[-1])
        A = sense(torch.ones(1, 1, 1, *shape, dtype=torch.complex64), case.batch.mask, scanner.damping(shape))
        return likelihood.replace(A=A, noise_std=estimate_noise_std(likelihood.y, case.batch.mask))


def estimated(case: Case, herd: Herd) -> ScannerEstimate:
    """Return what slices of a mouse tell of the scanner."""
    scan = case.scan
    assert scan.pixel_size is not None, "simulated scans have one"
    return estimate_scanner(scan.kspace, scan.mask, scan.pixel_size, herd.mice.degradation.readout_s, herd.spectrum)


@dataclass(frozen=True)
class Image:
    """What a method returns for one slice.

    Args:
        magnitude: Its magnitude [1, y, x].
        std: The spread of draws, where it draws.
    """

    magnitude: Tensor
    std: Tensor | None = None


class Method(ABC):
    """A way to reconstruct.

    Attributes:
        nfe: Network evaluations a slice.
    """

    nfe: int = 0

    @abstractmethod
    def reconstruct(self, case: Case, herd: Herd, prior: str) -> Image:
        """Return the image of a slice.

        Args:
            case: The slice.
            herd: Where it comes from.
            prior: Name or file of the prior; not asked for where there is none.
        """


@dataclass(frozen=True)
class Classical(Method):
    """A baseline, which knows the scanner if it can make use of it."""

    baseline: Baseline

    def reconstruct(self, case: Case, herd: Herd, prior: str) -> Image:
        """Return the baseline's image."""
        problem = prepare_likelihood(case.batch.likelihood, Scaling())
        return Image(problem.finish(self.baseline.reconstruct(problem.likelihood)).abs())


@dataclass(frozen=True)
class Diffusion(Method):
    """A sampler with a prior.

    Args:
        sampler: How prior and data are brought together.
        knowledge: What the likelihood holds.
        priors: Names of the priors that it is tried with; all of them if not given.
        n_draws: Draws whose mean is the image.
    """

    sampler: Sampler
    knowledge: Knowledge = Right()
    priors: tuple[str, ...] | None = None
    n_draws: int = 1

    @property
    def nfe(self) -> int:  # type: ignore[override]
        """Evaluations of all draws."""
        return self.n_draws * self.sampler.nfe

    def reconstruct(self, case: Case, herd: Herd, prior: str) -> Image:
        """Return one draw, or the mean of several and their spread."""
        network, batch = loaded(prior), case.batch
        problem = prepare_likelihood(self.knowledge.likelihood(case, herd), network.scaling)
        label, _ = label_of(CONTRAST, network)
        seeds = seeds_of(batch.scan, batch.slices, self.n_draws)
        if self.n_draws == 1:
            return Image(problem.finish(self.sampler.sample(network, problem.likelihood, seeds, label)[0]).abs())
        drawn = posterior(self.sampler, network, problem.likelihood, seeds, label)
        return Image(problem.finish(drawn.mean).abs(), problem.finish(drawn.std))


@cache
def loaded(prior: str) -> NetworkPrior:
    """Return a prior, read once."""
    return load_prior(prior)


PAPER, PHYSICS, ESTIMATED, DRAWN = "paper", "physics", "physics, estimated", "physics, mean of draws"
STRONG, WEAK = "physics, 25 % too strong", "physics, 25 % too weak"


def diffusions(sizes: Sizes, tuned: str) -> dict[str, Diffusion]:
    """Return the ways to use a prior; their settings were chosen on validation mice.

    Args:
        sizes: Noise levels and draws.
        tuned: The prior that all of them are tried with.
    """

    def published(weight: float) -> Sampler:
        return PredictorCorrector(
            n_steps=sizes.paper_levels,
            predictor=ReverseDiffusionVP(),
            consistency=Relaxed(weight),
        )

    hqs = HQS(n_steps=sizes.physics_levels, noise=KNOWN_NOISE, likelihood_weights=LIKELIHOOD_WEIGHTS)
    dds = DDS(n_steps=sizes.physics_levels, noise=KNOWN_NOISE)
    return {
        PAPER: Diffusion(published(0.3), Blind()),
        f"paper, weight {TUNED_WEIGHT:g}": Diffusion(published(TUNED_WEIGHT), Blind(), (tuned,)),
        PHYSICS: Diffusion(hqs),
        STRONG: Diffusion(hqs, Wrong(ModelMismatch(1.25)), (tuned,)),
        WEAK: Diffusion(hqs, Wrong(ModelMismatch(0.75)), (tuned,)),
        ESTIMATED: Diffusion(hqs, Found(), (tuned,)),
        DRAWN: Diffusion(dds, priors=(tuned,), n_draws=sizes.n_draws),
    }
