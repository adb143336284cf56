"""Scans that failed: a line each in `failed.jsonl`, and in `failed.log` the tracebacks of what no reader foresaw."""

import json
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from lightning_mri.files import write_whole
from lightning_mri.messages import count, printable, sentence

FAILED = "failed.jsonl"
LOG = "failed.log"
OPTION = "--data."
"""What names an option in a warning of something that had to be guessed."""


@dataclass(frozen=True)
class Failure:
    """A scan that failed, and why."""

    source: str  # its path
    reason: str  # one sentence that names it
    traceback: str = ""  # where it failed, for errors that are no `ValueError` or `OSError`; else empty

    @classmethod
    def of(cls, source: Path | str, error: Exception) -> "Failure":
        """Describe an exception; what no reader foresaw is named with its type."""
        foreseen = isinstance(error, OSError | ValueError)
        reason = sentence(error) if foreseen else f"{type(error).__name__.lstrip('_')}: {sentence(error)}"
        where = "" if foreseen else "".join(traceback.format_exception(error))
        named = printable(str(source))
        return cls(str(source), reason if named in reason else f"{named}: {reason}", where)


class AllFailed(ValueError):  # noqa: N818 - as one says it
    """Scans none of which can be used.

    Attributes:
        failures: Which, and why each cannot.
    """

    def __init__(self, failures: Sequence[Failure]) -> None:
        super().__init__(none_of([failure.reason for failure in failures], "used"))
        self.failures = tuple(failures)


def none_of(reasons: Sequence[str], done: str) -> str:
    """Return one sentence about scans none of which could be done: why the only one, or how many and why the first."""
    first, n = reasons[0], len(reasons)
    return first if n == 1 else f"none of {n} scans could be {done}, the first because {first}"


@contextmanager
def naming_guesses(warnings: Sequence[str]) -> Iterator[None]:
    """Add to a refusal what was guessed of the scan, and which option says it: warnings go with scans that are read."""
    try:
        yield
    except ValueError as error:
        guesses = [warning for warning in warnings if OPTION in warning]
        if not guesses:
            raise
        raise ValueError("; ".join([str(error), *guesses])) from error


def write_failures(folder: Path, failures: Sequence[Failure]) -> None:
    """Write `failed.jsonl` and `failed.log`, or remove them where nothing failed."""
    lines = [json.dumps({"source": failure.source, "reason": failure.reason}) for failure in failures]
    logged = [f"{failure.reason}\n{failure.traceback}" for failure in failures if failure.traceback]
    for name, rows in ((FAILED, lines), (LOG, logged)):
        if rows:
            write_whole(folder / name, ("\n".join(rows) + "\n").encode(errors="backslashreplace"))
        else:
            (folder / name).unlink(missing_ok=True)


def failures_text(folder: Path, failures: Sequence[Failure]) -> str:
    """Return on a few lines how many scans failed and why; empty if none did."""
    if not failures:
        return ""
    logged = f", tracebacks in {folder / LOG}" if any(failure.traceback for failure in failures) else ""
    head = f"{count(len(failures), 'scan')} failed, also listed in {folder / FAILED}{logged}:"
    return "\n".join([head, *(f"  {failure.reason}" for failure in failures)])
