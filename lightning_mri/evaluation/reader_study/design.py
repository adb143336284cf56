"""Who reads what: blinded pairs of images in an order of each reader's own, and the key that tells them apart."""

import hashlib
import json
import math
import random
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from lightning_mri.files import write_whole
from lightning_mri.messages import first_few

ITEMS = (
    *("image quality", "structural delineation", "white matter", "grey matter", "ventricles", "signal to noise"),
    *("contrast", "sharpness", "artefacts", "lesion conspicuity"),
)
"""What is scored from 1 (worst) to 5 (best); artefacts: 5 for none."""
PRIMARY = ("image quality", "structural delineation")
"""What the claim rests on; the other items describe."""
HALLUCINATION = "suspected hallucination"
"""Item of a click on what looks invented: without a score, with slice and pixel."""
SIDES = ("left", "right")
UNUSUAL_SCALE = 1.2
"""Ratio of brightness beyond which it is told that images were scaled."""


@dataclass(frozen=True)
class Reading:
    """Two images of one scan beside each other, seen once by one reader.

    Args:
        reader: Number of the reader, from 1.
        code: What the reader knows it by.
        scan: Name of the scan.
        left: Method of the left image.
        right: Method of the right one.
        repeat: Whether the reader has seen this pair before, with its sides exchanged.
    """

    reader: int
    code: str
    scan: str
    left: str
    right: str
    repeat: bool = False

    def side(self, method: str) -> str:
        """Return where a method's image lies."""
        return SIDES[0] if self.left == method else SIDES[1]


@dataclass(frozen=True)
class Key:
    """What opens a study: made beforehand, kept away from the readers.

    Args:
        study: Name of the study, on every page and in every score file.
        reference: Method that the other one must not be worse than.
        test: The other method.
        margin: Greatest mean loss of score at which it still counts as not worse.
        primary: Items that the claim rests on.
        items: All items.
        readings: All readings, each reader's in the order they are shown.
        patients: Who was scanned, by the name of the scan.
        salt: Drawn at random, so that nobody finds the key by trying out its few possible contents.
        scales: By how much each scan's test image was multiplied to be as bright as the reference; none in keys made
            before that was done.
    """

    study: str
    reference: str
    test: str
    margin: float
    primary: tuple[str, ...]
    items: tuple[str, ...]
    readings: tuple[Reading, ...]
    patients: Mapping[str, str]
    salt: str
    scales: Mapping[str, float] = field(default_factory=dict)

    @property
    def text(self) -> str:
        """The content of its file."""
        values = asdict(self)
        if not self.scales:  # the sum of an earlier key has been published
            del values["scales"]
        return json.dumps(values, indent=1, ensure_ascii=False) + "\n"

    @property
    def sha256(self) -> str:
        """Fingerprint, to publish before the first image is read."""
        return hashlib.sha256(self.text.encode()).hexdigest()

    @property
    def scaling(self) -> str | None:
        """How test images were scaled to the reference, if their brightness differed much; else None."""
        apart = {scan: s for scan, s in self.scales.items() if abs(math.log(s)) > math.log(UNUSUAL_SCALE)}
        if not apart:
            return None
        named = first_few([f"{scan} by {scale:.3g}" for scan, scale in apart.items()])
        return f"images of {self.test} were multiplied to be as bright as those of {self.reference}: {named}"

    @property
    def n_readers(self) -> int:
        """How many readers there are."""
        return max(reading.reader for reading in self.readings)

    def of_reader(self, reader: int) -> tuple[Reading, ...]:
        """Return one reader's readings in their order."""
        return tuple(reading for reading in self.readings if reading.reader == reader)

    def save(self, path: Path) -> None:
        """Write the key's file.

        Raises:
            FileExistsError: See `check_new`.
        """
        self.check_new(path)
        write_whole(path, self.text)

    @staticmethod
    def check_new(path: Path) -> None:
        """Make sure that no key is replaced.

        Raises:
            FileExistsError: If the file is there: without its key a study that has begun is lost.
        """
        if path.exists():
            raise FileExistsError(f"{path}: key must be a new file, since the scores of a study need its own key")

    @classmethod
    def load(cls, path: Path) -> "Key":
        """Read a key.

        Raises:
            ValueError: If the file is not a key, or was changed.
        """
        try:
            values = json.loads(path.read_text(encoding="utf-8"))
            if not isinstance(values, dict):
                raise ValueError(f"its content must be named values: got {values!r:.40}")
            readings = tuple(Reading(**reading) for reading in values.pop("readings"))
            values |= {name: tuple(values[name]) for name in ("primary", "items")}
            key = cls(readings=readings, **values)
            _check(key)
        except (ValueError, KeyError, TypeError) as error:
            raise ValueError(f"{path}: key must be the file that the study was created with: {error!r}") from error
        return key


def _check(key: Key) -> None:
    """Refuse values that a file may hold, and no study."""
    if not isinstance(key.patients, dict) or not all(isinstance(name, str) for name in key.patients.values()):
        raise ValueError("patients must name the patient of each scan")
    if not isinstance(key.scales, dict) or not all(_is_scale(scale) for scale in key.scales.values()):
        raise ValueError("scales must be a positive number of each scan")
    fits = {
        "study, reference, test and salt must be text": _are_text(key.study, key.reference, key.test, key.salt),
        "margin must be a positive number": type(key.margin) in (int, float) and key.margin > 0,
        "items must be text": _are_text(*key.items),
        "primary must be some of the items": set(key.primary) <= set(key.items),
        "readings must be of scans of the patients by both methods": bool(key.readings)
        and all(_is_reading(reading, key) for reading in key.readings),
    }
    for rule, holds in fits.items():
        if not holds:
            raise ValueError(rule)


def _is_reading(reading: Reading, key: Key) -> bool:
    numbered = type(reading.reader) is int and reading.reader > 0 and type(reading.repeat) is bool
    of_both = {reading.left, reading.right} == {key.reference, key.test}
    return numbered and _are_text(reading.code, reading.scan) and of_both and reading.scan in key.patients


def _is_scale(value: object) -> bool:
    return isinstance(value, int | float) and 0 < value < math.inf


def _are_text(*values: object) -> bool:
    return all(isinstance(value, str) for value in values)


@dataclass(frozen=True)
class Design:
    """How many readers see what how often.

    Args:
        reference: Method that the other one must not be worse than.
        test: The other method.
        study: Name of the study.
        margin: Greatest mean loss of score, in points of the scale, at which the test method is not worse.
        n_readers: Number of readers.
        n_repeats: Pairs that each reader sees twice, for agreement with oneself.
        items: What is scored.
        primary: Items that the claim rests on.
        seed: Of the drawing; drawn itself if not given.
    """

    reference: str = "standard"
    test: str = "accelerated"
    study: str = "reader study"
    margin: float = 0.5
    n_readers: int = 2
    n_repeats: int = 0
    items: Sequence[str] = ITEMS
    primary: Sequence[str] = PRIMARY
    seed: int | None = None

    def __post_init__(self) -> None:
        if self.reference == self.test:
            raise ValueError(f"reference and test must be two methods: got {self.test!r} twice")
        if not 0 < self.margin < 4:
            raise ValueError(f"margin must lie between 0 and 4 points of the scale from 1 to 5: got {self.margin}")
        if self.n_readers < 1 or self.n_repeats < 0:
            raise ValueError(
                f"n_readers must be positive, n_repeats not negative: got {self.n_readers}, {self.n_repeats}"
            )
        if not self.primary or not set(self.primary) <= set(self.items):
            raise ValueError(
                f"primary must be one or several of the items ({', '.join(self.items)}): "
                f"got {', '.join(self.primary) or 'none'}"
            )
        if len({*self.items, HALLUCINATION}) <= len(self.items):
            raise ValueError(f"items must differ, also from {HALLUCINATION!r}: got {', '.join(self.items)}")

    def draw(self, patients: Mapping[str, str]) -> Key:
        """Draw who sees what when.

        Each reader sees each scan's pair once, in an order of the reader's own, with either method on the left
        equally often (up to one). Repeats come after all of them, sides exchanged; they are taken from the first half
        where that suffices, so that nobody remembers.

        Args:
            patients: Who was scanned, by the name of each scan.

        Raises:
            ValueError: If there are fewer scans than repeats, or none.
        """
        if not patients:
            raise ValueError("there must be a scan that both methods reconstructed: got none")
        if len(patients) < self.n_repeats:
            raise ValueError(f"n_repeats must be at most the number of scans, {len(patients)}: got {self.n_repeats}")
        source = random.SystemRandom() if self.seed is None else random.Random(self.seed)
        codes = iter(source.sample(range(100_000, 1_000_000), self.n_readers * (len(patients) + self.n_repeats)))
        readings = [
            Reading(reader, str(next(codes)), *pair)
            for reader in range(1, self.n_readers + 1)
            for pair in self._pairs(list(patients), odd=reader % 2, source=source)
        ]
        salt = f"{source.getrandbits(128):032x}"
        lists = (tuple(self.primary), tuple(self.items), tuple(readings))
        return Key(self.study, self.reference, self.test, self.margin, *lists, dict(patients), salt)

    def _pairs(self, scans: list[str], odd: int, source: random.Random) -> list[tuple[str, str, str, bool]]:
        """Return scan, left, right and whether it is a repeat, in the order of one reader."""
        source.shuffle(scans)
        methods = [(self.reference, self.test), (self.test, self.reference)]
        sides = [methods[(index + odd) % 2] for index in range(len(scans))]
        source.shuffle(sides)
        first = [(scan, *side, False) for scan, side in zip(scans, sides, strict=True)]
        seen = source.sample(range(max(self.n_repeats, len(scans) // 2)), self.n_repeats)
        return first + [(scans[index], *sides[index][::-1], True) for index in seen]
