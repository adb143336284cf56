"""Reading and writing of fastMRI HDF5 files."""

from lightning_mri.io.formats.fastmri.reader import locate, read
from lightning_mri.io.formats.fastmri.writer import write_fastmri

__all__ = [
    "locate",
    "read",
    "write_fastmri",
]
