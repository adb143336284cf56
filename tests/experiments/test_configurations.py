"""Every configuration that ships runs through the real entry point, a few steps at a tiny size."""

import itertools
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import yaml

from lightning_mri.cli.options import CONFIGURATIONS
from lightning_mri.datasets import StrokeFLAIR, trained_on
from lightning_mri.models import DDPMPP, Style, UNet
from lightning_mri.weights import load_prior
from tests.experiments.conftest import EXPERIMENTS

Command = Callable[..., str]
ROOT = Path(__file__).parents[2]
RECONSTRUCTION = (
    *("--data.n_reconstructions=1", "--data.pattern=Equispaced", "--data.pattern.acceleration=3"),
    "--data.pattern.n_center=8",
)
SMALL_UNET = ("--model.net.width=8", "--model.net.multipliers=[1,1]", "--model.net.attention_levels=[1]")


def fit(command: Command, config: str, folder: Path, *options: str | Path) -> Path:
    """Run two steps of an experiment and return the checkpoint it leaves."""
    command(
        *("fit", "--config", EXPERIMENTS / config, "--phase.epochs=null", "--phase.images=null"),
        *("--phase.steps=2", "--data.crop=[32,32]", "--data.batch_size=2", "--data.n_workers=0"),
        *("--data.n_processes=1", f"--data.cache_dir={folder}", "--trainer.precision=32-true"),
        *("--trainer.logger=false", "--trainer.check_val_every_n_epoch=1"),
        "--trainer.enable_progress_bar=false",
        *options,
    )
    return max(Path.cwd().rglob("last.ckpt"), key=lambda path: path.stat().st_mtime)


def test_every_file_is_short() -> None:
    for path in [*EXPERIMENTS.rglob("*.yaml"), *CONFIGURATIONS.rglob("*.yaml")]:
        assert len(path.read_text().splitlines()) <= 26, path


def test_the_network_of_the_stroke_paper_is_built_from_its_file() -> None:
    net = yaml.safe_load((CONFIGURATIONS / "pretrain" / "fastmri_brain.yaml").read_text())["model"]["net"]["init_args"]
    assert Style(**net["style"]) == DDPMPP
    with torch.device("meta"):
        network = UNet(**{**net, "style": Style(**net["style"])}, n_labels=0)
    assert sum(parameter.numel() for parameter in network.parameters()) == 64_669_570  # 64.7 M, before labels


@pytest.mark.slow
def test_pretraining_on_fastmri_brain(command: Command, cohort: Path, tmp_path: Path) -> None:
    labels = ("--model.labels=[FLAIR,spare-1]", "--model.net.n_labels=2", "--data.exclude=[T2w]")
    path = fit(
        command, "pretrain/fastmri_brain.yaml", tmp_path, f"--data.root={cohort}", *labels, *SMALL_UNET, *RECONSTRUCTION
    )
    entry = load_prior(path).card["history"][0]
    assert entry["steps"] == 2
    expected = {"data": "FastMRIBrain", "contrasts": ["FLAIR"], "crop": [32, 32], "batch_size": 2}
    assert entry["trained_on"].items() >= expected.items()


@pytest.mark.slow
def test_stroke_finetuning_takes_a_spare_label(command: Command, cohort: Path, tmp_path: Path) -> None:
    options = (f"--data.root={cohort / 'multicoil_train'}", "--data.n_subjects=2", "--data.n_val=1")
    path = fit(command, "finetune/stroke_flair.yaml", tmp_path, *options, *RECONSTRUCTION)
    tuned, shipped = load_prior(path), load_prior("brain-noflair")
    assert "FLAIR" in tuned.labels
    assert "FLAIR" not in shipped.labels
    assert [phase["phase"] for phase in tuned.card["history"]][-1] == "fine-tune"
    assert set(tuned.card["splits"]) >= {"train", "val"}
    scans = StrokeFLAIR(cohort / "multicoil_train", 2, 1).scans
    seen, new = scans["train"][0].subject, scans["val"][0].subject
    assert (trained_on(tuned.card, seen), trained_on(tuned.card, new)) == (True, False)
    assert seen not in str(tuned.card["trained_subjects"])


# a resumed run ends the epoch that it was saved in without validating again
@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*could not find the monitored key")
def test_synthetic_flair_finetuning_validates_by_reconstruction(command: Command, cohort: Path, tmp_path: Path) -> None:
    options = (f"--data.root={cohort / 'multicoil_train'}", "--data.n_subjects=2", "--data.n_val=1")
    options += ("--phase.strategy=LoRA", "--phase.strategy.rank=2")
    path = fit(command, "finetune/synthetic_flair.yaml", tmp_path, *options, *RECONSTRUCTION)
    saved = torch.load(path.with_name("best.ckpt"), weights_only=True)
    steps = fit(
        command,
        "finetune/synthetic_flair.yaml",
        tmp_path,
        *options,
        *RECONSTRUCTION,
        *("--phase.checkpoint=null", f"--ckpt_path={path}", "--phase.steps=4"),
    )
    assert torch.load(steps, weights_only=True)["global_step"] == 4
    score = next(v for k, v in saved["callbacks"].items() if "Checkpoint" in k)["current_score"]
    assert 0 < float(score) < 1


@pytest.mark.slow
def test_pretraining_on_synthetic_heads(command: Command, tmp_path: Path) -> None:
    path = fit(
        command,
        "pretrain/synthetic_noflair.yaml",
        tmp_path,
        "--model.compile_backend=null",
        *("--model.net.widths=[8,8]", "--data.n_subjects=1", "--data.n_val=1", "--data.size=48"),
        "--data.slices_per_subject=2",
    )
    assert load_prior(path).labels[0] == "T1w"


@pytest.mark.slow
def test_shipped_prior_goes_on_with_all_contrasts(command: Command, tmp_path: Path) -> None:
    path = fit(
        command,
        "pretrain/synthetic.yaml",
        tmp_path,
        *("--model.compile_backend=null", "--data.n_subjects=1"),
        *("--data.n_val=1", "--data.size=48", "--data.slices_per_subject=2"),
    )
    assert "FLAIR" in load_prior(path).labels


@pytest.mark.slow
def test_mouse_goes_from_knee_to_mouse_to_reconstruction(
    command: Command, cohort: Path, mouse_folder: Path, tmp_path: Path
) -> None:
    labels = ("--model.labels=[FLAIR,spare-1]", "--model.net.n_labels=2")
    knee = fit(command, "pretrain/fastmri_knee.yaml", tmp_path, f"--data.root={cohort}", *labels, *SMALL_UNET)
    mice = (f"--data.root={mouse_folder}", "--data.degradation.pixel_size=0.4")
    few = ("--data.n_subjects=1", "--data.n_val=1", "--data.n_test=1")
    mouse = fit(command, "mouse/finetune.yaml", tmp_path, f"--phase.checkpoint={knee}", *mice, *few)
    assert [phase["phase"] for phase in load_prior(mouse).card["history"]] == ["pretrain", "fine-tune"]
    printed = command(
        *("test", "--config", EXPERIMENTS / "mouse/reconstruct.yaml", *mice, *few),
        *(f"--data.cache_dir={tmp_path}", "--data.crop=[32,32]", "--model.sampler.n_steps=3"),
        "--output_dir=results",
    )
    assert "mouse prior" in printed
    assert "degraded" in printed


@pytest.mark.slow
def test_synthetic_mice_and_their_reconstruction(command: Command, tmp_path: Path) -> None:
    few = ("--data.n_subjects=1", "--data.n_val=1", "--data.n_test=1", "--data.slices_per_subject=2", "--data.size=48")
    path = fit(command, "mouse/synthetic.yaml", tmp_path, *few, *SMALL_UNET)
    assert type(load_prior(path).process).__name__ == "VP"
    printed = command(
        *("test", "--config", EXPERIMENTS / "mouse/reconstruct_synthetic.yaml", *few),
        *(f"--data.cache_dir={tmp_path}", "--data.crop=[32,32]", "--model.sampler.n_steps=2"),
        "--output_dir=results",
    )
    assert "CG" in printed


@pytest.mark.slow
def test_comparison_writes_table_picture_and_page(command: Command, cohort: Path, tmp_path: Path) -> None:
    printed = command(
        *("test", "--config", EXPERIMENTS / "test.yaml", f"--data.root={cohort / 'multicoil_train'}"),
        *(f"--data.test_root={cohort / 'multicoil_test'}", "--data.n_subjects=2", "--data.n_val=1"),
        *(f"--data.cache_dir={tmp_path}", "--data.accelerations=[2,3]", *RECONSTRUCTION),
        '--model.priors={"shipped": "brain-noflair", "all contrasts": "brain"}',
        *("--model.sampler=HQS", "--model.sampler.n_steps=3", "--model.uncertainty.n_samples=2"),
        "--output_dir=results",
    )
    for method in ("zero-filled", "CG-SENSE", "L1-wavelet", "shipped", "all contrasts"):
        assert printed.count(f" {method} ") == 2, method
    written = {path.name for path in Path("results").iterdir() if not path.name.startswith(".")}
    tables = {"table.csv", "table.json", "table.md", "table.txt", "differences.csv"}
    assert written == {*tables, "picture.png", "index.html", "view"}
    assert "data:image/png" in Path("results/index.html").read_text()


@pytest.mark.slow
def test_published_reconstruction_of_stroke_is_dps_along_the_ode(
    command: Command, cohort: Path, tmp_path: Path
) -> None:
    config = EXPERIMENTS / "stroke/dps.yaml"
    sampler = yaml.safe_load(config.read_text())["model"]["sampler"]["init_args"]
    assert (sampler["n_steps"], sampler["sigma_max"], sampler["sigma_min"]) == (500, 10, 0.002)
    printed = command(
        *("test", "--config", config, "--output_dir=results", "--model.baselines={}", "--data.accelerations=[5]"),
        *(f"--data.root={cohort / 'multicoil_train'}", f"--data.test_root={cohort / 'multicoil_test'}"),
        *("--data.n_subjects=2", "--data.n_val=1", f"--data.cache_dir={tmp_path}", *RECONSTRUCTION),
        *('--model.priors={"shipped": "brain-noflair"}', "--model.sampler.n_steps=2", "--model.sampler.zeta=1.2"),
    )
    assert " shipped " in printed


@pytest.mark.slow
def test_sweep_runs_every_value_of_the_grid_as_the_agent_does(command: Command, cohort: Path, tmp_path: Path) -> None:
    sweep = yaml.safe_load((CONFIGURATIONS / "sweeps/finetune.yaml").read_text())
    names, values = zip(*((name, spec["values"]) for name, spec in sweep["parameters"].items()), strict=True)
    grid = list(itertools.product(*values))
    assert len(grid) == 20
    # every value once: first and last point in processes of their own as the agent's, the others in this one
    points = [tuple(column[k % len(column)] for column in values) for k in range(max(map(len, values)))]
    points[0], points[-1] = grid[0], grid[-1]
    assert all(set(column) == {point[i] for point in points} for i, column in enumerate(values))
    tiny = [
        *(f"--data.root={cohort / 'multicoil_train'}", "--data.n_subjects=2", "--data.n_val=1"),
        *("--data.crop=[32,32]", "--data.n_workers=0", "--data.n_processes=1", *RECONSTRUCTION),
        *(f"--data.cache_dir={tmp_path}", "--trainer.precision=32-true", "--trainer.check_val_every_n_epoch=1"),
        "--trainer.limit_train_batches=1",
    ]
    environment = {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "WANDB_MODE": "offline",
        "WANDB_DIR": str(tmp_path),
        "OMP_NUM_THREADS": "1",
    }
    for point in points:
        arguments = [f"--{name}={value}" for name, value in zip(names, point, strict=True)]
        replaced = {
            "${env}": [],
            "${interpreter}": [sys.executable],
            "${program}": [sweep["program"]],
            "${args}": [*arguments, *tiny, "--phase.epochs=1"],
        }
        line = [
            word.replace("experiments", str(EXPERIMENTS))
            for part in sweep["command"]
            for word in replaced.get(part, [part])
        ]
        if point not in (grid[0], grid[-1]):
            command(*line[3:], "--trainer.logger=false", "--trainer.enable_progress_bar=false")
            continue
        done = subprocess.run(line, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
    runs = list(tmp_path.rglob("*.wandb"))
    assert len(runs) == 2
    saved = [yaml.safe_load(path.read_text()) for path in tmp_path.rglob("config.yaml")]
    assert any(json.dumps(grid[-1][0]) in json.dumps(config) for config in saved)
