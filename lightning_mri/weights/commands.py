"""``weights show``, ``weights import`` and ``weights export``: what a file of weights is, and where it may go."""

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import torch

from lightning_mri.diffusion import NetworkPrior
from lightning_mri.files import check_replaceable
from lightning_mri.scaling import Scaling
from lightning_mri.weights.files import find_prior, load_prior, prior_of, read_described, save_prior
from lightning_mri.weights.importers import PublishedLayout, import_prior
from lightning_mri.weights.provenance import fingerprint

PRECISIONS = {"fp16": torch.float16, "fp32": torch.float32}
MOST_SHOWN, FEW_SHOWN = 12, 4  # of a list: all, or else the first


def show(path: str) -> str:
    """Describe a prior: network, noise process, scale contract, labels, splits, history, origin and fingerprint.

    Args:
        path: Name of a shipped prior, or a ``.safetensors`` file or Lightning checkpoint.

    Raises:
        ValueError: If it is not a prior; see `load_prior`.
    """
    file = find_prior(path)
    description, origin, weights = read_described(file)
    prior = prior_of(description, weights)
    return "\n".join(f"{name:<12} {value}" for name, value in _lines(file, prior, origin))


def import_weights(
    path: str,
    layout: PublishedLayout,
    output: Path,
    labels: Sequence[str] = (),
    scaling: Scaling = Scaling(),  # noqa: B008 - frozen
) -> str:
    """Write a published checkpoint as a prior of this package, in single precision.

    Args:
        path: The published file; nothing in it is run.
        layout: The code base that wrote it.
        output: The ``.safetensors`` file to write.
        labels: Contrast names of its labels; further names start as "no label", for contrasts met later.
        scaling: How its training images were scaled, which such files do not tell.

    Returns:
        What was imported, tensors left out and what the file does not tell included.

    Raises:
        ValueError: If the file is not laid out so; see `import_prior`.
        FileExistsError: If ``output`` is there and is the published file, or another program's.
    """
    check_replaceable(output, [Path(path)], b'"prior"')
    prior = import_prior(path, layout, tuple(labels), scaling)
    save_prior(prior, output, torch.float32)
    return show(str(output))


def export_weights(path: str, output: Path, precision: Literal["fp16", "fp32"] = "fp16") -> str:
    """Write the averaged weights of a checkpoint, without optimiser and names of scans, as a ``.safetensors`` file.

    Args:
        path: A Lightning checkpoint, or any other prior.
        output: The ``.safetensors`` file to write.
        precision: Of the weights in the file.

    Returns:
        What was written.

    Raises:
        ValueError: If it is not a prior, or does not fit the precision; see `save_prior`.
        FileExistsError: If ``output`` is there and is the checkpoint itself, or another program's file.
    """
    check_replaceable(output, [Path(path)], b'"prior"')
    prior = load_prior(path)
    prior.card.pop("splits", None)  # names of files, often of patients, stay with the run
    save_prior(prior, output, PRECISIONS[precision])
    return show(str(output))


def _lines(file: Path, prior: NetworkPrior, origin: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    description = prior.describe()
    yield "file", f"{file} ({file.stat().st_size / 1e6:.1f} MB)"
    yield "network", _call(description["network"])
    yield "parameters", f"{sum(parameter.numel() for parameter in prior.parameters()):,}"
    yield "noise", f"{_call(description['process'])}, sigma {prior.sigma_min:.3g} ... {prior.sigma_max:.3g}"
    yield "scale", f"percentile {prior.scaling.percentile:g} of abs(image) is 1; FFT norm {prior.scaling.fft_norm}"
    yield "labels", _text(description["labels"])
    card = dict(prior.card)
    splits, told = card.pop("splits", None), card.pop("history", None)
    history = told if isinstance(told, list) else []
    for name, names in splits.items() if isinstance(splits, Mapping) else ():
        yield f"split {_text(name)}", _text(names)
    for number, phase in enumerate(history, 1):
        yield f"phase {number}", _phase(phase)
    for name, value in card.items():
        yield _text(name), _text(value)
    yield "written by", f"lightning_mri {_text(origin.get('version', 'unknown'))}"
    yield "commit", _text(origin.get("commit", "unknown"))
    yield "fingerprint", fingerprint(prior)
    for phase in history:
        if isinstance(phase, Mapping) and "assumed" in phase:
            yield "assumed", f"{_text(phase['assumed'])}: the published file does not tell"


def _call(described: Mapping[str, Any]) -> str:
    """Return a class and its arguments."""
    return f"{described['class']}({_text(described['arguments'])})"


def _phase(phase: Any) -> str:
    """Return the kind of a phase, and what else is told of it, without the assumptions, which come last."""
    if not isinstance(phase, Mapping) or "phase" not in phase:
        return _text(phase)
    others = {name: value for name, value in phase.items() if name not in ("phase", "assumed")}
    return f"{_text(phase['phase'])}: {_text(others)}"


def _text(value: Any) -> str:
    """Return plain values as text without control characters, which a file may hold and a terminal obey."""
    if isinstance(value, Mapping):
        return ", ".join(f"{_text(key)} {_text(item)}" for key, item in value.items() if item is not None) or "none"
    if isinstance(value, list | tuple) and len(value) > MOST_SHOWN:
        return f"{_text(value[:FEW_SHOWN])} ... ({len(value)} in all)"
    if isinstance(value, list | tuple):
        return ", ".join(_text(item) for item in value) or "none"
    text = f"{value:.4g}" if isinstance(value, float) else str(value)
    return text if text.isprintable() else json.dumps(text)
