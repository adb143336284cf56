"""What files say: scans of every format, their reading and their writing side by side."""

from lightning_mri.io.arrays import StoredArray
from lightning_mri.io.axes import Axes
from lightning_mri.io.formats import add_format, files_of, find_scans, read_scan
from lightning_mri.io.formats.dicom.study import DicomStudy
from lightning_mri.io.formats.dicom.writer import Series, check_place, write_dicom
from lightning_mri.io.formats.fastmri import write_fastmri
from lightning_mri.io.formats.nifti.writer import write_nifti
from lightning_mri.io.geometry import Place, as_shown, place_of
from lightning_mri.io.result import FinishedImage, is_result, read_result, read_subject, write_result
from lightning_mri.io.scan import MAGNITUDE_ONLY, Scan, acquired, is_fully_sampled

__all__ = [
    "MAGNITUDE_ONLY", "Axes", "DicomStudy", "FinishedImage", "Place", "Scan", "Series", "StoredArray", "acquired",
    "add_format", "as_shown", "check_place", "files_of", "find_scans", "is_fully_sampled", "is_result", "place_of",
    "read_result", "read_scan", "read_subject", "write_dicom", "write_fastmri", "write_nifti", "write_result",
]  # fmt: skip


def __dir__() -> list[str]:
    return __all__
