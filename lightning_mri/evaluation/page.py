"""One HTML page: cases in the viewer, tables, figures and what was run; its script and style lie in ``web/``."""

import base64
import json
import os
import statistics
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from importlib.resources import files
from pathlib import Path
from typing import Any

from lightning_mri.evaluation.metrics import Convention
from lightning_mri.evaluation.paired import FEW_SUBJECTS, INTERVAL, bootstrapped_mean
from lightning_mri.evaluation.tables import TRAINED_ON, Row, Table
from lightning_mri.files import write_whole
from lightning_mri.origin import made

INTERVALS = {"nrmse": ".4f", "ssim": ".4f", "psnr": ".2f"}
OPEN = '<script type="application/json" id="data">'
PARTS = {"/*STYLE*/": "page.css", "/*PAGE*/": "page.js", "/*HANDS*/": "hands.js", "/*VIEWER*/": "viewer.js"}


def write_page(
    path: Path,
    title: str,
    *,
    cases: Sequence[Mapping[str, Any]] = (),
    tables: Sequence[Mapping[str, Any]] = (),
    figures: Mapping[str, Path] | None = None,
    facts: Mapping[str, Mapping[str, str]] | None = None,
    intro: Sequence[str] = (),
    warnings: Sequence[str] = (),
) -> None:
    """Write a page that opens from disk without any network; only slices of cases lie in files beside it.

    Args:
        path: Where to.
        title: Heading.
        cases: From `read_case`; their folders must lie below that of the page.
        tables: From `table_section`.
        figures: PNG files by title, which the page holds.
        facts: What was run, under one heading each, as name -> value; line breaks are kept.
        intro: Paragraphs below the heading.
        warnings: Shown in amber below these; what follows a line break in one is folded.
    """
    content = {
        "title": title,
        "made": made(),
        "intro": list(intro),
        "warnings": list(warnings),
        "cases": [_beside(case, path.parent) for case in cases],
        "tables": list(tables),
        "figures": [
            (name, f"data:image/png;base64,{base64.b64encode(figure.read_bytes()).decode('ascii')}")
            for name, figure in (figures or {}).items()
        ],
        "facts": [(name, list(each.items())) for name, each in (facts or {}).items()],
    }
    web = files("lightning_mri.evaluation") / "web"
    html = (web / "page.html").read_text(encoding="utf-8")
    for place, part in PARTS.items():
        html = html.replace(place, (web / part).read_text(encoding="utf-8"))
    # "<" would end the script that holds the data
    html = html.replace("/*DATA*/", json.dumps(content, allow_nan=False).replace("<", "\\u003c"))
    write_whole(path, html)


def read_page(path: Path) -> dict[str, Any]:
    """Return what a page shows, the paths of its cases from here.

    Raises:
        ValueError: If it is no such page.
    """
    try:
        _, _, rest = path.read_text(encoding="utf-8").partition(OPEN)
        content: dict[str, Any] = json.loads(rest.partition("</script>")[0])
        if missing := {"made", "facts", "warnings"} - content.keys():
            raise ValueError(f"it has no {', '.join(sorted(missing))}")
        for source in (source for case in content["cases"] for source in case["sources"]):
            source["path"] = str(path.parent / source["path"])
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{path}: it must be a page that predict, test or report has written: {error}") from error
    return content


def table_section(title: str, table: Table) -> dict[str, Any]:
    """Return a table of scores as a page shows it: the lowest NRMSE of each contrast and acceleration stands out.

    Not that of a method on subjects that it was trained on.
    """
    fair = {i: row for i, row in enumerate(table.summary()) if not row.method.endswith(TRAINED_ON)}
    lowest: dict[tuple[str, float], float] = {}
    for row in fair.values():
        group = (row.contrast, row.acceleration)
        lowest[group] = min(lowest.get(group, float("inf")), row.values["nrmse"].mean)
    header, rows = table.cells()
    best = [i for i, row in fair.items() if row.values["nrmse"].mean == lowest[row.contrast, row.acceleration]]
    typeset = [[cell.replace("+-", "\N{PLUS-MINUS SIGN}") for cell in row] for row in rows]
    caption = table.caption().replace("+-", "\N{PLUS-MINUS SIGN}")
    return {"title": title, "caption": caption, "header": header, "rows": typeset, "best": best, "n_words": 3}


def interval_sections(tables: Sequence[tuple[str, Table]]) -> Iterator[dict[str, Any]]:
    """Yield tables of scores with intervals of 95 %, or ranges, and of paired differences to the last method.

    Of several runs the last methods, too, are paired over the subjects that they share.

    Args:
        tables: One a region, with the name of their run, which goes before the methods' if there are several.
    """
    scores, differences = [], []
    of_runs = _with_runs(tables) if len(dict(tables)) > 1 else [table for _, table in tables]
    for table in of_runs:
        values = {metric: table.by_subject(metric) for metric in INTERVALS}
        for (contrast, acceleration, method), subjects in values["nrmse"].items():
            words, of = [contrast, f"{acceleration:g}", method], (contrast, acceleration, method)
            numbers = [_mean([*each[of].values()], INTERVALS[key]) for key, each in values.items()]
            scores.append([*words, table.region, str(len(subjects)), *numbers])
    for table in [*of_runs, *_last_methods(of_runs)]:
        for each in (each for each in table.differences() if each.metric == "nrmse"):
            words = [each.contrast, f"{each.acceleration:g}", each.method, table.region, each.less]
            differences.append([*words, str(each.n_subjects), f"{each.mean:.4f}"])
    if not scores:
        return
    caption = "; ".join(dict.fromkeys(table.caption().partition("; region")[0] for _, table in tables))
    header = ["contrast", "nominal R", "method", "region", "n", *INTERVALS]
    caption = f"{caption}; mean and 95 % interval (bootstrap over subjects)"
    caption += f", below {FEW_SUBJECTS} subjects the range of their scores instead"
    yield {"title": "Scores", "header": header, "rows": scores, "caption": caption, "best": [], "n_words": 4}
    yield {
        "title": "Paired differences of NRMSE",
        "header": [*header[:4], "less that of", "n", "NRMSE"],
        "rows": differences,
        "caption": f"positive: the method's error is larger; mean and {INTERVAL}"
        + "; without subjects that either method was trained on" * any(table.remembers for _, table in tables),
        "best": [],
        "n_words": 5,
    }


def _mean(values: Sequence[float], digits: str) -> str:
    """Return the mean over subjects with its interval; of few the range, since Student's may exceed an SSIM of 1."""
    if not 1 < len(values) < FEW_SUBJECTS:
        return f"{bootstrapped_mean(values):{digits}}"
    return f"{statistics.fmean(values):{digits}} (range {min(values):{digits}} to {max(values):{digits}})"


def subjects_differ(tables: Sequence[tuple[str, Table]]) -> bool:
    """Return whether runs were scored on different subjects at one contrast, acceleration and region."""
    subjects: dict[tuple[str, float, str], dict[str, set[str]]] = defaultdict(lambda: defaultdict(set))
    for label, table in tables:
        for row in table.rows:
            subjects[row.contrast, row.acceleration, table.region][label].add(row.subject)
    return any(len({frozenset(each) for each in of_runs.values()}) > 1 for of_runs in subjects.values())


def _with_runs(tables: Sequence[tuple[str, Table]]) -> list[Table]:
    """Return tables whose methods' names begin with that of their run."""
    return [
        replace(table, rows=tuple(replace(row, method=f"{label}: {row.method}") for row in table.rows))
        for label, table in tables
    ]


def _last_methods(tables: Sequence[Table]) -> list[Table]:
    """Return the rows of each table's last method, as one table for each convention and region."""
    rows: dict[tuple[Convention, str], list[Row]] = defaultdict(list)
    for table in tables:
        last = list(dict.fromkeys(row.name for row in table.rows))[-1]
        rows[table.convention, table.region] += [row for row in table.rows if row.name == last]
    return [Table(tuple(each), *of) for of, each in rows.items()]


def _beside(case: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """Return a case whose paths are those from the page."""
    sources = [{**each, "path": Path(os.path.relpath(each["path"], folder)).as_posix()} for each in case["sources"]]
    return {**case, "sources": sources}
