"""Priors as files: safetensors with the description in the header, or the checkpoints of Lightning."""

import json
import os
import pickle
import re
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from lightning_mri import diffusion, models
from lightning_mri.diffusion import NetworkPrior
from lightning_mri.scaling import Scaling

SHIPPED = Path(__file__).parent
SUFFIXES = (".safetensors", ".ckpt")
FIELDS = ("network", "process", "scaling", "labels", "card")


def names() -> tuple[str, ...]:
    """Return the names of the priors that ship with the package."""
    return tuple(sorted(path.stem for path in SHIPPED.glob("*.safetensors")))


def load_prior(name_or_path: str | Path, device: torch.device | str = "cpu") -> NetworkPrior:
    """Load a prior, in single precision, for evaluation and without gradients of its weights.

    Args:
        name_or_path: Name of a shipped prior, or path of a ``.safetensors`` file or of a Lightning ``.ckpt``,
            whose averaged weights are taken.
        device: Where to put it.

    Raises:
        ValueError: If the name is not known, the file is not a prior or holds more than plain data, or its
            weights do not fit the network that it describes; missing, extra and mis-shaped ones are listed.
        FileNotFoundError: If there is no such file.
    """
    path = _find(name_or_path)
    description, weights = _read_safetensors(path) if path.suffix == SUFFIXES[0] else _read_checkpoint(path)
    try:
        prior = build_prior(description)
        _fill(prior, weights)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
    return prior.to(device).eval().requires_grad_(False)


def save_prior(prior: NetworkPrior, path: str | Path) -> None:
    """Write a prior in half precision, with its description as JSON in the header; whole or not at all.

    Equal priors give equal files.

    Raises:
        ValueError: If the path does not end in ``.safetensors``, a weight overflows half precision, or the
            card holds more than plain values.
        OSError: If the file cannot be written.
    """
    path = Path(path)
    if path.suffix != SUFFIXES[0]:
        raise ValueError(f"path must end in {SUFFIXES[0]}: got {path}")
    weights = {name: value.detach().cpu().half().contiguous() for name, value in prior.state_dict().items()}
    overflown = [name for name, value in weights.items() if not value.isfinite().all()]
    if overflown:
        raise ValueError(f"weights must be finite in half precision: got others in {', '.join(overflown)}")
    try:
        header = {"prior": json.dumps(prior.describe(), sort_keys=True, allow_nan=False)}
    except (TypeError, ValueError) as error:
        raise ValueError(f"card must hold plain values that JSON can write: {error}") from error
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        part.write_bytes(safetensors.torch.save(weights, header))
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)


def build_prior(description: Mapping[str, Any]) -> NetworkPrior:
    """Make an untrained prior from `NetworkPrior.describe`.

    Raises:
        ValueError: If a field is missing, extra, or does not say what it should.
    """
    if set(description) != set(FIELDS):
        raise ValueError(
            f"description must have the fields {', '.join(FIELDS)}: got {', '.join(map(str, description))}"
        )
    try:
        return NetworkPrior(
            net=models.build(description["network"]),
            process=diffusion.build(description["process"]),
            scaling=Scaling(**description["scaling"]),
            labels=tuple(description["labels"]),
            card=description["card"],
        )
    except (TypeError, AttributeError) as error:
        raise ValueError(f"description must be that of a prior: {error}") from error


def _find(name_or_path: str | Path) -> Path:
    """Return the file of a shipped prior, or the file itself."""
    if name_or_path in names():
        return SHIPPED / f"{name_or_path}{SUFFIXES[0]}"
    path = Path(name_or_path)
    if path.suffix not in SUFFIXES:
        raise ValueError(
            f"prior must be one of {', '.join(names()) or '(none ships)'}, or a path that ends in "
            f"{' or '.join(SUFFIXES)}: got {str(name_or_path)!r}"
        )
    if not path.is_file():
        raise FileNotFoundError(f"prior {path} must be a file: there is none")
    return path


def _read_safetensors(path: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Return description and weights."""
    try:
        with safe_open(path, framework="pt") as file:
            header = file.metadata() or {}
            weights = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - no iterator
    except SafetensorError as error:
        raise ValueError(f"{path} must be a safetensors file: {error}") from error
    try:
        description = json.loads(header["prior"])
    except (KeyError, ValueError) as error:
        raise ValueError(f"{path} must describe its prior as JSON in the header's field 'prior'") from error
    return _as_description(path, description), weights


def _read_checkpoint(path: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Return description and averaged weights of a checkpoint of `PriorModule`, running nothing in it."""
    try:
        checkpoint = _read_plain(path)
    except pickle.UnpicklingError as error:
        asked = re.search(r"GLOBAL (\S+)", str(error))
        reason = f"it asks for {asked[1]}" if asked else "it is something else"
        raise ValueError(f"{path} was refused, as it must hold plain data only: {reason}") from error
    except (RuntimeError, EOFError, LookupError, AttributeError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} must be a checkpoint that torch can read: it is damaged") from error
    if not isinstance(checkpoint, dict) or not {"prior", "state_dict"} <= checkpoint.keys():
        raise ValueError(f"{path} must hold 'prior' and 'state_dict', as checkpoints of PriorModule do")
    state = checkpoint["state_dict"]
    weights = {name.removeprefix("prior."): state[name] for name in state if name.startswith("prior.net.")}
    return _as_description(path, checkpoint["prior"]), weights


def _read_plain(path: Path) -> Any:
    """Return what torch saved, if that is tensors and plain values only."""
    with path.open("rb") as file, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch's doubts about a foreign pickle, which it then refuses
        try:
            return torch.load(file, map_location="cpu", weights_only=True)
        except OSError as error:  # the file is open: torch was sent to a place that is not in it
            raise EOFError(str(error)) from error


def _as_description(path: Path, description: Any) -> dict[str, Any]:
    """Return a description if it is a mapping at all."""
    if not isinstance(description, dict):
        raise ValueError(f"{path} must describe its prior by named fields: got {type(description).__name__}")
    return description


def _fill(prior: NetworkPrior, weights: Mapping[str, Tensor]) -> None:
    """Put weights in their places, or list every one that has none."""
    places = prior.state_dict()
    faults = [f"missing {name}" for name in places if name not in weights]
    faults += [f"extra {name}" for name in weights if name not in places]
    faults += [
        f"{name} is {tuple(weights[name].shape)} instead of {tuple(places[name].shape)}"
        for name in places
        if name in weights and weights[name].shape != places[name].shape
    ]
    if faults:
        raise ValueError(f"weights must be exactly those of {type(prior.net).__name__}: {'; '.join(faults)}")
    prior.load_state_dict({name: value.float() for name, value in weights.items()})
