"""What a reconstruction gives, and several batches of slices as one."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from jaxtyping import Bool, Complex, Float
from torch import Tensor

from lightning_mri.physics import ifft2c
from lightning_mri.reconstruction.findings import ReconstructionFindings, join_findings
from lightning_mri.tensors import centre_crop


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
        """Return size, findings and warnings, one a line."""
        n, y, x = self.image.shape
        warnings = "".join(f"warning: {warning}\n" for warning in self.warnings)
        return f"Reconstruction of {n} slices of {y} x {x}\n{self.findings.text()}{warnings}"

    @property
    def magnitude(self) -> Float[Tensor, "slice y x"]:
        """Magnitude of the image."""
        return self.image.abs()

    @property
    def usable(self) -> Bool[Tensor, " slice"]:
        """Which slices were reconstructed; nothing could be found in the others, see `insert_unusable`."""
        return self.findings.scale.isfinite()

    @property
    def attributes(self) -> dict[str, Any]:
        """Findings and warnings as plain values, for headers of files."""
        return {**self.findings.plain(), "warnings": list(self.warnings)}

    @classmethod
    def join(cls, parts: Sequence["Reconstruction"]) -> "Reconstruction":
        """Return batches of slices of one scan as one reconstruction.

        Raises:
            ValueError: If the parts disagree on the matrix of the image, or there are none.
        """
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


def zero_filled(
    kspace: Complex[Tensor, "slice coil _y _x"], mask: Bool[Tensor, "1 _y _x"], size: tuple[int, int] | None
) -> Complex[Tensor, "slice y x"]:
    """Return the root of the sum of squares of the coils' images; what is not finite counts as not acquired."""
    images = ifft2c(torch.where(mask & torch.isfinite(kspace.abs()), kspace, 0)).to(torch.complex128)
    image = torch.linalg.vector_norm(images, dim=1).to(kspace.dtype)
    matrix = (image.shape[-2], image.shape[-1])
    size = matrix if size is None else (min(size[0], matrix[0]), min(size[1], matrix[1]))
    return centre_crop(image, size).cpu()


def insert_unusable(
    solved: Reconstruction, images: Complex[Tensor, "slice y x"], reasons: Mapping[int, str]
) -> Reconstruction:
    """Put slices that nothing could be found in between the others.

    Their images are those given, and their other values nan, but for nothing that is certain: a slice of zeros.

    Args:
        solved: The other slices.
        images: Zero-filled images of all slices.
        reasons: Warning for each such slice, by its place.
    """
    rows = [row for row in range(len(images)) if row not in reasons]
    unknown = torch.where(images.abs().amax((-2, -1), keepdim=True) > 0, math.nan, 0.0).expand(images.shape)

    def spread(values: Tensor, dim: int, default: Tensor | None = None) -> Tensor:
        shape = (*values.shape[:dim], len(images), *values.shape[dim + 1 :])
        blank = math.nan if values.is_floating_point() else 0
        out = values.new_full(shape, blank) if default is None else default.expand(shape).to(values.dtype).clone()
        out[(slice(None),) * dim + (rows,)] = values
        return out

    found: dict[str, Any] = {
        name: spread(v, 0) if isinstance(v, Tensor) else v for name, v in vars(solved.findings).items()
    }
    return replace(
        solved,
        image=spread(solved.image, 0, images),
        std=spread(solved.std, 0, unknown),
        findings=ReconstructionFindings(**found),
        warnings=(*reasons.values(), *solved.warnings),
        samples=None if solved.samples is None else spread(solved.samples, 1, images),
        null_space=None if solved.null_space is None else spread(solved.null_space, 0, unknown),
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
