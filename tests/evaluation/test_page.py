import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
import torch

from lightning_mri.evaluation import Panel, Row, Scores, Table, html_page, picture


class Tags(HTMLParser):
    """Collect tags with attributes, and check that each one is closed."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append((tag, dict(attrs)))
        if tag not in ("meta", "img"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


@pytest.fixture
def page(tmp_path: Path) -> str:
    picture(tmp_path / "picture.png", [Panel("a", torch.ones(9, 8))])
    rows = [
        Row("s", "s", "FLAIR", 4, 4, m, Scores(e, 30, 0.9, e**2), 1) for m, e in (("L1 <wavelet>", 0.2), ("HQS", 0.1))
    ]
    html_page(
        tmp_path / "page.html",
        "Fine-tuned & tested",
        tmp_path / "picture.png",
        Table(tuple(rows)),
        {"command": "python -m lightning_mri demo", "config": "a: 1\nb: <2>"},
        warnings=["residual is 4 x the noise"],
    )
    return (tmp_path / "page.html").read_text(encoding="utf-8")


def test_page_is_well_formed_and_fetches_nothing(page: str) -> None:
    tags = Tags()
    tags.feed(page)
    assert not tags.open
    sources = [attributes["src"] for tag, attributes in tags.seen if tag == "img"]
    assert len(sources) == 1
    assert sources[0] is not None
    assert sources[0].startswith("data:image/png;base64,")
    assert not re.search(r"https?://|<script|<link|@import|url\(", page)


def test_values_are_escaped(page: str) -> None:
    assert "L1 &lt;wavelet&gt;" in page
    assert "b: &lt;2&gt;" in page
    assert "<title>Fine-tuned &amp; tested</title>" in page


def test_the_lowest_error_stands_out_and_the_convention_is_stated(page: str) -> None:
    best = re.findall(r'<tr class="best">(.*?)</tr>', page)
    assert len(best) == 1
    assert "HQS" in best[0]
    assert "convention fastmri" in page
    assert "residual is 4 x the noise" in page
