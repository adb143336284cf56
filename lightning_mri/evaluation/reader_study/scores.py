"""Score files: what the readers' pages export, or people fill in by hand; nothing wrong is dropped in silence."""

import csv
import io
import re
import zlib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from lightning_mri.evaluation.reader_study.design import HALLUCINATION, SIDES, Key, Reading
from lightning_mri.messages import error_context

COLUMNS = ("study", "reader", "code", "side", "item", "score", "slice", "x", "y")
CHECKSUM = "# crc32 "
LOWEST, HIGHEST = 1, 5


@dataclass(frozen=True)
class Score:
    """One answer.

    Args:
        reading: The pair it is about.
        method: The image of the pair it is about.
        item: What was scored, or `HALLUCINATION`.
        score: From 1 to 5; None for a hallucination.
        place: Slice, from 1, and x and y of a hallucination in pixels, from 0.
    """

    reading: Reading
    method: str
    item: str
    score: int | None
    place: tuple[int, int, int] | None = None


@dataclass(frozen=True)
class ReaderScores:
    """All answers, and what is to be said about their files.

    Args:
        scores: The answers.
        notes: What is missing or was filled in by hand, one sentence each.
    """

    scores: tuple[Score, ...]
    notes: tuple[str, ...]


def read_scores(paths: Sequence[Path], key: Key) -> ReaderScores:
    """Read the score files of a study, one or more for each reader.

    Args:
        paths: CSV files.
        key: Key of the study.

    Raises:
        ValueError: If a file is of another study, was edited, holds what nobody was asked, or an answer twice.
        OSError: If a file cannot be read, or is no table in UTF-8.
    """
    found: dict[tuple[str, str, str], tuple[Path, Score]] = {}
    clicks: list[Score] = []
    notes = []
    for path in paths:
        if not path.is_file():
            raise FileNotFoundError(f"{path}: there is no such file")
        with error_context(path, "scores must be a table saved as CSV in UTF-8"):
            text = path.read_text(encoding="utf-8-sig")
            notes += _check_sum(path, text)
            answers = list(_parse(path, text, key))
        for number, score in answers:
            if score.item == HALLUCINATION:
                clicks.append(score)
                continue
            name = (score.reading.code, score.method, score.item)
            if name in found:
                raise ValueError(f"{path}: line {number}: code {name[0]} has this answer already, in {found[name][0]}")
            found[name] = (path, score)
    scores = tuple(score for _, score in found.values())
    return ReaderScores(scores + tuple(clicks), (*notes, *_missing(scores, key)))


def _check_sum(path: Path, text: str) -> list[str]:
    """Compare the sum at the end of an exported file; one without was filled in by hand."""
    body, mark, told = text.rpartition(CHECKSUM)
    if not mark:
        return [f"{path.name} has no checksum: it was filled in by hand"]
    found = f"{zlib.crc32(body.encode()):08x}"
    if found != told.strip():
        raise ValueError(f"{path}: checksum must be {told.strip()}: got {found}; the file was edited after its export")
    return []


def _parse(path: Path, text: str, key: Key) -> Iterator[tuple[int, Score]]:
    lines = [line for line in text.splitlines(keepends=True) if not line.startswith("#")]
    table = csv.DictReader(io.StringIO("".join(lines), newline=""))
    missing = set(COLUMNS) - set(table.fieldnames or ())
    if missing:
        raise ValueError(f"{path}: header must name {', '.join(COLUMNS)}: {', '.join(sorted(missing))} missing")
    readings = {reading.code: reading for reading in key.readings}
    for row in table:
        where = f"{path}: line {table.line_num}"
        if not row["score"] and row["item"] != HALLUCINATION:
            continue  # a line of the sheet that nobody filled in: told as missing
        if row["study"] != key.sha256[:16]:
            raise ValueError(f"{where}: study must be {key.sha256[:16]}, that of the key: got {row['study']}")
        reading = readings.get(row["code"])
        if reading is None or str(reading.reader) != row["reader"]:
            raise ValueError(f"{where}: code must be one of reader {row['reader']}: got {row['code']}")
        yield table.line_num, _score(where, row, reading, key)


def _score(where: str, row: dict[str, str], reading: Reading, key: Key) -> Score:
    if row["side"] not in SIDES:
        raise ValueError(f"{where}: side must be left or right: got {row['side']!r}")
    method = reading.left if row["side"] == SIDES[0] else reading.right
    if row["item"] == HALLUCINATION:
        return Score(reading, method, HALLUCINATION, None, _place(where, row))
    if row["item"] not in key.items:
        raise ValueError(f"{where}: item must be one of {', '.join(key.items)}: got {row['item']!r}")
    if row["score"] not in {str(score) for score in range(LOWEST, HIGHEST + 1)}:
        raise ValueError(f"{where}: score must be a whole number from {LOWEST} to {HIGHEST}: got {row['score']!r}")
    return Score(reading, method, row["item"], int(row["score"]))


def _place(where: str, row: Mapping[str, str | None]) -> tuple[int, int, int]:
    """Return slice, x and y of a mark."""
    given = [row[name] or "" for name in ("slice", "x", "y")]
    if not all(re.fullmatch("[0-9]+", number) for number in given):
        raise ValueError(f"{where}: slice, x and y must be whole numbers: got {', '.join(map(repr, given))}")
    z, x, y = map(int, given)
    return z, x, y


def _missing(scores: Sequence[Score], key: Key) -> list[str]:
    """Return a sentence for each reader and item with answers missing."""
    asked = {
        (r.code, method, item): (r.reader, item)
        for r in key.readings
        for method in (r.left, r.right)
        for item in key.items
    }
    for score in scores:
        asked.pop((score.reading.code, score.method, score.item))
    return [
        f"reader {reader}, {item}: {n} of {2 * len(key.of_reader(reader))} answers missing"
        for (reader, item), n in sorted(Counter(asked.values()).items())
    ]
