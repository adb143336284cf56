"""Two processes do what one does: training runs, and a prediction is the same to the last bit."""

import os
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest

from .test_resume import differing

ROOT = Path(__file__).parents[2]
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
TWO = ("--trainer.accelerator=cpu", "--trainer.devices=2", "--trainer.strategy=ddp")


def run(folder: Path, *arguments: str) -> str:
    line = [sys.executable, "-m", "lightning_mri", *arguments]
    done = subprocess.run(line, cwd=folder, env=ENVIRONMENT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


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


@pytest.mark.slow
def test_prediction_with_two_processes_is_bitwise_the_same(undersampled: Path, tmp_path: Path) -> None:
    common = (
        "predict",
        f"--config={ROOT}/experiments/reconstruct.yaml",
        f"--data.root={undersampled}",
        "--data.batch_size=2",
        "--model.sampler=HQS",
        "--model.sampler.n_steps=3",
        "--model.uncertainty.n_samples=2",
    )
    run(tmp_path, *common, "--output_dir=one")
    run(tmp_path, *common, "--output_dir=two", *TWO)
    assert sorted(path.name for path in (tmp_path / "two").glob("[!.]*")) == [
        "a.h5", "a.png", "a_view", "b.h5", "b.png", "b_view", "index.html"
    ]  # fmt: skip
    for name, n_slices in (("a", 3), ("b", 2)):
        with h5py.File(tmp_path / "one" / f"{name}.h5") as one, h5py.File(tmp_path / "two" / f"{name}.h5") as two:
            assert one["reconstruction"].shape[0] == n_slices
            for dataset in ("reconstruction", "image", "std", "mask"):
                assert np.array_equal(one[dataset][:], two[dataset][:]), (name, dataset)
            assert np.isfinite(one["std"][:]).all()


def test_a_process_without_a_batch_waits_for_the_others(undersampled: Path, cohort: Path, tmp_path: Path) -> None:
    """Regression: one scan of 16 slices on four GPUs ended in an AssertionError."""
    quick = ("--model.sampler=HQS", "--model.sampler.n_steps=2", "--model.uncertainty=null")
    scan = f"--data.root={undersampled / 'b.npy'}"
    run(tmp_path, "predict", f"--config={ROOT}/experiments/reconstruct.yaml", scan, "--output_dir=out", *quick, *TWO)
    with h5py.File(tmp_path / "out" / "b.h5") as file:
        assert file["image"].shape[0] == 2
    folders = (f"--data.root={cohort}/multicoil_train", f"--data.test_root={cohort}/multicoil_test")
    subjects = ("--data.n_subjects=2", "--data.n_val=1", "--model.baselines={}", "--model.priors={brain: brain}")
    data = ("--data=lightning_mri.datasets.StrokeFLAIR", "--data.accelerations=[2]", *folders, *subjects)
    run(tmp_path, "test", *data, "--output_dir=scores", *quick, *TWO)
    assert len((tmp_path / "scores" / "table.csv").read_text().splitlines()) == 2


@pytest.mark.slow
def test_training_with_two_processes_saves_one_checkpoint(cohort: Path, tmp_path: Path) -> None:
    run(
        tmp_path,
        "fit",
        f"--config={ROOT}/experiments/finetune/synthetic_flair.yaml",
        f"--data.root={cohort / 'multicoil_train'}",
        "--data.n_subjects=2",
        "--data.n_val=1",
        "--data.crop=[32,32]",
        "--data.batch_size=2",
        "--data.n_reconstructions=1",
        "--data.pattern=Equispaced",
        "--data.pattern.acceleration=3",
        "--data.pattern.n_center=8",
        "--phase.epochs=null",
        "--phase.steps=2",
        "--trainer.check_val_every_n_epoch=1",
        *TWO,
    )
    assert [path.name for path in (tmp_path / "runs/synthetic_flair").glob("last*.ckpt")] == ["last.ckpt"]


def test_a_run_of_two_processes_is_resumed_to_the_last_bit(tmp_path: Path) -> None:
    script = Path(__file__).with_name("two_processes.py")
    line = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", script, tmp_path]
    done = subprocess.run(line, env=ENVIRONMENT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert differing(tmp_path / "whole/last.ckpt", tmp_path / "cut/last.ckpt") == []
