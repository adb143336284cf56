"""What a reconstruction gives, and several batches of slices as one."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from jaxtyping import Bool, Complex, Float
from torch import Tensor


@dataclass(frozen=True, eq=False)
class Reconstruction:
    """Finished slices, in units of the input k-space.

    Args:
        image: Complex images; the mean, if several samples were drawn.
        std: Standard deviation of the magnitude, from draws and times the finding ``std_factor``: an error bar where
            the prior is calibrated, else with a warning; nan, with a warning, where no draws were made.
        mask: What was acquired, as the input has it.
        findings: What was found and chosen; tensors hold one value a slice.
        warnings: What a reader should know, one sentence each.
        samples: The draws, where they were to be kept.
        null_space: Magnitude of the part of the image that the data do not determine, see `null_space`.
    """

    image: Complex[Tensor, "slice y x"]
    std: Float[Tensor, "slice y x"]
    mask: Bool[Tensor, "1 _y _x"]
    findings: dict[str, Any] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    samples: Complex[Tensor, "sample slice y x"] | None = None
    null_space: Float[Tensor, "slice y x"] | None = None

    @property
    def magnitude(self) -> Float[Tensor, "slice y x"]:
        """Magnitude of the image."""
        return self.image.abs()

    @property
    def attributes(self) -> dict[str, Any]:
        """Facts and warnings as plain values, for headers of files."""
        values = {
            name: finding.tolist() if isinstance(finding, Tensor) else finding
            for name, finding in self.findings.items()
        }
        return {**values, "warnings": list(self.warnings)}


def join(parts: Sequence[Reconstruction]) -> Reconstruction:
    """Return batches of slices of one scan as one reconstruction; findings of one value a slice are joined.

    Raises:
        ValueError: If the parts disagree on the matrix of the image, or there are none.
    """
    if len({tuple(part.image.shape[1:]) for part in parts}) != 1:
        raise ValueError(f"parts must agree on (y, x): got {[tuple(part.image.shape) for part in parts]}")
    findings = {
        name: torch.cat([part.findings[name] for part in parts]) if isinstance(finding, Tensor) else finding
        for name, finding in parts[0].findings.items()
    }
    warnings = dict.fromkeys(warning for part in parts for warning in part.warnings)
    image, std = torch.cat([part.image for part in parts]), torch.cat([part.std for part in parts])
    kept = [part.samples for part in parts if part.samples is not None]
    samples = torch.cat(kept, dim=1) if kept else None
    maps = [part.null_space for part in parts if part.null_space is not None]
    null_space = torch.cat(maps) if len(maps) == len(parts) else None
    return Reconstruction(image, std, parts[0].mask, findings, tuple(warnings), samples, null_space)
