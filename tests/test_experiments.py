"""Every file under experiments/ runs through the real entry point, a few steps at a tiny size."""

import itertools
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import torch
import yaml

from lightning_mri.weights import load_prior

Command = Callable[..., str]
CONFIGS = sorted(
    path.relative_to("experiments").as_posix()
    for path in Path("experiments").rglob("*.yaml")
    if path.parent.name != "sweeps"
)
SMALL_UNET = ("--model.net.width=8", "--model.net.multipliers=[1,1]", "--model.net.attention_levels=[1]")


def fit(command: Command, config: str, folder: Path, *options: str | Path) -> Path:
    """Run two steps of an experiment and return the checkpoint it leaves."""
    command(
        "fit",
        "--config",
        f"experiments/{config}",
        "--phase.steps=2",
        "--phase.epochs=null",
        "--data.crop=[32,32]",
        "--data.batch_size=2",
        "--data.n_workers=0",
        "--data.n_processes=1",
        f"--data.cache_dir={folder}",
        f"--trainer.default_root_dir={folder}",
        "--trainer.precision=32-true",
        "--trainer.logger=false",
        "--trainer.check_val_every_n_epoch=1",
        "--trainer.enable_progress_bar=false",
        *options,
    )
    return next(folder.rglob("last.ckpt"))


def test_every_file_is_short() -> None:
    for config in CONFIGS:
        assert len((Path("experiments") / config).read_text().splitlines()) <= 26, config


def test_pretraining_on_fastmri_brain_leaves_flair_out(command: Command, cohort: Path, tmp_path: Path) -> None:
    options = (f"--data.root={cohort}", "--data.exclude=[T2w]", *SMALL_UNET, "--model.labels.6=FLAIR")
    path = fit(
        command,
        "pretrain/fastmri_brain.yaml",
        tmp_path,
        *options[:-1],
        "--model.labels=[FLAIR,spare-1]",
        "--model.net.n_labels=2",
    )
    assert load_prior(path).card["history"][0]["steps"] == 2


def test_stroke_finetuning_takes_a_spare_label(command: Command, cohort: Path, tmp_path: Path) -> None:
    options = (f"--data.root={cohort / 'multicoil_train'}", "--data.n_subjects=2", "--data.n_val=1")
    path = fit(
        command,
        "finetune/stroke_flair.yaml",
        tmp_path,
        *options,
        "--data.n_reconstructions=1",
        "--phase.checkpoint=brain-noflair",
    )
    tuned, shipped = load_prior(path), load_prior("brain-noflair")
    assert "FLAIR" in tuned.labels
    assert "FLAIR" not in shipped.labels
    assert [phase["phase"] for phase in tuned.card["history"]][-1] == "fine-tune"
    assert set(tuned.card["splits"]) >= {"train", "val"}


def test_synthetic_flair_finetuning_validates_by_reconstruction(command: Command, cohort: Path, tmp_path: Path) -> None:
    options = (f"--data.root={cohort / 'multicoil_train'}", "--data.n_subjects=2", "--data.n_val=1")
    path = fit(command, "finetune/synthetic_flair.yaml", tmp_path, *options, "--data.n_reconstructions=1")
    saved = torch.load(path.with_name("best.ckpt"), weights_only=True)
    score = next(v for k, v in saved["callbacks"].items() if "ModelCheckpoint" in k)["current_score"]
    assert 0 < float(score) < 1


def test_pretraining_on_synthetic_heads(command: Command, tmp_path: Path) -> None:
    path = fit(
        command,
        "pretrain/synthetic_noflair.yaml",
        tmp_path,
        "--model.net.widths=[8,8]",
        "--data.n_subjects=1",
        "--data.n_val=1",
        "--data.size=48",
        "--data.slices_per_subject=2",
    )
    assert load_prior(path).labels[0] == "T1w"


def test_shipped_prior_goes_on_with_all_contrasts(command: Command, tmp_path: Path) -> None:
    path = fit(
        command,
        "pretrain/synthetic.yaml",
        tmp_path,
        "--data.n_subjects=1",
        "--data.n_val=1",
        "--data.size=48",
        "--data.slices_per_subject=2",
    )
    assert "FLAIR" in load_prior(path).labels


def test_mouse_goes_from_knee_to_mouse(command: Command, cohort: Path, mouse_folder: Path, tmp_path: Path) -> None:
    knee = fit(command, "pretrain/fastmri_knee.yaml", tmp_path / "knee", f"--data.root={cohort}", *SMALL_UNET)
    mouse = fit(
        command,
        "mouse/finetune.yaml",
        tmp_path / "mouse",
        f"--phase.checkpoint={knee}",
        f"--data.root={mouse_folder}",
        "--data.n_subjects=1",
        "--data.n_val=1",
        "--data.n_test=1",
        "--data.degradation.pixel_size=0.4",
    )
    card = load_prior(mouse).card
    assert [phase["phase"] for phase in card["history"]] == ["pretrain", "fine-tune"]


def test_synthetic_mice(command: Command, tmp_path: Path) -> None:
    options = ("--data.n_subjects=1", "--data.n_val=1", "--data.n_test=1", "--data.slices_per_subject=2")
    path = fit(command, "mouse/synthetic.yaml", tmp_path, *options, "--data.size=48", *SMALL_UNET)
    assert type(load_prior(path).process).__name__ == "VP"


def test_sweep_runs_every_grid_point_as_the_agent_does(cohort: Path, tmp_path: Path) -> None:
    sweep = yaml.safe_load(Path("experiments/sweeps/finetune.yaml").read_text())
    names, values = zip(*((name, spec["values"]) for name, spec in sweep["parameters"].items()), strict=True)
    grid = list(itertools.product(*values))
    assert len(grid) == 20
    tiny = [
        f"--data.root={cohort / 'multicoil_train'}",
        "--phase.checkpoint=brain-noflair",
        "--data.n_subjects=2",
        "--data.n_val=1",
        "--data.crop=[32,32]",
        "--data.n_workers=0",
        "--data.n_processes=1",
        "--data.n_reconstructions=1",
        f"--data.cache_dir={tmp_path}",
        f"--trainer.default_root_dir={tmp_path}",
        "--trainer.precision=32-true",
        "--trainer.check_val_every_n_epoch=1",
        "--trainer.max_steps=1",
    ]
    environment = {**os.environ, "WANDB_MODE": "offline", "WANDB_DIR": str(tmp_path), "OMP_NUM_THREADS": "1"}
    for point in (grid[0], grid[-1]):
        arguments = [f"--{name}={value}" for name, value in zip(names, point, strict=True)]
        replaced = {
            "${env}": [],
            "${interpreter}": [sys.executable],
            "${program}": [sweep["program"]],
            "${args}": [*arguments, *tiny, "--phase.epochs=1"],
        }
        line = [word for part in sweep["command"] for word in replaced.get(part, [part])]
        done = subprocess.run(line, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
    runs = list(tmp_path.rglob("*.wandb"))
    assert len(runs) == 2
    saved = [yaml.safe_load(path.read_text()) for path in tmp_path.rglob("config.yaml")]
    assert any(json.dumps(grid[-1][0]) in json.dumps(config) for config in saved)
