"""Commands that are killed at random moments lose nothing: 100 times each by `make chaos`, a few times in the tests."""

import os
import random
import signal
import time
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch

from lightning_mri.diffusion import EDM, NetworkPrior
from lightning_mri.origin import commit
from lightning_mri.training.checkpoint import read_run
from lightning_mri.weights import save_prior
from tests.processes import Group, run
from tests.training.conftest import LABELS, network
from tests.training.test_resume import differing

KILLS = int(os.environ.get("CHAOS", "4"))
SIGNALS = (signal.SIGKILL, signal.SIGTERM, signal.SIGUSR1)
DONE = {0, 4}  # 4: slices that should not be trusted
Command = tuple[str, ...]
CPU = ("--trainer.accelerator=cpu",)
QUIET = ("--trainer.enable_progress_bar=false",)


@pytest.fixture(scope="module")
def prior(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny prior."""
    commit()  # once for all processes, since files may be edited meanwhile
    path = tmp_path_factory.mktemp("prior") / "tiny.safetensors"
    save_prior(NetworkPrior(network(), EDM(), labels=LABELS, card={"history": [{"phase": "pretrain"}]}), path)
    return path


def fit(cohort: Path, prior: Path) -> Command:
    data = (f"--data.root={cohort / 'multicoil_train'}", "--data.n_subjects=2", "--data.n_val=1", "--data.crop=[32,32]")
    lines = ("--data.pattern=Equispaced", "--data.pattern.n_center=8", "--data.n_reconstructions=1")
    phase = (f"--phase.checkpoint={prior}", "--phase.epochs=6", "--trainer.check_val_every_n_epoch=2")
    saved = ("--checkpoint.every_n_train_steps=1", "--checkpoint.monitor=null", "--checkpoint.filename=null")
    place = ("--checkpoint.dirpath=out", "--ckpt_path=last", "--data.cache_dir=cache", "--data.batch_size=1")
    return "fit", "--config=finetune/synthetic_flair", *data, *lines, *phase, *saved, *place, *CPU, *QUIET


def prepare(cohort: Path, prior: Path) -> Command:
    return "prepare", f"--root={cohort}", "--output_dir=out", "--n_processes=1"


def predict(cohort: Path, prior: Path) -> Command:
    sampler = ("--model.sampler=HQS", "--model.sampler.n_steps=5", f"--model.prior={prior}", "--model.uncertainty=null")
    return (
        *("predict", f"--data.root={cohort / 'multicoil_train'}", "--output_dir=out", "--data.batch_size=1"),
        *sampler,
        *CPU,
    )


def steps(folder: Path) -> int:
    """Return how far a run has got; what it left can be gone on from."""
    last = folder / "out/last.ckpt"
    return int(read_run(last)["global_step"]) if last.exists() else 0


def slices(folder: Path) -> int:
    """Return how many arrays can be seen; each of them is whole."""
    paths = [path for path in (folder / "out").rglob("[!.]*") if path.suffix in (".h5", ".npy")]
    return sum(len(arrays_of(path)) for path in paths)


def arrays_of(path: Path) -> dict[str, np.ndarray]:
    if path.suffix == ".npy":
        return {"array": np.load(path)}
    with h5py.File(path) as file:
        return {name: file[name][()] for name in file}


def assert_same_run(whole: Path, cut: Path) -> None:
    assert differing(whole / "out/last.ckpt", cut / "out/last.ckpt") == []
    assert (whole / "out/curve.csv").read_text() == (cut / "out/curve.csv").read_text()


def assert_same_files(whole: Path, cut: Path) -> None:
    one, two = ({path.relative_to(each): path for path in (each / "out").rglob("*")} for each in (whole, cut))
    assert one.keys() == two.keys()
    for name, path in one.items():
        if path.suffix in (".h5", ".npy"):
            first, second = arrays_of(path), arrays_of(two[name])
            assert first.keys() == second.keys()
            assert all(np.array_equal(first[key], second[key], equal_nan=True) for key in first), name


@pytest.mark.slow
@pytest.mark.parametrize(
    ("line", "progress", "assert_same"),
    [(fit, steps, assert_same_run), (prepare, slices, assert_same_files), (predict, slices, assert_same_files)],
)
def test_killed_at_random_moments_nothing_is_lost(
    line: Callable[[Path, Path], Command],
    progress: Callable[[Path], int],
    assert_same: Callable[[Path, Path], None],
    cohort: Path,
    prior: Path,
    tmp_path: Path,
) -> None:
    torch.set_num_threads(1)
    command, chance = line(cohort, prior), random.Random(f"{line.__name__} {KILLS}")
    begin = time.monotonic()
    run(tmp_path / "whole", *command)
    duration = time.monotonic() - begin
    codes, n_runs = list[int](), 0
    while len(codes) < KILLS:
        folder, done = tmp_path / f"cut-{n_runs}", 0
        folder.mkdir()
        while True:
            group = Group(folder, *command)
            end = time.monotonic() + duration * chance.random()
            while len(codes) < KILLS and time.monotonic() < end and not group.poll():
                time.sleep(0.002)
            if len(codes) < KILLS:
                group.kill(chance.choice(SIGNALS))
            (code,) = group.wait()
            before, done = done, progress(folder)
            assert done >= before
            if code in DONE:
                break
            assert -code in SIGNALS or code - 128 in SIGNALS, group.printed()
            codes.append(code)
        assert_same(tmp_path / "whole", folder)
        n_runs += 1
    counts = ", ".join(f"{codes.count(code)} x {code}" for code in sorted(set(codes)))
    print(f"{line.__name__}: {len(codes)} kills ({counts}) in {n_runs} runs, each in the end as if left alone")
