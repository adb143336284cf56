"""Build hooks of the documentation: equations as MathML, so that pages need no script; a page for each subpackage."""

import re
from html import unescape
from typing import Any

from latex2mathml.converter import convert
from mkdocs.structure.files import File, Files

SUBPACKAGES = (
    "reconstruction",
    "io",
    "weights",
    "sampling",
    "physics",
    "diffusion",
    "models",
    "baselines",
    "evaluation",
    "datasets",
    "phantoms",
    "training",
)
EQUATION = re.compile(r'<(span|div) class="arithmatex">\\([(\[])(.*?)\\[)\]]</\1>', re.DOTALL)


def on_files(files: Files, config: Any) -> Files:
    """Add one page of the reference for each subpackage."""
    for name in SUBPACKAGES:
        text = f"# lightning_mri.{name}\n\n::: lightning_mri.{name}\n"
        files.append(File.generated(config, f"reference/{name}.md", content=text))
    return files


def on_page_content(html: str, **_: Any) -> str:
    """Turn LaTeX into MathML."""

    def mathml(match: re.Match[str]) -> str:
        return str(convert(unescape(match[3]), display="inline" if match[2] == "(" else "block"))

    return EQUATION.sub(mathml, html)
