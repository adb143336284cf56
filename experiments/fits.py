"""Trainings by the command line of the package: what the experiments that train have in common."""

import contextlib
import json
import shutil
from pathlib import Path
from typing import Any

from lightning_mri.__main__ import main
from lightning_mri.datasets import simulate
from lightning_mri.weights import load_prior


def fit(folder: Path, *arguments: str) -> None:
    """Run ``fit`` in an empty folder of its own."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    with contextlib.chdir(folder):
        main(["fit", *arguments])


def simulate_once(folder: Path, **settings: Any) -> None:
    """Run `simulate`, unless the folder is there; what was cut off is done anew."""
    if not folder.exists():
        shutil.rmtree(part := folder.with_suffix(".part"), ignore_errors=True)
        simulate(part, **settings)
        part.rename(folder)


def phase(settings: dict[str, Any], checkpoint: str | None = None, contrast: str | None = None) -> str:
    """Return the argument of a training phase: fine-tuning of a checkpoint if there is one, else pre-training."""
    name = "Pretrain" if checkpoint is None else "FineTune"
    start = {} if checkpoint is None else {"checkpoint": checkpoint}
    start |= {} if checkpoint is None or contrast is None else {"contrast": contrast}
    return f"--phase={json.dumps({'class_path': f'lightning_mri.training.{name}', 'init_args': settings | start})}"


def network_of(prior: str) -> list[str]:
    """Return the arguments of a prior's network, noise process and labels, to train it from random weights."""
    described, arguments = load_prior(prior).describe(), []
    for name, subpackage, key in (("net", "models", "network"), ("process", "diffusion", "process")):
        kind = {"class_path": f"lightning_mri.{subpackage}.{described[key]['class']}"}
        arguments.append(f"--model.{name}={json.dumps({**kind, 'init_args': described[key]['arguments']})}")
    return [*arguments, f"--model.labels={json.dumps(described['labels'])}"]
