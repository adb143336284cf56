"""Build hooks of the documentation: MathML, which needs no script; pages for subpackages, results and notebooks."""

import re
from html import unescape
from pathlib import Path
from typing import Any

from latex2mathml.converter import convert
from mkdocs.structure.files import File, Files
from nbconvert import MarkdownExporter

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
RESULTS = Path(__file__).parents[1] / "experiments/results"
NOTEBOOKS = sorted((Path(__file__).parent / "notebooks").glob("*.ipynb"))
COMMAND = re.compile(r"(?<=<code>)[^<\n]* [^<\n]*(?=</code>)")
EQUATION = re.compile(r'<(span|div) class="arithmatex">\\([(\[])(.*?)\\[)\]]</\1>', re.DOTALL)


def on_files(files: Files, config: Any) -> Files:
    """Add one page of the reference for each subpackage, what the experiments wrote, and the notebooks as executed."""
    for name in SUBPACKAGES:
        text = f"# lightning_mri.{name}\n\n::: lightning_mri.{name}\n"
        files.append(File.generated(config, f"reference/{name}.md", content=text))
    for path in RESULTS.iterdir():
        files.append(File.generated(config, f"results/{path.name}", abs_src_path=str(path)))
    for path in NOTEBOOKS:
        text, resources = MarkdownExporter().from_filename(str(path), {"unique_key": path.stem})
        files.append(File.generated(config, f"notebooks/{path.stem}.md", content=text))
        for name, picture in resources["outputs"].items():
            files.append(File.generated(config, f"notebooks/{name}", content=picture))
    return files


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Let links to results in the repository lead to their copies in the site."""
    return markdown.replace("../../experiments/results/", "results/")


def on_page_content(html: str, **_: Any) -> str:
    """Turn LaTeX into MathML, in a box of its own that scrolls; let commands break between words, not at hyphens."""

    def mathml(match: re.Match[str]) -> str:
        if match[2] == "(":
            return str(convert(unescape(match[3])))
        return f'<div class="equation">{convert(unescape(match[3]), display="block")}</div>'

    def words(match: re.Match[str]) -> str:
        return " ".join(f'<span class="word">{word}</span>' for word in match[0].split(" "))

    return COMMAND.sub(words, EQUATION.sub(mathml, html))
