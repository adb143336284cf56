"""Ways to reconstruct a low-field mouse: what is known of the scanner, how it is used, and with which prior."""

import time
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache

import torch
from mice import Case, Sizes
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
from lightning_mri.weights import fingerprint, load_prior

CONTRAST, NO_PRIOR = "T2w", "-"
# chosen on validation mice among seven pairs from 0.5 to 16, and among 0.01, 0.03, 0.1, 0.3
LIKELIHOOD_WEIGHTS, TUNED_WEIGHT = (8.0, 1.0), 0.1


class OperatorKnowledge(ABC):
    """What a method knows of the scanner."""

    @abstractmethod
    def likelihood(self, case: Case) -> GaussianLikelihood:
        """Return the measurement of a slice with the scanner that it is taken to come from."""


@dataclass(frozen=True)
class TrueScanner(OperatorKnowledge):
    """Everything, as it is."""

    def likelihood(self, case: Case) -> GaussianLikelihood:
        """Return the likelihood as simulated."""
        return case.batch.likelihood


@dataclass(frozen=True)
class NoScanner(OperatorKnowledge):
    """Neither damping nor phase."""

    def likelihood(self, case: Case) -> GaussianLikelihood:
        """Return the likelihood without them."""
        return without_degradation(case.batch.likelihood)


@dataclass(frozen=True)
class WrongScanner(OperatorKnowledge):
    """Everything, misjudged."""

    mismatch: ModelMismatch

    def likelihood(self, case: Case) -> GaussianLikelihood:
        """Return the likelihood as misjudged."""
        return case.mismatched(self.mismatch)


@dataclass(frozen=True)
class EstimatedScanner(OperatorKnowledge):
    """What the scan itself tells, beside the spectrum of other mice at high field; its B0 phase stays in the image."""

    def likelihood(self, case: Case) -> GaussianLikelihood:
        """Return the likelihood as estimated from slices of the mouse."""
        true = case.cohort.mice.degradation
        scanner = LowField(readout_s=true.readout_s, pixel_size=true.pixel_size).matched(estimated(case))
        likelihood = case.batch.likelihood
        shape = (likelihood.y.shape[-2], likelihood.y.shape[-1])
        A = sense(torch.ones(1, 1, 1, *shape, dtype=torch.complex64), case.batch.mask, scanner.damping(shape))
        return likelihood.replace(A=A, noise_std=estimate_noise_std(likelihood.y, case.batch.mask))


def estimated(case: Case) -> ScannerEstimate:
    """Return what slices of a mouse tell of the scanner."""
    scan, cohort = case.scan, case.cohort
    assert scan.pixel_size is not None, "simulated scans have one"
    return estimate_scanner(scan.kspace, scan.mask, scan.pixel_size, cohort.mice.degradation.readout_s, cohort.spectrum)


@dataclass(frozen=True, eq=False)
class Row:
    """One mouse by one method.

    Args:
        kind: Of mice.
        regime: Of the scanner.
        method: How the image was made, with which prior.
        prior: Name of the prior.
        nfe: Network evaluations a slice.
        seconds: Processor time.
        image: Magnitude [y, x].
        std: Spread of draws, where there were several.
    """

    kind: str
    regime: str
    method: str
    prior: str
    nfe: int
    seconds: float
    image: Tensor
    std: Tensor | None = None


@dataclass(frozen=True, eq=False)
class Method(ABC):
    """A way to reconstruct.

    Args:
        title: Name for the table.
        prior: Name of the prior, a dash for none.
    """

    title: str
    prior: str = NO_PRIOR

    @property
    def name(self) -> str:
        """Title and prior."""
        return self.title if self.prior == NO_PRIOR else f"{self.title} {self.prior}"

    @property
    @abstractmethod
    def key(self) -> str:
        """What its results depend on."""

    @property
    def nfe(self) -> int:
        """Network evaluations a slice."""
        return 0

    @abstractmethod
    def reconstruct(self, case: Case) -> tuple[Tensor, Tensor | None]:
        """Return magnitude [1, y, x] and standard deviation of a slice."""

    def run(self, case: Case) -> Row:
        """Return the row of a slice."""
        about = (case.cohort.kind, case.cohort.regime, self.title, self.prior, self.nfe)
        begun = time.process_time()
        magnitude, std = self.reconstruct(case)
        return Row(*about, time.process_time() - begun, magnitude[0], None if std is None else std[0])


@dataclass(frozen=True, eq=False, kw_only=True)
class Classical(Method):
    """A baseline, which knows the scanner if it can make use of it."""

    baseline: Baseline

    @property
    def key(self) -> str:
        """Its settings."""
        return repr(self.baseline)

    def reconstruct(self, case: Case) -> tuple[Tensor, None]:
        """Return the baseline's image."""
        problem = prepare_likelihood(case.batch.likelihood, Scaling())
        return problem.finish(self.baseline.reconstruct(problem.likelihood)).abs(), None


@dataclass(frozen=True, eq=False, kw_only=True)
class Diffusion(Method):
    """A sampler with a prior.

    Args:
        source: File or name of the prior.
        sampler: How prior and data are brought together.
        knowledge: What the likelihood holds.
        n_draws: Draws whose mean is the image.
    """

    source: str
    sampler: Sampler
    knowledge: OperatorKnowledge = TrueScanner()
    n_draws: int = 1

    @property
    def key(self) -> str:
        """Weights and settings."""
        return f"{fingerprint(loaded(self.source))} {self.sampler!r} {self.knowledge!r} x {self.n_draws}"

    @property
    def nfe(self) -> int:
        """Evaluations of all draws."""
        return self.n_draws * self.sampler.nfe

    def reconstruct(self, case: Case) -> tuple[Tensor, Tensor | None]:
        """Return one draw, or the mean of several and their spread."""
        network, batch = loaded(self.source), case.batch
        problem = prepare_likelihood(self.knowledge.likelihood(case), network.scaling)
        label, _ = label_of(CONTRAST, network)
        seeds = seeds_of(batch.scan, batch.slices, self.n_draws)
        if self.n_draws == 1:
            return problem.finish(self.sampler.sample(network, problem.likelihood, seeds, label)[0]).abs(), None
        drawn = posterior(self.sampler, network, problem.likelihood, seeds, label)
        return problem.finish(drawn.mean).abs(), problem.finish(drawn.std)


@cache
def loaded(prior: str) -> NetworkPrior:
    """Return a prior, read once."""
    return load_prior(prior)


PAPER, PHYSICS, ESTIMATED, DRAWN = "paper", "physics", "physics, estimated", "physics, mean of draws"
STRONG, WEAK = "physics, 25 % too strong", "physics, 25 % too weak"


def diffusions(sizes: Sizes, sources: Mapping[str, str]) -> list[Diffusion]:
    """Return the ways to use each prior, all of them for the first one; settings were chosen on validation mice.

    Args:
        sizes: Noise levels and draws.
        sources: File or name of each prior.
    """

    def published(weight: float) -> Sampler:
        return PredictorCorrector(
            n_steps=sizes.paper_levels,
            predictor=ReverseDiffusionVP(),
            consistency=Relaxed(weight),
        )

    hqs = HQS(n_steps=sizes.physics_levels, noise=KNOWN_NOISE, likelihood_weights=LIKELIHOOD_WEIGHTS)
    dds = DDS(n_steps=sizes.physics_levels, noise=KNOWN_NOISE)
    methods: list[Diffusion] = []
    for prior, source in sources.items():
        of = {"prior": prior, "source": source}
        methods.append(Diffusion(PAPER, **of, sampler=published(0.3), knowledge=NoScanner()))
        methods.append(Diffusion(PHYSICS, **of, sampler=hqs))
        if prior == next(iter(sources)):
            weak = published(TUNED_WEIGHT)
            methods += [
                Diffusion(f"paper, weight {TUNED_WEIGHT:g}", **of, sampler=weak, knowledge=NoScanner()),
                Diffusion(STRONG, **of, sampler=hqs, knowledge=WrongScanner(ModelMismatch(1.25))),
                Diffusion(WEAK, **of, sampler=hqs, knowledge=WrongScanner(ModelMismatch(0.75))),
                Diffusion(ESTIMATED, **of, sampler=hqs, knowledge=EstimatedScanner()),
                Diffusion(DRAWN, **of, sampler=dds, n_draws=sizes.n_draws),
            ]
    return methods
