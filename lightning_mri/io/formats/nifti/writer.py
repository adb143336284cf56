"""NIfTI-1 files: real images, and where they lie."""

import gzip
from contextlib import ExitStack
from pathlib import Path
from typing import Literal

import numpy as np
from jaxtyping import Float
from torch import Tensor

from lightning_mri.files import atomic
from lightning_mri.io.geometry import Place
from lightning_mri.lazy import lazy

nibabel = lazy("nibabel")

SCANNER, ALIGNED = 1, 2
MAX_DESCRIPTION = 79
DIM_INFO = {"x": (0, 1, 2), "y": (1, 0, 2)}
"""Axes of the file along which frequency and phase were encoded, and slices follow, by the axis of the readout."""


def write_nifti(
    path: str | Path,
    images: Float[Tensor, "slice y x"],
    place: Place,
    n_volumes: int = 1,
    description: str = "",
    readout: Literal["y", "x"] | None = None,
) -> None:
    """Write real images in single precision as NIfTI-1, replacing the file as a whole.

    The axes are those of the images, transposed to [x, y, slice(, volume)] and never reversed; the affine, in mm,
    says where they lie. Its code is 1, scanner, where the scan gives it, and 2, aligned, where it was assumed.

    Args:
        path: File to write; its name ends in ``.nii.gz``, or ``.nii`` for one that is not compressed.
        images: Images, volume after volume.
        place: Where they lie.
        n_volumes: How many volumes follow each other along the slices.
        description: At most 79 characters for the header.
        readout: Axis of the images along which the readout ran, if known: ``dim_info`` says so.

    Raises:
        ValueError: If the slices cannot be divided into ``n_volumes``, the images are complex, or the name ends
            otherwise.
    """
    path = Path(path)
    if not path.name.endswith((".nii", ".nii.gz")):
        raise ValueError(f"{path}: the name must end in .nii.gz or .nii")
    if images.is_complex():
        raise ValueError(f"{path}: images must be real, such as magnitudes: got {images.dtype}")
    n_slices, rows, columns = images.shape
    if n_slices % n_volumes:
        raise ValueError(f"n_volumes must divide the number of slices: got {n_volumes} and {n_slices}")
    volumes = images.reshape(n_volumes, n_slices // n_volumes, rows, columns).numpy(force=True)
    voxels = volumes.astype(np.float32).T if n_volumes > 1 else volumes[0].astype(np.float32).T
    affine = place.affine.double().numpy(force=True)
    image = nibabel.Nifti1Image(voxels, affine)
    code = SCANNER if place.is_known else ALIGNED
    image.set_sform(affine, code)
    image.set_qform(affine, code, strip_shears=True)
    image.header.set_xyzt_units("mm")
    if readout is not None:
        image.header.set_dim_info(*DIM_INFO[readout])
    image.header["descrip"] = description.encode("ascii", "replace")[:MAX_DESCRIPTION]
    with atomic(path) as part, part.open("wb") as raw, ExitStack() as packing:
        packed = path.name.endswith(".gz")
        image.to_stream(packing.enter_context(gzip.GzipFile("", "wb", 6, raw, mtime=0)) if packed else raw)
