"""DICOM for blinded readers: a pair of series that tells neither who nor when."""

from collections.abc import Mapping
from pathlib import Path

from jaxtyping import Float
from torch import Tensor

from lightning_mri.io.formats.dicom.study import DicomStudy
from lightning_mri.io.formats.dicom.writer import Series, write_dicom
from lightning_mri.io.geometry import Place
from lightning_mri.lazy import lazy

pydicom = lazy("pydicom")

DATES = (
    *("SeriesDate", "SeriesTime", "ContentDate", "ContentTime", "InstanceCreationDate", "InstanceCreationTime"),
    *("StudyDate", "StudyTime"),
)


def write_blinded(
    folder: Path,
    code: str,
    images: Mapping[str, Float[Tensor, "slice y x"]],
    place: Place,
    white: float,
    n_volumes: int = 1,
) -> None:
    """Write ``<folder>/<name>/0001.dcm`` and on for each image, as series of one study of the patient ``code``.

    Args:
        folder: Replaced as a whole.
        code: What the readers know the pair by.
        images: Magnitudes by the name of their series, one place for all.
        place: Where they lie.
        white: What all show as white, in units of the images: windows of their own would tell them apart.
        n_volumes: How many volumes follow each other along the slices.

    Raises:
        ValueError: If the rows and columns are not at right angles, which DICOM cannot say.
    """
    series = [Series(name, image, f"{code} {name}", "") for name, image in images.items()]
    write_dicom(folder, series, place, DicomStudy(), code, n_volumes, white=white)
    for path in folder.rglob("*.dcm"):
        dataset = pydicom.dcmread(path)
        for name in DATES:
            setattr(dataset, name, "")
        dataset.PatientIdentityRemoved = "YES"
        dataset.DeidentificationMethod = "written without any identity"
        dataset.save_as(path, enforce_file_format=True)
