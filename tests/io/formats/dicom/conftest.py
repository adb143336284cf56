"""A series of a scanner, as several tests take it over."""

from pathlib import Path

import pydicom
import pytest

from tests.io.formats.dicom.series import write


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A series of the scanner: another patient, in Latin-1, with a frame of reference of its own."""
    write(tmp_path / "source")
    for path in (tmp_path / "source" / "reconstruction").iterdir():
        dataset = pydicom.dcmread(path)
        dataset.SpecificCharacterSet = "ISO_IR 100"
        dataset.PatientName, dataset.PatientID, dataset.PatientBirthDate = "Müller^Ann", "P-7", "19700101"
        dataset.FrameOfReferenceUID, dataset.StudyInstanceUID, dataset.AccessionNumber = "1.2.3", "1.2.4", "A1"
        dataset.EchoTime = "90"
        dataset.save_as(path)
    return tmp_path / "source" / "reconstruction"
