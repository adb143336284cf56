"""Sentences for people: counts and lists in words, text that a terminal can show, errors that name their file."""

import unicodedata
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

HIDDEN_CATEGORIES = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})
"""Unicode categories that a terminal obeys or cannot show: control, format, surrogate, unassigned, separators."""


def count(n: int, noun: str) -> str:
    """Return a number of things in words, such as ``1 scan`` or ``2 scans``."""
    return f"{n:,} {noun}" if n == 1 else f"{n:,} {noun}s"


def first_few(names: Sequence[object], n: int = 4) -> str:
    """Return the first names of a list, and how many more there are."""
    more = f" and {len(names) - n} more" if len(names) > n else ""
    return ", ".join(map(str, names[:n])) + more


def printable(text: str) -> str:
    r"""Return text in which characters that a terminal obeys or cannot show are escaped, as ``\x1b``."""
    if text.isprintable():
        return text
    hidden = {character for character in text if unicodedata.category(character) in HIDDEN_CATEGORIES}
    return text.translate({ord(character): ascii(character)[1:-1] for character in hidden})


def sentence(error: BaseException) -> str:
    """Return an error's message on one printable line; its type's name if it has none."""
    text = str(error)
    if isinstance(error, OSError) and error.filename is not None and error.strerror:
        text = f"{error.filename}: {error.strerror.lower()}"
    return printable(" ".join(text.split())) or type(error).__name__


@contextmanager
def error_context(path: Path, rule: str = "the file must be readable") -> Iterator[None]:
    """Turn whatever a library raises about a file into one sentence, ``path: rule: what it found``.

    Libraries' parsers raise anything at damaged content, from IndexError to MemoryError. Errors that name the file
    already pass through.

    Args:
        path: File that is read.
        rule: What must hold, for example "kspace must be a whole npy array".
    """
    try:
        yield
    except Exception as error:
        if str(error).startswith(f"{path}: "):
            raise
        raise OSError(f"{path}: {rule}: {sentence(error)}") from error


@contextmanager
def naming(path: Path | str) -> Iterator[None]:
    """Begin the sentences of refusals with the file's name."""
    try:
        yield
    except ValueError as error:
        if str(error).startswith(f"{path}: "):
            raise
        raise ValueError(f"{path}: {error}") from error
