"""Measured k-space as it enters: of the shapes that belong together, in one type and one layout in memory."""

import torch
from torch import Tensor

Measurement = tuple[Tensor, Tensor, Tensor | None, Tensor | None]
"""K-space, mask, covariance of the noise, and k-space for calibration; see `prepare`."""


def as_measured(
    kspace: Tensor,
    mask: Tensor,
    noise_covariance: Tensor | None = None,
    calibration: Tensor | None = None,
    device: torch.device | None = None,
) -> Measurement:
    """Return the same measurement in single precision and in one piece of memory, on a device if one is named.

    In which order sums run, and so how they are rounded, follows the layout in memory; by rounding alone a slice may
    come to lie on the other side of a limit.

    Raises:
        ValueError: If one of them is no tensor of the shape and type that belong to slices [batch, coil, y, x].
    """
    given = {"kspace": kspace, "mask": mask, "noise_covariance": noise_covariance, "calibration": calibration}
    for name, values in given.items():
        if not (isinstance(values, Tensor) or (values is None and name in ("noise_covariance", "calibration"))):
            raise ValueError(f"{name} must be a tensor: got {type(values).__name__}")
    shape = tuple(kspace.shape)
    if kspace.ndim != 4 or not kspace.is_complex() or 0 in shape:
        raise ValueError(f"kspace must be complex [batch, coil, y, x], and not empty: got {kspace.dtype} {shape}")
    if mask.dtype != torch.bool or mask.shape != (1, *shape[-2:]):
        raise ValueError(f"mask must be bool [1, y, x] of kspace {shape}: got {mask.dtype} {tuple(mask.shape)}")
    if noise_covariance is not None and noise_covariance.shape != (shape[1], shape[1]):
        rule = f"noise_covariance must be [coil, coil] of kspace {shape}"
        raise ValueError(f"{rule}: got {tuple(noise_covariance.shape)}")
    if calibration is not None and (calibration.shape != shape or not calibration.is_complex()):
        rule = f"calibration must be complex, of the shape of kspace {shape}"
        raise ValueError(f"{rule}: got {calibration.dtype} {tuple(calibration.shape)}")
    return (
        kspace.to(device, torch.complex64).contiguous(),
        mask.to(device).contiguous(),
        None if noise_covariance is None else noise_covariance.to(device).contiguous(),
        None if calibration is None else calibration.to(device, torch.complex64).contiguous(),
    )
