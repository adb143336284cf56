"""HDF5 in fastMRI's layout: `kspace`; where present `mask`, `ismrmrd_header`, `noise_covariance` and the reference."""

from pathlib import Path

import h5py
import numpy as np
import torch
from jaxtyping import Complex
from torch import Tensor

from lightning_mri.io.contrasts import contrast_of
from lightning_mri.io.hdf5 import (
    SIGNATURE,
    HDF5Array,
    check_stored,
    dataset_of,
    header_of,
    is_complex,
    ismrmrd_groups,
    open_hdf5,
)
from lightning_mri.io.header import Encoding, Header, fitting_size, subject_of
from lightning_mri.io.scan import Scan, StoredArray, check_kspace, mask_from

REFERENCES = ("reconstruction_rss", "reconstruction_esc")
MAX_COILS = 1024


def locate(path: Path, head: bytes) -> Path | None:
    """Return the path of an HDF5 file, unless it is ISMRMRD's, or a result, with a reconstruction but no k-space."""
    if not head.startswith(SIGNATURE):
        return None
    try:
        with open_hdf5(path) as file:
            result = "reconstruction" in file and "kspace" not in file
            return None if result or ismrmrd_groups(file) else path
    except (OSError, ValueError):
        return path


def read(path: Path) -> Scan:
    """Open an HDF5 file with `kspace` [slice, coil, y, x] or, from one coil, [slice, y, x].

    fastMRI's first matrix axis is the readout, twice oversampled, and the last the phase encoding: y and x.

    Raises:
        ValueError: If `kspace` is missing, real, empty or has not three or four axes, or the mask misfits.
        OSError: If the file is truncated or cannot be read.
    """
    with open_hdf5(path) as file:
        return _read(path, file)


def _read(path: Path, file: h5py.File) -> Scan:
    kspace = dataset_of(path, file, "kspace")
    check_kspace(path, "kspace", kspace.shape, np.complex64 if is_complex(kspace.dtype) else kspace.dtype)
    if kspace.ndim == 2:
        raise ValueError(f"{path}: kspace must be [slice, coil, y, x] or [slice, y, x]: got shape {kspace.shape}")
    shape = kspace.shape if kspace.ndim == 4 else (kspace.shape[0], 1, *kspace.shape[1:])
    matrix = (shape[2], shape[3])
    header = header_of(path, dataset_of(path, file, "ismrmrd_header")) if "ismrmrd_header" in file else None
    encoding = header.encodings[0] if header and header.encodings else Encoding()
    size, size_doubts = fitting_size(encoding.reconstructed.matrix, matrix)
    acquisition = str(file.attrs.get("acquisition", header.protocol if header and header.protocol else ""))
    return Scan(
        source=path,
        format="fastMRI HDF5",
        name=path.stem,
        subject=subject_of(header and header.patient_id, file.attrs.get("patient_id")) or path.stem,
        kspace=HDF5Array(path, kspace, shape),
        reconstruction_size=size,
        contrast=contrast_of(acquisition),
        stored_mask=mask_from(path, file["mask"][()], matrix) if _has_mask(path, file, matrix) else None,
        reference=_reference(path, file, shape[0]),
        pixel_size=encoding.encoded.pixel_size,
        slice_spacing=encoding.encoded.slice_spacing,
        field_strength=header.field_strength if header else None,
        noise_covariance=_noise_covariance(path, file, shape[1]) if "noise_covariance" in file else None,
        warnings=(*_doubts(kspace.shape, header, encoding, acquisition), *size_doubts),
    )


def _reference(path: Path, file: h5py.File, n_slices: int) -> StoredArray | None:
    for name in REFERENCES:
        if name in file:
            dataset = dataset_of(path, file, name)
            if dataset.ndim != 3 or dataset.shape[0] != n_slices or dataset.dtype.kind != "f":
                raise ValueError(
                    f"{path}: {name} must be real [slice, y, x] with {n_slices} slices:"
                    f" got {dataset.dtype} {dataset.shape}"
                )
            return HDF5Array(path, dataset, dataset.shape)
    return None


def _noise_covariance(path: Path, file: h5py.File, n_coils: int) -> Complex[Tensor, "coil coil"]:
    """Read the covariance of the coils' noise, which fastMRI's own files lack and `write_fastmri` may add."""
    dataset = dataset_of(path, file, "noise_covariance")
    if dataset.shape != (n_coils, n_coils) or dataset.dtype.kind not in "fc" or n_coils > MAX_COILS:
        raise ValueError(
            f"{path}: noise_covariance must be [coil, coil] for {n_coils} coils: got {dataset.dtype} {dataset.shape}"
        )
    check_stored(path, dataset)
    covariance = torch.from_numpy(dataset[()].astype(np.complex64))
    hermitian = bool(torch.isfinite(covariance).all()) and torch.allclose(covariance, covariance.mH, rtol=1e-4, atol=0)
    if not hermitian or torch.linalg.cholesky_ex(covariance).info:
        raise ValueError(f"{path}: noise_covariance must be Hermitian and positive definite: it is not")
    return covariance


def _has_mask(path: Path, file: h5py.File, matrix: tuple[int, int]) -> bool:
    if "mask" not in file:
        return False
    mask = dataset_of(path, file, "mask")
    if mask.size not in (matrix[1], matrix[0] * matrix[1]):
        raise ValueError(f"{path}: mask and kspace must agree on (y, x): got mask {mask.shape} and kspace {matrix}")
    return True


def _doubts(shape: tuple[int, ...], header: Header | None, encoding: Encoding, acquisition: str) -> tuple[str, ...]:
    """Say in one sentence what the header left open."""
    guesses = []
    if encoding.reconstructed.matrix is None:
        guesses.append("the matrix of the image is taken to be that of k-space")
    if encoding.encoded.pixel_size is None:
        guesses.append("the size of a pixel is not known")
    if len(shape) == 3 and encoding.encoded.matrix is None:
        guesses.append(f"the three axes {shape} of kspace were taken for [slice, y, x] of one coil")
    if contrast_of(acquisition) is None:
        guesses.append(f"the contrast is not known, the acquisition being named {acquisition!r}")
    if not guesses:
        return ()
    lack = "the file has no ISMRMRD header" if header is None else "the ISMRMRD header does not tell all"
    return (f"{lack}: {'; '.join(guesses)}",)
