"""``--dry_run`` says what a run would do, and leaves no file behind."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from pytorch_lightning.utilities import rank_zero_only

Command = Callable[..., str]


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.slow
def test_predict_names_the_files_that_it_then_writes(command: Command, cohort: Path, here: Path) -> None:
    options = ("--data.root", cohort / "multicoil_test", "--output_dir", "out", "--results.formats=[hdf5,nifti]")
    options += ("--model.sampler=HQS", "--model.sampler.n_steps=2", "--model.uncertainty.n_samples=2")
    options += ("--model.uncertainty.sampler=DDS", "--model.uncertainty.sampler.n_steps=2")
    said = command("predict", *options, "--dry_run")
    assert not list(here.iterdir())
    assert re.search(r"about [\d.e+]+ s a slice", said)
    assert re.search(r"memory: [\d.]+ GiB", said)
    command("predict", *options)
    named = re.findall(r"out/[^\s,]+", said)
    assert len(named) > 3
    assert {path for path in named if Path(path).exists()} == set(named)
    assert "1 more are finished" in command("predict", *options, "--dry_run")


@pytest.mark.slow
def test_a_scan_that_would_fail_is_named(
    command: Command, cohort: Path, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = here / "scans"
    folder.mkdir()
    (folder / "bad.h5").write_bytes(b"\x89HDF\r\n\x1a\n" + bytes(100))
    (scan,) = (cohort / "multicoil_test").iterdir()
    (folder / scan.name).symlink_to(scan)
    assert "would fail" in command("predict", "--data.root", folder, "--output_dir", "out", "--dry_run")
    assert not (here / "out").exists()
    monkeypatch.setattr(rank_zero_only, "rank", 1)  # of several processes the first alone prints
    assert command("predict", "--data.root", folder, "--output_dir", "out", "--dry_run") == ""


def test_another_programs_file_is_found_before_the_run(
    failing_command: Callable[..., str], cohort: Path, here: Path
) -> None:
    (scan,) = (cohort / "multicoil_test").iterdir()
    (here / "out").mkdir()
    (here / "out" / scan.name).write_text("mine")
    message = failing_command("predict", "--data.root", scan, "--output_dir", "out", "--dry_run")
    assert scan.name in message
    assert (here / "out" / scan.name).read_text() == "mine"
    message = failing_command("predict", "--data.root", scan, "--output_dir", f"out/{scan.name}/deeper", "--dry_run")
    assert f"out/{scan.name}" in message


@pytest.mark.slow
def test_test_and_fit_write_nothing(command: Command, cohort: Path, here: Path) -> None:
    pattern = ("--data.pattern.n_center=8", "--data.pattern.acceleration=2", "--data.accelerations=[2]")
    said = command("test", "--data.root", cohort / "multicoil_test", "--output_dir", "out", "--dry_run", *pattern)
    assert "out/table.csv" in said
    assert "L1-wavelet" in said
    split = ("--data.n_subjects=2", "--data.n_val=1")
    said = command(
        *("fit", "--config", "finetune/synthetic_flair", "--data.root", cohort / "multicoil_train", *split),
        *("--phase.epochs=40", "--data.batch_size=1", "--trainer.limit_train_batches=1", "--dry_run"),
    )
    assert "40 steps" in said
    assert "runs/synthetic_flair" in said
    assert not list(here.iterdir())
