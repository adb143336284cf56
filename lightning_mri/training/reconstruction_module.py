"""The LightningModule that reconstructs: scans to images in `predict`, methods against a reference in `test`."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from pytorch_lightning import LightningModule
from torch import Tensor, nn
from tqdm import tqdm

from lightning_mri.baselines import Baseline, CGSense, L1Wavelet, Tunable, ZeroFilled, tune
from lightning_mri.datasets import Failed, LowFieldBatch, SliceBatch, trained_on
from lightning_mri.diffusion import NetworkPrior
from lightning_mri.io.failures import naming_guesses
from lightning_mri.messages import count
from lightning_mri.reconstruction import (
    MAX_COILS,
    Guard,
    KnownMeasurement,
    Measurement,
    Pick,
    Preset,
    Problem,
    Reconstruction,
    Reconstructor,
    ShareDone,
    Uncertainty,
    choose_sampler,
    keep_to_budget,
    measure_residual,
)
from lightning_mri.sampling import Sampler
from lightning_mri.training.scores import ScoredScan
from lightning_mri.weights import find_prior, load_prior
from lightning_mri.weights import names as shipped

Batch = SliceBatch | LowFieldBatch


@dataclass(frozen=True, eq=False)
class Predicted:
    """One batch of slices, reconstructed.

    Args:
        scan: Name of the scan.
        slices: Which of its slices these are.
        result: Their reconstruction.
        zero_filled: Magnitude of what the samples give without any method.
    """

    scan: str
    slices: tuple[int, ...]
    result: Reconstruction
    zero_filled: Float[Tensor, "slice y x"]


class ReconstructionModule(LightningModule):
    """Reconstruct with priors, and in `test` with baselines beside them, through the same likelihood.

    Its options make a `Reconstructor` for each prior.

    Args:
        prior: Shipped prior or checkpoint; `brain` if neither it nor several are given.
        priors: Name -> shipped prior or checkpoint, for tables, in their order; `predict` uses the last one.
        sampler: How prior and data are brought together; `HQS` if neither it nor a preset is given.
        n_samples: Images drawn for each slice in `predict`, whose mean is the result.
        uncertainty: Further draws for the standard deviation in `predict` and in the picture of `test`.
        baselines: Name -> method without a learnt prior, for `test`.
        keep_samples: Whether `predict` writes the images drawn, too.
        n_sets: Sets of coil maps.
        n_coils: Most coils to reconstruct with; larger arrays are compressed to as many virtual ones, see `prepare`.
        guard: When a slice is taken for wrong, and what `predict` does then; `test` warns and scores the sampler alone.
        preset: Named sampler, see `PRESETS`: a preview, the standard or the best quality.
        budget: Seconds a slice, preparation and uncertainty included, instead of a sampler or a preset: what fits is
            measured on each scan, printed, and part of the result; see `within_budget`.
    """

    def __init__(
        self,
        prior: str | None = None,
        priors: Mapping[str, str] | None = None,
        sampler: Sampler | None = None,
        n_samples: int = 1,
        uncertainty: Uncertainty | None = Uncertainty(),  # noqa: B008 - frozen
        baselines: Mapping[str, Baseline] | None = None,
        keep_samples: bool = False,
        n_sets: int = 1,
        n_coils: int | None = MAX_COILS,
        guard: Guard | None = None,
        preset: Preset | None = None,
        budget: float | None = None,
    ) -> None:
        super().__init__()
        self.allow_zero_length_dataloader_with_multiple_devices = True
        if prior is not None and priors is not None:
            raise ValueError(f"prior and priors exclude each other: got {prior} and {', '.join(priors)}")
        names = {Path(prior or "brain").stem: prior or "brain"} if priors is None else dict(priors)
        if not names:
            raise ValueError("priors must name at least one prior: got none")
        # a folder of runs stands for its newest, which may be another one tomorrow
        self.sources = {name: each if each in shipped() else str(find_prior(each)) for name, each in names.items()}
        loaded = [load_prior(source) for source in self.sources.values()]
        self.priors = nn.ModuleList(loaded)  # names of users may hold dots, which module names must not
        self.reconstructor = Reconstructor(
            loaded[-1],
            # no object as default: the command line would hand its values on to a sampler of another class
            choose_sampler(preset, sampler, budget),
            n_samples,
            uncertainty,
            guard or Guard(),
            n_sets,
            n_coils,
            keep_samples=keep_samples,
            budget=budget,
        )
        usual = {"zero-filled": ZeroFilled(), "CG-SENSE": CGSense(), "L1-wavelet": L1Wavelet()}
        self.baselines: dict[str, Baseline] = dict(usual if baselines is None else baselines)
        self.tuned: dict[tuple[str, float | None], Baseline] = {}
        self._chosen: dict[str, Reconstructor] = {}
        self._pictured = False
        # called with the number of slices that were finished since the last call
        self.report: Callable[[float], object] | None = None

    @property
    def prior(self) -> NetworkPrior:
        """The prior that `predict` uses: the last one."""
        assert isinstance(self.reconstructor.prior, NetworkPrior)
        return self.reconstructor.prior

    def predict_step(self, batch: Batch | Failed, batch_idx: int) -> Predicted | Failed:
        """Reconstruct a few slices of one scan; a batch that cannot be becomes a `Failed` and stops no other scan."""
        if isinstance(batch, Failed):
            return batch
        try:
            with naming_guesses(batch.warnings):
                parts = [self._predict(part) for part in batch.split()]
        except Exception as error:
            return Failed.by(error, batch.scan, batch.source, batch.slices, batch.n_slices)
        images, results = zip(*parts, strict=True)
        return Predicted(batch.scan, batch.slices, Reconstruction.join(results), torch.cat(images))

    def _predict(self, batch: Batch) -> tuple[Tensor, Reconstruction]:
        """Return slices that share one mask as they are without any method, and reconstructed."""

        def prepared(problem: Problem) -> Reconstructor:
            if 0 in batch.slices:
                tqdm.write(f"{batch.source}: {count(batch.n_slices, 'slice')}, contrast {batch.contrast or 'unknown'}")
                tqdm.write(problem.findings.text())
            return self._keep_to_budget(self.reconstructor, problem, batch)

        try:
            measured = measured_of(batch)
            return measured.zero_filled().abs(), self.reconstructor.reconstruct_measured(
                measured, batch.scan, batch.slices, batch.contrast, prepared, self._progress(batch)
            )
        except ValueError as error:
            raise ValueError(f"{batch.source}: {error}") from error

    def on_test_batch_start(self, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> None:
        """Check that the data are slices with a reference."""
        if not isinstance(batch, SliceBatch | LowFieldBatch) or batch.reference is None or batch.acceleration is None:
            name = type(self.trainer.datamodule).__name__  # type: ignore[attr-defined]
            raise ValueError(
                f"{name}.test_dataloader must yield SliceBatch with reference and acceleration:"
                f" got {type(batch).__name__}"
            )

    def test_step(self, batch: Batch, batch_idx: int) -> ScoredScan:  # type: ignore[override] # for `Results`
        """Reconstruct a few slices by every method, but for those that nothing can be found in."""
        batch, problem, left_out = self.usable(batch)
        assert batch.acceleration is not None, "test sets have accelerations"
        assert batch.reference is not None, "test sets have references"
        reference, names = batch.reference.abs().cpu(), (*self.baselines, *self.sources)
        case = ScoredScan(
            scan=batch.scan,
            subject=batch.subject,
            contrast=batch.contrast or "unknown",
            acceleration=batch.acceleration,
            achieved=0.0 if problem is None else problem.acceleration,
            n_slices=batch.n_slices,
            slices=batch.slices,
            reference=reference,
            images=dict.fromkeys(names, reference),
            seconds=dict.fromkeys(names, 0.0),
            trained=self._trained_on(batch),
            pixel_size=batch.pixel_size,
            left_out=left_out,
            misfit=dict.fromkeys(names, 0.0),
            lesions=batch.lesions,
            n_volumes=batch.n_volumes,
            affine=batch.affine,
            warnings=batch.warnings,
        )
        return case if problem is None else self._by_every_method(case, problem, batch)

    def _by_every_method(self, case: ScoredScan, problem: Problem, batch: Batch) -> ScoredScan:
        """Return a case with the images of all methods, and what they took."""
        guard = replace(self.reconstructor.guard, fallbacks=())
        plain = replace(self.reconstructor, uncertainty=None, guard=guard, keep_samples=False)
        plain = self._keep_to_budget(plain, problem, batch)
        images, seconds, misfit, warnings, n = {}, {}, {}, {}, len(batch.slices)
        for name, untuned in self.baselines.items():
            baseline = self.tuned.get((name, batch.acceleration), untuned)
            x, seconds[name] = timed(partial(baseline.reconstruct, problem.likelihood), n)
            images[name], misfit[name] = problem.finish(x).abs().cpu(), _misfit(problem, x)
        for name, prior in zip(self.sources, self.priors, strict=True):
            assert isinstance(prior, NetworkPrior)
            solve = partial(replace(plain, prior=prior).solve, problem, batch.scan, batch.slices, batch.contrast)
            result, seconds[name] = timed(partial(solve, self._progress(batch)), n)
            warnings[name] = result.warnings
            images[name], misfit[name] = result.magnitude, _misfit(problem, problem.to_image_units(result.image))
        nfe, std = plain.n_samples * plain.sampler.nfe, self._std_for_picture(plain, problem, batch)
        made = {"sampler": repr(plain.sampler)}
        if isinstance(plain.budget, Pick):
            made["time budget"] = plain.budget.description
        ran = dict.fromkeys(self.sources, nfe)
        case = replace(case, warnings=(*case.warnings, *_of_each(warnings)))
        return replace(case, images=images, seconds=seconds, misfit=misfit, std=std, nfe=ran, made=made)

    def _std_for_picture(self, plain: Reconstructor, problem: Problem, batch: Batch) -> Tensor | None:
        """Return the uncertainty around the middle of the first scan; none of others."""
        if self.reconstructor.uncertainty is None or self._pictured or batch.n_slices // 2 not in batch.slices:
            return None
        self._pictured = True
        certain = replace(plain, uncertainty=self.reconstructor.uncertainty)
        return certain.solve(problem, batch.scan, batch.slices, batch.contrast).std

    def usable(self, batch: Batch) -> tuple[Batch, Problem | None, dict[int, str]]:
        """Return the slices that can be prepared, their problem, and why the others cannot, by their numbers.

        Raises:
            ValueError: As in `problem`, but for slices that nothing can be found in.
        """
        try:
            rows, problem, unusable = self.reconstructor.prepare_usable(measured_of(batch))
        except ValueError as error:
            raise ValueError(f"{batch.source}: {error}") from error
        left_out = {batch.slices[row]: reason for row, reason in unusable.items()}
        return batch.rows(rows) if unusable else batch, problem, left_out

    def _trained_on(self, batch: Batch) -> tuple[str, ...]:
        """Return the names of the priors that were trained on the subject of a batch."""
        cards = (prior.card if isinstance(prior, NetworkPrior) else {} for prior in self.priors)
        seen = (trained_on(card, batch.subject, batch.source) for card in cards)
        return tuple(name for name, known in zip(self.sources, seen, strict=True) if known)

    def tune_baselines(self, batches: Sequence[Batch]) -> None:
        """Choose the weight of each baseline that has one, for each acceleration, on slices that have a reference."""
        for acceleration in dict.fromkeys(batch.acceleration for batch in batches):
            problems, references = [], []
            for batch in (each for each in batches if each.acceleration == acceleration):
                usable, problem, _ = self.usable(batch)
                if usable.reference is not None and problem is not None:
                    problems.append(problem)
                    references.append(problem.to_image_units(usable.reference))
            for name, baseline in self.baselines.items():
                if isinstance(baseline, Tunable):
                    likelihoods = [problem.likelihood for problem in problems]
                    self.tuned[name, acceleration] = tune(likelihoods, references, choice=baseline)

    def _keep_to_budget(self, reconstructor: Reconstructor, problem: Problem, batch: Batch) -> Reconstructor:
        """Return a reconstructor that keeps to the time budget, if there is one; the same one for all of a scan."""
        if reconstructor.budget is None:
            return reconstructor
        if batch.scan not in self._chosen:
            chosen = keep_to_budget(reconstructor, problem, batch.contrast, batch.n_slices)
            assert isinstance(chosen.budget, Pick)
            tqdm.write(f"{batch.scan}: {chosen.budget.description}")
            self._chosen[batch.scan] = chosen
        return self._chosen[batch.scan]

    def _progress(self, batch: Batch) -> ShareDone | None:
        """Return what is told the share of a batch that is done, and reports the slices finished since the last one."""
        if (report := self.report) is None:
            return None
        done = 0.0

        def progress(share: float) -> None:
            nonlocal done
            report((share - done) * len(batch.slices))
            done = share

        return progress


def measured_of(batch: Batch) -> Measurement | KnownMeasurement:
    """Return all that was measured of slices, with what is known of their scanner."""
    size = batch.reconstruction_size
    if isinstance(batch, LowFieldBatch):
        return KnownMeasurement(batch.likelihood, size)
    return Measurement(batch.kspace, batch.mask, size, batch.noise_covariance, batch.calibration)


def timed(method: Callable[[], Any], n: int) -> tuple[Any, float]:
    """Return what a method makes of n slices, and the seconds that it takes for one."""
    start = time.perf_counter()
    return method(), (time.perf_counter() - start) / n


def _of_each(warnings: Mapping[str, Sequence[str]]) -> list[str]:
    """Return the warnings of priors, each once, with the names of its priors where it is not of all."""
    names: dict[str, list[str]] = {}
    for name, texts in warnings.items():
        for text in texts:
            names.setdefault(text, []).append(name)
    return [text + f" ({', '.join(of)})" * (len(of) < len(warnings)) for text, of in names.items()]


def _misfit(problem: Problem, x: Tensor) -> float:
    """Return the root mean square of y - A x over slices, in units of the noise."""
    return float(measure_residual(problem.likelihood, x).noise_ratio.square().mean().sqrt())
