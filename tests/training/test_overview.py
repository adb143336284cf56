"""The page of a folder shows what is there, and tells of each scan what was run to make it."""

import shutil
from pathlib import Path

import pytest
import torch

from lightning_mri.datasets import Failed
from lightning_mri.evaluation import View
from lightning_mri.evaluation.page import read_page
from lightning_mri.output import OutputFolder
from lightning_mri.training.overview import write_overview
from lightning_mri.training.report import report


def written(folder: Path, *warnings: str, **runs: str) -> OutputFolder:
    """Write a scan by each run; all have these warnings."""
    output = OutputFolder(folder)
    output.hold()
    for name, command in runs.items():
        images = {"reconstruction": torch.rand(1, 5, 7)}
        view = View(name=name, images=images, run={"command": command}, warnings=warnings)
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


def test_page_and_report_name_scans_that_failed_and_slices_not_to_trust(tmp_path: Path) -> None:
    """Regression: they showed what had gone well alone."""
    failures = [Failed.by(ValueError("cut off"), name, f"{name}.h5") for name in ("P1/flair", "P2/flair")]
    output = written(tmp_path / "run", "the size of a pixel is not known", "slice 0: noisy", a="run", b="run")
    write_overview(output, failures)
    report([tmp_path / "run"], tmp_path / "report")
    pages = [read_page(tmp_path / folder / "index.html")["warnings"] for folder in ("run", "report")]
    assert pages[0] == [
        "2 scans failed, see failed.jsonl: P1/flair, P2/flair",
        "Do not trust slices of 2 of 2 scans, framed below, before reading the warnings: a (slice 0), b (slice 0)",
    ]
    assert pages[1] == [f"run: {warning}" for warning in pages[0]]
    write_overview(written(tmp_path / "many", "slice 0: noisy", **dict.fromkeys("abcdef", "run")))
    (many,) = read_page(tmp_path / "many" / "index.html")["warnings"]
    assert many.endswith("c (slice 0), d (slice 0) and 2 more\ne (slice 0), f (slice 0)")  # of 200 it was a screenful
    write_overview(written(tmp_path / "well", a="run"))
    assert read_page(tmp_path / "well" / "index.html")["warnings"] == []
