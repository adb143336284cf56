"""What breaks while a folder is prepared: files, slices, processes; nothing else is lost by it."""

import json
import multiprocessing
import os
import signal
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from lightning_mri.datasets import Preparation, prepare_folder
from lightning_mri.io import read_scan, write_fastmri
from lightning_mri.io.failures import FAILED, LOG
from lightning_mri.io.prepared import MANIFEST
from lightning_mri.io.scan import Scan
from lightning_mri.tensors import complex_noise
from tests.builders import InMemory

from .test_preparation import CONFIG, Command, WriteScan, before_each_slice, cache_of, here, write_all


def break_some(root: Path, write_scan: WriteScan) -> Sequence[Path]:
    """Write four broken scans beside a good one."""
    write_scan(root / "good.h5", "good", n_slices=1)
    whole = write_scan(root / "cut.h5", "cut", n_slices=2).read_bytes()
    (root / "cut.h5").write_bytes(whole[: len(whole) // 2])
    kspace = complex_noise((2, 8, 10))
    kspace[..., 3] = 0
    np.save(root / "under.npy", kspace.numpy())
    np.save(root / "nan.npy", np.full((2, 8, 10), np.nan, np.complex64))
    np.save(root / "tiny.npy", complex_noise((2, 3, 2, 2)).numpy())
    return [root / name for name in ("cut.h5", "nan.npy", "tiny.npy", "under.npy")]


@pytest.mark.parametrize("n_processes", [1, 2])
def test_broken_files_are_listed_and_stop_no_other(tmp_path: Path, write_scan: WriteScan, n_processes: int) -> None:
    broken, out = break_some(tmp_path / "raw", write_scan), tmp_path / "out"
    prepared = prepare_folder(tmp_path / "raw", out, n_processes=n_processes)
    assert [entry.subject for entry in prepared.entries] == ["good"]
    listed = [json.loads(line) for line in (out / FAILED).read_text().splitlines()]
    assert [row["source"] for row in listed] == [str(path) for path in broken]
    for row in listed:
        assert Path(row["source"]).name in row["reason"]
        assert row["reason"] in str(prepared)
    assert "kspace must be fully sampled to train on: got 72 of 80 samples" in listed[3]["reason"]
    assert "zeros or NaN only" in listed[1]["reason"]
    assert len(list(out.glob("*.npy"))) == 1
    assert not list(out.glob(".*"))


def test_a_scan_that_breaks_takes_its_images_along_and_is_back_when_mended(
    tmp_path: Path, write_scan: WriteScan
) -> None:
    root, out = tmp_path / "raw", tmp_path / "out"
    write_all(write_scan, root, "ab")
    here(root, out)
    (root / "b.h5").write_bytes((root / "a.h5").read_bytes()[:3000])
    assert "1 scan failed" in here(root, out)
    assert [entry.subject for entry in cache_of(out).entries().values()] == ["a"]
    assert len(list(out.glob("*.npy"))) == 1
    write_scan(root / "b.h5", "b", n_slices=1)
    assert "failed" not in here(root, out)
    assert not (out / FAILED).exists()


def test_a_process_that_is_killed_is_named_by_its_scan(
    tmp_path: Path, write_scan: WriteScan, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_all(write_scan, tmp_path, "abc")
    before_each_slice(monkeypatch, lambda scan: scan.name == "b" and os.kill(os.getpid(), signal.SIGKILL))
    prepared = prepare_folder(tmp_path, tmp_path / "out", n_processes=2)
    assert [entry.subject for entry in prepared.entries] == ["a", "c"]
    (failure,) = prepared.failures
    assert failure.reason.startswith(f"{tmp_path / 'b.h5'}: the process that worked on it was killed")


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
def test_a_killed_run_goes_on_and_never_shows_half_a_scan(
    tmp_path: Path, write_scan: WriteScan, monkeypatch: pytest.MonkeyPatch
) -> None:
    root, out = tmp_path / "raw", tmp_path / "out"
    write_all(write_scan, root, "012345", n_slices=2)
    with monkeypatch.context() as slowly:
        before_each_slice(slowly, lambda _: time.sleep(0.1))
        run = multiprocessing.get_context("fork").Process(target=prepare_folder, args=(root, out, 1))
        run.start()
    while not (out / MANIFEST).exists() or len(cache_of(out).entries()) < 2:
        assert run.is_alive()
        time.sleep(0.02)
    run.kill()
    run.join()
    done = cache_of(out).entries()
    assert 2 <= len(done) < 6
    for entry in done.values():
        assert np.load(out / f"{entry.name}.npy").shape == entry.shape
    times = {name: (out / f"{name}.npy").stat().st_mtime_ns for name in done}
    assert "6 scans" in here(root, out)
    assert {name: (out / f"{name}.npy").stat().st_mtime_ns for name in done} == times


def test_parts_of_killed_runs_are_removed_and_cut_arrays_made_again(tmp_path: Path, write_scan: WriteScan) -> None:
    root, out = tmp_path / "raw", tmp_path / "out"
    write_all(write_scan, root, "ab", n_slices=2)
    here(root, out)
    (out / ".a.12345678.part.npy").write_bytes(b"half")
    whole = next(out.glob("a-*.npy"))
    whole.write_bytes(whole.read_bytes()[:-8])
    assert "1 scan new" in here(root, out)
    assert not list(out.glob(".*"))
    assert np.load(whole).shape == (2, 28, 26)


def test_any_error_of_one_scan_is_a_line_and_what_was_not_foreseen_is_logged(
    tmp_path: Path, write_scan: WriteScan, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_all(write_scan, tmp_path, "abc")

    def fail(scan: Scan) -> None:
        if scan.name != "a":
            raise {"b": ZeroDivisionError, "c": IndexError}[scan.name]

    before_each_slice(monkeypatch, fail)
    prepared = prepare_folder(tmp_path, tmp_path / "out")
    assert [entry.subject for entry in prepared.entries] == ["a"]
    reasons = [failure.reason for failure in prepared.failures]
    assert reasons == [json.loads(line)["reason"] for line in (tmp_path / "out" / FAILED).read_text().splitlines()]
    assert ["b.h5: ZeroDivisionError" in reasons[0], "c.h5: IndexError" in reasons[1]] == [True, True]
    log = (tmp_path / "out" / LOG).read_text()
    assert log.count("Traceback") >= 2
    assert "in fail" in log


def test_a_slice_that_is_no_number_is_empty_and_loses_no_other(tmp_path: Path, write_scan: WriteScan) -> None:
    """One sample, a line, or the whole slice."""
    kspace = read_scan(write_scan(tmp_path / "whole" / "a.h5", "a", n_slices=5)).kspace[:]
    whole = cache_of(tmp_path / "w"), prepare_folder(tmp_path / "whole", tmp_path / "w", n_processes=1).entries[0]
    kspace[1, 0, 3, 4], kspace[2, :, :, 5], kspace[4] = torch.nan, torch.inf, torch.nan
    write_fastmri(tmp_path / "in" / "a.h5", kspace, contrast="FLAIR", subject="a", reconstruction_size=(28, 26))
    (entry,) = prepare_folder(tmp_path / "in", tmp_path / "out", n_processes=1).entries
    assert [scale > 0 for scale in entry.scales] == [True, False, False, True, False]
    cache = cache_of(tmp_path / "out")
    for k in (0, 3):
        assert torch.equal(cache.read(entry, k), whole[0].read(whole[1], k))
    assert [text for text in entry.problems if "NaN" in text] == [
        f"slice {k} is left out: it holds NaN or infinity" for k in (1, 2, 4)
    ]


def test_a_spike_is_named_and_not_trained_on(tmp_path: Path, write_scan: WriteScan) -> None:
    kspace = read_scan(write_scan(tmp_path / "a.h5", "a")).kspace[:]
    spoilt = kspace.clone()
    spoilt[1, :, 9, 20] += 300 * kspace.abs().max()
    scans = [replace(read_scan(tmp_path / "a.h5"), kspace=InMemory(k.numpy())) for k in (kspace, spoilt)]
    (clean, scale, *_), found = (Preparation().image(scan, 1) for scan in scans)
    assert found.scale == pytest.approx(scale, rel=0.02)
    assert float((found.image.abs() - clean.abs()).norm() / clean.norm()) < 0.05
    assert found.warnings[0].startswith("slice 1: 1 samples of k-space stand far above")


def test_the_command_tells_what_was_prepared_and_what_failed(
    command: Command, tmp_path: Path, write_scan: WriteScan
) -> None:
    break_some(tmp_path / "raw", write_scan)
    options = ("prepare", "--config", CONFIG, "--root", tmp_path / "raw", "--output_dir", tmp_path / "out")
    printed = command(*options, "--n_processes", "1")
    assert "1 scan, 1 slice, 1 subject; 1 scan new" in printed
    assert "4 scans failed" in printed
    assert "under.npy" in printed
