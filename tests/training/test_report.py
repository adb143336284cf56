"""A report of real runs: what was done, scores with intervals, curves, and one case of two runs side by side."""

import os
from collections.abc import Callable, Sequence
from contextlib import closing, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from lightning_mri.evaluation import (
    SLICE,
    LesionScores,
    Row,
    Scores,
    Table,
    View,
    read_case,
    read_tables,
    write_page,
    write_tables,
)
from lightning_mri.evaluation.page import read_page
from lightning_mri.evaluation.sweep import STORAGE, Result, trial_name, write_sweep
from lightning_mri.sampling import HQS
from lightning_mri.training import ReconstructHeldOut
from lightning_mri.training.curve import write_curve
from lightning_mri.training.report import report

from ..browser import Browser, needs_chromium
from .conftest import Fit
from .test_results import CERTAIN, predict
from .test_validation import HeldOut, phase

Command = Callable[..., str]


def scores(nrmse: float) -> Scores:
    return Scores(nrmse, 30.0, 0.9, nrmse**2)


def write_run(folder: Path, *errors: float) -> Path:
    """Write page and table of a test on subjects with these errors; those of another method are larger by 0.1."""
    rows = [
        Row(f"scan {k}", f"subject {k}", "FLAIR", 4.0, 3.9, method, scores(error + more), 1.0)
        for k, error in enumerate(errors)
        for method, more in (("L1-wavelet", 0.1), ("prior", 0.0))
    ]
    write_tables(folder, [Table(tuple(rows))])
    write_page(folder / "index.html", "test")
    return folder


def reported(folder: Path, *runs: Path) -> dict[str, Any]:
    """Return the content of a page about runs."""
    report(runs, folder)
    return read_page(folder / "index.html")


@pytest.mark.slow
@needs_chromium
def test_a_report_of_fit_and_predict_in_a_browser(
    command: Command, cohort: Path, fit: Fit, start: Path, tmp_path: Path
) -> None:
    scan = next((cohort / "multicoil_test").glob("*.h5"))
    for name, n_steps in (("one", 2), ("two", 3)):
        command(*predict(scan, tmp_path / name, CERTAIN, f"--model.sampler.n_steps={n_steps}"))
    checkpoint, _ = fit(phase(start, 1), HeldOut(), callbacks=(ReconstructHeldOut(HQS(n_steps=2)),))
    folder = tmp_path / "report"
    printed = command("report", tmp_path / "one", tmp_path / "two", checkpoint.parent, "--output_dir", folder)
    assert f"Look at {folder / 'index.html'}" in printed
    page = read_page(folder / "index.html")
    (case,) = page["cases"]
    layers = [name for source in case["sources"] for name, _ in source["layers"]]
    assert layers[:2] == ["one: zero-filled", "one: reconstruction"]
    assert "two: reconstruction" in layers
    assert all(Path(source["path"]).is_relative_to(folder) for source in case["sources"])
    facts = {title: dict(lines) for title, lines in page["facts"]}
    assert "n_steps: 3" in facts["two"]["config"]
    assert [title for title, _ in page["figures"]] == ["run: curve", "run: held-out slices of the last validation"]
    assert any(sentence.startswith("run: ") and "NRMSE" in sentence for sentence in page["intro"])
    os.rename(folder, tmp_path / "moved")  # it needs none of the runs
    with closing(Browser(tmp_path / "profile")) as browser:
        browser.open(tmp_path / "moved" / "index.html")
        browser.run("show()")
        assert browser.run("$('a').selectedOptions[0].text") == "one: reconstruction"
        assert browser.run("$('b').selectedOptions[0].text") == "two: reconstruction"
        before = browser.run("canvases[0].toDataURL()")
        browser.run("setMode('b')")
        assert browser.run("canvases[0].toDataURL()") != before
        assert not browser.errors


def test_tables_hold_intervals_over_subjects_and_paired_differences(tmp_path: Path) -> None:
    runs = [write_run(tmp_path / "a", 0.1, 0.2, 0.3), write_run(tmp_path / "b", 0.1)]
    means, differences = reported(tmp_path / "report", *runs)["tables"]
    assert means["rows"][0][:5] == ["FLAIR", "4", "a: L1-wavelet", "whole image", "3"]
    assert means["rows"][1][5] == "0.2000 (range 0.1000 to 0.3000)"  # Student's interval would begin at -0.0484
    assert "below 6 subjects the range of their scores" in means["caption"]
    assert means["rows"][3][5] == "0.1000"  # a single subject has no interval
    first = ["FLAIR", "4", "a: L1-wavelet", "whole image", "a: prior", "3", "0.1000 (0.1000 to 0.1000)"]
    assert differences["rows"][0] == first


def test_runs_of_other_subjects_are_compared_over_those_that_they_share(tmp_path: Path) -> None:
    """The second run seems better, since its one subject is easy, on which the first was better still."""
    runs = [write_run(tmp_path / "a", 0.1, 0.4, 0.4), write_run(tmp_path / "b", 0.2), write_run(tmp_path / "c", 0.3)]
    page = reported(tmp_path / "report", *runs[:2])
    assert page["tables"][1]["rows"][-1][2:] == ["a: prior", "whole image", "b: prior", "1", "-0.1000"]
    assert "different subjects" in page["warnings"][0]
    assert reported(tmp_path / "same", *runs[1:])["warnings"] == []


def write_case(folder: Path, subject: str, R: float, unit: float = 1.0, warnings: Sequence[str] = ()) -> Path:
    """Write the page of a prediction of one scan: a bright square, 3 slices of 20 x 16 pixels."""
    x = torch.zeros(3, 20, 16)
    x[:, 4:16, 4:12] = unit
    view = View(name="scan", images={"reconstruction": x}, burnt=(f"R = {R}",), warnings=warnings)
    replace(view, scores={"subject": subject}).write(folder / "scan_view")
    write_page(folder / "index.html", "predict", cases=[read_case(folder / "scan_view")])
    return folder


def test_scans_of_different_subjects_stay_apart(tmp_path: Path) -> None:
    subjects = {"a": "mouse 1", "b": "mouse 2", "c": "mouse 1"}
    runs = [write_case(tmp_path / name, subject, 4.0) for name, subject in subjects.items()]
    cases = reported(tmp_path / "report", *runs)["cases"]
    assert [(case["name"], len(case["sources"])) for case in cases] == [("scan (a, c)", 2), ("scan (b)", 1)]
    assert [case["scores"] for case in cases] == [{"subject": "mouse 1"}, {"subject": "mouse 2"}]  # one column


@needs_chromium
def test_each_image_keeps_its_own_acceleration_warning_and_window(tmp_path: Path) -> None:
    runs = [
        write_case(tmp_path / "a", "mouse 1", 1.5),
        write_case(tmp_path / "b", "mouse 1", 2.3, 20, ["slice 1: do not trust it"]),
        write_case(tmp_path / "c", "mouse 1", 2.3, 1.5),
    ]
    (case,) = reported(tmp_path / "report", *runs)["cases"]
    assert case["burnt"] == ["a: R = 1.5", "b: R = 2.3, other unit: x 0.05", "c: R = 2.3"]
    assert [line for source in case["sources"] for line in source["burnt"]] == case["burnt"]
    with closing(Browser(tmp_path / "profile")) as browser:
        browser.open(tmp_path / "report/index.html")
        pixel = "(which, x, y) => [...canvases[which].getContext('2d').getImageData(x, y, 1, 1).data]"
        middle = "(({ width, height }) => [width / 2, height / 2])(canvases[0])"
        browser.run("(setMode('both'), show())")
        assert browser.run(f"({pixel})(0, 0, 0)")[:3] == [0, 0, 0]
        assert browser.run(f"({pixel})(1, 0, 0)")[0] > 200  # the amber frame
        assert browser.run(f"[0, 1].map(which => ({pixel})(which, ...{middle})[0])") == [255, 255]
        browser.run("setMode('difference')")
        assert browser.run(f"({pixel})(0, ...{middle})[0]") == 0


def test_what_is_no_run_or_would_be_lost_is_refused(failing_command: Command, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    message = failing_command("report", tmp_path / "empty", "--output_dir", tmp_path / "out")
    assert f"{tmp_path / 'empty'}: it must be the folder of a run" in message
    run = write_run(tmp_path / "run", 0.1)
    (run / "index.html").write_text("<p>mine</p>")
    assert "it must be a page" in failing_command("report", run, "--output_dir", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_page_of_a_run_is_not_replaced_by_its_report(failing_command: Command, tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", 0.1)
    before = (run / "index.html").read_bytes()
    assert "output_dir must be elsewhere" in failing_command("report", run, "--output_dir", run)
    assert (run / "index.html").read_bytes() == before


def test_a_table_is_read_as_it_was_written(tmp_path: Path) -> None:
    one = Row("s", "p", "T1w", 4.0, 3.9, "a, b", scores(0.1234567891), 0.5, 0.98, 20)
    head, lesions = Table((one,), region="head"), replace(one, lesions=LesionScores(3.25, 0.5, 3, 1, 2))
    written = [head, Table((lesions,), SLICE, "lesions")]
    write_tables(tmp_path, written)
    assert read_tables(tmp_path / "table.csv") == written
    assert "n_invented" in (tmp_path / "table.md").read_text()
    (tmp_path / "table.csv").write_text("x\n1\n")
    with pytest.raises(ValueError, match="it must be a table that test has written"):
        read_tables(tmp_path / "table.csv")


def write_fit(folder: Path, second: int, *errors: float) -> Path:
    """Write the curve of a fit, last changed at this second."""
    folder.mkdir(parents=True)
    write_curve(folder / "curve.csv", [{"step": 10.0 * k, "val/nrmse": error} for k, error in enumerate(errors)])
    os.utime(folder / "curve.csv", (second, second))
    return folder


def test_a_folder_of_runs_is_reported_by_its_newest(tmp_path: Path) -> None:
    write_fit(tmp_path / "runs/b", 2, 0.2, 0.1)
    write_fit(tmp_path / "runs/a", 3, 0.4, 0.3)
    write_fit(tmp_path / "runs/c", 1, 0.6, 0.5)
    page = reported(tmp_path / "report", tmp_path / "runs")
    assert len(page["intro"]) == 1
    assert "0.4000" in page["intro"][0]
    assert str(tmp_path / "runs/a") in dict(page["facts"][0][1])["run"]


@pytest.mark.parametrize("failed", [False, True])
def test_a_sweep_is_reported_by_its_table_and_its_best_trial(tmp_path: Path, failed: bool) -> None:
    """Regression: by its newest trial, even one that failed."""
    folder = tmp_path / "sweep"
    results = [
        Result(i, {"rate": 10.0**-i, "epochs": i}, None if failed else error, None, "failed", "no memory", 0.2)
        for i, error in enumerate((0.4, 0.3, None))
    ]
    for each in results:
        write_fit(folder / trial_name(each.number), each.number, 0.2, each.value or 0.9)
    write_sweep(folder, results, "val/nrmse")
    page = reported(tmp_path / "report", folder)
    (table,) = page["tables"]
    assert [row[-1] for row in table["rows"]] == ([] if failed else ["trial-0001", "trial-0000"])
    assert any("Trial 2 failed" in line for line in page["intro"])
    assert any("No trial was better" in line for line in page["intro"]) == (not failed)
    assert [title for title, _ in page["figures"]] == ([] if failed else ["sweep: heat map", "sweep: curve"])
    assert ("trial-0001" in dict(page["facts"][0][1])["run"]) == (not failed)


def test_a_sweep_that_was_stopped_early_is_no_run(tmp_path: Path) -> None:
    """Regression: its newest trial was shown as if it were a run."""
    folder = tmp_path / "sweep"
    for number in range(3):
        write_fit(folder / trial_name(number), number, 0.2, 0.1)
    (folder / STORAGE).touch()
    page = reported(tmp_path / "report", folder)
    (told,) = page["intro"]
    assert told.startswith("sweep: this sweep of 3 trials has no table yet")
    assert (page["figures"], page["tables"]) == ([], [])


def test_what_wandb_keeps_of_a_run_is_no_other_run(tmp_path: Path) -> None:
    """Its folder lies in the run's and holds links to the files; copied without links, they may be the newer ones."""
    run = write_fit(tmp_path / "run", 1, 0.4, 0.3)
    copies = write_fit(run / "wandb/offline-run-1/files", 2, 0.4, 0.3)
    for folder in (run, copies):
        (folder / "config.yaml").write_text("seed_everything: 0\n")
    ((_, facts),) = reported(tmp_path / "report", run)["facts"]
    assert dict(facts) == {"config.yaml": "seed_everything: 0\n"}


@pytest.mark.parametrize(
    "content", ["step,val/nrmse\n", "step\n1\n", "step,val/nrmse\n1,0.1\n2", "step,val/nrmse\n1,x\n"]
)
def test_a_damaged_curve_is_named(failing_command: Command, tmp_path: Path, content: str) -> None:
    path = write_fit(tmp_path / "run", 1, 0.2, 0.1) / "curve.csv"
    path.write_text(content)
    assert f"{path}: it must be a curve" in failing_command(
        "report", tmp_path / "run", "--output_dir", tmp_path / "out"
    )


@pytest.mark.parametrize("n_bytes", range(1, 75, 6))
def test_a_table_that_was_cut_is_named(tmp_path: Path, n_bytes: int) -> None:
    path = write_run(tmp_path, 0.1, 0.2) / "table.csv"
    path.write_bytes(path.read_bytes()[:-n_bytes])
    with suppress(ValueError):  # the end of a word may be missing unseen
        assert {row.method for table in read_tables(path) for row in table.rows} == {"L1-wavelet", "prior"}
        return
    with pytest.raises(ValueError, match="it must be a table") as told:
        read_tables(path)
    assert str(path) in str(told.value)


@pytest.mark.parametrize("content", [b"\xff\xfe", b'<script type="application/json" id="data">{"cases": []}</script>'])
def test_a_page_of_something_else_is_named(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "index.html").write_bytes(content)
    with pytest.raises(ValueError, match="it must be a page") as told:
        read_page(tmp_path / "index.html")
    assert str(tmp_path / "index.html") in str(told.value)
