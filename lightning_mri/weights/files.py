"""Priors as files: safetensors with the description in the header, or the checkpoints of Lightning."""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from lightning_mri import diffusion, models
from lightning_mri.diffusion import NetworkPrior
from lightning_mri.files import write_whole
from lightning_mri.messages import sentence
from lightning_mri.scaling import Scaling
from lightning_mri.weights.plain import read_plain
from lightning_mri.weights.provenance import hash_of_weights, written_by

SHIPPED = Path(__file__).parent
SUFFIXES = (".safetensors", ".ckpt")
FIELDS = ("network", "process", "scaling", "labels", "card")
LEAST_LIMIT, DEEPEST = 1024, 8
"""Sizes up to here are built even if no axis is as long, and the depth of nested arguments."""


def names() -> tuple[str, ...]:
    """Return the names of the priors that ship with the package."""
    return tuple(sorted(path.stem for path in SHIPPED.glob("*.safetensors")))


def load_prior(name_or_path: str | Path, device: torch.device | str = "cpu") -> NetworkPrior:
    """Load a prior, in single precision, for evaluation and without gradients of its weights.

    Args:
        name_or_path: Name of a shipped prior, or path of a ``.safetensors`` file or of a Lightning ``.ckpt``,
            whose averaged weights are taken, or of a folder of runs, whose newest is. Other formats are read by
            `import_prior`.
        device: Where to put it.

    Raises:
        ValueError: If the name is not known, the file is not a prior or holds more than plain data, or its
            weights do not fit the network that it describes; missing, extra and mis-shaped ones are listed.
        FileNotFoundError: If there is no such file.
    """
    description, _, weights = read_described(find_prior(name_or_path))
    return prior_of(description, weights).to(device)


def prior_of(description: Mapping[str, Any], weights: Mapping[str, Tensor]) -> NetworkPrior:
    """Return the prior of a description and weights that were read and checked, for evaluation."""
    prior = build_prior(description)
    fill(prior, weights)
    return prior.float().eval().requires_grad_(False)  # whatever type torch gives new weights


def save_prior(prior: NetworkPrior, path: str | Path, precision: torch.dtype = torch.float16) -> None:
    """Write a prior, with its description as JSON in the header; whole or not at all.

    The header also says which code wrote the file, and the fingerprint of the weights as they are in it. Equal
    priors written by equal code give equal files.

    Args:
        prior: The prior.
        path: Where to write it; ends in ``.safetensors``.
        precision: Type of the stored weights: ``torch.float16`` or ``torch.float32``.

    Raises:
        ValueError: If the path does not end in ``.safetensors``, a weight overflows the precision, or the
            card holds more than plain values.
    """
    path = _safetensors(path)
    weights = {name: value.detach().cpu().to(precision).contiguous() for name, value in prior.state_dict().items()}
    overflown = [name for name, value in weights.items() if not value.isfinite().all()]
    if overflown:
        bits = torch.finfo(precision).bits
        raise ValueError(f"weights must be finite in {bits} bits: got others in {', '.join(overflown)}")
    description = {**prior.describe(), "origin": {**written_by(), "fingerprint": hash_of_weights(weights)}}
    _write(path, description, weights)


def replace_card(path: str | Path, card: Mapping[str, Any]) -> None:
    """Give the prior in a ``.safetensors`` file another card; weights and origin keep their bytes.

    Args:
        path: The file, which is replaced as a whole or not at all.
        card: What the card is to hold, as plain values.

    Raises:
        ValueError: If the file is not a prior of that kind, or the card holds more than plain values.
    """
    path = _safetensors(path)
    description, origin, weights = read_described(path)
    description["card"] = dict(card)
    build_prior(description)
    _write(path, {**description, **({"origin": origin} if origin else {})}, weights)


def check_card_replaceable(path: Path) -> None:
    """Make sure that `replace_card` can write a file, before the work that the card tells of.

    Raises:
        ValueError: If the file is no ``.safetensors`` file.
        PermissionError: If it cannot be written.
    """
    if path.suffix != SUFFIXES[0]:
        ways = f"`lightning-mri weights export {path} --output NAME{SUFFIXES[0]}` makes one of it"
        raise ValueError(f"a card can be replaced in a {SUFFIXES[0]} file alone: got {path}; {ways}")
    if not os.access(path.parent, os.W_OK):  # where a file takes the place of this one
        raise PermissionError(f"{path}: the card must be in a file that can be written: its folder is read-only")


def _safetensors(path: str | Path) -> Path:
    if Path(path).suffix != SUFFIXES[0]:
        raise ValueError(f"path must end in {SUFFIXES[0]}: got {path}")
    return Path(path)


def _write(path: Path, description: Mapping[str, Any], weights: dict[str, Tensor]) -> None:
    """Write weights, and the description into the header."""
    try:
        header = {"prior": json.dumps(description, sort_keys=True, allow_nan=False)}
    except (TypeError, ValueError) as error:
        raise ValueError(f"card must hold plain values that JSON can write: {error}") from error
    write_whole(path, safetensors.torch.save(weights, header))


def build_prior(description: Mapping[str, Any], device: str = "cpu") -> NetworkPrior:
    """Make an untrained prior from `NetworkPrior.describe`.

    Args:
        description: Network, noise process, scale contract, labels and card.
        device: Where the network is made; "meta" gives its shapes alone.

    Raises:
        ValueError: If a field is missing, extra, or does not say what it should.
    """
    if set(description) != set(FIELDS):
        raise ValueError(
            f"description must have the fields {', '.join(FIELDS)}: got {', '.join(map(str, description))}"
        )
    try:
        with torch.device(device):
            net = models.build(description["network"])
        return NetworkPrior(
            net=net,
            process=diffusion.build(description["process"]),
            scaling=Scaling(**description["scaling"]),
            labels=tuple(description["labels"]),
            card=description["card"],
        )
    except (ArithmeticError, AttributeError, LookupError, RuntimeError, TypeError) as error:
        raise ValueError(f"description must be that of a prior: {sentence(error)}") from error


def find_prior(name_or_path: str | Path) -> Path:
    """Return the file of a shipped prior, or the file itself.

    Raises:
        ValueError: If the name is not known.
        FileNotFoundError: If there is no such file.
    """
    if not str(name_or_path):  # which a path takes for the folder one stands in
        raise ValueError("prior must be a name or a path: got an empty one")
    if name_or_path in names():
        return SHIPPED / f"{name_or_path}{SUFFIXES[0]}"
    path = Path(name_or_path)
    if path.is_dir():
        return newest_of(path)
    if path.suffix not in SUFFIXES:
        raise ValueError(
            f"prior must be one of {', '.join(names()) or '(none ships)'}, or a path that ends in "
            f"{' or '.join(SUFFIXES)}: got {str(name_or_path)!r}"
        )
    if not path.is_file():
        raise FileNotFoundError(f"prior {path} must be a file: there is none")
    return path


def newest_of(folder: Path) -> Path:
    """Return the checkpoint of the newest run in a folder of runs, or in that of one: the best, or else the last.

    Raises:
        FileNotFoundError: If there is neither.
    """
    found = [path for run in {each.parent for each in folder.rglob("*.ckpt")} if (path := checkpoint_of(run))]
    if not found:
        raise FileNotFoundError(f"prior {folder} must hold a run's best.ckpt or last.ckpt: found neither")
    return max(found, key=os.path.getmtime)


def checkpoint_of(run: Path) -> Path | None:
    """Return the best checkpoint in the folder of a run, or else the last; None if there is neither.

    Of several the newest by time, since Lightning calls that of a second run in one folder ``best-v1.ckpt``, which
    stands before ``best.ckpt``.
    """
    groups = (list(run.glob(f"{name}*.ckpt")) for name in ("best", "last"))
    return max(next(filter(None, groups), ()), key=os.path.getmtime, default=None)


def check_weights(module: nn.Module, weights: Mapping[str, Any], what: str) -> None:
    """Compare weights with the places that they are for, of which only the shapes are looked at."""
    places = module.state_dict()
    faults = [f"missing {name}" for name in places if name not in weights]
    faults += [f"extra {name}" for name in weights if name not in places]
    faults += [fault for name in places if name in weights and (fault := _fault(name, weights[name], places[name]))]
    if faults:
        raise ValueError(f"weights must be exactly those of {what}: {'; '.join(faults)}")


def _fault(name: str, weight: Any, place: Tensor) -> str | None:
    """Return what is wrong with a weight."""
    if not isinstance(weight, Tensor) or weight.layout != torch.strided or not weight.is_floating_point():
        return f"{name} is no array of numbers"
    if weight.shape != place.shape:
        return f"{name} is {tuple(weight.shape)} instead of {tuple(place.shape)}"
    if weight.untyped_storage().nbytes() < weight.numel() * weight.element_size():
        return f"{name} is larger than what the file holds"
    return None if bool(weight.isfinite().all()) else f"{name} is not finite"


def fill(module: nn.Module, weights: Mapping[str, Tensor]) -> None:
    """Put weights that were checked in their places, in single precision."""
    module.load_state_dict({name: value.float() for name, value in weights.items()})


def read_safetensors(path: Path) -> tuple[dict[str, str], dict[str, Tensor]]:
    """Return header and tensors."""
    try:
        with safe_open(path, framework="pt") as file:
            return file.metadata() or {}, {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except SafetensorError as error:
        raise ValueError(f"{path} must be a safetensors file: {error}") from error


def read_described(path: Path) -> tuple[dict[str, Any], Mapping[str, Any], dict[str, Tensor]]:
    """Return description, origin and weights of a file of `save_prior` or a checkpoint of `PriorModule`, which fit."""
    found = _from_safetensors(path) if path.suffix == SUFFIXES[0] else _described(path, read_plain(path))
    return check_described(path, *found)


def check_checkpoint(path: Path, checkpoint: Mapping[str, Any]) -> None:
    """Compare the description in a checkpoint of `PriorModule` with its averaged weights.

    Raises:
        ValueError: If the file is not a prior or holds more than plain data.
    """
    check_described(path, *_described(path, checkpoint))


def check_described(
    path: Path, description: Any, weights: dict[str, Tensor]
) -> tuple[dict[str, Any], Mapping[str, Any], dict[str, Tensor]]:
    """Return description, origin and weights if they belong together; nothing of the sizes described is built."""
    if not isinstance(description, dict):
        raise ValueError(f"{path} must describe its prior by named fields: got {type(description).__name__}")
    description = dict(description)
    origin = description.pop("origin", {})
    origin = origin if isinstance(origin, dict) else {}
    axes = [length for value in weights.values() if isinstance(value, Tensor) for length in value.shape]
    try:
        _check_sizes(description.get("network"), max([LEAST_LIMIT, len(weights), *axes]))
        outline = build_prior(description, device="meta")
        check_weights(outline, weights, type(outline.net).__name__)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
    expected = origin.get("fingerprint")
    if expected is not None and expected != hash_of_weights(weights):
        raise ValueError(f"{path} must hold the weights of its fingerprint {expected}: they were altered")
    return description, origin, weights


def _check_sizes(value: Any, limit: int, depth: int = 0) -> None:
    """Refuse numbers that no network of these weights has: each size is an axis or a count of weights."""
    if depth > DEEPEST:
        raise ValueError("description must be that of a prior: it is nested too deeply")
    if isinstance(value, Mapping):
        value = list(value.values())
    if isinstance(value, list | tuple):
        if len(value) > limit:
            raise ValueError(f"sizes of the network must be those of its weights: got a list of {len(value)}")
        for item in value:
            _check_sizes(item, limit, depth + 1)
    elif isinstance(value, int | float) and not abs(value) <= limit:
        raise ValueError(f"sizes of the network must be those of its weights, at most {limit}: got {value:g}")


def _from_safetensors(path: Path) -> tuple[Any, dict[str, Tensor]]:
    header, weights = read_safetensors(path)
    try:
        return json.loads(header["prior"]), weights
    except (KeyError, ValueError, RecursionError) as error:
        raise ValueError(f"{path} must describe its prior as JSON in the header's field 'prior'") from error


def _described(path: Path, checkpoint: Any) -> tuple[Any, dict[str, Tensor]]:
    """Return description and averaged weights of the content of a checkpoint."""
    if not isinstance(checkpoint, dict) or not {"prior", "state_dict"} <= checkpoint.keys():
        raise ValueError(f"{path} must hold 'prior' and 'state_dict', as checkpoints of PriorModule do")
    state = checkpoint["state_dict"]
    if not isinstance(state, Mapping):
        raise ValueError(f"{path} must map names to tensors in 'state_dict': got {type(state).__name__}")
    names = [name for name in state if isinstance(name, str) and name.startswith("prior.net.")]
    return checkpoint["prior"], {name.removeprefix("prior."): state[name] for name in names}
