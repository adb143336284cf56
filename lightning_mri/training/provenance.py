"""How results were made, in words that go with them: command, weights, settings, versions."""

import json
import os
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

import lightning_mri
from lightning_mri.diffusion import NetworkPrior
from lightning_mri.evaluation import code_version
from lightning_mri.io import files_of
from lightning_mri.origin import IMPORTED, command_line, own_code
from lightning_mri.output import digest, fingerprint_of
from lightning_mri.training.reconstruction_module import ReconstructionModule
from lightning_mri.training.scores import ScoredScan
from lightning_mri.weights import fingerprint

SEEDS = "derive_seed(scan, slice, sample): of these three and nothing else"
CLASS_PATH = re.compile(r'"class_path": "(\w+)')


def settings_of(config: dict[str, Any]) -> dict[str, Any]:
    """Return the part of a configuration that a result depends on beside its scan."""
    chosen = {name: config[name] for name in ("model", "data", "results")}
    for name in ("root", "batch_size", "n_workers"):
        chosen["data"].get("init_args", {}).pop(name, None)
    for name in ("output_dir", "redo"):
        chosen["results"].pop(name, None)
    return {**chosen, "precision": config["trainer"]["precision"]}


def files_in(settings: Any) -> Iterator[Path]:
    """Yield what settings name at any depth: what was declared a path, and texts that are files' names."""
    # pathlib raises where a text is too long for a file's name
    if isinstance(settings, Path) or (isinstance(settings, str) and os.path.isfile(settings)):
        yield from files_of(settings)
    elif isinstance(settings, Mapping | list | tuple):
        for part in settings.values() if isinstance(settings, Mapping) else settings:
            yield from files_in(part)


def key_of(settings: Any, prior: NetworkPrior) -> str:
    """Return what changes with all that a result depends on beside its scan: settings, their files, prior and code."""
    text = json.dumps(settings, sort_keys=True, default=str)
    own = own_code([*IMPORTED, *CLASS_PATH.findall(text)])
    described = json.dumps(prior.describe(), sort_keys=True, default=str)  # its calibration, too
    code = (lightning_mri.__version__, code_version(*own))
    return digest(text, fingerprint_of(*files_in(settings)), fingerprint(prior), described, *code)


def run_of(module: ReconstructionModule, given: dict[str, Any]) -> dict[str, Any]:
    """Return what is the same in all results of a run, so that it can be repeated."""
    name, source = list(module.sources.items())[-1]
    extra = module.reconstructor.uncertainty
    return {
        **given,
        "command": command_line(),
        "version": lightning_mri.__version__,
        "torch_version": str(torch.__version__),
        "prior": name,
        "checkpoint": source,
        "weights_sha256": fingerprint(module.prior),
        "seeds": SEEDS,
        "nfe_uncertainty": 0 if extra is None else extra.n_samples * extra.sampler.nfe,
        "units": "those of the input's k-space",
    }


def methods_of(module: ReconstructionModule, cases: Sequence[ScoredScan], given: Mapping[str, Any]) -> dict[str, str]:
    """Return how the images of a test were made, for its page, ``table.json`` and W&B.

    Args:
        module: What made them.
        cases: All of them, which know what ran for each scan.
        given: What else is known of the run, such as its configuration.
    """
    weights = [fingerprint(prior) for prior in module.priors if isinstance(prior, NetworkPrior)]
    priors = zip(module.sources.items(), weights, strict=True)
    return {
        "command": command_line(),
        "priors": "\n".join(f"{name}: {file}, weights_sha256 {digits}" for (name, file), digits in priors),
        **_by_scan(cases),
        "baselines": "\n".join(f"{name}: {baseline!r}" for name, baseline in module.baselines.items()),
        "tuned on validation subjects": "\n".join(
            f"R = {acceleration}: {baseline!r}" for (_, acceleration), baseline in module.tuned.items()
        )
        or "nothing",
        "versions": f"lightning_mri {lightning_mri.__version__}, torch {torch.__version__}",
        **given,
    }


def _by_scan(cases: Sequence[ScoredScan]) -> dict[str, str]:
    """Return what ran for all cases once, and what differs case by case."""
    found: dict[str, dict[str, str]] = defaultdict(dict)
    for case in cases:
        for what, words in case.made.items():
            found[what][case.name] = words
    return {
        what: "\n".join(map(": ".join, each.items()) if len(set(each.values())) > 1 else set(each.values()))
        for what, each in found.items()
    }
