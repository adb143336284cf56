"""A scan becomes an image: prepare, sample, check, and back to the units of the input."""

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from jaxtyping import Bool, Complex, Int
from torch import Tensor, nn

from lightning_mri.diffusion import Prior
from lightning_mri.io import Scan
from lightning_mri.physics import GaussianLikelihood, Maps
from lightning_mri.reconstruction.calibration import error_bar, recipe_of
from lightning_mri.reconstruction.fallbacks import Estimate
from lightning_mri.reconstruction.guard import Guard, check, is_parallel
from lightning_mri.reconstruction.null_space import null_space
from lightning_mri.reconstruction.prepare import MOST_COILS, Problem, prepare
from lightning_mri.reconstruction.result import Reconstruction, join
from lightning_mri.reconstruction.uncertainty import Uncertainty
from lightning_mri.sampling import HQS, EstimateType, Progress, Sampler, posterior
from lightning_mri.tensors import derive_seed

SLICES_AT_ONCE = 2
IMAGES_ON_GPU = 64
"""Slices times samples that a GPU computes at once, which fewer leave idle."""


def reconstruct(
    scan: Scan,
    prior: Prior,
    sampler: Sampler = HQS(),  # noqa: B008
    n_samples: int = 1,
    uncertainty: Uncertainty | None = Uncertainty(),  # noqa: B008
    slices: Sequence[int] | None = None,
    batch_size: int = SLICES_AT_ONCE,
    n_sets: int = 1,
    n_coils: int | None = MOST_COILS,
    guard: Guard = Guard(),  # noqa: B008
    progress: Callable[[float], None] | None = None,
) -> Reconstruction:
    """Reconstruct a scan, a few slices at a time.

    Args:
        scan: What the file says.
        prior: What is known of images; the computation runs on its device.
        sampler: How image and data are brought together.
        n_samples: Images drawn a slice, whose mean is the result.
        uncertainty: Extra draws for ``std`` where ``sampler`` gives a point estimate, and the map of what the data
            leave open; None for neither.
        slices: Which ones; all if not given.
        batch_size: Slices at once; memory grows with it.
        n_sets: Sets of coil maps.
        n_coils: Most coils to reconstruct with, see `prepare`.
        guard: When a slice is doubted, and what is done then.
        progress: Called with the share of the work that is done, 0 ... 1.

    Raises:
        ValueError: If the scan cannot be reconstructed; the message names the file.
    """
    chosen = list(range(scan.n_slices)) if slices is None else list(slices)
    if not chosen or batch_size < 1:
        raise ValueError(f"slices and batch_size must not be empty: got {chosen} and {batch_size}")
    label, told = label_of(scan.contrast, prior)
    device = _device(prior)
    parts = []
    for start in range(0, len(chosen), batch_size):
        batch = chosen[start : start + batch_size]
        inner = progress and _part(progress, start / len(chosen), len(batch) / len(chosen))
        try:
            part = reconstruct_slices(
                scan.kspace[batch].to(device),
                scan.mask.to(device),
                prior,
                sampler,
                seeds_of(scan.name, batch, n_samples),
                label,
                uncertainty=uncertainty,
                size=scan.reconstruction_size,
                slices=batch,
                n_sets=n_sets,
                n_coils=n_coils,
                noise_covariance=scan.noise_covariance,
                guard=guard,
                progress=inner,
            )
        except ValueError as error:
            raise ValueError(f"{scan.source}: {error}") from error
        parts.append(part)
    result = join(parts)
    findings = {"scan": scan.name, "contrast": scan.contrast or "unknown", "label": told, **result.findings}
    return replace(result, findings=findings, warnings=(*scan.warnings, *result.warnings))


def reconstruct_slices(
    kspace: Complex[Tensor, "slice coil _y _x"],
    mask: Bool[Tensor, "_one _u _v"],
    prior: Prior,
    sampler: Sampler,
    seeds: Int[Tensor, "sample slice"],
    label: int | Int[Tensor, "slice"] | None = None,
    uncertainty: Uncertainty | None = Uncertainty(),  # noqa: B008
    size: tuple[int, int] | None = None,
    slices: Sequence[int] | None = None,
    n_sets: int = 1,
    n_coils: int | None = MOST_COILS,
    noise_covariance: Complex[Tensor, "coil coil"] | None = None,
    guard: Guard = Guard(),  # noqa: B008
    progress: Callable[[float], None] | None = None,
) -> Reconstruction:
    """Reconstruct one batch of slices of one scan, on the device of its k-space; the result is on the CPU.

    Args:
        kspace: Measured k-space in any unit.
        mask: True = acquired, [1, y, x].
        prior: What is known of images.
        sampler: How image and data are brought together.
        seeds: One a sample and slice, see `seeds_of`; their number is that of the samples.
        label: Contrast, as index of ``prior.labels``; None for none.
        uncertainty: Extra draws for ``std`` where ``sampler`` gives a point estimate, and the map of what the data
            leave open; None for neither.
        size: Matrix (y, x) of the result; that of k-space if not given.
        slices: Indices of the slices in the scan, for messages.
        n_sets: Sets of coil maps.
        n_coils: Most coils to reconstruct with, see `prepare`.
        noise_covariance: Covariance of the coils' noise, if it was measured; k-space is whitened with it.
        guard: When a slice is doubted, and what is done then.
        progress: Called with the share of the work that is done, 0 ... 1.

    Raises:
        ValueError: If the data cannot be reconstructed, see `prepare`.
    """
    start = time.perf_counter()
    slices = range(len(kspace)) if slices is None else slices
    problem = prepare(kspace, mask, prior.scaling, size, n_sets, noise_covariance=noise_covariance, n_coils=n_coils)
    result = solve(problem, mask, prior, sampler, seeds, label, uncertainty, slices, guard, progress)
    result.findings["seconds"] = torch.full((len(kspace),), (time.perf_counter() - start) / len(kspace))
    return result


def solve(
    problem: Problem,
    mask: Bool[Tensor, "1 _u _v"],
    prior: Prior,
    sampler: Sampler,
    seeds: Int[Tensor, "sample slice"],
    label: int | Int[Tensor, "slice"] | None,
    uncertainty: Uncertainty | None,
    slices: Sequence[int],
    guard: Guard = Guard(),  # noqa: B008
    progress: Callable[[float], None] | None = None,
    keep_samples: bool = False,
) -> Reconstruction:
    """Reconstruct slices that are prepared, whatever their operator; arguments as in `reconstruct_slices`."""
    start = time.perf_counter()
    # a point estimate has no spread: that of HQS over seeds is the spread of its symmetries
    spreads = len(seeds) > 1 and sampler.estimate_type is not EstimateType.POINT
    method = _Method(prior, sampler, seeds, label, None if spreads else uncertainty, keep_samples)
    estimate = method.draw(problem, progress)
    checked = check(estimate.problem.likelihood, estimate.image)
    image, std, samples = _finished(estimate)
    maps_open = uncertainty is not None and uncertainty.null_space
    null_space = _null_space(estimate, prior) if maps_open else None
    fallback = torch.zeros(len(slices))
    verdicts = guard.review(estimate, slices, lambda part, row, trial: method.of(row, trial).draw(part))
    for row, verdict in verdicts.items():
        if verdict.estimate is not None:
            part, fallback[row] = check(verdict.estimate.problem.likelihood, verdict.estimate.image), verdict.fallback
            checked.noise_ratio[row], checked.signal_ratio[row] = part.noise_ratio[0], part.signal_ratio[0]
            (image[row],), (std[row],), drawn = _finished(verdict.estimate)
            if samples is not None:
                samples[:, row] = image[row] if drawn is None else drawn[:, 0]
            if null_space is not None:
                null_space[row] = _null_space(verdict.estimate, prior)[0]
    made = recipe_of(sampler, len(seeds), method.std_from)
    bar = error_bar(prior, made, problem.acceleration, is_parallel(problem))
    warnings = tuple(verdict.description for verdict in verdicts.values())
    warnings = (*warnings, *(bar.warnings if method.draws else ("uncertainty was not computed: std holds nan",)))
    findings = {
        **problem.findings,
        "sampler": repr(sampler),
        "n_samples": len(seeds),
        "std_from": method.std_from,
        "std_factor": bar.factor,
        "std_calibration": bar.description,
        **({} if null_space is None else _how_open(null_space, image)),
        "noise_ratio": checked.noise_ratio,
        "signal_ratio": checked.signal_ratio,
        "fallback": fallback,
        "seconds": torch.full((len(slices),), (time.perf_counter() - start) / len(slices)),
    }
    findings = {name: finding.cpu() if isinstance(finding, Tensor) else finding for name, finding in findings.items()}
    return Reconstruction(image, bar.factor * std, mask.cpu(), findings, warnings, samples, null_space)


def seeds_of(scan: str, slices: Sequence[int], n_samples: int) -> Int[Tensor, "sample slice"]:
    """Return the seed of each sample of each slice, from (scan, slice, sample) and nothing else.

    Args:
        scan: Name of the scan.
        slices: Indices in the scan.
        n_samples: Number of samples.
    """
    return torch.tensor([[derive_seed(scan, index, sample) for index in slices] for sample in range(n_samples)])


def label_of(contrast: str | None, prior: Prior) -> tuple[int | None, str]:
    """Return the index of a contrast in a prior, and its name; None, and why, where it has none."""
    if contrast is None:
        return None, "none: the file does not tell the contrast"
    if contrast not in prior.labels:
        return None, f"none: the prior does not know {contrast}"
    return prior.label_index(contrast), contrast


@dataclass(frozen=True, eq=False)
class _Method:
    """Prior, sampler and draws, for a batch of slices; ``extra`` are those for the standard deviation alone."""

    prior: Prior
    sampler: Sampler
    seeds: Tensor
    label: int | Tensor | None
    extra: Uncertainty | None
    keep: bool

    @property
    def draws(self) -> bool:
        """Whether there is a standard deviation."""
        return self.extra is not None or (len(self.seeds) > 1 and self.sampler.estimate_type is not EstimateType.POINT)

    @property
    def std_from(self) -> str:
        """What the standard deviation is that of."""
        if self.extra is not None:
            return self.extra.description
        return f"{len(self.seeds)} samples" if self.draws else "nothing"

    def of(self, row: int, trial: bool) -> "_Method":
        """Return the same for one slice of the batch; a trial is one sample, and no standard deviation."""
        label = self.label[row : row + 1] if isinstance(self.label, Tensor) else self.label
        one = replace(self, seeds=self.seeds[:, row : row + 1], label=label)
        return replace(one, seeds=one.seeds[:1], extra=None, keep=False) if trial else one

    def draw(self, problem: Problem, progress: Callable[[float], None] | None = None) -> Estimate:
        """Return mean and standard deviation."""
        n_extra = 0 if self.extra is None else self.extra.n_samples * self.extra.sampler.nfe
        share = 1 / (1 + n_extra / (len(self.seeds) * self.sampler.nfe))
        inner = progress and _part(progress, 0, share)
        estimate = self._draw(self.sampler, problem, problem.likelihood, self.seeds, inner, self.keep)
        if self.extra is None:
            is_spread = self.sampler.estimate_type is not EstimateType.POINT
            return estimate if is_spread else replace(estimate, std=torch.full_like(estimate.std, math.nan))
        more = _further_seeds(self.seeds, self.extra.n_samples)
        inner = progress and _part(progress, share, 1 - share)
        drawn = self._draw(self.extra.sampler, problem, estimate.likelihood, more, inner, keep=True).samples
        assert drawn is not None
        return replace(estimate, std=self.extra.std(drawn, estimate.image, estimate.likelihood))

    def _draw(
        self,
        sampler: Sampler,
        problem: Problem,
        likelihood: GaussianLikelihood,
        seeds: Tensor,
        progress: Callable[[float], None] | None,
        keep: bool = False,
    ) -> Estimate:
        """Return mean and spread of one sample for each row of seeds; a single one has the spread nan."""
        together = _samples_at_once(likelihood.y, len(seeds))
        watch = _Watch(likelihood, progress, math.ceil(len(seeds) / together))
        if len(seeds) == 1:
            image = sampler.sample(self.prior, likelihood, seeds, self.label, progress=watch)[0]
            likelihood = _of_one_sample(watch.likelihood)
            std = torch.full_like(image.real, math.nan)
            return Estimate(problem, image, std, likelihood, image[None] if keep else None)
        drawn = posterior(sampler, self.prior, likelihood, seeds, self.label, together, keep, watch)
        # the maps of each sample were refined for that sample, those of the scan go with the mean
        return Estimate(problem, drawn.mean, drawn.std, likelihood, drawn.samples)


def _samples_at_once(y: Tensor, n_samples: int) -> int:
    """Return how many samples are drawn at once: a single one keeps a CPU busy, and its memory small."""
    return min(n_samples, max(1, IMAGES_ON_GPU // len(y))) if y.is_cuda else 1


def _finished(estimate: Estimate) -> tuple[Tensor, Tensor, Tensor | None]:
    """Return image, standard deviation and draws in units of the input, on the CPU."""
    finish = estimate.problem.finish
    samples = None if estimate.samples is None else finish(estimate.samples).cpu()
    return finish(estimate.image).cpu(), finish(estimate.std).cpu(), samples


def _null_space(estimate: Estimate, prior: Prior) -> Tensor:
    """Return the magnitude of what the data do not determine, in units of the input, on the CPU."""
    likelihood = estimate.likelihood
    weight = likelihood.noise_std.square() / prior.sigma_data**2
    finished: Tensor = estimate.problem.finish(null_space(likelihood.A, estimate.image, weight))
    return finished.abs().cpu()


def _how_open(null_space: Tensor, image: Tensor) -> dict[str, Any]:
    """Return the share of each image that its data do not determine, and how that was found."""
    norms = (torch.linalg.vector_norm(part, dim=(-2, -1)) for part in (null_space, image))
    part, whole = norms
    return {
        "null_space_share": part / whole.clamp(min=torch.finfo(torch.float32).tiny),
        "null_space_from": "abs((I - (A^H A + l)^-1 A^H A) x), l = noise_std^2 / sigma_data^2",
    }


def _of_one_sample(likelihood: GaussianLikelihood) -> GaussianLikelihood:
    """Return the likelihood without the axis of samples that refinement puts in front of its maps."""
    factor = likelihood.A.find(Maps)
    if factor is None or factor.maps.ndim == likelihood.y.ndim + 1:
        return likelihood
    return likelihood.replace(A=likelihood.A.replace(Maps, Maps(factor.maps[0])))


def _further_seeds(seeds: Tensor, n: int) -> Tensor:
    """Return seeds [n, slice] of draws beside the image's."""
    return torch.tensor([[derive_seed(seed, "uncertainty", i) for seed in seeds[0].tolist()] for i in range(n)])


class _Watch:
    """Keep the likelihood that a sampler ends with, and report the share of the work that is done."""

    def __init__(self, likelihood: GaussianLikelihood, progress: Callable[[float], None] | None, n_calls: int) -> None:
        self.likelihood, self.progress, self.n_calls, self.n_done = likelihood, progress, n_calls, 0

    def __call__(self, step: Progress) -> None:
        """Take note of one step."""
        if step.likelihood is not None:
            self.likelihood = step.likelihood
        done = self.n_done + step.step / step.n_steps
        self.n_done += step.step == step.n_steps
        if self.progress:
            self.progress(done / self.n_calls)


def _part(progress: Callable[[float], None], start: float, length: float) -> Callable[[float], None]:
    """Return a report of a part that fills ``length`` of the whole from ``start``."""
    return lambda done: progress(start + length * done)


def _device(prior: Prior) -> torch.device:
    """Return the device of a prior's weights; the CPU if it has none."""
    parameters = prior.parameters() if isinstance(prior, nn.Module) else iter(())
    return next((parameter.device for parameter in parameters), torch.device("cpu"))
