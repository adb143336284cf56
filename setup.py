"""README as package indexes show it, where nothing is relative: everything else is in pyproject.toml."""

import re
import tomllib
from pathlib import Path

from setuptools import setup

RELATIVE = re.compile(r"(!?)\[([^\]]*)\]\((?!https?:|#)([^)]*)\)")
"""A picture, or a link, by a path in the repository."""
SOURCE = tomllib.loads(Path("pyproject.toml").read_text())["project"].get("urls", {}).get("Source")
"""Address of the repository, once its owner has entered it; until then pictures are left out, and links are text."""


def absolute(match: re.Match[str]) -> str:
    """Return a picture or a link that works from elsewhere."""
    picture, text, path = match.groups()
    if SOURCE is None:
        return "" if picture else text
    return f"{picture}[{text}]({SOURCE}/{'raw' if picture else 'blob'}/main/{path})"


setup(
    long_description=RELATIVE.sub(absolute, Path("README.md").read_text()),
    long_description_content_type="text/markdown",
)
