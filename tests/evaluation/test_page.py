"""A page is one file that fetches nothing; its table states its convention."""

import json
import re
from html.parser import HTMLParser
from pathlib import Path

import torch

from lightning_mri.evaluation import Panel, Row, Scores, Table, picture, table_section, write_page
from lightning_mri.evaluation.page import read_page
from lightning_mri.evaluation.tables import TRAINED_ON


class Tags(HTMLParser):
    """Collect tags with attributes, and check that each one is closed."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append((tag, dict(attrs)))
        if tag not in ("meta", "link", "input"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def table(last: str = "HQS") -> Table:
    """Return a table of two methods, of which the last one is better."""
    errors = {"L1 <wavelet>": 0.2, last: 0.1}
    scores = {method: Scores(error, 30, 0.9, error**2) for method, error in errors.items()}
    return Table(tuple(Row("s", "s", "FLAIR", 4, 4, method, each, 1) for method, each in scores.items()))


def test_a_page_is_well_formed_and_names_no_other_file(tmp_path: Path) -> None:
    picture(tmp_path / "picture.png", [Panel("a", torch.ones(9, 8))])
    write_page(
        tmp_path / "page.html",
        "Fine-tuned & tested",
        tables=[table_section("Results", table())],
        figures={"curve": tmp_path / "picture.png"},
        facts={"What was run": {"config": "a: 1\nb: <2>"}},
        warnings=["residual is 4 x the noise"],
    )
    page = (tmp_path / "page.html").read_text(encoding="utf-8")
    tags = Tags()
    tags.feed(page)
    assert not tags.open
    assert all("src" not in attributes for _, attributes in tags.seen)
    assert not re.search(r"https?://|@import|url\(|fetch\(", page)
    content = read_page(tmp_path / "page.html")
    assert content["facts"] == [["What was run", [["config", "a: 1\nb: <2>"]]]]
    assert content["figures"][0][1].startswith("data:image/png;base64,")
    assert re.match(r"\d{4}-\d\d-\d\d \d\d:\d\d UTC - lightning_mri 0", content["made"])
    assert "<2>" not in page
    assert json.dumps("residual is 4 x the noise") in page


def test_the_lowest_error_stands_out_and_the_convention_is_stated() -> None:
    section = table_section("Results", table())
    assert [section["rows"][index][2] for index in section["best"]] == ["HQS"]
    assert "convention fastmri" in section["caption"]


def test_a_method_that_knows_the_subject_does_not_stand_out() -> None:
    assert table_section("t", table(f"HQS{TRAINED_ON}"))["best"] == [0]
