"""Reading and writing of NIfTI files."""

from lightning_mri.io.formats.nifti.reader import is_scan, locate, read
from lightning_mri.io.formats.nifti.writer import write_nifti

__all__ = [
    "is_scan",
    "locate",
    "read",
    "write_nifti",
]
