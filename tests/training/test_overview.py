"""The page of a folder shows what is there, and tells of each scan what was run to make it."""

import shutil
from pathlib import Path

import pytest
import torch

from lightning_mri.evaluation import View
from lightning_mri.evaluation.page import read_page
from lightning_mri.output import OutputFolder
from lightning_mri.training.overview import write_overview
from lightning_mri.training.report import report


def written(folder: Path, **runs: str) -> OutputFolder:
    """Write a scan by each run."""
    output = OutputFolder(folder)
    output.hold()
    for name, command in runs.items():
        view = View(name=name, images={"reconstruction": torch.rand(1, 5, 7)}, run={"command": command})
        with output.writing(name, [folder / f"{name}_view"]):
            view.write(folder / f"{name}_view")
    return output


def test_each_scan_keeps_what_was_run_to_make_it(tmp_path: Path) -> None:
    """Regression: the page said of all scans what the last run was, and lost it after one that found all finished."""
    write_overview(written(tmp_path / "one", a="first", b="first"))
    assert read_page(tmp_path / "one" / "index.html")["facts"] == [["What was run", [["command", "first"]]]]
    write_overview(written(tmp_path / "two", a="first", b="second", c="second"))
    facts = {title: dict(lines)["command"] for title, lines in read_page(tmp_path / "two" / "index.html")["facts"]}
    assert facts == {"What was run for a": "first", "What was run for b, c": "second"}
    report([tmp_path / "two"], tmp_path / "report")
    ((_, told),) = read_page(tmp_path / "report" / "index.html")["facts"]
    assert dict(told)["What was run for a: command"] == "first"


def test_results_that_somebody_removed_or_damaged_cost_no_other_its_page(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Regression: every later run into the folder ended in an error, after all its work."""
    output = written(tmp_path, a="run", b="run", c="run")
    shutil.rmtree(tmp_path / "a_view")
    (tmp_path / "c_view" / "case.json").write_text("{")
    write_overview(output)
    assert [case["name"] for case in read_page(tmp_path / "index.html")["cases"]] == ["b"]
    told = capsys.readouterr().err
    assert "a_view/case.json" in told
    assert "c_view/case.json" in told
    shutil.rmtree(tmp_path / "b_view")
    write_overview(output)
    assert not (tmp_path / "index.html").exists()
