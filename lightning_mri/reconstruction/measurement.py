"""Measured k-space as it enters: of the shapes that belong together, in one type and one layout in memory."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from jaxtyping import Bool, Complex
from torch import Tensor

from lightning_mri.io import Scan
from lightning_mri.physics import live_coils
from lightning_mri.reconstruction.unusable import zero_filled

ZERO_BY_CHANCE = 0.99
"""Share of a rectangle of calibration lines that is not zero, from which on the rest of it was measured, too."""


@dataclass(frozen=True, eq=False)
class Measurement:
    """Measured slices that share a mask; kept in single precision and in one piece of memory.

    In which order sums run, and so how they are rounded, follows the layout in memory; by rounding alone a slice may
    come to lie on the other side of a limit.

    Args:
        kspace: K-space in any unit; what is not acquired is ignored, whatever it holds.
        mask: True = acquired.
        size: Matrix (y, x) of the finished image; that of k-space if none is given.
        noise_covariance: Covariance of the coils' noise, E eta eta^H / 2, if known.
        calibration: K-space of lines that were measured apart for the coil maps, zero elsewhere, if any.

    Raises:
        ValueError: If one of them is no tensor of the shape and type that belong to slices [batch, coil, y, x].
    """

    kspace: Complex[Tensor, "batch coil y x"]
    mask: Bool[Tensor, "_one _y _x"]
    size: tuple[int, int] | None = None
    noise_covariance: Complex[Tensor, "_coil _coil"] | None = None
    calibration: Complex[Tensor, "batch coil _y _x"] | None = None

    def __post_init__(self) -> None:
        for name, values in self._tensors().items():
            if not isinstance(values, Tensor):
                raise ValueError(f"{name} must be a tensor: got {type(values).__name__}")
        kspace, mask, covariance, calibration = self.kspace, self.mask, self.noise_covariance, self.calibration
        shape = tuple(kspace.shape)
        if kspace.ndim != 4 or not kspace.is_complex() or 0 in shape:
            raise ValueError(f"kspace must be complex [batch, coil, y, x], and not empty: got {kspace.dtype} {shape}")
        if mask.dtype != torch.bool or mask.shape != (1, *shape[-2:]):
            raise ValueError(f"mask must be bool [1, y, x] of kspace {shape}: got {mask.dtype} {tuple(mask.shape)}")
        if covariance is not None and covariance.shape != (shape[1], shape[1]):
            rule = f"noise_covariance must be [coil, coil] of kspace {shape}"
            raise ValueError(f"{rule}: got {tuple(covariance.shape)}")
        if calibration is not None and (calibration.shape != shape or not calibration.is_complex()):
            rule = f"calibration must be complex, of the shape of kspace {shape}"
            raise ValueError(f"{rule}: got {calibration.dtype} {tuple(calibration.shape)}")
        for name, values in self._tensors().items():
            single = values.to(torch.complex64) if name in ("kspace", "calibration") else values
            object.__setattr__(self, name, single.contiguous())

    def _tensors(self) -> dict[str, Tensor]:
        optional = {"noise_covariance": self.noise_covariance, "calibration": self.calibration}
        there = {name: values for name, values in optional.items() if values is not None}
        return {"kspace": self.kspace, "mask": self.mask, **there}

    @classmethod
    def of(cls, scan: Scan, slices: Sequence[int]) -> "Measurement":
        """Return what was measured of slices of a scan that share a mask."""
        apart = None if scan.calibration is None else scan.calibration[list(slices)]
        kspace, mask = scan.kspace.with_gaps(slices), scan.mask_of(slices)
        return cls(kspace, mask, scan.reconstruction_size, scan.noise_covariance, apart)

    def __len__(self) -> int:
        return len(self.kspace)

    def to(self, device: torch.device) -> "Measurement":
        """Return the measurement on a device."""
        moved: dict[str, Any] = {name: values.to(device) for name, values in self._tensors().items()}
        return replace(self, **moved)

    def rows(self, rows: Sequence[int]) -> "Measurement":
        """Return some of the slices, by their places."""
        if list(rows) == list(range(len(self))):
            return self  # spares a copy
        apart = None if self.calibration is None else self.calibration[[*rows]]
        return replace(self, kspace=self.kspace[[*rows]], calibration=apart)

    def groups(self) -> list[list[int]]:
        """Return the places of slices to prepare together: of one group the same coils are live, and the same lines."""
        keys = live_coils(torch.where(self.mask.to(self.kspace.device), self.kspace, 0)).cpu()
        if self.calibration is not None:
            lines = lines_apart(self.calibration).flatten(1).cpu()
            keys = torch.cat([keys & live_coils(self.calibration).cpu(), lines], 1)
        groups = defaultdict(list)
        for row, key in enumerate(keys.numpy()):
            groups[key.tobytes()].append(row)
        return list(groups.values())

    def zero_filled(self) -> Complex[Tensor, "slice v u"]:
        """Return the images without any method, see `zero_filled`."""
        return zero_filled(self.kspace, self.mask, self.size)


def lines_apart(calibration: Complex[Tensor, "batch coil y x"]) -> Bool[Tensor, "batch y x"]:
    """Return where samples for calibration alone were measured, in each slice by itself.

    What is not zero was measured, and so was what is zero by chance: single samples of a rectangle of lines.
    """
    filled = (calibration != 0).any(1)
    lines = filled.any(1, keepdim=True) & filled.any(2, keepdim=True)
    by_chance = filled.sum((1, 2)) >= ZERO_BY_CHANCE * lines.sum((1, 2))
    return torch.where(by_chance[:, None, None], lines, filled)
