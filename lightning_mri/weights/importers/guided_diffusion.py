"""The ADM of OpenAI's guided-diffusion (Dhariwal and Nichol 2021), as DDS uses it."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial
from itertools import count
from typing import Any

import torch
from einops import rearrange
from torch import Tensor

from lightning_mri.diffusion import DDPM, NoiseProcess
from lightning_mri.models import ADM, UNet
from lightning_mri.weights.importers import layout
from lightning_mri.weights.importers.layout import Architecture, NamedSource, PublishedLayout, Source, State

BLOCK = {
    "norm1": "in_layers.0",
    "conv1": "in_layers.2",
    "norm2.linear": "emb_layers.1",
    "norm2.norm": "out_layers.0",
    "conv2": "out_layers.3",
    "shortcut": "skip_connection",
}


@dataclass(frozen=True)
class GuidedDiffusion(PublishedLayout):
    """A flat state dict, ``time_embed``, ``input_blocks`` ... ``out``, that predicts noise of 1000 linear steps.

    A learned variance, the second half of the output's channels, is dropped: samplers here need the mean alone.
    Networks of a cosine schedule, or that predict the image, cannot be told apart from these, and are not read.

    Args:
        head_width: Channels of an attention head (``num_head_channels``), which the file does not tell; None for a
            single head. What was used is in the history of the prior.
        n_heads: Attention heads at every level (``num_heads``, where ``num_head_channels`` is -1) in place of
            ``head_width``; guided-diffusion's own default is 4.
        new_attention_order: Whether queries, keys and values were split before heads
            (``use_new_attention_order``).
    """

    head_width: int | None = 64
    new_attention_order: bool = False
    n_heads: int | None = None

    @property
    def assumed(self) -> str:
        """The schedule, the heads, and their order."""
        heads = f"{self.n_heads} attention heads"
        if self.n_heads is None:
            heads = f"attention heads of {self.head_width} channels" if self.head_width else "a single attention head"
        order = "before" if self.new_attention_order else "after"
        return f"noise predicted in 1000 steps, linear schedule, {heads}, queries, keys and values split {order} heads"

    def noise_process(self, state: State) -> NoiseProcess:
        """Return `DDPM`: beta from 1e-4 to 0.02 in 1000 steps."""
        return DDPM()

    def state(self, content: Any) -> dict[str, Tensor]:
        """Return the state dict."""
        return layout.tensors_of(content, "a state dict of guided-diffusion")

    def architecture(self, state: State) -> Architecture:
        """Return what names and shapes imply."""
        if layout.matches(state, r"input_blocks\.\d+\.0\.op\.(weight|bias)"):
            raise ValueError("size must change within residual blocks (resblock_updown): got strided convolutions")
        levels = _levels(state)
        width = layout.shape_of(state, "time_embed.0.weight", 2)[1]
        firsts = [f"input_blocks.{blocks[0]}" for blocks in levels]
        widths = [layout.shape_of(state, f"{block}.0.out_layers.3.weight", 4)[0] for block in firsts]
        modulation = layout.shape_of(state, f"{firsts[0]}.0.emb_layers.1.weight", 2)[0]
        return Architecture(
            width=width,
            multipliers=layout.multiples(widths, width),
            n_blocks=len(levels[0]),
            attention_levels=tuple(i for i, block in enumerate(firsts) if f"{block}.1.qkv.weight" in state),
            style=replace(
                ADM,
                group_width=1,  # 32 groups at any width
                head_width=self.head_width if self.n_heads is None else None,
                n_heads=self.n_heads,
                scale_and_shift=modulation == 2 * widths[0],
            ),
            n_labels=layout.shape_of(state, "label_emb.weight", 2)[0] if "label_emb.weight" in state else 0,
            channels=layout.shape_of(state, "input_blocks.0.0.weight", 4)[1],
        )

    def places(self, net: UNet, state: State) -> Iterator[NamedSource]:
        """Yield our weights in the order of the input and output blocks."""
        yield "condition.linear1.weight", Source(("time_embed.0.weight",), layout.sines_first)
        yield "condition.linear1.bias", Source(("time_embed.0.bias",))
        yield from layout.layer("condition.linear2", "time_embed.2")
        entering = (f"input_blocks.{number}" for number in count())
        yield from layout.layer("enter", f"{next(entering)}.0")
        leaving = (f"output_blocks.{number}" for number in count())
        for stage in layout.stages(net):
            match stage.part:
                case "down" | "encoder":
                    yield from self._block(net, stage.path, next(entering))
                case "middle":
                    yield from self._block(net, stage.path, "middle_block", position=2 * stage.index)
                case "decoder":
                    yield from self._block(net, stage.path, theirs := next(leaving))
                case "up":  # the last member of the output block before
                    position = 1 + (f"{theirs}.2.in_layers.0.weight" in state)
                    yield from self._block(net, stage.path, theirs, position)
        yield from layout.layer("norm", "out.0")
        for name in ("weight", "bias"):
            yield f"leave.{name}", Source((f"out.2.{name}",), partial(_mean_only, net.channels))

    def labels(self, state: State) -> Source | None:
        """Return the rows of the labels; the network was never without one, so that none is their mean."""
        if "label_emb.weight" not in state:
            return None
        return Source(("label_emb.weight",), lambda rows: torch.cat([rows, rows.mean(0, keepdim=True)]))

    def _block(self, net: UNet, path: str, theirs: str, position: int = 0) -> Iterator[NamedSource]:
        ours, attention = layout.block_of(net, path)
        yield from layout.layers(net, ours, f"{theirs}.{position}", BLOCK)
        if attention:
            yield from self._attention(net, attention, f"{theirs}.{position + 1}")

    def _attention(self, net: UNet, ours: str, theirs: str) -> Iterator[NamedSource]:
        reorder = layout.as_stored if self.new_attention_order else partial(_by_kind, layout.heads_of(net, ours))
        yield from layout.layer(f"{ours}.norm", f"{theirs}.norm")
        yield f"{ours}.qkv.weight", Source((f"{theirs}.qkv.weight",), lambda rows: reorder(rows)[..., None])
        yield f"{ours}.qkv.bias", Source((f"{theirs}.qkv.bias",), reorder)
        yield f"{ours}.out.weight", Source((f"{theirs}.proj_out.weight",), lambda rows: rows[..., None])
        yield f"{ours}.out.bias", Source((f"{theirs}.proj_out.bias",))


def _levels(state: State) -> list[list[int]]:
    """Return the numbers of the residual blocks of each level, without those that halve the size between two."""
    n_levels = 1 + len(layout.matches(state, r"output_blocks\.\d{1,6}\.[12]\.in_layers\.0\.weight"))
    n_output = len(layout.matches(state, r"output_blocks\.\d{1,6}\.0\.in_layers\.0\.weight"))
    if n_output % n_levels or n_output < 2 * n_levels:
        raise ValueError(
            "names must be those of guided-diffusion, 'output_blocks.0.0.in_layers...', one more block a level than "
            f"'input_blocks': got {n_output} for {n_levels} levels"
        )
    n_blocks = n_output // n_levels - 1
    return [[1 + level * (n_blocks + 1) + index for index in range(n_blocks)] for level in range(n_levels)]


def _by_kind(n_heads: int, rows: Tensor) -> Tensor:
    """Return queries, keys and values in this order, which are stored so for each head."""
    return rearrange(rows, "(head kind channel) ... -> (kind head channel) ...", head=n_heads, kind=3)


def _mean_only(channels: int, rows: Tensor) -> Tensor:
    """Return the rows of the mean, if those of the variance follow."""
    return rows[:channels] if len(rows) == 2 * channels else rows
