"""A small, self-contained HTML page around a picture and a table."""

import base64
from collections.abc import Sequence
from html import escape
from pathlib import Path

from lightning_mri.evaluation.report import Table

STYLE = """
:root { color-scheme: dark; }
body { background: #000; color: #ddd; font: 16px/1.5 system-ui, sans-serif; }
body { margin: 2rem auto; max-width: 68rem; padding: 0 1rem; }
h1 { color: #fff; font-size: 1.5rem; font-weight: 600; margin: 0 0 .3rem; }
h2 { color: #fff; font-size: 1.05rem; font-weight: 600; margin: 2rem 0 .5rem; }
p { margin: .3rem 0; }
img { display: block; margin: 1.2rem auto 0; max-width: 100%; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; font-size: .84rem; font-variant-numeric: tabular-nums; width: 100%; }
th, td { border-bottom: 1px solid #2c2c2c; padding: .35rem .55rem; text-align: left; white-space: nowrap; }
th { color: #999; font-weight: 500; }
.results th:nth-child(n+4), .results td:nth-child(n+4) { text-align: right; }
.results tr.best td { color: #fff; font-weight: 600; }
.run td { white-space: pre-wrap; overflow-wrap: anywhere; vertical-align: top; }
.run td:first-child { color: #999; white-space: nowrap; width: 1%; }
.small { color: #999; font-size: .85rem; }
.warning { color: #ffb454; }
"""


def html_page(
    path: Path,
    title: str,
    picture: Path,
    table: Table | None = None,
    run: dict[str, str] | None = None,
    intro: Sequence[str] = (),
    warnings: Sequence[str] = (),
) -> None:
    """Write one HTML file that needs no other: the picture is inside, and nothing is fetched.

    Args:
        path: Where to.
        title: Heading.
        picture: PNG to embed.
        table: Results; its summary is shown, the lowest NRMSE of each contrast and acceleration in bold.
        run: What was run: command, configuration, versions, as name -> value; line breaks are kept.
        intro: Paragraphs below the heading.
        warnings: Warnings, shown in amber above the picture.

    Raises:
        OSError: If the picture cannot be read or the page not be written.
    """
    image = base64.b64encode(picture.read_bytes()).decode("ascii")
    parts = [
        f"<h1>{escape(title)}</h1>",
        *(f"<p>{escape(line)}</p>" for line in intro),
        *(f'<p class="warning">{escape(line)}</p>' for line in warnings),
        f'<img src="data:image/png;base64,{image}" alt="{escape(title, quote=True)}">',
    ]
    if table is not None:
        parts += [
            "<h2>Results</h2>",
            _results(table),
            f'<p class="small">{escape(_typeset(table.caption()))}</p>',
        ]
    if run:
        lines = "".join(f"<tr><td>{escape(name)}</td><td>{escape(value)}</td></tr>" for name, value in run.items())
        parts += ["<h2>What was run</h2>", f'<table class="run">{lines}</table>']
    head = (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n"
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(head + "\n".join(parts) + "\n</body>\n</html>\n", encoding="utf-8")


def _results(table: Table) -> str:
    """Return the summary of a table as HTML."""
    summary = table.summary()
    lowest: dict[tuple[str, float], float] = {}
    for row in summary:
        group = (row.contrast, row.acceleration)
        lowest[group] = min(lowest.get(group, float("inf")), row.values["nrmse"].mean)
    header, body = table.cells()
    lines = ["<tr>" + "".join(f"<th>{escape(cell)}</th>" for cell in header) + "</tr>"]
    for row, cells in zip(summary, body, strict=True):
        name = "best" if row.values["nrmse"].mean == lowest[row.contrast, row.acceleration] else "other"
        columns = "".join(f"<td>{escape(_typeset(cell))}</td>" for cell in cells)
        lines.append(f'<tr class="{name}">{columns}</tr>')
    return '<div class="scroll"><table class="results">' + "".join(lines) + "</table></div>"


def _typeset(text: str) -> str:
    """Return text with the signs that plain tables spell in ASCII."""
    return text.replace("+-", "\N{PLUS-MINUS SIGN}")
