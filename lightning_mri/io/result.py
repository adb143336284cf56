"""A reconstruction as HDF5: magnitude as the fastMRI leaderboard reads it, complex image, std and findings."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import torch
from jaxtyping import Bool, Complex, Float
from torch import Tensor

from lightning_mri.io.geometry import Place, about_centre, place_of
from lightning_mri.io.hdf5 import new_hdf5, open_hdf5
from lightning_mri.io.scan import Scan
from lightning_mri.messages import printable

MAX_ATTRIBUTE_BYTES = 32 * 2**10
HEADER = (
    *("subject", "subject_known", "n_slices", "reconstruction_size", "contrast", "pixel_size", "slice_spacing"),
    *("affine", "n_volumes", "magnitude_only", "readout"),
)
"""What a result holds of its scan."""
STORED = {"f": np.float32, "c": np.complex64, "b": np.bool_}


def write_result(
    path: str | Path,
    reconstruction: Float[Tensor, "slice y x"],
    image: Complex[Tensor, "slice y x"],
    std: Float[Tensor, "slice y x"] | None = None,
    mask: Bool[Tensor, "_masks v u"] | None = None,
    attributes: Mapping[str, Any] | None = None,
    samples: Complex[Tensor, "sample slice y x"] | None = None,
    null_space: Float[Tensor, "slice y x"] | None = None,
    scan: Scan | None = None,
) -> None:
    """Write one scan's reconstruction, replacing the file as a whole.

    Args:
        path: File to write.
        reconstruction: Magnitude image, in the units of the input's k-space.
        image: Posterior mean, of which it is the magnitude.
        std: Posterior standard deviation in the same units, if known.
        mask: Acquired samples of k-space, of each slice where they differ.
        attributes: Everything inferred or chosen; what HDF5 cannot hold as an attribute is written as JSON, and
            what is too long for one as a dataset.
        samples: Posterior samples, whose mean is ``image``, if they are to be kept.
        null_space: Magnitude of the part that the data do not determine, in the same units, if known.
        scan: What was reconstructed: who was scanned, and where the image lies. ``attributes`` count more.
    """
    path = Path(path)
    header: dict[str, Any] = {"subject": ""}
    if scan is not None:
        origin = {"scan": scan.name, "source": printable(str(scan.source))}
        header = {**origin, **{name: getattr(scan, name) for name in HEADER}}
        header["affine"] = about_centre(scan.affine, scan.reconstruction_size, (image.shape[-2], image.shape[-1]))
    images: dict[str, Tensor | None] = {"reconstruction": reconstruction, "image": image, "std": std}
    images |= {"null_space": null_space, "samples": samples, "mask": mask}
    with new_hdf5(path) as file:
        for name, values in images.items():
            if values is not None:
                numbers = values.numpy(force=True)
                file.create_dataset(name, data=numbers.astype(STORED[numbers.dtype.kind], copy=False))
        for name, value in {**header, **(attributes or {})}.items():
            plain = _attribute(value)
            n_bytes = len(plain.encode()) if isinstance(plain, str) else np.asarray(plain).nbytes
            place = file.attrs if n_bytes <= MAX_ATTRIBUTE_BYTES else file
            place[name] = plain


@dataclass(frozen=True, eq=False)
class FinishedImage:
    """What a finished reconstruction shows.

    Args:
        magnitude: Image.
        place: Where it lies.
        subject: Who was scanned; empty if that is not known.
        n_volumes: How many volumes follow each other along the slices.
    """

    magnitude: Float[Tensor, "slice y x"]
    place: Place
    subject: str
    n_volumes: int = 1


def read_subject(path: str | Path) -> str:
    """Return whose result a file is, without reading its images; nothing where the scan's file did not say.

    Raises:
        ValueError: If it is another file.
    """
    path = Path(path)
    with open_hdf5(path) as file:
        subject = _subject(path, file)
        return subject if file.attrs.get("subject_known", True) else ""


def read_result(path: str | Path) -> FinishedImage:
    """Read a file that `write_result` wrote.

    Raises:
        ValueError: If it is another file.
    """
    path = Path(path)
    with open_hdf5(path) as file:
        subject = _subject(path, file)
        magnitude = torch.from_numpy(file["reconstruction"][()])
        said = {name: value for name, value in file.attrs.items() if not (isinstance(value, str) and value == "null")}
    n_volumes = int(said.get("n_volumes", 1))
    shape = (len(magnitude) // n_volumes, *magnitude.shape[1:])
    affine = torch.as_tensor(said["affine"]).float() if "affine" in said else None
    size = (float(said["pixel_size"][0]), float(said["pixel_size"][1])) if "pixel_size" in said else None
    place = place_of(affine, size, said.get("slice_spacing"), shape)
    return FinishedImage(magnitude, place, subject, n_volumes)


def is_result(path: str | Path) -> bool:
    """Return whether a file is a result of `predict`, and not a scan.

    Raises:
        OSError: If it is HDF5 by its name alone.
    """
    if Path(path).suffix != ".h5":
        return False
    with open_hdf5(Path(path)) as file:
        return _is_result(file)


def _is_result(file: h5py.File) -> bool:
    return "reconstruction" in file and "subject" in file.attrs


def _subject(path: Path, file: h5py.File) -> str:
    if not _is_result(file):
        raise ValueError(f"{path}: the file must be a result of predict, with reconstruction and subject")
    return str(file.attrs["subject"])


def _attribute(value: Any) -> Any:
    if isinstance(value, Tensor):
        value = value.numpy(force=True)
    if isinstance(value, bool | int | float | str | np.ndarray | np.generic):
        return value
    if isinstance(value, list | tuple) and value and all(isinstance(v, bool | int | float) for v in value):
        return np.asarray(value)
    return json.dumps(value, default=str)
