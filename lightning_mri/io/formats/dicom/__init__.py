"""Reading and writing of DICOM files."""

from lightning_mri.io.formats.dicom.reader import is_scan, locate, read
from lightning_mri.io.formats.dicom.writer import Series, Study, check_place, write_dicom

__all__ = [
    "Series",
    "Study",
    "check_place",
    "is_scan",
    "locate",
    "read",
    "write_dicom",
]
