"""Writers, one module a format; each leaves a whole file or none."""

from lightning_mri.atomic import atomic
from lightning_mri.data.writers.dicom import Series, Study, check_place, write_dicom
from lightning_mri.data.writers.fastmri import write_fastmri
from lightning_mri.data.writers.nifti import write_nifti
from lightning_mri.data.writers.place import Place, place_of
from lightning_mri.data.writers.preview import write_preview
from lightning_mri.data.writers.result import write_result

__all__ = [
    "Place",
    "Series",
    "Study",
    "atomic",
    "check_place",
    "place_of",
    "write_dicom",
    "write_fastmri",
    "write_nifti",
    "write_preview",
    "write_result",
]
