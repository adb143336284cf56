"""Tables of scores as files: every row for other programs, and the summaries to read."""

import csv
import io
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

from lightning_mri.evaluation.lesions import LesionScores
from lightning_mri.evaluation.metrics import FASTMRI, SLICE, Scores
from lightning_mri.evaluation.tables import LESIONS, Row, Table
from lightning_mri.files import write_whole
from lightning_mri.messages import sentence


def write_tables(folder: Path, tables: Sequence[Table], run: Mapping[str, str] | None = None) -> None:
    """Write ``table.csv``, ``table.json``, ``table.md`` and ``table.txt``, and paired ``differences.csv``.

    Args:
        folder: Made if needed.
        tables: One a region.
        run: What was run, for ``table.json``.
    """
    rows = [row for table in tables for row in table.rows_of_files()]
    paired = [each for table in tables for each in table.differences()]
    for file, lines in (("table", rows), ("differences", [each.plain() for each in paired])):
        names = list(lines[0]) if lines else []
        cells = [names, *([line[each] for each in names] for line in lines)]
        write_whole(folder / f"{file}.csv", csv_text(cells))
    content = {"run": dict(run or {}), "rows": rows}
    write_whole(folder / "table.json", json.dumps(content, indent=1, allow_nan=False))
    for ending, render in (("md", Table.markdown), ("txt", Table.text)):
        write_whole(folder / f"table.{ending}", "\n".join(map(render, tables)))


def csv_text(rows: Iterable[Iterable[Any]], end: str = "\n") -> str:
    """Return rows of cells, the header first, as CSV whose lines have this end."""
    text = io.StringIO()
    csv.writer(text, lineterminator=end).writerows(rows)
    return text.getvalue()


def read_csv(path: Path) -> list[dict[str, str]]:
    """Return the rows of a CSV file by the names in its header."""
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def read_tables(path: Path) -> list[Table]:
    """Read ``table.csv`` as `write_tables` writes it: one table a region.

    Raises:
        ValueError: If it is no such table.
    """
    try:
        lines = read_csv(path)
        if any(None in (*line, *line.values()) for line in lines):
            raise ValueError("every line must have all columns and no more")
        regions = {line["region"]: line["convention"] for line in lines}
        conventions = {each.name: each for each in (FASTMRI, SLICE)}
        tables = [
            Table(tuple(_row(line) for line in lines if line["region"] == region), conventions[name], region)
            for region, name in regions.items()
        ]
    except (KeyError, TypeError, ValueError, csv.Error) as error:
        fault = f"it has no {error}" if isinstance(error, KeyError) else sentence(error)
        raise ValueError(f"{path}: it must be a table that test has written: {fault}") from error
    if not tables:
        raise ValueError(f"{path}: it must be a table that test has written: got no rows")
    return tables


def _row(line: Mapping[str, str]) -> Row:
    scores = Scores(**{each.name: float(line[each.name] or "nan") for each in fields(Scores)})
    words = (line["case"], line["subject"], line["contrast"], float(line["acceleration"]), float(line["achieved"]))
    ratio, dice, *counts = (line[name] for name in LESIONS)
    found = LesionScores(float(ratio), float(dice), *map(int, counts)) if ratio else None
    misfit, nfe = float(line["misfit"] or "nan"), int(line["nfe"])
    of_scan = (int(line.get("n_left_out") or 0), line.get("warnings", ""))
    return Row(*words, line["method"], scores, float(line["seconds"]), misfit, nfe, found, *of_scan)
