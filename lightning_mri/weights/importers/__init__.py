"""Importers: published checkpoints of other code bases as priors of this one, tensor by tensor.

A layout tells which of our weights each published tensor becomes; nothing is skipped that it does not name. What the
file does not tell and the layout takes for granted is in the history of the prior's card.
"""

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from lightning_mri.diffusion import NetworkPrior, NoiseProcess
from lightning_mri.models import UNet
from lightning_mri.scaling import Scaling
from lightning_mri.weights.files import check_weights, fill, read_safetensors
from lightning_mri.weights.importers.edm import EDMFamily
from lightning_mri.weights.importers.guided_diffusion import GuidedDiffusion
from lightning_mri.weights.importers.layout import PublishedLayout, translate
from lightning_mri.weights.importers.score_sde import ScoreSDE
from lightning_mri.weights.plain import read_plain

__all__ = ["EDMFamily", "GuidedDiffusion", "PublishedLayout", "ScoreSDE", "import_network", "import_prior"]


def import_prior(
    path: str | Path,
    layout: PublishedLayout,
    labels: Sequence[str] = (),
    scaling: Scaling = Scaling(),  # noqa: B008 - frozen
) -> NetworkPrior:
    """Read a published checkpoint of complex images as a prior, in single precision, for evaluation.

    Args:
        path: The file: what ``torch.save`` wrote, or ``.safetensors``.
        layout: The code base that wrote it.
        labels: Contrast names of its labels, in order. Further names, such as the spare ones, become labels that
            start as "no label". ``class-0`` ... if none is given.
        scaling: How its training images were scaled, which such files do not tell.

    Raises:
        ValueError: If the file asks for code, which is named; is not laid out so; has other than two channels; or
            has missing, extra or mis-shaped tensors, each of which is listed.
    """
    path = Path(path)
    net, state, process = _read(path, layout, len(labels))
    if net.channels != 2:
        raise ValueError(f"{path} must be a network of 2 channels, real and imaginary part: got {net.channels}")
    if 0 < len(labels) < net.n_labels:
        raise ValueError(f"labels must name the {net.n_labels} of {path}, or none: got {', '.join(labels)}")
    names = tuple(labels) or tuple(f"class-{index}" for index in range(net.n_labels))
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    left_out = layout.left_out(state)
    entry = {
        "phase": "import",
        "assumed": layout.assumed,
        "layout": type(layout).__name__,
        "file": path.name,
        "sha256": digest,
        "head_width": net.style.head_width,
        "n_heads": net.style.n_heads,
        "left_out": {why: [name for name in left_out if left_out[name] == why] for why in left_out.values()},
    }
    prior = NetworkPrior(net, process, scaling, names, {"history": [entry]})
    return prior.eval().requires_grad_(False)


def import_network(path: str | Path, layout: PublishedLayout, n_labels: int = 0) -> tuple[UNet, dict[str, str]]:
    """Read the network of a published checkpoint, of any number of channels.

    Args:
        path: The file.
        layout: The code base that wrote it.
        n_labels: Labels to make room for, if more than the file has.

    Returns:
        The network, and the tensors that it has no need of with the reasons.

    Raises:
        ValueError: As `import_prior`.
    """
    net, state, _ = _read(Path(path), layout, n_labels)
    return net, layout.left_out(state)


def _read(path: Path, layout: PublishedLayout, n_labels: int) -> tuple[UNet, dict[str, Tensor], NoiseProcess]:
    """Return the network, the tensors of the file, and the process."""
    content = _content(path)
    try:
        state = layout.state(content)
        net = layout.architecture(state).build(n_labels)
        weights = translate(layout, net, state)
        check_weights(net, weights, type(layout).__name__)
        fill(net, weights)
        process = layout.noise_process(state)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
    return net, state, process


def _content(path: Path) -> dict[str, Tensor] | Any:
    """Return what a file holds, running nothing in it."""
    if path.suffix == ".safetensors":
        return read_safetensors(path)[1]
    try:
        return read_plain(path)
    except ValueError as error:
        if path.suffix != ".pkl":
            raise
        raise ValueError(
            f"{error}; where its own code runs, write the state dict instead: "
            'torch.save(pickle.load(open("snapshot.pkl", "rb"))["ema"].state_dict(), "snapshot.pt")'
        ) from error
