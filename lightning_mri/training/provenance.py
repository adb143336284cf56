"""How results were made, in words that go with them: command, weights, settings, versions."""

import json
import sys
from typing import Any

import torch
import yaml  # type: ignore[import-untyped]

import lightning_mri
from lightning_mri.training.reconstruction_module import ReconstructionModule
from lightning_mri.weights import fingerprint

SEEDS = "derive_seed(scan, slice, sample): of these three and nothing else"


def settings_of(config: str) -> str:
    """Return the part of a configuration that a result depends on."""
    chosen = yaml.safe_load(config)
    for name in ("root", "batch_size", "n_workers"):
        chosen["data"].get("init_args", {}).pop(name, None)
    for name in ("output_dir", "redo"):
        chosen["results"].pop(name, None)
    return json.dumps([chosen[name] for name in ("model", "data", "results")], sort_keys=True)


def run_of(module: ReconstructionModule, given: dict[str, Any]) -> dict[str, Any]:
    """Return what is the same in all results of a run, so that it can be repeated."""
    name, source = list(module.sources.items())[-1]
    extra = module.reconstructor.uncertainty
    return {
        **given,
        "command": _command(),
        "version": lightning_mri.__version__,
        "torch_version": str(torch.__version__),
        "prior": name,
        "checkpoint": source,
        "weights_sha256": fingerprint(module.prior),
        "seeds": SEEDS,
        "nfe_uncertainty": 0 if extra is None else extra.n_samples * extra.sampler.nfe,
        "units": "those of the input's k-space",
    }


def methods_of(module: ReconstructionModule) -> dict[str, str]:
    """Return how the images of a test were made, for its page."""
    return {
        "command": _command(),
        "priors": "\n".join(f"{name}: {source}" for name, source in module.sources.items()),
        "sampler": repr(module.reconstructor.sampler),
        "baselines": "\n".join(f"{name}: {baseline!r}" for name, baseline in module.baselines.items()),
        "tuned on validation subjects": "\n".join(
            f"R = {acceleration}: {baseline!r}" for (_, acceleration), baseline in module.tuned.items()
        )
        or "nothing",
        "versions": f"lightning_mri {lightning_mri.__version__}, torch {torch.__version__}",
    }


def _command() -> str:
    """Return the command line that this process runs."""
    return " ".join(["python -m lightning_mri", *sys.argv[1:]])
