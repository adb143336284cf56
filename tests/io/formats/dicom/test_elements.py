"""Single elements of DICOM headers, as vendors write them."""

from typing import Any

import numpy as np
import pytest
from pydicom.dataset import Dataset

from lightning_mri.io.formats.dicom.elements import component_of, derived, diffusion


def private(group: int, creator: str, element: int, kind: str, value: Any, **values: Any) -> Dataset:
    dataset = Dataset()
    for name, public in values.items():
        setattr(dataset, name, public)
    dataset.private_block(group, creator, create=True).add_new(element, kind, value)
    return dataset


@pytest.mark.parametrize(("number", "component"), [(0, "M"), (1, "P"), (2, "R"), (3, "I")])
def test_ge_tells_the_part_of_a_complex_image_in_a_field_of_its_own(number: int, component: str) -> None:
    dataset = private(0x0043, "GEMS_PARM_01", 0x2F, "SS", number, Manufacturer="GE MEDICAL SYSTEMS")
    assert component_of(dataset) == component


@pytest.mark.parametrize(
    ("image_type", "word"),
    [
        (["DERIVED", "PRIMARY", "DIFFUSION", "ADC", "ND"], "ADC"),
        (["DERIVED", "PRIMARY", "T2 MAP", "ND"], "T2 MAP"),
        (["DERIVED", "PRIMARY", "DIFFUSION", "T1_MAP"], "T1_MAP"),
        (["DERIVED", "PRIMARY", "PERFUSION", "RELCBF"], "RELCBF"),
        (["DERIVED", "PRIMARY", "PROJECTION IMAGE", "VASCULAR"], "PROJECTION IMAGE"),
        (["DERIVED", "SECONDARY", "", "CSA MPR", "", "CSAPARALLEL"], "CSA MPR"),
        (["DERIVED", "PRIMARY", "M", "SUB"], "SUB"),
        (["ORIGINAL", "PRIMARY", "PHASE MAP", "P", "FFE"], ""),
        (["DERIVED", "PRIMARY", "DIFFUSION", "TRACEW"], ""),
        (["DERIVED", "SECONDARY", "OTHER"], ""),
        ("ADC", ""),
        (None, ""),
    ],
)
def test_the_image_type_tells_maps_and_projections_from_images(image_type: Any, word: str) -> None:
    assert derived(image_type) == word


SIEMENS, UIH = "SIEMENS MR HEADER", "Image Private Header"


@pytest.mark.parametrize(
    ("element", "expected"),
    [
        ((0x0043, "GEMS_PARM_01", 0x39, "IS", [1_000_000_800, 8, 0, 0]), (800, 0, 0, 0)),
        ((0x0043, "GEMS_PARM_01", 0x39, "IS", [800, 8, 0, 0]), (800, 0, 0, 0)),
        ((0x0019, SIEMENS, 0x0C, "IS", "800"), (800, 0, 0, 0)),
        ((0x0019, SIEMENS, 0x0E, "FD", [0.6, 0.0, -0.8]), (0, 0.6, 0, -0.8)),
        ((0x0065, UIH, 0x09, "FD", 800.0), (800, 0, 0, 0)),
        ((0x0065, UIH, 0x09, "UN", np.float64(800).tobytes()), (800, 0, 0, 0)),
        ((0x0065, UIH, 0x37, "FD", [0.6, 0.0, -0.8]), (0, 0.6, 0, -0.8)),
        ((0x0065, UIH, 0x09, "UN", b"800"), (0, 0, 0, 0)),
        ((0x0065, "another", 0x09, "FD", 800.0), (0, 0, 0, 0)),
    ],
)
def test_private_b_values_and_directions_are_read(
    element: tuple[int, str, int, str, Any], expected: tuple[float, ...]
) -> None:
    assert diffusion(private(*element)) == expected
    public = private(*element, DiffusionBValue=50.0, DiffusionGradientOrientation=[0.0, 1.0, 0.0])
    assert diffusion(public) == (50, 0, 1, 0)
