"""HDF5 in fastMRI's layout, which this package's reader and ``fastmri.data.SliceDataset`` accept."""

from collections.abc import Mapping
from pathlib import Path
from xml.sax.saxutils import escape

import h5py
import numpy as np
from jaxtyping import Bool, Complex, Float, UInt8
from torch import Tensor

from lightning_mri.files import atomic
from lightning_mri.io.contrasts import acquisition_of
from lightning_mri.physics.fourier import ifft2c
from lightning_mri.tensors import centre_crop

HEADER = """<?xml version="1.0" encoding="utf-8"?>
<ismrmrdHeader xmlns="http://www.ismrm.org/ISMRMRD">
  <subjectInformation><patientID>{subject}</patientID></subjectInformation>
  <measurementInformation><protocolName>{protocol}</protocolName></measurementInformation>
  <acquisitionSystemInformation>
    <systemFieldStrength_T>{field_strength}</systemFieldStrength_T>
    <receiverChannels>{n_coils}</receiverChannels>
  </acquisitionSystemInformation>
  <experimentalConditions><H1resonanceFrequency_Hz>{frequency}</H1resonanceFrequency_Hz></experimentalConditions>
  <encoding>
    <encodedSpace>{encoded}</encodedSpace>
    <reconSpace>{reconstructed}</reconSpace>
    <encodingLimits>
      <kspace_encoding_step_1><minimum>0</minimum><maximum>{last}</maximum><center>{centre}</center></kspace_encoding_step_1>
      <slice><minimum>0</minimum><maximum>{last_slice}</maximum><center>0</center></slice>
    </encodingLimits>
    <trajectory>cartesian</trajectory>
  </encoding>
</ismrmrdHeader>
"""
SPACE = (
    "<matrixSize><x>{size[0]}</x><y>{size[1]}</y><z>1</z></matrixSize>"
    "<fieldOfView_mm><x>{fov[0]:g}</x><y>{fov[1]:g}</y><z>{thickness:g}</z></fieldOfView_mm>"
)
PROTON_HZ_PER_TESLA = 42.577478518e6


def write_fastmri(
    path: Path,
    kspace: Complex[Tensor, "slice coil y x"],
    *,
    contrast: str,
    subject: str,
    pixel_size: tuple[float, float] = (1.0, 1.0),
    reconstruction_size: tuple[int, int] | None = None,
    mask: Bool[Tensor, "1 y x"] | None = None,
    field_strength: float = 3.0,
    slice_thickness: float = 5.0,
    noise_covariance: Complex[Tensor, "coil coil"] | None = None,
    lesion_mask: UInt8[Tensor, "slice _y _x"] | None = None,
    lesion_kinds: Mapping[str, int] | None = None,
) -> None:
    """Write a scan as fastMRI does: fully sampled with the reference image, or with a mask and without.

    The reference is the root of the sum of squares over coils, sqrt(sum_c abs(F^H k_c)^2), cut to the
    reconstruction matrix.

    Args:
        path: File to write, replaced as a whole.
        kspace: K-space, y the readout, zero where not acquired.
        contrast: Name of the contrast; fastMRI's name for it becomes the attribute `acquisition`.
        subject: Identity of the subject, in the header and as attribute `patient_id`.
        pixel_size: Size of a pixel (y, x), in mm.
        reconstruction_size: Matrix (y, x) of the finished image; that of k-space if none is given.
        mask: Acquired samples; whole columns are written as fastMRI's [x], others as [y, x].
        field_strength: In tesla.
        slice_thickness: In mm.
        noise_covariance: Covariance of the coils' noise, E eta eta^H / 2, in the units of k-space squared; not part
            of fastMRI's layout, and written as dataset `noise_covariance`.
        lesion_mask: Kind of lesion in each pixel of the finished image, 0 for none; written as dataset `lesion_mask`.
        lesion_kinds: What its values mean, written as attributes of that dataset.

    Raises:
        OSError: If the file cannot be written.
        ValueError: If the reconstruction matrix exceeds that of k-space.
    """
    matrix = (kspace.shape[-2], kspace.shape[-1])
    size = reconstruction_size or matrix
    if size[0] > matrix[0] or size[1] > matrix[1]:
        raise ValueError(f"reconstruction_size must not exceed the matrix of k-space: got {size} and {matrix}")
    spaces = [
        SPACE.format(size=n, fov=(n[0] * pixel_size[0], n[1] * pixel_size[1]), thickness=slice_thickness)
        for n in (matrix, size)
    ]
    header = HEADER.format(
        subject=escape(subject),
        protocol=escape(acquisition_of(contrast)),
        field_strength=field_strength,
        n_coils=kspace.shape[1],
        frequency=round(field_strength * PROTON_HZ_PER_TESLA),
        encoded=spaces[0],
        reconstructed=spaces[1],
        last=matrix[1] - 1,
        centre=matrix[1] // 2,
        last_slice=kspace.shape[0] - 1,
    )
    with atomic(path) as part, h5py.File(part, "w") as file:
        file.create_dataset("kspace", data=kspace.numpy(force=True))
        file.create_dataset("ismrmrd_header", data=np.bytes_(header.encode()))
        file.attrs.update(acquisition=acquisition_of(contrast), patient_id=subject)
        if noise_covariance is not None:
            file.create_dataset("noise_covariance", data=noise_covariance.numpy(force=True))
        if lesion_mask is not None:
            stored = file.create_dataset("lesion_mask", data=lesion_mask.numpy(force=True), compression="gzip")
            stored.attrs.update(lesion_kinds or {})
        if mask is not None:
            file.create_dataset("mask", data=_stored_mask(mask))
            return
        reference = root_sum_of_squares(centre_crop(ifft2c(kspace), size)).numpy(force=True)
        file.create_dataset("reconstruction_rss", data=reference)
        file.attrs.update(max=float(reference.max()), norm=float(np.linalg.norm(reference)))


def root_sum_of_squares(
    images: Complex[Tensor, "*batch coil y x"],
) -> Float[Tensor, "*batch y x"]:
    """Return sqrt(sum_c abs(x_c)^2) over coils."""
    return images.abs().square().sum(dim=-3).sqrt()


def _stored_mask(mask: Bool[Tensor, "1 y x"]) -> np.ndarray:
    lines = mask[0, :1]
    return (lines[0] if bool((mask[0] == lines).all()) else mask[0]).numpy(force=True)
