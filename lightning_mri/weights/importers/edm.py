"""The networks of the EDM code base (Karras et al. 2022), which InverseBench uses, too."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor

from lightning_mri.diffusion import EDM, NoiseProcess
from lightning_mri.models import ADM, DDPMPP, UNet
from lightning_mri.weights.importers import layout
from lightning_mri.weights.importers.layout import Architecture, NamedSource, PublishedLayout, Source, State

BLOCK = {
    "norm1": "norm0",
    "conv1": "conv0",
    "norm2.linear": "affine",
    "norm2.norm": "norm1",
    "conv2": "conv1",
    "shortcut": "skip",
}
STAGES = {
    "down": ("enc", "down"),
    "encoder": ("enc", "block"),
    "middle": ("dec", "in"),
    "up": ("dec", "up"),
    "decoder": ("dec", "block"),
}


@dataclass(frozen=True)
class EDMFamily(PublishedLayout):
    """The state dict of SongUNet in its DDPM++ form or of DhariwalUNet, with or without a wrapper's ``model.``.

    InverseBench keeps it under ``ema`` (``mri-brain.pt``, ``mri-knee.pt``); its brain prior was trained on fastMRI's
    validation volumes, so that testing on them leaks.

    A network-snapshot pickle needs EDM's own classes and is refused; write its state dict where EDM runs:
    ``torch.save(pickle.load(open("snapshot.pkl", "rb"))["ema"].state_dict(), "snapshot.pt")``.

    Args:
        process: Noise process of the wrapper, `VP` or `VE`; None for `EDM` with its published limits.
        bilinear: Whether sizes are doubled by bilinear interpolation, as in utcsilab/edm, which no tensor tells.
    """

    process: NoiseProcess | None = None
    bilinear: bool = False

    @property
    def assumed(self) -> str:
        """The preconditioning, its sigma_data, and the interpolation."""
        process, resampling = self.process or EDM(), _resampling(self.bilinear)
        name = type(process).__name__
        return f"the preconditioning of {name} with sigma_data {process.sigma_data:g}, {resampling} interpolation"

    def noise_process(self, state: State) -> NoiseProcess:
        """Return the process given, or `EDM`."""
        return self.process or EDM()

    def state(self, content: Any) -> dict[str, Tensor]:
        """Return the state dict without the wrapper's prefix."""
        if isinstance(content, Mapping) and "ema" in content:
            content = content["ema"]
        state = layout.tensors_of(content, "a state dict of EDM, or 'ema' of InverseBench")
        if "u" in state:  # the table of noise levels that only iDDPMPrecond has
            raise ValueError("the preconditioning must be that of EDM, VP or VE: got iDDPM's, which is not read")
        return layout.without_prefix(state, "model.")

    def architecture(self, state: State) -> Architecture:
        """Return what names and shapes imply."""
        if layout.matches(state, r"map_noise\.freqs|(enc|dec)\..*_aux_(residual|skip|up).*"):
            raise ValueError("the network must be DDPM++ or ADM: got NCSN++, which this package has no network for")
        sizes, style = _sizes(state), DDPMPP if _is_ddpmpp(state) else ADM
        width = layout.shape_of(state, "map_layer0.weight", 2)[1]
        widths = [layout.shape_of(state, f"enc.{size}_block0.conv1.weight", 4)[0] for size in sizes]
        if style is ADM and widths[-1] < 64:  # width // 64 heads are none: the published middle has no attention
            raise ValueError(f"the coarsest level must have the 64 channels of one head or more: got {widths[-1]}")
        return Architecture(
            width=width,
            multipliers=layout.multiples(widths, width),
            n_blocks=len(layout.matches(state, rf"enc\.{sizes[0]}_block\d+\.norm0\.weight")),
            attention_levels=tuple(i for i, n in enumerate(sizes) if f"enc.{n}_block0.qkv.weight" in state),
            style=replace(style, resampling=_resampling(self.bilinear), wider_heads=style is ADM),
            n_labels=layout.shape_of(state, "map_label.weight", 2)[1] if "map_label.weight" in state else 0,
            channels=layout.shape_of(state, f"enc.{sizes[0]}_conv.weight", 4)[1],
        )

    def places(self, net: UNet, state: State) -> Iterator[NamedSource]:
        """Yield our weights by the names of EDM, which tell the size of the training images at each level."""
        sizes = _sizes(state)
        swap = layout.as_stored if _is_ddpmpp(state) else layout.sines_first
        yield "condition.linear1.weight", Source(("map_layer0.weight",), swap)
        yield "condition.linear1.bias", Source(("map_layer0.bias",))
        yield from layout.layer("condition.linear2", "map_layer1")
        yield from layout.layer("enter", f"enc.{sizes[0]}_conv")
        for stage in layout.stages(net):
            half, name = STAGES[stage.part]
            number = "" if stage.part in ("down", "up") else stage.index
            yield from _block(net, stage.path, f"{half}.{sizes[stage.level]}_{name}{number}")
        last = f"dec.{sizes[0]}_aux_" if _is_ddpmpp(state) else "out_"
        yield from layout.layer("norm", f"{last}norm")
        yield from layout.layer("leave", f"{last}conv")

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


def _block(net: UNet, path: str, theirs: str) -> Iterator[NamedSource]:
    """Yield the weights of a residual block and of the attention that may follow it."""
    ours, attention = layout.block_of(net, path)
    yield from layout.layers(net, ours, theirs, BLOCK)
    if attention:
        n_heads = layout.heads_of(net, attention)
        yield from layout.layer(f"{attention}.norm", f"{theirs}.norm2")
        for name in ("weight", "bias"):
            yield f"{attention}.qkv.{name}", Source((f"{theirs}.qkv.{name}",), partial(_by_kind, n_heads))
        yield from layout.layer(f"{attention}.out", f"{theirs}.proj")


def _resampling(bilinear: bool) -> str:
    return "bilinear" if bilinear else "nearest"


def _is_ddpmpp(state: State) -> bool:
    """Return whether the last norm is where SongUNet has it."""
    return bool(layout.matches(state, r"dec\..*_aux_norm\.weight"))


def _sizes(state: State) -> list[str]:
    """Return the size of the image at each level as it is written in the names, "320x320" first."""
    sizes = {
        match[1]: int(match[2]) for match in layout.matches(state, r"enc\.((\d{1,6})x\d{1,6})_block0\.norm0\.weight")
    }
    if not sizes:
        raise ValueError("names must be those of SongUNet or DhariwalUNet, 'enc.320x320_block0...': got others")
    return sorted(sizes, key=lambda size: -sizes[size])


def _by_kind(n_heads: int, tensor: Tensor) -> Tensor:
    """Return queries, keys and values in this order, which are stored as one triple for each channel."""
    return rearrange(tensor, "(head channel kind) ... -> (kind head channel) ...", head=n_heads, kind=3)


def _scaled_rows(weight: Tensor, bias: Tensor) -> Tensor:
    """Return sqrt(n) weight + bias for each of n labels, and the bias for none."""
    return F.pad(weight.T * math.sqrt(weight.shape[1]), (0, 0, 0, 1)) + bias
