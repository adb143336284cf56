"""A small derived series, as several tests write it."""

from pathlib import Path
from typing import Literal

import pydicom
import torch
from torch import Tensor

from lightning_mri.io.formats.dicom.study import DicomStudy
from lightning_mri.io.formats.dicom.writer import Series, write_dicom
from lightning_mri.io.geometry import Place

OBLIQUE = torch.tensor([[-1.2, 1.2, 0.0, 10.0], [-0.9, -1.6, 0.0, -20.0], [0.0, 0.0, 4.0, 30.0], [0, 0, 0, 1]])
"""Pixels of 2 mm (y) and 1.5 mm (x), turned in the plane by atan(3/4); slices 4 mm apart."""
PLACE = Place(OBLIQUE)
WARNINGS = ("no noise scan", "slice 2: no signal; it is zero-filled")
IMAGES = torch.rand(4, 5, 7, generator=torch.Generator().manual_seed(0))


def write(
    folder: Path,
    images: Tensor = IMAGES,
    place: Place = PLACE,
    study: DicomStudy | None = None,
    n_volumes: int = 1,
    readout: Literal["y", "x"] | None = None,
) -> list[pydicom.Dataset]:
    series = [
        Series("reconstruction", images, "FLAIR HQS R=4.0", "HQS.", WARNINGS),
        Series("uncertainty", images / 50, "std", "Std.", is_std=True),
    ]
    write_dicom(folder, series, place, study or DicomStudy(), "sub-1", n_volumes, field_strength=1.5, readout=readout)
    return [pydicom.dcmread(path) for path in sorted((folder / "reconstruction").iterdir())]
