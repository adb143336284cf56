"""NIfTI-1, compressed: images [x, y, slice] or [x, y, slice, volume], where they lie, in mm."""

import gzip
from pathlib import Path

import nibabel
import numpy as np
from jaxtyping import Float
from torch import Tensor

from lightning_mri.files import atomic
from lightning_mri.io.geometry import Place

SCANNER, ALIGNED = 1, 2
MAX_DESCRIPTION = 79


def write_nifti(
    path: Path, images: Float[Tensor, "slice y x"], place: Place, n_volumes: int = 1, description: str = ""
) -> None:
    """Write real images in single precision, replacing the file as a whole.

    The axes are those of the images, transposed and never flipped; the affine says where they lie. Its code is
    1, scanner, where the scan told it, and 2, aligned, where the orientation was assumed.

    Args:
        path: File to write; its name ends in ``.nii.gz``.
        images: Images, volume after volume.
        place: Where they lie.
        n_volumes: How many volumes follow each other along the slices.
        description: At most 79 characters for the header.

    Raises:
        OSError: If the file cannot be written.
        ValueError: If the slices cannot be divided into ``n_volumes``.
    """
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
    image.header["descrip"] = description.encode("ascii", "replace")[:MAX_DESCRIPTION]
    with atomic(path) as part, part.open("wb") as raw, gzip.GzipFile("", "wb", 6, raw, mtime=0) as file:
        image.to_stream(file)
