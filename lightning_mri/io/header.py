"""ISMRMRD headers, which fastMRI's files carry as well: what they say, and nothing where they say nothing."""

import logging
import re
import warnings
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, field, fields
from functools import cache
from typing import Any

from lightning_mri.lazy import lazy
from lightning_mri.messages import sentence

xsd = lazy("ismrmrd.xsd")
parsers = lazy("xsdata.formats.dataclass.parsers")

MAX_SIZE = 100_000
MIN_FOV = 1.0
"""Smallest field of view, in mm, that is taken for one in mm: below, it is taken for metres."""
EMPTY = """<ismrmrdHeader xmlns="http://www.ismrm.org/ISMRMRD">
<experimentalConditions/><subjectInformation/><measurementInformation/><acquisitionSystemInformation/>
<encoding><encodedSpace><matrixSize/><fieldOfView_mm/></encodedSpace><reconSpace/>
<encodingLimits><slice/></encodingLimits><parallelImaging><accelerationFactor/></parallelImaging></encoding>
</ismrmrdHeader>"""
"""The parser learns of each kind of element when it first meets one."""
NOBODY = re.compile(
    r"|anon(ym(ous|i[sz]ed)?)?|de-?identified|unknown|none|removed|redacted|x+|0+|n/?a|patient(id)?", re.IGNORECASE
)
"""Words that anonymisers leave in place of an identity."""

Size = tuple[float, float]


def _with_gaps(kind: type, values: Mapping[str, Any]) -> Any:
    """Make an element of a header though parts that the schema requires are missing, as in many public files."""
    missing = {f.name: None for f in fields(kind) if f.default is MISSING and f.default_factory is MISSING}
    return kind(**{**missing, **values})


@cache
def _parser() -> Any:
    logging.getLogger("xsdata").setLevel(logging.ERROR)  # it warns of elements that it does not know
    config = parsers.config.ParserConfig(fail_on_unknown_properties=False, class_factory=_with_gaps)
    return parsers.XmlParser(config=config)


def _tree(xml: str | bytes) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # numbers that are none: checked where they are used
        return _parser().from_bytes(xml.encode() if isinstance(xml, str) else xml, xsd.ismrmrdHeader)


@cache
def prepare_parser() -> None:
    """Import and make once what a process that is forked for a file would import and make for each file anew."""
    _tree(EMPTY)


@dataclass(frozen=True)
class Space:
    """An encoded or reconstructed space; y is the readout here, which ISMRMRD calls x, and x the phase encoding."""

    matrix: tuple[int, int] | None = None  # samples (y, x)
    fov: Size | None = None  # field of view (y, x) in mm
    partitions: int = 1  # samples along the second phase encoding, 1 in 2-D scans
    depth: float | None = None  # field of view along it in mm: the thickness of the slice in 2-D scans
    was_in_metres: bool = False  # whether the header gave the field of view in metres

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
    """One encoding of a measurement; words are in small letters."""

    encoded: Space = Space()  # with all oversampling
    reconstructed: Space = Space()  # of the finished image
    trajectory: str = ""
    centres: Mapping[str, int] = field(default_factory=dict)  # step at the centre of k-space, by its counter
    calibration: str = ""  # how calibration lines were measured: embedded, separate ...
    n_simultaneous: int = 1  # slices that are excited at a time

    @property
    def warnings(self) -> tuple[str, ...]:
        """What of the header had to be corrected."""
        corrected = self.encoded.was_in_metres or self.reconstructed.was_in_metres
        return ("the header's field of view is too small to be in mm: it was taken to be in metres",) * corrected


@dataclass(frozen=True)
class Header:
    """What an ISMRMRD header says; None where it says nothing."""

    encodings: tuple[Encoding, ...] = ()  # encodings in the order in which acquisitions number them
    patient_id: str | None = None  # identity of the subject, as the scanner had it
    protocol: str | None = None  # name of the protocol
    vendor: str = ""  # maker of the scanner, in small letters
    field_strength: float | None = None  # in tesla
    noise_bandwidth: float | None = None  # bandwidth of the receiver's noise relative to its nominal one

    @classmethod
    def parse(cls, xml: str | bytes) -> "Header":
        """Read an ISMRMRD header."""
        try:
            root = _tree(xml)
        except (ValueError, TypeError, LookupError) as error:
            raise ValueError(f"must be XML: {sentence(error)}") from error
        return cls(
            encodings=tuple(_encoding(element) for element in root.encoding or ()),
            patient_id=_text(root, "subjectInformation", "patientID"),
            protocol=_text(root, "measurementInformation", "protocolName"),
            vendor=(_text(root, "acquisitionSystemInformation", "systemVendor") or "").lower(),
            field_strength=_number(root, "acquisitionSystemInformation", "systemFieldStrength_T") or None,
            noise_bandwidth=_number(root, "acquisitionSystemInformation", "relativeReceiverNoiseBandwidth") or None,
        )


def subject_of(*identities: Any) -> str | None:
    """Return the first identity that tells people apart; anonymised files hold words that do not."""
    named = (str(identity).strip() for identity in identities if identity is not None)
    return next((identity for identity in named if not NOBODY.fullmatch(identity)), None)


def fitting_size(size: tuple[int, int] | None, matrix: tuple[int, int]) -> tuple[tuple[int, int], tuple[str, ...]]:
    """Return the matrix of the finished image, never larger than k-space, and the warning where it had to be cut."""
    if size is None:
        return matrix, ()
    fitting = (min(size[0], matrix[0]), min(size[1], matrix[1]))
    if fitting == size:
        return size, ()
    return fitting, (f"the header's matrix {size} exceeds that of k-space {matrix}: {fitting} is used",)


def _encoding(element: Any) -> Encoding:
    limits = vars(element.encodingLimits) if element.encodingLimits else {}
    centres = {name: _number(limit, "center") for name, limit in limits.items()}
    return Encoding(
        encoded=_space(element, "encodedSpace"),
        reconstructed=_space(element, "reconSpace"),
        trajectory=_word(element, "trajectory"),
        centres={name: round(centre) for name, centre in centres.items() if centre is not None},
        calibration=_word(element, "parallelImaging", "calibrationMode"),
        n_simultaneous=round(_number(element, "parallelImaging", "multiband", "multiband_factor") or 1),
    )


def _space(encoding: Any, name: str) -> Space:
    matrix, fov = _pair(encoding, name, "matrixSize"), _pair(encoding, name, "fieldOfView_mm")
    depth = _number(encoding, name, "fieldOfView_mm", "z") or None
    in_metres = fov is not None and max(fov) < MIN_FOV
    if fov is not None and in_metres:
        fov, depth = (1000 * fov[0], 1000 * fov[1]), None if depth is None else 1000 * depth
    return Space(
        matrix=None if matrix is None else (max(1, round(matrix[0])), max(1, round(matrix[1]))),
        fov=fov,
        partitions=max(1, round(_number(encoding, name, "matrixSize", "z") or 1)),
        depth=depth,
        was_in_metres=in_metres,
    )


def _pair(root: Any, *names: str) -> Size | None:
    if _find(root, names) is None:
        return None
    pair = [_number(root, *names, axis) for axis in "xy"]
    if not pair[0] or not pair[1]:
        raise ValueError(f"{'/'.join(names)} must hold two numbers above 0, x and y: got {pair[0]} and {pair[1]}")
    return pair[0], pair[1]


def _number(root: Any, *names: str) -> float | None:
    number = _find(root, names)
    if number is None:
        return None
    if not isinstance(number, int | float) or not 0 <= number <= MAX_SIZE:
        raise ValueError(f"{'/'.join(names)} must be a number from 0 to {MAX_SIZE}: got {str(number)[:40]!r}")
    return number


def _word(root: Any, *names: str) -> str:
    """Return one of the schema's words, or another that the header has instead, in small letters."""
    word = _find(root, names)
    return str(getattr(word, "value", word) or "").strip().lower()


def _text(root: Any, *names: str) -> str | None:
    text = _find(root, names)
    return None if text is None else str(text).strip() or None


def _find(root: Any, names: tuple[str, ...]) -> Any:
    for name in names:
        root = None if isinstance(root, str) else getattr(root, name, None)
    return root
