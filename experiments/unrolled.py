"""Train the unrolled network that priors are compared with, on scans of the synthetic heads that priors are trained on.

A run that was cut off, by its time or otherwise, goes on where it was when the command is repeated.

    python experiments/unrolled.py --output runs/varnet-20.safetensors --n_subjects 20
    python experiments/unrolled.py --output runs/varnet-100.safetensors --n_subjects 100 --n_steps 1800
"""

import json
import warnings
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
from jsonargparse import auto_cli
from pytorch_lightning import LightningDataModule, Trainer, seed_everything
from pytorch_lightning.callbacks import Callback, ModelCheckpoint, Timer

from lightning_mri.baselines import UnrolledNetwork, save_unrolled
from lightning_mri.datasets import SyntheticHeads
from lightning_mri.evaluation.table_files import csv_text, read_csv
from lightning_mri.phantoms import LABELS
from lightning_mri.training import EMA, RandomScans, UnrolledModule


class Curve(Callback):
    """Append every validation to ``curve.csv``."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def on_validation_end(self, trainer: Trainer, pl_module: UnrolledModule) -> None:  # type: ignore[override]
        """Write a row."""
        if trainer.sanity_checking:
            return
        rows = [row for row in read_curve(self.path) if row[0] < trainer.global_step]
        rows.append((trainer.global_step, float(trainer.callback_metrics["val/nrmse"])))
        self.path.write_text(csv_text([("step", "val/nrmse"), *rows]))


class TimeOfThisCall(Timer):
    """Time limit that starts anew when a run goes on: Lightning's own counts from the first call."""

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Forget the time of earlier calls."""


def unrolled(
    output: Path,
    n_subjects: int = 20,
    n_steps: int = 4000,
    max_minutes: float | None = None,
    learning_rate: float = 2e-3,
    n_cascades: int = 5,
    width: int = 12,
    n_levels: int = 3,
    contrasts: tuple[str, ...] = LABELS,
    size: int = 144,
    n_val: int = 2,
    val_every: int = 200,
    scans: RandomScans = RandomScans(),  # noqa: B008 - frozen
    cache_dir: Path | None = None,
    seed: int = 2,
) -> None:
    """Train, and write the weights that were best on validation subjects.

    Args:
        output: File to write, ``.safetensors``; checkpoints are in the folder of that name.
        n_subjects: Subjects to train on, the first ones of a cohort; drawing one takes two seconds, unless it is in
            ``cache_dir`` since a prior was trained on it.
        n_steps: Optimiser steps, one scan each, over which the rate falls to 0.
        max_minutes: Longest time of this call; repeat it to go on.
        learning_rate: Of Adam, at first.
        n_cascades: Cascades of the network.
        width: Channels of its U-Nets.
        n_levels: Levels of its U-Nets.
        contrasts: Contrasts that may appear.
        size: Pixels of a slice along both axes.
        n_val: Subjects to validate on.
        val_every: Steps between validations.
        scans: How images become scans.
        cache_dir: Folder for the images; the user's cache folder if not given.
        seed: Of cohort and run.
    """
    seed_everything(seed)
    folder = output.with_suffix("")
    folder.mkdir(parents=True, exist_ok=True)
    data = SyntheticHeads(
        n_subjects, n_val, contrasts=contrasts, size=size, crop=None, batch_size=1, cache_dir=cache_dir, seed=seed
    )
    module = UnrolledModule(UnrolledNetwork(n_cascades, width, n_levels), scans, learning_rate)
    trainer = train(module, data, folder, n_steps, max_minutes, val_every)
    if not (folder / "best.ckpt").exists():
        print(f"{trainer.global_step} steps, none validated yet: repeat the command to go on")
        return
    module.load_state_dict(torch.load(folder / "best.ckpt", weights_only=True)["state_dict"])
    curve = read_curve(folder / "curve.csv")
    card = {
        "subjects": n_subjects,
        "images": len(data.train_dataloader()),
        "steps": trainer.global_step,
        "steps_planned": n_steps,
        "learning_rate": learning_rate,
        "parameters": sum(weight.numel() for weight in module.parameters()),
        "val_nrmse": [value for _, value in curve],
        "val_steps": [step for step, _ in curve],
    }
    save_unrolled(module.network, output, card)
    print(json.dumps(card))
    if trainer.global_step < n_steps:
        print(f"{trainer.global_step} of {n_steps} steps are done: repeat the command to go on")


def train(
    module: UnrolledModule,
    data: LightningDataModule,
    folder: Path,
    n_steps: int,
    max_minutes: float | None,
    val_every: int,
) -> Trainer:
    """Train to the end, or as long as there is time, from where the folder's last checkpoint is."""
    keep_last = ModelCheckpoint(folder, "last", every_n_train_steps=20, enable_version_counter=False)
    keep_best = ModelCheckpoint(folder, "best", monitor="val/nrmse", enable_version_counter=False)
    limit = TimeOfThisCall(None if max_minutes is None else timedelta(minutes=max_minutes))
    trainer = Trainer(
        max_epochs=-1,
        max_steps=n_steps,
        val_check_interval=val_every,
        check_val_every_n_epoch=None,
        limit_val_batches=16,
        num_sanity_val_steps=0,
        gradient_clip_val=1.0,
        accelerator="cpu",
        logger=False,
        default_root_dir=folder,
        enable_progress_bar=False,
        enable_model_summary=False,
        callbacks=[EMA(decay=0.99), Curve(folder / "curve.csv"), keep_last, keep_best, limit],
    )
    last = folder / "last.ckpt"
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*does not have many workers.*")
        trainer.fit(module, datamodule=data, ckpt_path=last if last.exists() else None, weights_only=True)
    return trainer


def read_curve(path: Path) -> list[tuple[int, float]]:
    """Return steps and validation errors so far."""
    return [(int(row["step"]), float(row["val/nrmse"])) for row in read_csv(path)] if path.exists() else []


if __name__ == "__main__":
    auto_cli(unrolled, as_positional=False)
