"""HDF5 in fastMRI's layout: `kspace`; where present `mask`, `ismrmrd_header`, `noise_covariance` and the reference.

What is written here, ``fastmri.data.SliceDataset`` accepts.
"""

from collections.abc import Mapping
from pathlib import Path
from xml.sax.saxutils import escape

import h5py
import numpy as np
import torch
from jaxtyping import Bool, Complex, UInt8
from torch import Tensor

from lightning_mri.io.arrays import StoredArray
from lightning_mri.io.axes import Axes, named_axes
from lightning_mri.io.contrasts import NO_CONTRAST, acquisition_of, contrast_of
from lightning_mri.io.hdf5 import (
    SIGNATURE,
    HDF5Array,
    attribute_of,
    check_stored,
    contents_of,
    dataset_of,
    header_of,
    is_complex,
    member,
    new_hdf5,
    open_hdf5,
)
from lightning_mri.io.header import Encoding, Header, fitting_size, subject_of
from lightning_mri.io.scan import NO_PIXEL_SIZE, Scan, check_complex, check_kspace, mask_from
from lightning_mri.messages import naming
from lightning_mri.physics.fourier import ifft2c
from lightning_mri.tensors import centre_crop

AXES = {3: "slice y x", 4: "slice coil y x"}
REFERENCES = ("reconstruction_rss", "reconstruction_esc")
FRAGILE = True
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
"""A template, for the schema of ``ismrmrd.xsd`` requires the patient's position, which is not known here."""
SPACE = (
    "<matrixSize><x>{size[0]}</x><y>{size[1]}</y><z>1</z></matrixSize>"
    "<fieldOfView_mm><x>{fov[0]:g}</x><y>{fov[1]:g}</y><z>{thickness:g}</z></fieldOfView_mm>"
)
LESIONS = "lesion_mask"
PROTON_HZ_PER_TESLA = 42.577478518e6


def locate(path: Path, head: bytes) -> Path | None:
    """Return the path of an HDF5 file, unless it is ISMRMRD's, or a result, with a reconstruction but no k-space."""
    if not head.startswith(SIGNATURE):
        return None
    try:
        contents = contents_of(path)
        other = "kspace" not in contents.names and ("reconstruction" in contents.names or contents.images)
        return None if other or contents.measurements else path
    except (OSError, ValueError):
        return path


def read(path: Path, axes: str | None = None) -> Scan:
    """Open an HDF5 file with `kspace` [slice, coil, y, x] or, from one coil, [slice, y, x].

    fastMRI's first matrix axis is the readout, twice oversampled, and the last the phase encoding: y and x.
    Without its header, four axes are a guess and a warning. Other axes are named by ``axes``, as `Axes` takes them.
    """
    with open_hdf5(path) as file, naming(path):
        return _read(path, file, axes)


def _read(path: Path, file: h5py.File, words: str | None) -> Scan:
    kspace = dataset_of(file, "kspace")
    header = header_of(dataset_of(file, "ismrmrd_header")) if "ismrmrd_header" in file else None
    axes, taken = _axes(path, kspace.shape, words, header is not None)
    dtype = np.complex64 if is_complex(kspace.dtype) else kspace.dtype
    check_complex(path, "kspace", kspace.shape, dtype, "part" in axes.names)
    shape = axes.shape(kspace.shape)
    check_kspace(path, "kspace", shape)
    matrix = (shape[2], shape[3])
    encoding = header.encodings[0] if header and header.encodings else Encoding()
    size, size_warnings = fitting_size(encoding.reconstructed.matrix, matrix)
    acquisition = attribute_of(file, "acquisition") or (header and header.protocol) or ""
    return Scan.of_file(
        path,
        HDF5Array(kspace, axes),
        format="fastMRI HDF5",
        subject=subject_of(header and header.patient_id, attribute_of(file, "patient_id")),
        reconstruction_size=size,
        contrast=contrast_of(acquisition),
        stored_mask=_mask(path, file, axes, kspace.shape),
        n_volumes=axes.length("volume", kspace.shape),
        reference=_reference(file, shape[0]),
        lesions=_lesions(file, (shape[0], *size)),
        pixel_size=encoding.encoded.pixel_size,
        slice_spacing=encoding.encoded.slice_spacing,
        field_strength=header.field_strength if header else None,
        noise_covariance=_noise_covariance(file, shape[1]),
        warnings=(
            *_gaps(kspace.shape if words is None else (), header, encoding, acquisition),
            *taken,
            *encoding.warnings,
            *_other_matrix(encoding, matrix),
            *size_warnings,
        ),
    )


def _axes(path: Path, shape: tuple[int, ...], words: str | None, has_header: bool) -> tuple[Axes, tuple[str, ...]]:
    """Return the axes of k-space, fastMRI's unless others are named, and the warning where they were guessed."""
    if words is not None or (len(shape) == 4 and not has_header):
        return named_axes(path, "kspace", shape, words)
    if len(shape) not in AXES:
        rule = "kspace must be [slice, coil, y, x] or [slice, y, x]"
        raise ValueError(f"{path}: {rule}: got shape {shape}: axes (--data.axes) names others")
    return Axes(AXES[len(shape)]), ()


def _reference(file: h5py.File, n_slices: int) -> StoredArray | None:
    name = next((name for name in REFERENCES if name in file), None)
    if name is None:
        return None
    dataset = dataset_of(file, name)
    if dataset.ndim != 3 or dataset.shape[0] != n_slices or dataset.dtype.kind != "f":
        rule = f"{name} must be real [slice, y, x] with {n_slices} slices"
        raise ValueError(f"{rule}: got {dataset.dtype} {dataset.shape}")
    return HDF5Array(dataset)


def _lesions(file: h5py.File, shape: tuple[int, ...]) -> StoredArray | None:
    """Open the mask of lesions, which fastMRI's own files lack and `write_fastmri` may add."""
    if LESIONS not in file:
        return None
    dataset = dataset_of(file, LESIONS)
    if dataset.shape != shape or dataset.dtype.kind not in "bui":
        raise ValueError(f"{LESIONS} must be whole numbers {shape}: got {dataset.dtype} {dataset.shape}")
    return HDF5Array(dataset)


def _noise_covariance(file: h5py.File, n_coils: int) -> Complex[Tensor, "coil coil"] | None:
    """Read the covariance of the coils' noise, which fastMRI's own files lack and `write_fastmri` may add."""
    if "noise_covariance" not in file:
        return None
    dataset = dataset_of(file, "noise_covariance")
    if dataset.shape != (n_coils, n_coils) or dataset.dtype.kind not in "fc":
        rule = f"noise_covariance must be [coil, coil] for {n_coils} coils"
        raise ValueError(f"{rule}: got {dataset.dtype} {dataset.shape}")
    check_stored(dataset)
    covariance = torch.from_numpy(dataset[()].astype(np.complex64))
    hermitian = bool(torch.isfinite(covariance).all()) and torch.allclose(covariance, covariance.mH, rtol=1e-4, atol=0)
    live = covariance.any(0)  # channels that were dead in the noise scan have no noise, and are left out later
    if not hermitian or torch.linalg.cholesky_ex(covariance[live][:, live]).info:
        raise ValueError("noise_covariance must be Hermitian and positive definite: it is not")
    return covariance


def _mask(path: Path, file: h5py.File, axes: Axes, shape: tuple[int, ...]) -> Bool[Tensor, "_masks y x"] | None:
    """Read the mask, if there is one, of k-space of a ``shape``."""
    if member(file, "mask") is None:
        return None
    mask = dataset_of(file, "mask")
    n_slices, _, y, x = axes.shape(shape)
    if mask.size > n_slices * y * x:
        raise ValueError(f"mask and kspace must agree on (y, x): got mask {mask.shape} and kspace {(y, x)}")
    return mask_from(path, axes.mask(np.asarray(mask[()]), shape), (y, x), n_slices)


def _gaps(shape: tuple[int, ...], header: Header | None, encoding: Encoding, acquisition: str) -> tuple[str, ...]:
    """Say in one sentence what the header left open; nothing of the axes where there is no ``shape`` for them."""
    guesses = []
    if encoding.reconstructed.matrix is None:
        guesses.append("the matrix of the image is taken to be that of k-space")
    if encoding.encoded.pixel_size is None:
        guesses.append(NO_PIXEL_SIZE)
    if len(shape) == 3 and encoding.encoded.matrix is None:
        guesses.append(f"the three axes {shape} of kspace were taken for [slice, y, x] of one coil")
    if contrast_of(acquisition) is None:
        guesses.append(f"{NO_CONTRAST}, the acquisition being named {acquisition!r}")
    if not guesses:
        return ()
    lack = "the file has no ISMRMRD header" if header is None else "the ISMRMRD header does not tell all"
    return (f"{lack}: {'; '.join(guesses)}",)


def _other_matrix(encoding: Encoding, matrix: tuple[int, int]) -> tuple[str, ...]:
    """Return the warning where k-space has another matrix (y, x) than the header, on which the pixel's size rests."""
    encoded = encoding.encoded
    if encoded.matrix in (None, matrix):
        return ()
    size = " by ".join(f"{length:.4g}" for length in encoded.pixel_size or ())
    used = f": the header's pixel of {size} mm is used" if size else ""
    return (f"k-space has {matrix} samples (y, x), its header {encoded.matrix}{used}",)


def write_fastmri(
    path: Path,
    kspace: Complex[Tensor, "slice coil y x"],
    *,
    contrast: str,
    subject: str,
    pixel_size: tuple[float, float] = (1.0, 1.0),
    reconstruction_size: tuple[int, int] | None = None,
    mask: Bool[Tensor, "_masks _y _x"] | None = None,
    field_strength: float = 3.0,
    slice_thickness: float = 5.0,
    noise_covariance: Complex[Tensor, "_coil _coil"] | None = None,
    lesion_mask: UInt8[Tensor, "_slice _v _u"] | None = None,
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
        mask: Acquired samples [1, y, x], or [slice, y, x] where slices differ; whole columns are written as fastMRI's
            [x], or as [slice, 1, x], others as [y, x] or [slice, y, x].
        field_strength: In tesla.
        slice_thickness: In mm; the header has no distance of slices beside it, so that readers take it for that.
        noise_covariance: Covariance of the coils' noise, E eta eta^H / 2, in the units of k-space squared; not part
            of fastMRI's layout, and written as dataset `noise_covariance`.
        lesion_mask: Kind of lesion in each pixel of the finished image, 0 for none; written as dataset `lesion_mask`.
        lesion_kinds: What its values mean, written as attributes of that dataset.

    Raises:
        ValueError: If shapes disagree, the reconstruction matrix exceeds that of k-space, or the header cannot hold
            what is said.
    """
    path = Path(path)
    if kspace.ndim != 4 or not kspace.is_complex():
        got = f"{kspace.dtype} {tuple(kspace.shape)}"
        raise ValueError(f"{path}: kspace must be complex [slice, coil, y, x]: got {got}")
    n_slices, n_coils, *matrix = kspace.shape
    size = reconstruction_size or (matrix[0], matrix[1])
    if size[0] > matrix[0] or size[1] > matrix[1]:
        raise ValueError(f"reconstruction_size must not exceed the matrix of k-space: got {size} and {matrix}")
    for name, values, shapes in (
        ("mask", mask, [[1, *matrix], [n_slices, *matrix]]),
        ("lesion_mask", lesion_mask, [[n_slices, *size]]),
        ("noise_covariance", noise_covariance, [[n_coils, n_coils]]),
    ):
        if values is not None and list(values.shape) not in shapes:
            rule = f"{name} must have the shape {' or '.join(map(str, shapes))}"
            raise ValueError(f"{path}: {rule} for kspace {list(kspace.shape)}: got {list(values.shape)}")
    spaces = [
        SPACE.format(size=n, fov=(n[0] * pixel_size[0], n[1] * pixel_size[1]), thickness=slice_thickness)
        for n in (matrix, size)
    ]
    header = HEADER.format(
        subject=escape(subject),
        protocol=escape(acquisition_of(contrast)),
        field_strength=field_strength,
        n_coils=n_coils,
        frequency=round(field_strength * PROTON_HZ_PER_TESLA),
        encoded=spaces[0],
        reconstructed=spaces[1],
        last=matrix[1] - 1,
        centre=matrix[1] // 2,
        last_slice=n_slices - 1,
    )
    try:
        Header.parse(header)
    except ValueError as error:
        raise ValueError(f"{path}: the header {error}") from error
    with new_hdf5(path) as file:
        file.create_dataset("kspace", data=kspace.numpy(force=True))
        file.create_dataset("ismrmrd_header", data=np.bytes_(header.encode()))
        file.attrs.update(acquisition=acquisition_of(contrast), patient_id=subject)
        if noise_covariance is not None:
            file.create_dataset("noise_covariance", data=noise_covariance.numpy(force=True))
        if lesion_mask is not None:
            kinds = file.create_dataset(LESIONS, data=lesion_mask.numpy(force=True), compression="gzip")
            kinds.attrs.update(lesion_kinds or {})
        if mask is not None:
            stored = mask[:, :1] if bool((mask == mask[:, :1]).all()) else mask
            file.create_dataset("mask", data=(stored if len(mask) > 1 else stored[0].squeeze(0)).numpy(force=True))
            return
        reference = centre_crop(ifft2c(kspace), size).abs().square().sum(dim=-3).sqrt().numpy(force=True)
        file.create_dataset("reconstruction_rss", data=reference)
        file.attrs.update(max=float(reference.max()), norm=float(np.linalg.norm(reference)))
