"""The LightningModule that reconstructs: scans to images in `predict`, methods against a reference in `test`."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from pytorch_lightning import LightningModule
from torch import Tensor, nn

from lightning_mri.baselines import Baseline, CGSense, L1Wavelet, Tunable, ZeroFilled, tune
from lightning_mri.datasets import Failed, LowFieldBatch, SliceBatch
from lightning_mri.diffusion import NetworkPrior
from lightning_mri.reconstruction import (
    MOST_COILS,
    Guard,
    Pick,
    Preset,
    Problem,
    Reconstruction,
    Uncertainty,
    choose_sampler,
    label_of,
    prepare,
    prepare_low_field,
    seeds_of,
    solve,
    within_budget,
)
from lightning_mri.sampling import Sampler
from lightning_mri.weights import load_prior

Batch = SliceBatch | LowFieldBatch


@dataclass(frozen=True)
class Predicted:
    """One batch of slices, reconstructed."""

    batch: Batch
    result: Reconstruction

    @property
    def scan(self) -> str:
        """Name of the scan."""
        return self.batch.scan


@dataclass(frozen=True)
class Compared:
    """One batch of slices, reconstructed by every method; magnitudes in units of the input.

    Args:
        batch: What was reconstructed.
        images: Magnitude [slice, y, x] of each method.
        seconds: Time a slice of each method.
        achieved: Acceleration that the mask gives.
        std: Uncertainty of the last method, where it was asked for.
    """

    batch: Batch
    images: dict[str, Float[Tensor, "slice y x"]]
    seconds: dict[str, float]
    achieved: float
    std: Float[Tensor, "slice y x"] | None = None


class ReconstructionModule(LightningModule):
    """Reconstruct with priors, and in `test` with baselines beside them, through the same likelihood.

    Args:
        priors: Name -> shipped prior or checkpoint, in the order of tables; `predict` uses the last one.
        sampler: How prior and data are brought together; `HQS` if neither it nor a preset is given.
        n_samples: Images drawn a slice in `predict`, whose mean is the result.
        uncertainty: Extra draws for the standard deviation in `predict` and in the picture of `test`.
        baselines: Name -> method without a learnt prior, for `test`.
        keep_samples: Whether `predict` writes the images drawn, too.
        n_sets: Sets of coil maps.
        n_coils: Most coils to reconstruct with; larger arrays are compressed to as many virtual ones, see `prepare`.
        model_degradation: Whether low-field scans are reconstructed with their damping and phase in the operator.
        guard: When `predict` warnings a slice, and what it does then; `test` measures the sampler alone.
        preset: Named sampler, see `PRESETS`: a preview, the standard or the best quality.
        budget: Seconds a slice, preparation and uncertainty included, instead of a sampler or a preset: what fits is
            measured on each scan, printed, and part of the result; see `within_budget`.
    """

    def __init__(
        self,
        priors: Mapping[str, str] | None = None,
        sampler: Sampler | None = None,
        n_samples: int = 1,
        uncertainty: Uncertainty | None = Uncertainty(),  # noqa: B008 - frozen
        baselines: Mapping[str, Baseline] | None = None,
        keep_samples: bool = False,
        n_sets: int = 1,
        n_coils: int | None = MOST_COILS,
        model_degradation: bool = True,
        guard: Guard | None = None,
        preset: Preset | None = None,
        budget: float | None = None,
    ) -> None:
        super().__init__()
        names = {"brain": "brain"} if priors is None else dict(priors)
        if not names:
            raise ValueError("priors must name at least one prior: got none")
        self.sources = names
        # names of users may hold dots, which module names must not
        self.priors = nn.ModuleList(load_prior(source) for source in names.values())
        # no object as default: the command line would hand its values on to a sampler of another class
        self.sampler = choose_sampler(preset, sampler, budget)
        self.budget = budget
        self.picks: dict[str, Pick] = {}
        self.n_samples, self.uncertainty = n_samples, uncertainty
        self.keep_samples = keep_samples
        self.n_sets, self.n_coils = n_sets, n_coils
        self.model_degradation, self.guard = model_degradation, guard or Guard()
        self.baselines: dict[str, Baseline] = (
            {"zero-filled": ZeroFilled(), "CG-SENSE": CGSense(), "L1-wavelet": L1Wavelet()}
            if baselines is None
            else dict(baselines)
        )
        self.tuned: dict[tuple[str, float | None], Baseline] = {}
        self._pictured = False
        # called with the number of slices that were finished since the last call
        self.report: Callable[[float], object] | None = None

    @property
    def prior(self) -> NetworkPrior:
        """The prior that `predict` uses: the last one."""
        prior = self.priors[-1]
        assert isinstance(prior, NetworkPrior)
        return prior

    def predict_step(self, batch: Batch | Failed, batch_idx: int) -> Predicted | Failed:
        """Reconstruct a few slices of one scan; those that cannot be are told, and stop no other scan."""
        if isinstance(batch, Failed):
            return batch
        start = time.perf_counter()
        try:
            problem = self.problem(batch)
        except ValueError as error:
            return Failed(batch.scan, batch.source, batch.slices, batch.n_slices, str(error))
        self._keep_to_budget(problem, batch, time.perf_counter() - start, self.uncertainty)
        result = self._reconstruct(problem, batch, self.prior, self.uncertainty, self.guard, keep=self.keep_samples)
        return Predicted(batch.to("cpu"), result)

    def test_step(self, batch: Batch, batch_idx: int) -> Compared:  # type: ignore[override] # for `Results`
        """Reconstruct a few slices by every method."""
        start = time.perf_counter()
        problem = self.problem(batch)
        self._keep_to_budget(problem, batch, time.perf_counter() - start, None)
        images, seconds, std = {}, {}, None
        for name, untuned in self.baselines.items():
            baseline = self.tuned.get((name, batch.acceleration), untuned)
            start = time.perf_counter()
            x = baseline.reconstruct(problem.likelihood)
            seconds[name] = (time.perf_counter() - start) / len(batch.slices)
            images[name] = problem.finish(x).abs().cpu()
        for name, prior in zip(self.sources, self.priors, strict=True):
            assert isinstance(prior, NetworkPrior)
            middle = prior is self.prior and batch.n_slices // 2 in batch.slices
            pictured = middle and not self._pictured
            start = time.perf_counter()
            result = self._reconstruct(problem, batch, prior, None)
            seconds[name] = (time.perf_counter() - start) / len(batch.slices)
            images[name] = result.magnitude
            if pictured and self.uncertainty is not None:
                self._pictured = True
                std = self._reconstruct(problem, batch, prior, self.uncertainty, reported=False).std
        return Compared(batch.to("cpu"), images, seconds, problem.acceleration, std)

    def tune_baselines(self, batches: Sequence[Batch]) -> None:
        """Choose the weight of each baseline that has one, for each acceleration, on slices that have a reference."""
        for acceleration in dict.fromkeys(batch.acceleration for batch in batches):
            problems, references = [], []
            for batch in batches:
                if batch.acceleration == acceleration and batch.reference is not None:
                    problems.append(problem := self.problem(batch))
                    references.append(problem.to_image_units(batch.reference))
            for name, baseline in self.baselines.items():
                if isinstance(baseline, Tunable):
                    likelihoods = [problem.likelihood for problem in problems]
                    self.tuned[name, acceleration] = tune(likelihoods, references, choice=baseline)

    def problem(self, batch: Batch) -> Problem:
        """Prepare slices for any method: everything found from the acquired samples, or given at low field.

        Raises:
            ValueError: If the slices cannot be reconstructed; the message names the file.
        """
        try:
            if isinstance(batch, LowFieldBatch):
                return prepare_low_field(batch.likelihood, self.prior.scaling, self.model_degradation)
            return prepare(
                batch.kspace,
                batch.mask,
                self.prior.scaling,
                batch.reconstruction_size,
                self.n_sets,
                noise_covariance=batch.noise_covariance,
                n_coils=self.n_coils,
            )
        except ValueError as error:
            raise ValueError(f"{batch.source}: {error}") from error

    def _keep_to_budget(self, problem: Problem, batch: Batch, seconds: float, uncertainty: Uncertainty | None) -> None:
        """Choose the sampler anew for each scan where there is a time budget; its slices get the same one."""
        if self.budget is None:
            return
        if batch.scan not in self.picks:
            n_slices = len(batch.slices)
            pick = self.picks[batch.scan] = within_budget(
                self.budget,
                problem,
                self.prior,
                label_of(batch.contrast, self.prior)[0],
                preparation=seconds / n_slices,
                n_samples=self.n_samples,
                n_further=0 if uncertainty is None else uncertainty.n_samples * uncertainty.sampler.nfe,
                n_slices=batch.n_slices,
            )
            print(f"{batch.scan}: {pick.description}", flush=True)
        self.sampler = self.picks[batch.scan].sampler

    def _reconstruct(
        self,
        problem: Problem,
        batch: Batch,
        prior: NetworkPrior,
        uncertainty: Uncertainty | None,
        guard: Guard = Guard(fallbacks=()),  # noqa: B008 - frozen
        reported: bool = True,
        keep: bool = False,
    ) -> Reconstruction:
        label, told = label_of(batch.contrast, prior)
        result = solve(
            problem,
            batch.mask[0] if isinstance(batch, LowFieldBatch) else batch.mask,
            prior,
            self.sampler,
            seeds_of(batch.scan, batch.slices, self.n_samples),
            label,
            uncertainty,
            batch.slices,
            guard,
            progress=_slices(self.report, len(batch.slices)) if self.report and reported else None,
            keep_samples=keep,
        )
        result.findings.update(contrast=batch.contrast or "unknown", label=told)
        if self.budget is not None:
            nfe = torch.full((len(batch.slices),), self.n_samples * self.sampler.nfe)  # processes may pick differently
            result.findings.update(budget=self.picks[batch.scan].description, nfe=nfe)
        return result


def _slices(report: Callable[[float], object], n_slices: int) -> Callable[[float], None]:
    """Return a report of the share that is done, as slices finished since the last one."""
    done = 0.0

    def progress(share: float) -> None:
        nonlocal done
        report((share - done) * n_slices)
        done = share

    return progress
