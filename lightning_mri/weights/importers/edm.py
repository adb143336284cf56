"""The networks of the EDM code base (Karras et al. 2022), and InverseBench's, which are of the same make."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lightning_mri.diffusion import EDM, NoiseProcess
from lightning_mri.models import ADM, DDPMPP, UNet
from lightning_mri.weights.importers.layout import (
    Architecture,
    Layout,
    Place,
    Source,
    State,
    block_of,
    heads_of,
    layer,
    layers,
    matches,
    multiples,
    shape_of,
    without_prefix,
)

BLOCK = {
    "norm1": "norm0",
    "conv1": "conv0",
    "norm2.linear": "affine",
    "norm2.norm": "norm1",
    "conv2": "conv1",
}


@dataclass(frozen=True)
class EDMFamily(Layout):
    """The state dict of SongUNet in its DDPM++ form or of DhariwalUNet, with or without a wrapper's ``model.``.

    A network-snapshot pickle needs EDM's own classes and is refused; write its state dict where EDM runs:
    ``torch.save(pickle.load(open("snapshot.pkl", "rb"))["ema"].state_dict(), "snapshot.pt")``.

    Args:
        process: Noise process of the wrapper, `VP` or `VE`; None for `EDM` with its published limits.
        bilinear: Whether sizes are doubled by bilinear interpolation, as in utcsilab/edm, which no tensor tells.
    """

    process: NoiseProcess | None = None
    bilinear: bool = False

    @property
    def noise_process(self) -> NoiseProcess:
        """The process given, or `EDM`."""
        return self.process or EDM()

    def state(self, content: Any) -> dict[str, Tensor]:
        """Return the state dict without the wrapper's prefix."""
        return without_prefix(content, "model.", "a state dict of EDM")

    def architecture(self, state: State) -> Architecture:
        """Return what names and shapes imply."""
        if matches(state, r"map_noise\.freqs|(enc|dec)\..*_aux_(residual|skip|up).*"):
            raise ValueError("the network must be DDPM++ or ADM: got NCSN++, which this package has no network for")
        sizes, style = _sizes(state), DDPMPP if _is_ddpmpp(state) else ADM
        width = shape_of(state, "map_layer0.weight", 2)[1]
        widths = [shape_of(state, f"enc.{size}_block0.conv1.weight", 4)[0] for size in sizes]
        return Architecture(
            width=width,
            multipliers=multiples(widths, width),
            n_blocks=len(matches(state, rf"enc\.{sizes[0]}_block\d+\.norm0\.weight")),
            attention_levels=tuple(i for i, n in enumerate(sizes) if f"enc.{n}_block0.qkv.weight" in state),
            style=replace(style, resampling="bilinear" if self.bilinear else "nearest"),
            n_labels=shape_of(state, "map_label.weight", 2)[1] if "map_label.weight" in state else 0,
            channels=shape_of(state, f"enc.{sizes[0]}_conv.weight", 4)[1],
        )

    def places(self, net: UNet, state: State) -> Iterator[Place]:
        """Yield our weights by the names of EDM, which tell the size of the training images at each level."""
        sizes, coarsest_first = _sizes(state), _sizes(state)[::-1]
        swap = _as_stored if _is_ddpmpp(state) else _sines_first
        yield "condition.linear1.weight", Source(("map_layer0.weight",), swap)
        yield "condition.linear1.bias", Source(("map_layer0.bias",))
        yield from layer("condition.linear2", "map_layer1")
        yield from layer("enter", f"enc.{sizes[0]}_conv")
        for level, size in enumerate(sizes):
            if level > 0:
                yield from _block(net, f"down.{level - 1}", f"enc.{size}_down")
            for index in range(net.n_blocks):
                yield from _block(net, f"down_blocks.{level}.{index}", f"enc.{size}_block{index}")
        yield from _block(net, "middle.0", f"dec.{sizes[-1]}_in0")
        yield from _block(net, "middle.1", f"dec.{sizes[-1]}_in1")
        for step, size in enumerate(coarsest_first):
            if step > 0:
                yield from _block(net, f"up.{step - 1}", f"dec.{size}_up")
            for index in range(net.n_blocks + 1):
                yield from _block(net, f"up_blocks.{step}.{index}", f"dec.{size}_block{index}")
        last = f"dec.{sizes[0]}_aux_" if _is_ddpmpp(state) else "out_"
        yield from layer("norm", f"{last}norm")
        yield from layer("leave", f"{last}conv")

    def labels(self, state: State) -> Source | None:
        """Return the rows that a one-hot label selects; without label the bias alone remains."""
        if "map_label.weight" not in state:
            return None
        if _is_ddpmpp(state):
            return Source(("map_label.weight", "map_label.bias"), _scaled_rows)
        return Source(("map_label.weight",), lambda weight: F.pad(weight.T, (0, 0, 0, 1)))

    def left_out(self, state: State) -> dict[str, str]:
        """Return the resampling filters, if they are the mean of four, and the input for augmentation labels."""
        filters = [name for name in state if name.endswith(".resample_filter")]
        plain = [name for name in filters if torch.equal(state[name].float(), torch.full((1, 1, 2, 2), 0.25))]
        augment = ["map_augment.weight"] if "map_augment.weight" in state else []
        return {
            **dict.fromkeys(plain, "the mean of four pixels, which is built in"),
            **dict.fromkeys(augment, "augmentation labels, which are zero after training"),
        }


@dataclass(frozen=True)
class InverseBench(Layout):
    """A dict that holds EDM's DhariwalUNet under ``ema`` (``mri-brain.pt``, ``mri-knee.pt``).

    Its brain prior was trained on fastMRI's validation volumes: testing on them leaks.
    """

    @property
    def noise_process(self) -> NoiseProcess:
        """`EDM` with the published limits, sigma_data 0.5."""
        return EDM()

    def state(self, content: Any) -> dict[str, Tensor]:
        """Return the averaged weights without the wrapper's prefix."""
        if not isinstance(content, Mapping) or "ema" not in content:
            raise ValueError("a checkpoint of InverseBench must hold 'ema'")
        return without_prefix(content["ema"], "model.", "'ema'")

    def architecture(self, state: State) -> Architecture:
        """Return what names and shapes imply."""
        return EDMFamily().architecture(state)

    def places(self, net: UNet, state: State) -> Iterator[Place]:
        """Yield our weights by the names of EDM."""
        return EDMFamily().places(net, state)

    def labels(self, state: State) -> Source | None:
        """Return the rows that a one-hot label selects."""
        return EDMFamily().labels(state)

    def left_out(self, state: State) -> dict[str, str]:
        """Return the resampling filters."""
        return EDMFamily().left_out(state)


def _block(net: UNet, path: str, theirs: str) -> Iterator[Place]:
    """Yield the weights of a residual block and of the attention that may follow it."""
    ours, attention = block_of(net, path)
    yield from layers(ours, theirs, BLOCK)
    if not isinstance(net.get_submodule(ours).shortcut, nn.Identity):
        yield from layer(f"{ours}.shortcut", f"{theirs}.skip")
    if attention:
        n_heads = heads_of(net, attention)
        yield from layer(f"{attention}.norm", f"{theirs}.norm2")
        for name in ("weight", "bias"):
            yield f"{attention}.qkv.{name}", Source((f"{theirs}.qkv.{name}",), partial(_by_kind, n_heads))
        yield from layer(f"{attention}.out", f"{theirs}.proj")


def _is_ddpmpp(state: State) -> bool:
    """Return whether the last norm is where SongUNet has it."""
    return bool(matches(state, r"dec\..*_aux_norm\.weight"))


def _sizes(state: State) -> list[str]:
    """Return the size of the image at each level as it is written in the names, "320x320" first."""
    sizes = {match[1]: int(match[2]) for match in matches(state, r"enc\.((\d{1,6})x\d{1,6})_block0\.norm0\.weight")}
    if not sizes:
        raise ValueError("names must be those of SongUNet or DhariwalUNet, 'enc.320x320_block0...': got others")
    return sorted(sizes, key=lambda size: -sizes[size])


def _as_stored(weight: Tensor) -> Tensor:
    return weight


def _sines_first(weight: Tensor) -> Tensor:
    """Return the weight for sines before cosines, which are stored the other way about."""
    return weight.roll(weight.shape[1] // 2, 1)


def _by_kind(n_heads: int, tensor: Tensor) -> Tensor:
    """Return queries, keys and values in this order, which are stored as one triple for each channel."""
    return tensor.unflatten(0, (n_heads, -1, 3)).movedim(2, 0).flatten(0, 2)


def _scaled_rows(weight: Tensor, bias: Tensor) -> Tensor:
    """Return sqrt(n) weight + bias for each of n labels, and the bias for none."""
    return F.pad(weight.T * math.sqrt(weight.shape[1]), (0, 0, 0, 1)) + bias
