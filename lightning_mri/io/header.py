"""ISMRMRD headers, which fastMRI's files carry as well: what they say, and nothing where they say nothing."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from xml.etree import ElementTree

NAMESPACE = "{http://www.ismrm.org/ISMRMRD}"
MAX_SIZE = 100_000
NOBODY = ("", "anonymous", "anon", "unknown", "none")

Size = tuple[float, float]


@dataclass(frozen=True)
class Space:
    """An encoded or reconstructed space; y is the readout here, which ISMRMRD calls x, and x the phase encoding.

    Args:
        matrix: Samples (y, x).
        fov: Field of view (y, x) in mm.
        partitions: Samples along the second phase encoding, 1 in 2-D scans.
        depth: Field of view along it in mm: the thickness of the slice in 2-D scans.
    """

    matrix: tuple[int, int] | None = None
    fov: Size | None = None
    partitions: int = 1
    depth: float | None = None

    @property
    def pixel_size(self) -> Size | None:
        """Size (y, x) of a pixel in mm."""
        if self.fov is None or self.matrix is None:
            return None
        return self.fov[0] / self.matrix[0], self.fov[1] / self.matrix[1]

    @property
    def slice_spacing(self) -> float | None:
        """Distance between partitions in mm; in 2-D scans the thickness of a slice."""
        return None if self.depth is None else self.depth / self.partitions


@dataclass(frozen=True)
class Encoding:
    """One encoding of a measurement.

    Args:
        encoded: Space that was encoded, with all oversampling.
        reconstructed: Space of the finished image.
        trajectory: Name of the trajectory, in small letters.
        centres: Encoding step that lies at the centre of k-space, by the name of the step's counter.
    """

    encoded: Space = Space()
    reconstructed: Space = Space()
    trajectory: str = ""
    centres: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Header:
    """What an ISMRMRD header says; None where it says nothing.

    Args:
        encodings: Encodings in the order in which acquisitions number them.
        patient_id: Identity of the subject, as the scanner had it.
        protocol: Name of the protocol.
        field_strength: In tesla.
        noise_bandwidth: Bandwidth of the receiver's noise relative to its nominal one.
    """

    encodings: tuple[Encoding, ...] = ()
    patient_id: str | None = None
    protocol: str | None = None
    field_strength: float | None = None
    noise_bandwidth: float | None = None

    @classmethod
    def parse(cls, xml: str | bytes) -> "Header":
        """Read an ISMRMRD header.

        Raises:
            ValueError: If it is not XML, or holds a matrix, a field of view or a strength that is no number.
        """
        try:
            root = ElementTree.fromstring(xml)
        except (ElementTree.ParseError, ValueError, LookupError) as error:
            raise ValueError(f"must be XML: {str(error).splitlines()[0]}") from error
        system = (root, "acquisitionSystemInformation")
        return cls(
            encodings=tuple(_encoding(element) for element in root.findall(f"{NAMESPACE}encoding")),
            patient_id=_text(root, "subjectInformation", "patientID"),
            protocol=_text(root, "measurementInformation", "protocolName"),
            field_strength=_number(*system, "systemFieldStrength_T") or None,
            noise_bandwidth=_number(*system, "relativeReceiverNoiseBandwidth") or None,
        )


def subject_of(*identities: Any) -> str | None:
    """Return the first identity that tells people apart; anonymised files hold words that do not."""
    named = (str(identity).strip() for identity in identities if identity is not None)
    return next((identity for identity in named if identity.lower() not in NOBODY), None)


def fitting_size(size: tuple[int, int] | None, matrix: tuple[int, int]) -> tuple[tuple[int, int], tuple[str, ...]]:
    """Return the matrix of the finished image, never larger than k-space, and the warning where it had to be cut."""
    if size is None:
        return matrix, ()
    fitting = (min(size[0], matrix[0]), min(size[1], matrix[1]))
    if fitting == size:
        return size, ()
    return fitting, (f"the header's matrix {size} exceeds that of k-space {matrix}: {fitting} is used",)


def _encoding(element: ElementTree.Element) -> Encoding:
    limits = element.findall(f"{NAMESPACE}encodingLimits/*")
    centres = {limit.tag.removeprefix(NAMESPACE): _number(limit, "center") for limit in limits}
    return Encoding(
        encoded=_space(element, "encodedSpace"),
        reconstructed=_space(element, "reconSpace"),
        trajectory=(_text(element, "trajectory") or "").lower(),
        centres={name: round(centre) for name, centre in centres.items() if centre is not None},
    )


def _space(encoding: ElementTree.Element, name: str) -> Space:
    matrix = _pair(encoding, name, "matrixSize")
    return Space(
        matrix=None if matrix is None else (max(1, round(matrix[0])), max(1, round(matrix[1]))),
        fov=_pair(encoding, name, "fieldOfView_mm"),
        partitions=max(1, round(_number(encoding, name, "matrixSize", "z") or 1)),
        depth=_number(encoding, name, "fieldOfView_mm", "z") or None,
    )


def _pair(root: ElementTree.Element, *names: str) -> Size | None:
    if _find(root, names) is None:
        return None
    pair = [_number(root, *names, axis) for axis in "xy"]
    if not pair[0] or not pair[1]:
        raise ValueError(f"{'/'.join(names)} must hold two numbers above 0, x and y: got {pair[0]} and {pair[1]}")
    return pair[0], pair[1]


def _number(root: ElementTree.Element, *names: str) -> float | None:
    text = _text(root, *names)
    if text is None:
        return None
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not 0 <= number <= MAX_SIZE:
        raise ValueError(f"{'/'.join(names)} must be a number from 0 to {MAX_SIZE}: got {text[:40]!r}")
    return number


def _find(root: ElementTree.Element, names: tuple[str, ...]) -> ElementTree.Element | None:
    return root.find("/".join(NAMESPACE + name for name in names))


def _text(root: ElementTree.Element, *names: str) -> str | None:
    element = _find(root, names)
    return None if element is None or not element.text else element.text.strip() or None
