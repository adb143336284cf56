"""Two processes do what one does: training runs, and a prediction is the same to the last bit."""

import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch

from tests.processes import Group, run

from .conftest import Fit, Images, constant, differing, module
from .test_results import CERTAIN, QUICK, predict

ROOT = Path(__file__).parents[2]
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
DRAWN = ("--model.uncertainty.sampler=DDS", "--model.uncertainty.sampler.n_steps=2", "--model.uncertainty.n_samples=2")
"""Uncertainty from two quick draws."""
FILES = ["a.h5", "a.png", "a_view", "b.h5", "b.png", "b_view", "index.html"]


def on(n: int) -> tuple[str, ...]:
    return ("--trainer.accelerator=cpu", f"--trainer.devices={n}", *(["--trainer.strategy=ddp"] if n > 1 else []))


@pytest.fixture(scope="module")
def undersampled(tmp_path_factory: pytest.TempPathFactory, cohort: Path) -> Path:
    """Two scans, of three and two slices, with every third line and eight central ones."""
    folder = tmp_path_factory.mktemp("scans")
    lines = np.arange(40) % 3 == 0
    lines[16:24] = True
    for name, source, n in (("a", "multicoil_train", 3), ("b", "multicoil_test", 2)):
        with h5py.File(next((cohort / source).glob("*.h5"))) as file:
            kspace = file["kspace"][:]
        np.save(folder / f"{name}.npy", np.concatenate([kspace, kspace])[:n] * lines)
    return folder


def content(folder: Path) -> dict[str, dict[str, Any]]:
    """Return every array of every result."""
    files = {}
    for path in sorted(folder.glob("*.h5")):
        with h5py.File(path) as file:
            files[path.name] = {name: file[name][:] for name in ("reconstruction", "image", "std", "mask")}
    return files


def assert_same(one: Path, other: Path) -> None:
    first, second = content(one), content(other)
    assert first.keys() == second.keys()
    for name, arrays in first.items():
        for key, array in arrays.items():
            assert np.array_equal(array, second[name][key]), (name, key)


@pytest.mark.slow
def test_prediction_with_two_and_three_processes_is_bitwise_the_same(undersampled: Path, tmp_path: Path) -> None:
    for n in (1, 2, 3):
        printed = run(tmp_path, *predict(undersampled, str(n), *DRAWN, "--data.batch_size=2", *on(n)), n=n)
        assert "2 of 2 scans" in printed
        assert "5 of 5 slices" in printed
        assert sorted(path.name for path in (tmp_path / str(n)).glob("[!.]*")) == FILES
        assert not (tmp_path / str(n) / ".parts").exists()
        assert_same(tmp_path / "1", tmp_path / str(n))
    assert [len(arrays["image"]) for arrays in content(tmp_path / "1").values()] == [3, 2]
    assert all(np.isfinite(arrays["std"]).all() for arrays in content(tmp_path / "1").values())


def parts(folder: Path) -> dict[Path, int]:
    """Return the parts that are there, with their times."""
    found = {}
    with suppress(FileNotFoundError):  # they go with their scan
        for path in folder.glob(".parts/*.pt"):
            found[path] = path.stat().st_mtime_ns
    return found


@pytest.mark.slow
@pytest.mark.parametrize("n", [1, 2])
def test_a_killed_prediction_is_taken_up_with_its_parts(undersampled: Path, tmp_path: Path, n: int) -> None:
    one_by_one = predict(undersampled, "out", *DRAWN, "--data.batch_size=1", *on(n))
    run(tmp_path / "whole", *one_by_one, n=n)
    out = tmp_path / "cut/out"
    out.parent.mkdir()
    killed = Group(out.parent, *one_by_one, n=n)
    while not parts(out):
        assert not killed.poll(), killed.printed()
    killed.kill()
    assert killed.wait() == [-signal.SIGKILL] * n
    kept, seen = parts(out), dict[Path, set[int]]()
    again = Group(out.parent, *one_by_one, n=n)
    while len(again.poll()) < n:
        for path, at in parts(out).items():
            seen.setdefault(path, set()).add(at)
    assert set(again.wait()) <= {0, 4}, again.printed()
    assert all(seen.get(path, {at}) == {at} for path, at in kept.items())
    assert_same(tmp_path / "whole/out", out)
    assert not (out / ".parts").exists()


@pytest.mark.slow
@pytest.mark.parametrize("rank", [0, 1])
def test_the_death_of_one_process_ends_all_of_them(undersampled: Path, tmp_path: Path, rank: int) -> None:
    """By Lightning's own launcher, which watches over all processes but the first."""
    options = (*DRAWN, "--data.batch_size=1", "--model.sampler.n_steps=50", *on(2))
    line = [sys.executable, "-m", "lightning_mri", *predict(undersampled, "out", *options)]
    process = subprocess.Popen(line, cwd=tmp_path, env=ENVIRONMENT, stderr=-1, text=True, start_new_session=True)
    while not parts(tmp_path / "out"):
        assert process.poll() is None, process.communicate()[1]
    group = {rank_of(member): member for member in members(process.pid)}
    os.kill(group[rank], signal.SIGKILL)
    _, told = process.communicate()
    assert process.returncode != 0
    assert "Traceback" not in told
    while members(process.pid):
        time.sleep(0.1)
    assert len(content(tmp_path / "out")) < 2


def members(group: int) -> list[int]:
    """Return the living processes of a group."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            state, _, its_group = stat.read_text().rpartition(")")[2].split()[:3]
            if int(its_group) == group and state != "Z":
                found.append(int(stat.parent.name))
    return found


def rank_of(process: int) -> int:
    environment = (Path("/proc") / str(process) / "environ").read_bytes().split(b"\0")
    return next((int(each.removeprefix(b"LOCAL_RANK=")) for each in environment if each.startswith(b"LOCAL_RANK=")), 0)


@pytest.mark.slow
def test_a_process_without_a_batch_waits_for_the_others(undersampled: Path, cohort: Path, tmp_path: Path) -> None:
    """Regression: one scan of 16 slices on four GPUs ended in an AssertionError."""
    run(tmp_path, *predict(undersampled / "b.npy", "out", CERTAIN, *on(2)), n=2)
    with h5py.File(tmp_path / "out" / "b.h5") as file:
        assert file["image"].shape[0] == 2
    other = Group(tmp_path, *predict(undersampled / "b.npy", "other", CERTAIN, *on(1)), n=2)
    assert other.wait() == [2, 2]
    assert "must be the 2 processes that torchrun started: got 1 x 1" in other.printed()
    assert not (tmp_path / "other").exists()
    folders = (f"--data.root={cohort}/multicoil_train", f"--data.test_root={cohort}/multicoil_test")
    subjects = ("--data.n_subjects=2", "--data.n_val=1", "--model.baselines={}", "--model.priors={brain: brain}")
    data = ("--data=lightning_mri.datasets.StrokeFLAIR", "--data.accelerations=[2]", *folders, *subjects)
    run(tmp_path, "test", *data, "--output_dir=scores", *QUICK, CERTAIN, *on(2), n=2)
    assert len((tmp_path / "scores" / "table.csv").read_text().splitlines()) == 3  # whole image and head


@pytest.mark.slow
@pytest.mark.parametrize(("n", "batch", "steps"), [(1, "1 = 1 processes x 1", 6), (2, "2 = 2 processes x 1", 3)])
def test_a_run_of_so_many_images_sees_them_with_any_number_of_processes(
    cohort: Path, tmp_path: Path, n: int, batch: str, steps: int
) -> None:
    data = (f"--data.root={cohort / 'multicoil_train'}", "--data.n_subjects=2", "--data.n_val=1", "--data.crop=[32,32]")
    sizes = ("--data.batch_size=1", "--data.n_reconstructions=1", "--trainer.check_val_every_n_epoch=1")
    lines = ("--data.pattern=Equispaced", "--data.pattern.acceleration=3", "--data.pattern.n_center=8")
    length = ("--phase.epochs=null", "--phase.images=6", "--phase.learning_rate=2e-5")
    config = f"--config={ROOT}/experiments/finetune/synthetic_flair.yaml"
    # the number of processes is torchrun's
    printed = run(tmp_path, "fit", config, *data, *sizes, *lines, *length, "--trainer.accelerator=cpu", n=n)
    assert f"batch of {batch} images x 1 batches a step; learning rate 2e-05; {steps} steps, 6 images" in printed
    (last,) = (tmp_path / "runs/synthetic_flair").rglob("last*.ckpt")
    checkpoint = torch.load(last, weights_only=True)
    assert (checkpoint["global_step"], checkpoint["prior"]["card"]["history"][-1]["images"]) == (steps, 6)


@pytest.mark.slow
def test_scores_of_a_validation_do_not_depend_on_the_number_of_processes(cohort: Path, tmp_path: Path) -> None:
    """Four images in batches of three, and two reconstructions: neither comes out even."""
    data = (f"--data.root={cohort / 'multicoil_train'}", "--data.split.n_val=2", "--data.batch_size=3")
    sizes = ("--data.n_reconstructions=2", "--data.n_processes=1", "--sampler.n_steps=2", "--data.cache_dir=cache")
    lines = ("--data.pattern=Equispaced", "--data.pattern.acceleration=3", "--data.pattern.n_center=8")
    scores = []
    for n in (1, 3):
        printed = run(tmp_path, "validate", *data, *sizes, *lines, *on(n), n=n)
        rows = (line.split() for line in printed.splitlines() if line.startswith("val/"))
        scores.append({row[0]: float(row[1]) for row in rows})
    assert len(scores[0]) == 9
    assert scores[1] == pytest.approx(scores[0], abs=2e-4)


def test_a_run_of_two_processes_is_resumed_to_the_last_bit(fit: Fit, tmp_path: Path) -> None:
    def act() -> None:
        for folder, steps, last in (("whole", 5, None), ("cut", 3, None), ("cut", 5, tmp_path / "cut/last.ckpt")):
            fit(constant(steps), Images(), folder, module(), ckpt_path=last, devices=2, strategy="ddp")

    group = Group(tmp_path, n=2, act=act)
    assert group.wait() == [0, 0], group.printed()
    assert differing(tmp_path / "whole/last.ckpt", tmp_path / "cut/last.ckpt") == []
