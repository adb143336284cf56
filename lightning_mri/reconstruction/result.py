"""What a reconstruction gives, and several batches of slices as one."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Complex, Float
from torch import Tensor

from lightning_mri.reconstruction.findings import ReconstructionFindings, join_findings


@dataclass(frozen=True, eq=False, repr=False)
class Reconstruction:
    """Finished slices, in units of the input k-space.

    Args:
        image: Complex images; the mean, if several samples were drawn.
        std: Standard deviation of the magnitude, from draws and times the finding ``std_factor``: an error bar where
            the prior is calibrated, else with a warning; nan, with a warning, where no draws were made.
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
        return f"Reconstruction of {n} slices of {y} x {x}\n{self.findings.text()}{warnings}"

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

    @classmethod
    def join(cls, parts: Sequence["Reconstruction"]) -> "Reconstruction":
        """Return batches of slices of one scan as one reconstruction."""
        if len({tuple(part.image.shape[1:]) for part in parts}) != 1:
            raise ValueError(f"parts must agree on (y, x): got {[tuple(part.image.shape) for part in parts]}")
        return cls(
            torch.cat([part.image for part in parts]),
            torch.cat([part.std for part in parts]),
            _joined_masks(parts),
            # what is the same for all slices is known where some were reconstructed
            join_findings(
                [part.findings for part in parts], next((i for i, part in enumerate(parts) if part.usable.any()), 0)
            ),
            tuple(dict.fromkeys(warning for part in parts for warning in part.warnings)),
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
