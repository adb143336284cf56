"""Elements of DICOM headers: numbers, the part of a complex image, diffusion weighting, what images were derived."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from lightning_mri.lazy import lazy

pydicom = lazy("pydicom")

STD = "STD_DEVIATION"
"""Fourth value of the image type of what `write_dicom` wrote of an uncertainty: it looks like a scan, and is none."""
DERIVED = {
    *("ADC", "EADC", "FA", "CBF", "CBV", "MTT", "TTP", "RELCBF", "RELCBV", "RELMTT"),
    *("PROJECTION IMAGE", "MIP", "MPR", "REFORMATTED", "SUB", "SUBTRACTION", STD),
}
"""Words of the image type of what was computed of measured images; other maps and reformats end as `DERIVED_ENDS`."""
DERIVED_ENDS = (" MAP", "_MAP", " MPR")
PHASES = ("PHASE MAP", "PHASE_MAP")
"""Philips' words for the phase of a complex image."""

GE_COMPONENT = 0x0043_102F
B_VALUES = (("GEMS_PARM_01", 0x0043, 0x39), ("SIEMENS MR HEADER", 0x0019, 0x0C), ("Image Private Header", 0x0065, 0x09))
DIRECTIONS = (("SIEMENS MR HEADER", 0x0019, 0x0E), ("Image Private Header", 0x0065, 0x37))
"""Where GE, Siemens and UIH keep b-values and gradient directions: who owns the block, group and element."""
GE_OFFSET = 1e9
"""What GE adds to some b-values."""
BLOCKS = range(0x10, 0x14)
ELEMENTS = (
    *((0x0029, 0x10), (0x0043, 0x2F)),  # Siemens' headers, GE's part of a complex image
    *((group, element) for _, group, element in (*B_VALUES, *DIRECTIONS)),
)
PRIVATE = tuple((group << 16) + n for group, e in ELEMENTS for block in BLOCKS for n in (block, (block << 8) + e))
"""Tags of the private elements that are read, and of who owns their blocks."""

COMPONENTS = {"M": "M", "P": "P", "R": "R", "I": "I", "MAGNITUDE": "M", "PHASE": "P", "REAL": "R", "IMAGINARY": "I"}


def component_of(dataset: "pydicom.Dataset", default: str = "M") -> str:
    """Return which part of a complex image a header makes the image."""
    private = dataset.get(GE_COMPONENT)
    if private is not None and str(dataset.get("Manufacturer") or "").upper().startswith("GE"):
        value = private.value
        first = int.from_bytes(value[:2], "little") if isinstance(value, bytes) else np.atleast_1d(value)[0]
        return "MPRI"[int(first)] if 0 <= int(first) < 4 else default
    image_type = dataset.get("ImageType")
    words = [] if image_type is None or isinstance(image_type, str) else list(image_type)[2:]
    words = [dataset.get("ComplexImageComponent"), *words]
    return next((COMPONENTS[str(word)] for word in words if str(word) in COMPONENTS), default)


def derived(image_type: Any) -> str:
    """Return the word of an image type that makes the image a map, a projection or the like; empty if none does."""
    words = [] if image_type is None or isinstance(image_type, str) else map(str, list(image_type)[2:])
    found = (word for word in words if word in DERIVED or word.endswith(DERIVED_ENDS))
    return next((word for word in found if word not in PHASES), "")


def diffusion(dataset: "pydicom.Dataset") -> tuple[float, ...]:
    """Return the b-value in s/mm^2 and the direction of the gradient, 0 where there is none."""
    b_value, direction = number(dataset, "DiffusionBValue"), numbers(dataset, "DiffusionGradientOrientation", 3)
    if b_value is None:
        b_value = (_private(dataset, B_VALUES, 1) or (0.0,))[0] % GE_OFFSET
    return b_value, *(direction or _private(dataset, DIRECTIONS, 3) or (0.0, 0.0, 0.0))


def _private(dataset: "pydicom.Dataset", places: Sequence[tuple[str, int, int]], n: int) -> tuple[float, ...] | None:
    """Return the first ``n`` numbers of the first private element that has them, None if none does."""
    for creator, group, element in places:
        try:
            value = dataset.get_private_item(group, element, creator).value
            # bytes are doubles of an element whose type pydicom does not know
            found = np.frombuffer(value, "<f8") if isinstance(value, bytes) else np.atleast_1d(value).astype(float)
        except (KeyError, TypeError, ValueError):  # what vendors write to please themselves refuses no file
            continue
        if len(found) >= n and np.isfinite(found[:n]).all():
            return tuple(found[:n].tolist())
    return None


def number(dataset: "pydicom.Dataset", name: str, kind: type = float) -> Any:
    """Return a finite number of a header, the first of several, None if there is none."""
    value = dataset.get(name)
    if value is None or value == "":
        return None
    if not isinstance(value, str) and isinstance(value, Sequence):
        value = value[0] if len(value) else None
    found = None if value is None else float(value)
    return kind(found) if found is not None and math.isfinite(found) else None


def numbers(dataset: "pydicom.Dataset", name: str, n: int | None = None) -> tuple[float, ...] | None:
    """Return ``n`` finite numbers of a header, or several if not given, None if they are not there."""
    value = dataset.get(name)
    if value is None or isinstance(value, str | float | int) or len(value) != (n or len(value)):
        return None
    found = tuple(float(v) for v in value)
    return found if all(abs(v) < 1e6 for v in found) else None


def positive(value: float | None) -> float | None:
    """Return a number if it is positive and no nonsense, else None."""
    return value if value is not None and 0 < value < 1e6 else None
