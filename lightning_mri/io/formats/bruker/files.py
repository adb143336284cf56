"""ParaVision's parameter files (JCAMP-DX), whose values are parsed by brukerapi when they are asked for."""

import re
from itertools import accumulate
from pathlib import Path
from typing import Any

import numpy as np

from lightning_mri.lazy import lazy
from lightning_mri.messages import error_context, printable

jcampdx = lazy("brukerapi.jcampdx")

MIN_MM, MAX_MM = 1e-3, 1e4
"""What a field of view can measure."""
MAX_FILE_BYTES = 2**24
MAX_PARAMETERS = 2**16
MAX_VALUE = 2**22
"""Characters of one value, with the shorthand @1000*(0) written out."""
MAX_SHORTHANDS = 1000
MAX_DEPTH = 16
BRACKET = re.compile(r"[()]")
SHORTHAND = re.compile(r"@(\d+)\*\(([^()]*)\)")


class Parameters:
    """The parameters of one or more files, where the first file that has a name wins."""

    def __init__(self, *paths: Path) -> None:
        self._paths = paths
        parsed = [(path, _parse(path)) for path in paths]
        self._parameters = {name: (path, value) for path, values in reversed(parsed) for name, value in values.items()}
        self._values: dict[str, Any] = {}

    def __contains__(self, name: str) -> bool:
        return name in self._parameters

    def __or__(self, other: "Parameters") -> "Parameters":
        """Return these parameters, and those of ``other`` that are missing here."""
        union = Parameters()
        union._paths, union._parameters = self._paths + other._paths, other._parameters | self._parameters
        return union

    def error(self, name: str, rule: str, got: Any) -> ValueError:
        """Return the error of a parameter that breaks a rule, with its file and its name."""
        path = self._parameters[name][0] if name in self else self._paths[0]
        return ValueError(f"{path}: {name} must {rule}: got {_short(got)}")

    def numbers(self, name: str, n: int | None = None, default: Any = None) -> np.ndarray:
        """Return a parameter's numbers, ``n`` or more, flat, in double precision; the default where it is missing."""
        if name not in self and default is not None:
            return np.atleast_1d(np.asarray(default, dtype=float))
        value = self._value(name)
        try:
            numbers = np.atleast_1d(np.asarray(value, dtype=float)).ravel()
        except (ValueError, TypeError) as error:
            raise self.error(name, "hold numbers", value) from error
        if not np.isfinite(numbers).all() or len(numbers) < (n or 1):
            raise self.error(name, f"hold {n or 1} or more finite numbers", value)
        return numbers

    def whole(self, name: str, n: int | None = None, default: Any = None, low: int = 1) -> tuple[int, ...]:
        """Return a parameter's integers, none below ``low``."""
        numbers = self.numbers(name, n, default)
        if (numbers != np.rint(numbers)).any() or numbers.min() < low or numbers.max() >= 2**31:
            raise self.error(name, f"hold integers of at least {low}", numbers)
        return tuple(int(number) for number in numbers)

    def number(self, name: str, default: int) -> int:
        """Return the first of a parameter's positive integers."""
        return self.whole(name, default=default)[0]

    def lengths(self, name: str, n: int, unit: float = 1.0) -> np.ndarray:
        """Return ``n`` lengths in mm, such as a field of view, from numbers in multiples of ``unit``."""
        lengths = self.numbers(name, n)[:n] * unit
        if lengths.min() < MIN_MM or lengths.max() > MAX_MM:
            raise self.error(name, f"be between {MIN_MM} and {MAX_MM} mm", f"{lengths.tolist()} mm")
        return lengths

    def rows_of(self, name: str, n: int) -> np.ndarray:
        """Return a parameter's numbers as rows of ``n``."""
        numbers = self.numbers(name, n)
        if len(numbers) % n:
            raise self.error(name, f"hold {n} numbers for each frame", len(numbers))
        return numbers.reshape(-1, n)

    def words(self, name: str) -> tuple[str, ...]:
        """Return a parameter's words, none if it is missing."""
        if name not in self:
            return ()
        flat = np.atleast_1d(np.asarray(self._value(name), dtype=object)).ravel()
        return tuple(str(word).strip().strip("<>").strip() for word in flat)

    def word(self, name: str, default: str = "") -> str:
        """Return the first of a parameter's words."""
        return next(iter(self.words(name)), "") or default

    def rows(self, name: str) -> list[list[Any]]:
        """Return a parameter's structures as lists, none if it is missing."""
        if name not in self:
            return []
        value = self._value(name)
        rows = value if isinstance(value, list) and value and isinstance(value[0], list) else [value]
        if not all(isinstance(row, list) and row for row in rows):
            raise self.error(name, "hold structures in brackets", value)
        return rows

    def _value(self, name: str) -> Any:
        if name not in self._values:
            self._values[name] = self._parsed(name)
        return self._values[name]

    def _parsed(self, name: str) -> Any:
        if name not in self:
            files = " and ".join(path.name for path in self._paths)
            raise ValueError(f"{self._paths[0]}: {name} must be in {files}: it is missing")
        path, parameter = self._parameters[name]
        if not _fits(parameter.val_str):
            raise self.error(name, "be a list that fits into memory, of simple structures", parameter.val_str)
        text = _short(parameter.size_str + " " + parameter.val_str)
        with error_context(path, f"{name} must follow the JCAMP-DX of ParaVision, not {text}"):
            return parameter.value


def _fits(text: str) -> bool:
    """Return whether a value can be parsed in bounded time and memory: brukerapi does not ask."""
    shorthands = SHORTHAND.findall(text)
    length = len(text) + sum((len(value) + 1) * int(n) if len(n) < 10 else MAX_VALUE for n, value in shorthands)
    depths = accumulate(1 if bracket == "(" else -1 for bracket in BRACKET.findall(text))
    return length < MAX_VALUE and text.count("@") <= MAX_SHORTHANDS and max(depths, default=0) <= MAX_DEPTH


def _parse(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise FileNotFoundError(f"{path}: the file must be there: got none")
    size = path.stat().st_size
    n_parameters = path.read_bytes().count(b"##") if size <= MAX_FILE_BYTES else 0
    if size > MAX_FILE_BYTES or n_parameters > MAX_PARAMETERS:
        rule = f"a parameter file must have {MAX_FILE_BYTES} bytes and {MAX_PARAMETERS} parameters at most"
        raise ValueError(f"{path}: {rule}: got {size} and {n_parameters}")
    with error_context(path, "the file must be a JCAMP-DX parameter file"):
        return jcampdx.JCAMPDX(path).params


def _short(value: Any) -> str:
    text = printable(" ".join(str(value).split()))
    return text if len(text) <= 80 else f"{text[:77]}..."
