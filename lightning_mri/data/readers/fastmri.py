"""HDF5 in fastMRI's layout: `kspace`, and where present `mask`, `ismrmrd_header` and the reference image."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import h5py
import numpy as np

from lightning_mri.data.contrasts import contrast_of
from lightning_mri.data.scan import Scan, StoredArray, check_kspace, mask_from

SIGNATURE = b"\x89HDF\r\n\x1a\n"
REFERENCES = ("reconstruction_rss", "reconstruction_esc")
NAMESPACE = "{http://www.ismrm.org/ISMRMRD}"
MAX_HEADER_BYTES = 2**24
MAX_SIZE = 100_000
NOBODY = ("", "anonymous", "anon", "unknown", "none")


def locate(path: Path, head: bytes) -> Path | None:
    """Return the path of an HDF5 file, unless it is a result, with a reconstruction but no k-space."""
    if not head.startswith(SIGNATURE):
        return None
    try:
        with h5py.File(path, "r") as file:
            return None if "reconstruction" in file and "kspace" not in file else path
    except (OSError, RuntimeError, KeyError):
        return path


def read(path: Path) -> Scan:
    """Open an HDF5 file with `kspace` [slice, coil, y, x] or, from one coil, [slice, y, x].

    fastMRI's first matrix axis is the readout, twice oversampled, and the last the phase encoding: y and x.

    Raises:
        ValueError: If `kspace` is missing, real, empty or has not three or four axes, or the mask misfits.
        OSError: If the file is truncated or cannot be read.
    """
    try:
        with h5py.File(path, "r") as file:
            return _read(path, file)
    except (OSError, RuntimeError, KeyError) as error:
        raise OSError(f"{path}: the file must be readable HDF5: {_first_line(error)}") from error


class HDF5Array(StoredArray):
    """A dataset of an HDF5 file, which is opened anew for each reading."""

    def __init__(self, path: Path, dataset: h5py.Dataset, shape: tuple[int, ...]) -> None:
        super().__init__(path, dataset.name.lstrip("/"), shape)
        if dataset.id.get_storage_size() == 0 and not dataset.is_virtual:
            raise ValueError(f"{path}: {self.field} must hold numbers: got shape {dataset.shape} never written")

    def read(self, start: int, stop: int) -> np.ndarray:
        """Return slices ``start`` to ``stop``."""
        try:
            with h5py.File(self.path, "r") as file:
                return file[self.field][start:stop].reshape(stop - start, *self.shape[1:])
        except (OSError, RuntimeError, KeyError) as error:
            raise OSError(f"{self.path}: {self.field} cannot be read: {_first_line(error)}") from error


@dataclass(frozen=True)
class Header:
    """What an ISMRMRD header says about the first encoding; None where it says nothing."""

    encoded_size: tuple[int, int] | None = None
    encoded_fov: tuple[float, float] | None = None
    reconstruction_size: tuple[int, int] | None = None
    patient_id: str | None = None
    protocol: str | None = None
    field_strength: float | None = None

    @classmethod
    def parse(cls, xml: Any) -> "Header":
        """Read an ISMRMRD header, text or bytes; readout is y here and x there.

        Raises:
            ValueError: If it is not XML, or holds a matrix that is no number.
        """
        if not isinstance(xml, str | bytes):
            raise ValueError(f"must be XML: got {type(xml).__name__}")
        try:
            root = ElementTree.fromstring(xml)
        except ElementTree.ParseError as error:
            raise ValueError(f"must be XML: {error}") from error
        encoding = root.find(f"{NAMESPACE}encoding")
        strength = _text(root, "acquisitionSystemInformation", "systemFieldStrength_T")
        return cls(
            encoded_size=_matrix(encoding, "encodedSpace"),
            encoded_fov=_pair(encoding, "encodedSpace", "fieldOfView_mm"),
            reconstruction_size=_matrix(encoding, "reconSpace"),
            patient_id=_text(root, "subjectInformation", "patientID"),
            protocol=_text(root, "measurementInformation", "protocolName"),
            field_strength=None if strength is None else float(strength),
        )

    @property
    def pixel_size(self) -> tuple[float, float] | None:
        """Size (y, x) of a pixel in mm."""
        if self.encoded_fov is None or self.encoded_size is None:
            return None
        return self.encoded_fov[0] / self.encoded_size[0], self.encoded_fov[1] / self.encoded_size[1]


def _read(path: Path, file: h5py.File) -> Scan:
    kspace = _dataset(path, file, "kspace")
    check_kspace(path, "kspace", kspace.shape, kspace.dtype)
    if kspace.ndim == 2:
        raise ValueError(f"{path}: kspace must be [slice, coil, y, x] or [slice, y, x]: got shape {kspace.shape}")
    shape = kspace.shape if kspace.ndim == 4 else (kspace.shape[0], 1, *kspace.shape[1:])
    matrix = (shape[2], shape[3])
    header, doubts = _header(path, file)
    size, size_doubts = _reconstruction_size(header, matrix)
    acquisition = str(file.attrs.get("acquisition", header.protocol or ""))
    return Scan(
        source=path,
        format="fastMRI HDF5",
        name=path.stem,
        subject=_subject(header.patient_id, file.attrs.get("patient_id")) or path.stem,
        kspace=HDF5Array(path, kspace, shape),
        reconstruction_size=size,
        contrast=contrast_of(acquisition),
        stored_mask=mask_from(path, file["mask"][()], matrix) if _has_mask(path, file, matrix) else None,
        reference=_reference(path, file, shape[0]),
        pixel_size=header.pixel_size,
        field_strength=header.field_strength,
        doubts=(*doubts, *_axis_doubts(kspace.shape, header), *size_doubts, *_contrast_doubts(acquisition)),
    )


def _subject(*identities: Any) -> str | None:
    """Return the first identity that tells people apart; anonymised files hold words that do not."""
    named = (str(identity).strip() for identity in identities if identity is not None)
    return next((identity for identity in named if identity.lower() not in NOBODY), None)


def _dataset(path: Path, file: h5py.File, name: str) -> h5py.Dataset:
    dataset = file.get(name)
    if not isinstance(dataset, h5py.Dataset):
        raise ValueError(f"{path}: the file must hold a dataset {name}: got {', '.join(file) or 'nothing'}")
    return dataset


def _header(path: Path, file: h5py.File) -> tuple[Header, tuple[str, ...]]:
    if "ismrmrd_header" not in file:
        return Header(), ("the file has no ISMRMRD header: matrix and voxel size are those of k-space",)
    dataset = _dataset(path, file, "ismrmrd_header")
    if dataset.nbytes > MAX_HEADER_BYTES:
        raise ValueError(f"{path}: ismrmrd_header must be XML: got {dataset.nbytes} bytes")
    xml = np.asarray(dataset[()]).reshape(-1)[:1].tolist()
    try:
        return Header.parse(xml[0] if xml else ""), ()
    except (ValueError, TypeError) as error:
        raise ValueError(f"{path}: ismrmrd_header {_first_line(error)}") from error


def _reconstruction_size(header: Header, matrix: tuple[int, int]) -> tuple[tuple[int, int], tuple[str, ...]]:
    size = header.reconstruction_size
    if size is None:
        return matrix, ()
    fitting = (min(size[0], matrix[0]), min(size[1], matrix[1]))
    if fitting == size:
        return size, ()
    return fitting, (f"the header's matrix {size} exceeds that of k-space {matrix}: {fitting} is used",)


def _has_mask(path: Path, file: h5py.File, matrix: tuple[int, int]) -> bool:
    if "mask" not in file:
        return False
    mask = _dataset(path, file, "mask")
    if mask.size not in (matrix[1], matrix[0] * matrix[1]):
        raise ValueError(f"{path}: mask and kspace must agree on (y, x): got mask {mask.shape} and kspace {matrix}")
    return True


def _reference(path: Path, file: h5py.File, n_slices: int) -> StoredArray | None:
    for name in REFERENCES:
        if name in file:
            dataset = _dataset(path, file, name)
            if dataset.ndim != 3 or dataset.shape[0] != n_slices or dataset.dtype.kind != "f":
                raise ValueError(
                    f"{path}: {name} must be real [slice, y, x] with {n_slices} slices:"
                    f" got {dataset.dtype} {dataset.shape}"
                )
            return HDF5Array(path, dataset, dataset.shape)
    return None


def _axis_doubts(shape: tuple[int, ...], header: Header) -> tuple[str, ...]:
    if len(shape) == 4 or header.encoded_size is not None:
        return ()
    return (f"kspace has three axes {shape}: they were taken for [slice, y, x] of one coil",)


def _contrast_doubts(acquisition: str) -> tuple[str, ...]:
    if contrast_of(acquisition) is not None:
        return ()
    return (f"the contrast is not known: the acquisition is named {acquisition!r}",)


def _find(root: ElementTree.Element | None, names: tuple[str, ...]) -> ElementTree.Element | None:
    for name in names:
        root = None if root is None else root.find(NAMESPACE + name)
    return root


def _text(root: ElementTree.Element, *names: str) -> str | None:
    element = _find(root, names)
    return None if element is None or not element.text else element.text.strip() or None


def _pair(root: ElementTree.Element | None, *names: str) -> tuple[float, float] | None:
    element = _find(root, names)
    if element is None:
        return None
    texts = [_text(element, axis) for axis in "xy"]
    try:
        first, second = (float(str(text)) for text in texts)
    except ValueError as error:
        raise ValueError(f"{'/'.join(names)} must hold two numbers: got {texts}") from error
    if not (0 < first < MAX_SIZE and 0 < second < MAX_SIZE):
        raise ValueError(f"{'/'.join(names)} must be between 0 and {MAX_SIZE}: got {texts}")
    return first, second


def _matrix(encoding: ElementTree.Element | None, space: str) -> tuple[int, int] | None:
    size = _pair(encoding, space, "matrixSize")
    return None if size is None else (round(size[0]), round(size[1]))


def _first_line(error: Exception) -> str:
    return (str(error) or type(error).__name__).splitlines()[0]
