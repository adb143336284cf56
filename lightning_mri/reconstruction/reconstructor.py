"""A scan becomes an image: prepare, sample, check, and back to the units of the input."""

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Bool, Complex
from torch import Tensor

from lightning_mri.described import check_fields
from lightning_mri.diffusion import Prior
from lightning_mri.io import Scan
from lightning_mri.messages import naming
from lightning_mri.physics import GaussianLikelihood
from lightning_mri.reconstruction.calibration import error_bar, recipe_of
from lightning_mri.reconstruction.draws import NOTHING, Draws, ShareDone, label_of, numbers_of, part_of, seeds_of
from lightning_mri.reconstruction.findings import ReconstructionFindings
from lightning_mri.reconstruction.guard import Guard
from lightning_mri.reconstruction.known import KnownMeasurement, prepare_likelihood
from lightning_mri.reconstruction.measurement import Measurement
from lightning_mri.reconstruction.preparing import MAX_COILS, prepare_measured
from lightning_mri.reconstruction.presets import Pick, within_budget
from lightning_mri.reconstruction.problem import Problem
from lightning_mri.reconstruction.result import Finished, Reconstruction
from lightning_mri.reconstruction.uncertainty import Uncertainty
from lightning_mri.reconstruction.unusable import (
    UncalibratedError,
    UnusableSlicesError,
    insert_unusable,
    no_slices,
)
from lightning_mri.sampling import HQS, Sampler

NULL_SPACE = "abs((I - (A^H A + l)^-1 A^H A) x), l = noise_std^2 / sigma_data^2"
DRAWS = 0.8
"""Share of the work, as it is reported, that the draws are; the guard and the null-space component follow."""


@dataclass(frozen=True, eq=False)
class Reconstructor:
    """Everything that is chosen to reconstruct with; `dataclasses.replace` makes variants.

    Args:
        prior: What is known of images; the computation runs on its device.
        sampler: How image and data are brought together; some have names in `PRESETS`.
        n_samples: Images drawn for each slice, whose mean is the result.
        uncertainty: Further draws for ``std`` where ``sampler`` gives a point estimate, and the map of the null-space
            component; None for neither.
        guard: When a slice is taken for wrong, and what is done then.
        n_sets: Sets of coil maps; two where the field of view cuts or wraps the object.
        n_coils: Most coils to reconstruct with, see `prepare`.
        batch_size: Slices at once; memory grows with it.
        keep_samples: Whether a result holds the images drawn, too.
        budget: Seconds a slice, preparation and uncertainty included, in place of ``sampler``: what fits is measured on
            the first slices of a scan and used for all of it. Or what was chosen so, from `within_budget`.
    """

    prior: Prior
    sampler: Sampler = HQS()  # noqa: RUF009 - frozen
    n_samples: int = 1
    uncertainty: Uncertainty | None = Uncertainty()  # noqa: RUF009 - frozen
    guard: Guard = Guard()  # noqa: RUF009 - frozen
    n_sets: int = 1
    n_coils: int | None = MAX_COILS
    batch_size: int = 2
    keep_samples: bool = False
    budget: float | Pick | None = None

    def __post_init__(self) -> None:
        parts = {"prior": Prior, "sampler": Sampler, "guard": Guard}
        parts |= {} if self.uncertainty is None else {"uncertainty": Uncertainty}
        for name, kind in parts.items():
            if not isinstance(getattr(self, name), kind):
                raise ValueError(f"{name} must be a {kind.__name__}: got {getattr(self, name)!r}")
        for name in ("n_samples", "n_sets", "batch_size", *([] if self.n_coils is None else ["n_coils"])):
            if type(value := getattr(self, name)) is not int or value < 1:  # True is an int, too
                raise ValueError(f"{name} must be a positive whole number: got {value!r}")
        check_fields(self, bool)
        seconds = 1.0 if self.budget is None or isinstance(self.budget, Pick) else self.budget
        if isinstance(seconds, bool) or not isinstance(seconds, int | float) or not 0 < seconds < math.inf:
            raise ValueError(f"budget must be a positive number of seconds a slice: got {seconds!r}")

    def __call__(
        self, scan: Scan, slices: Sequence[int] | None = None, progress: ShareDone | None = None
    ) -> Reconstruction:
        """Reconstruct a scan, ``batch_size`` slices at a time.

        Args:
            scan: What the file says.
            slices: Which ones; all if not given.
            progress: Called with the share of the work that is done, 0 ... 1.

        Raises:
            ValueError: If the scan cannot be reconstructed; the message names the file.
        """
        if not isinstance(scan, Scan):
            rule = "scan must be a Scan, as of lightning_mri.io.read_scan(path) or Scan.from_array(kspace, 'coil y x')"
            raise ValueError(f"{rule}: got {type(scan).__name__}")
        chosen = scan.positions(slices)
        parts, reconstructor, n, n_done = [], self, len(chosen), 0

        def prepared(problem: Problem) -> Reconstructor:
            nonlocal reconstructor
            reconstructor = keep_to_budget(reconstructor, problem, scan.contrast, n)
            return reconstructor

        for batch in scan.batches(chosen, self.batch_size):
            part = part_of(progress, n_done / n, len(batch) / n)
            with naming(scan.source):
                measured = Measurement.of(scan, batch)
                parts.append(self.reconstruct_measured(measured, scan.name, batch, scan.contrast, prepared, part))
            n_done += len(batch)
        result = Reconstruction.join(parts)
        if not bool(result.usable.any()):
            raise ValueError(f"{scan.source}: {result.warnings[0]}")
        return replace(result, warnings=(*scan.warnings, *result.warnings))

    def reconstruct(
        self,
        kspace: Complex[Tensor, "batch coil y x"],
        mask: Bool[Tensor, "1 y x"],
        size: tuple[int, int] | None = None,
        noise_covariance: Complex[Tensor, "_coil _coil"] | None = None,
        scan: str = "",
        slices: Sequence[int] | None = None,
        contrast: str | None = None,
        progress: ShareDone | None = None,
        calibration: Complex[Tensor, "batch coil _y _x"] | None = None,
    ) -> Reconstruction:
        """Reconstruct measured slices of one scan; those that nothing can be found in are zero-filled, with a warning.

        Arguments are those of `prepare` and `solve`. No gradients are recorded.

        Raises:
            ValueError: As in `prepare`, but for slices that nothing can be found in.
        """
        measured = Measurement(kspace, mask, size, noise_covariance, calibration)
        return self.reconstruct_measured(measured, scan, slices, contrast, progress=progress)

    def reconstruct_known(
        self,
        likelihood: GaussianLikelihood,
        scan: str = "",
        slices: Sequence[int] | None = None,
        contrast: str | None = None,
        progress: ShareDone | None = None,
        size: tuple[int, int] | None = None,
    ) -> Reconstruction:
        """Reconstruct slices whose operator and noise level are known; the bad ones are zero-filled, see `reconstruct`.

        Arguments and errors are those of `prepare_likelihood` and `reconstruct`.
        """
        measured = KnownMeasurement(likelihood, size)
        return self.reconstruct_measured(measured, scan, slices, contrast, progress=progress)

    @torch.no_grad()
    def reconstruct_measured(
        self,
        measured: Measurement | KnownMeasurement,
        scan: str = "",
        slices: Sequence[int] | None = None,
        contrast: str | None = None,
        prepared: Callable[[Problem], "Reconstructor"] | None = None,
        progress: ShareDone | None = None,
    ) -> Reconstruction:
        """Reconstruct slices of one scan, see `reconstruct` and `reconstruct_known`.

        ``prepared`` is called with prepared slices, to return what they are reconstructed with; this if not given.
        """
        slices = numbers_of(slices, len(measured))
        parts, order = [], list[int]()
        for rows in measured.groups():
            share = part_of(progress, len(order) / len(slices), len(rows) / len(slices))
            numbers = [slices[row] for row in rows]
            parts.append(self._reconstruct(measured.rows(rows), scan, numbers, contrast, prepared, share))
            order += rows
        if len(parts) == 1:
            return parts[0]
        return Reconstruction.join(parts).rows([order.index(row) for row in range(len(slices))])

    def _reconstruct(
        self,
        measured: Measurement | KnownMeasurement,
        scan: str,
        slices: Sequence[int],
        contrast: str | None,
        prepared: Callable[[Problem], "Reconstructor"] | None,
        progress: ShareDone | None,
    ) -> Reconstruction:
        """Reconstruct slices that are prepared together; those that cannot be prepared are zero-filled."""
        scaling, advice = None, ""
        try:
            rows, problem, unusable = self.prepare_usable(measured)
        except UncalibratedError as error:
            rows, problem, unusable = [], None, dict.fromkeys(range(len(slices)), str(error))
            scaling, advice = self.prior.scaling, ": do not trust it"
        if problem is not None:
            chosen = self if prepared is None else prepared(problem)
            solved = chosen.solve(problem, scan, [slices[row] for row in rows], contrast, progress)
            if not unusable:
                return solved
        images, mask = measured.zero_filled(), measured.mask
        if problem is None:
            solved = no_slices(self, mask, images, scan, contrast)
        reasons = {row: f"slice {slices[row]}: {unusable[row]}; it is zero-filled{advice}" for row in sorted(unusable)}
        return insert_unusable(replace(solved, mask=mask.cpu()), images, reasons, scaling)

    def prepare(self, measured: Measurement | KnownMeasurement) -> Problem:
        """Prepare slices on the device of the prior; errors as in `prepare` and `prepare_likelihood`."""
        measured, scaling = measured.to(self.prior.device), self.prior.scaling
        if isinstance(measured, KnownMeasurement):
            return prepare_likelihood(measured.likelihood, scaling, measured.size)
        return prepare_measured(measured, scaling, self.n_sets, self.n_coils)

    def prepare_usable(
        self, measured: Measurement | KnownMeasurement
    ) -> tuple[list[int], Problem | None, dict[int, str]]:
        """Prepare the slices that can be: return their places, their problem, and why the others cannot, by place."""
        rows, unusable = list(range(len(measured))), dict[int, str]()
        while rows:
            try:
                return rows, self.prepare(measured.rows(rows)), unusable
            except UnusableSlicesError as error:
                unusable |= {rows[place]: reason for place, reason in error.reasons.items()}
                rows = [row for row in rows if row not in unusable]
        return rows, None, unusable

    @torch.no_grad()
    def solve(
        self,
        problem: Problem,
        scan: str = "",
        slices: Sequence[int] | None = None,
        contrast: str | None = None,
        progress: ShareDone | None = None,
    ) -> Reconstruction:
        """Reconstruct prepared slices, whatever their operator; the result is on the CPU.

        Args:
            problem: From `prepare` or `prepare_likelihood`.
            scan: Name of the scan: seeds follow from it, the slice and the number of the sample alone.
            slices: Indices of the slices in the scan; 0, 1, ... if not given.
            contrast: Name of the contrast, if known.
            progress: Called with the share of the work that is done, 0 ... 1.
        """
        start = time.perf_counter()
        chosen = keep_to_budget(self, problem, contrast)
        slices = numbers_of(slices, len(problem.scale))
        label, label_text = label_of(contrast, self.prior)
        seeds = seeds_of(scan, slices, self.n_samples)
        draws = Draws(self.prior, chosen.sampler, seeds, label, self.uncertainty, self.keep_samples)
        estimate = draws.draw(problem, part_of(progress, 0, DRAWS))
        sigma_data = self.prior.sigma_data if self.uncertainty is not None and self.uncertainty.null_space else None
        finished, fallback = Finished.of(estimate, sigma_data), torch.zeros(len(slices))
        verdicts = self.guard.review(estimate, slices, lambda part, row, trial: draws.of(row, trial).draw(part))
        for row, verdict in verdicts.items():
            if verdict.estimate is not None:
                finished.put(row, Finished.of(verdict.estimate, sigma_data))
                fallback[row] = verdict.fallback
        if progress is not None:
            progress(1.0)
        recipe = recipe_of(chosen.sampler, self.n_samples, draws.std_from)
        bar = error_bar(self.prior, recipe, problem.acceleration, problem.is_parallel)
        warnings = [f"slice {n}: {text}" for n, texts in zip(slices, problem.warnings, strict=False) for text in texts]
        warnings += [verdict.description for verdict in verdicts.values()]
        if draws.std_from != NOTHING:  # what was switched off is no warning
            warnings += bar.remarks(finished.std, finished.image, slices)
        if label is None and contrast is not None and self.prior.labels:
            warnings.append(label_text.removeprefix("none: "))
        findings = ReconstructionFindings(
            **vars(problem.findings),
            scan=scan,
            contrast=contrast or "unknown",
            label=label_text,
            sampler=repr(chosen.sampler),
            n_samples=self.n_samples,
            nfe=torch.full((len(slices),), self.n_samples * chosen.sampler.nfe),
            budget=chosen.budget.description if isinstance(chosen.budget, Pick) else None,
            std_from=draws.std_from,
            std_factor=torch.full((len(slices),), bar.factor, dtype=torch.float64),
            std_calibration=bar.description,
            null_space_share=finished.null_space_share,
            null_space_from=None if finished.null_space is None else NULL_SPACE,
            noise_ratio=finished.noise_ratio,
            signal_ratio=finished.signal_ratio,
            fallback=fallback,
            seconds=torch.full((len(slices),), problem.seconds + (time.perf_counter() - start) / len(slices)),
        )
        mask, std, texts = problem.mask.cpu(), bar.factor * finished.std, tuple(warnings)
        return Reconstruction(finished.image, std, mask, findings, texts, finished.samples, finished.null_space)


def keep_to_budget(
    reconstructor: Reconstructor, problem: Problem, contrast: str | None, n_slices: int | None = None
) -> Reconstructor:
    """Return a reconstructor with the sampler that its budget in seconds pays for; itself without such a budget.

    Args:
        reconstructor: What was chosen.
        problem: Slices to measure on.
        contrast: Their contrast.
        n_slices: Slices of the scan, which share the time of the measurement; those of the problem if not given.
    """
    budget, prior, uncertainty = reconstructor.budget, reconstructor.prior, reconstructor.uncertainty
    if budget is None or isinstance(budget, Pick):
        return reconstructor
    further = 0 if uncertainty is None else uncertainty.n_samples * uncertainty.sampler.nfe
    label, _ = label_of(contrast, prior)
    pick = within_budget(budget, problem, prior, label, reconstructor.n_samples, further, n_slices)
    return replace(reconstructor, sampler=pick.sampler, budget=pick)
