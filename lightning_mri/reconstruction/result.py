"""What a reconstruction gives: slices in units of the input, what they leave of their data, and batches as one."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from statistics import harmonic_mean
from typing import Any

import torch
from jaxtyping import Bool, Complex, Float
from torch import Tensor

from lightning_mri.evaluation.pictures import flagged
from lightning_mri.messages import count
from lightning_mri.physics import GaussianLikelihood
from lightning_mri.reconstruction.draws import Estimate
from lightning_mri.reconstruction.findings import ReconstructionFindings, join_findings
from lightning_mri.reconstruction.uncertainty import null_space_component
from lightning_mri.tensors import TINY

NOISE_POWER = 1.05
"""Power of the noise, in units of what its level says, that is never taken for signal: levels are known to 2 %."""


@dataclass(frozen=True, eq=False)
class Residual:
    """What images leave of the acquired samples, one value a slice.

    Args:
        noise_ratio: Standard deviation of the residual / that of the noise; 1 for a perfect fit.
        signal_ratio: Norm of the residual / norm of the measurement.
    """

    noise_ratio: Float[Tensor, " batch"]
    signal_ratio: Float[Tensor, " batch"]

    @property
    def unexplained(self) -> Float[Tensor, " batch"]:
        """Norm of what noise leaves of the residual, as powers subtract / norm of the measurement."""
        return self.signal_ratio * (1 - NOISE_POWER / self.noise_ratio.square()).clamp(min=0).sqrt()


def measure_residual(likelihood: GaussianLikelihood, x: Complex[Tensor, "..."]) -> Residual:
    """Compare the residual of the acquired samples with noise and signal.

    Args:
        likelihood: The scan.
        x: Images [sample, batch, (set,) y, x] or without the samples; the mean over samples is returned.
    """
    residual = likelihood.residual_std(x)
    residual = residual.reshape(-1, residual.shape[-1]).square().mean(0).sqrt()
    power = likelihood.y.abs().square().sum((-3, -2, -1)) / (2 * likelihood.n_acquired)
    return Residual(residual / likelihood.noise_std, residual / power.sqrt().clamp(min=TINY))


@dataclass(eq=False)
class Finished:
    """Slices in units of the input, on the CPU; fields as in `Reconstruction` and its findings."""

    image: Tensor
    std: Tensor
    noise_ratio: Tensor
    signal_ratio: Tensor
    samples: Tensor | None
    null_space: Tensor | None

    @classmethod
    def of(cls, estimate: Estimate, sigma_data: float | None) -> "Finished":
        """Return what was made of slices."""
        finish, likelihood, samples = estimate.problem.finish, estimate.likelihood, estimate.samples
        residual = measure_residual(estimate.problem.likelihood, estimate.image)
        null_space = None
        if sigma_data is not None:
            weight = likelihood.noise_std.square() / sigma_data**2
            null_space = finish(null_space_component(likelihood.A, estimate.image, weight)).abs().cpu()
        return cls(
            finish(estimate.image).cpu(),
            finish(estimate.std).cpu(),
            residual.noise_ratio.cpu(),
            residual.signal_ratio.cpu(),
            None if samples is None else finish(samples).cpu(),
            null_space,
        )

    def put(self, row: int, other: "Finished") -> None:
        """Replace one slice by the only one of another result, which may have no samples."""
        for name in ("image", "std", "noise_ratio", "signal_ratio", "null_space"):
            if getattr(self, name) is not None:
                getattr(self, name)[row] = getattr(other, name)[0]
        if self.samples is not None:
            self.samples[:, row] = other.image[0] if other.samples is None else other.samples[:, 0]

    @property
    def null_space_share(self) -> Tensor | None:
        """Norm of the null-space component relative to that of the image."""
        if self.null_space is None:
            return None
        # in double precision, as squares in units of the input may be too large for single
        maps = (self.null_space.double(), self.image.abs().double())
        component, whole = (torch.linalg.vector_norm(x, dim=(-2, -1)) for x in maps)
        return (component / whole.clamp(min=torch.finfo(torch.float64).tiny)).float()


@dataclass(frozen=True, eq=False, repr=False)
class Reconstruction:
    """Finished slices, in units of the input k-space.

    Args:
        image: Complex images; the mean, if several samples were drawn.
        std: Standard deviation of the magnitude, from draws and times the finding ``std_factor``: an error bar where
            the prior is calibrated, else with a warning; nan where no draws were made.
        mask: What was acquired, as the input has it; of each slice where they differ.
        findings: What was found and chosen.
        warnings: What a reader should know, one sentence each.
        samples: The draws, where they were to be kept.
        null_space: Magnitude of the null-space component, see `null_space_component`, where it was asked for.
    """

    image: Complex[Tensor, "slice y x"]
    std: Float[Tensor, "slice y x"]
    mask: Bool[Tensor, "_masks _y _x"]
    findings: ReconstructionFindings
    warnings: tuple[str, ...] = ()
    samples: Complex[Tensor, "sample slice y x"] | None = None
    null_space: Float[Tensor, "slice y x"] | None = None

    def __repr__(self) -> str:
        n, y, x = self.image.shape
        warnings = "".join(f"warning: {warning}\n" for warning in self.warnings)
        return f"Reconstruction of {count(n, 'slice')} of {y} x {x}\n{self.findings.text()}{warnings}"

    @property
    def magnitude(self) -> Float[Tensor, "slice y x"]:
        """Magnitude of the image."""
        return self.image.abs()

    @property
    def usable(self) -> Bool[Tensor, " slice"]:
        """Which slices were reconstructed; nothing could be found in the others, see `UnusableSlicesError`."""
        return self.findings.scale.isfinite()

    @property
    def attributes(self) -> dict[str, Any]:
        """Findings and warnings as plain values, for headers of files."""
        return {**self.findings.plain(), "warnings": list(self.warnings)}

    def each(self, change: Callable[[Tensor, int], Tensor]) -> "Reconstruction":
        """Return the reconstruction with all that it holds of each slice changed, but for the mask.

        Args:
            change: Called with a tensor and its axis of slices.
        """

        def changed(holder: Any, axes: dict[str, int]) -> dict[str, Any]:
            values = {name: getattr(holder, name) for name in axes}
            return {name: change(value, axes[name]) for name, value in values.items() if isinstance(value, Tensor)}

        found = changed(self.findings, dict.fromkeys(vars(self.findings), 0))
        parts = changed(self, {"image": 0, "std": 0, "samples": 1, "null_space": 0})
        return replace(self, **parts, findings=replace(self.findings, **found))

    def rows(self, rows: Sequence[int]) -> "Reconstruction":
        """Return some of the slices, by their places."""
        mask = self.mask if len(self.mask) == 1 else self.mask[[*rows]]
        return replace(self.each(lambda values, axis: values.index_select(axis, torch.tensor(rows))), mask=mask)

    @classmethod
    def join(cls, parts: Sequence["Reconstruction"]) -> "Reconstruction":
        """Return batches of slices of one scan as one reconstruction."""
        if len({tuple(part.image.shape[1:]) for part in parts}) != 1:
            raise ValueError(f"parts must agree on (y, x): got {[tuple(part.image.shape) for part in parts]}")
        # what is the same for all slices is known where some were reconstructed
        lead = next((i for i, part in enumerate(parts) if part.usable.any()), 0)
        findings, rates = [part.findings for part in parts], [part.findings.acceleration for part in parts]
        if len(set(rates)) > 1:  # all samples of the scan / acquired ones
            rate = harmonic_mean(rates, [len(part.image) for part in parts])
            findings[lead] = replace(findings[lead], acceleration=rate)
        said = (warning for part in parts for warning in part.warnings)
        return cls(
            torch.cat([part.image for part in parts]),
            torch.cat([part.std for part in parts]),
            _joined_masks(parts),
            join_findings(findings, lead),
            # slice by slice; what is said of the whole scan comes last
            tuple(sorted(dict.fromkeys(said), key=lambda warning: min(flagged([warning]), default=math.inf))),
            _joined([part.samples for part in parts], dim=1),
            _joined([part.null_space for part in parts]),
        )


def _joined_masks(parts: Sequence["Reconstruction"]) -> Tensor:
    """Return the mask that all parts share, else one of each slice."""
    first = parts[0].mask
    if all(part.mask.equal(first) for part in parts) and len(first) == 1:
        return first
    return torch.cat([part.mask.expand(len(part.image), -1, -1) for part in parts])


def _joined(parts: Sequence[Tensor | None], dim: int = 0) -> Tensor | None:
    """Return tensors of batches of slices as one; None if one of them is missing."""
    there = [part for part in parts if part is not None]
    return torch.cat(there, dim) if len(there) == len(parts) else None
