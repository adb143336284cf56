"""The U-Net of the diffusion literature: DDPM, DDPM++ and ADM are one network in different styles."""

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from lightning_mri.models.blocks import (
    ADM,
    DDPM,
    DDPMPP,
    Attended,
    Attention,
    Downsample,
    NoiseEmbedding,
    ResidualBlock,
    Style,
    Upsample,
    group_norm,
)
from lightning_mri.models.network import Codes, DenoisingNetwork, Image, Labels, label_embedding, laid_out, zeroed


class UNet(DenoisingNetwork):
    """Residual blocks with group norm and SiLU, concatenated skips, self-attention at coarse levels.

    The defaults are score_sde's DDPM for 256 or 320 px: 34,423,297 parameters with one channel and
    34,425,602 with two, before labels. Its attention "at 16 px" of an image of 256 px is level 4, one below
    the coarsest level of four, so that attention is in the middle only. `ddpmpp` and `adm` make the other families.

    Args:
        width: Channels of the finest level; a multiple of 4.
        multipliers: Channels of each level, finest first, in multiples of ``width``.
        n_blocks: Residual blocks a level on the way down; one more on the way up.
        attention_levels: Levels with self-attention after every block; level i sees the image at 1 / 2^i of
            its size. The middle has attention always.
        dropout: Share of activations dropped in training.
        n_labels: Number of labels; see `DenoisingNetwork`.
        channels: Channels of the image; 2 for real and imaginary part.
        style: What the published families differ in.
        recompute: Whether training keeps the input of each block only, and computes the rest again for the
            gradient: about a third more time, and memory that grows with blocks instead of layers. It changes
            no result, and is not stored with the weights.

    Raises:
        ValueError: If there is no level, a count is not positive, or ``width`` is not a multiple of 4.
    """

    def __init__(
        self,
        width: int = 128,
        multipliers: Sequence[int] = (1, 2, 2, 2),
        n_blocks: int = 2,
        attention_levels: Sequence[int] = (4,),
        dropout: float = 0.0,
        n_labels: int = 10,
        channels: int = 2,
        style: Style = DDPM,
        recompute: bool = False,
    ) -> None:
        if not multipliers or min(*multipliers, width, n_blocks, channels) < 1 or width % 4:
            raise ValueError(
                "multipliers must name one level or more, every count be positive and width a multiple of 4: "
                f"got width {width}, multipliers {tuple(multipliers)}, n_blocks {n_blocks}"
            )
        super().__init__(n_labels, multiple=2 ** (len(multipliers) - 1), recompute=recompute)
        self.width, self.multipliers, self.n_blocks = width, tuple(multipliers), n_blocks
        self.attention_levels, self.dropout, self.channels = tuple(attention_levels), dropout, channels
        self.style = style

        finest, coarsest = width * multipliers[0], width * multipliers[-1]
        label = label_embedding(n_labels, width if style.labels_join_noise else 4 * width)
        self.condition = NoiseEmbedding(width, style, label)
        self.enter = nn.Conv2d(channels, width, 3, padding=1)
        self.down_blocks, self.down, skips = self._way_down()
        self.middle = nn.ModuleList([self._block(coarsest, coarsest, True), self._block(coarsest, coarsest)])
        self.up_blocks, self.up = self._way_up(skips)
        self.norm = group_norm(finest, style)
        self.leave = zeroed(nn.Conv2d(finest, channels, 3, padding=1))

    def forward(self, x: Image, c_noise: Codes, label: Labels) -> Image:
        """Return F(x; c_noise, label); see `DenoisingNetwork`."""
        condition = self.condition(c_noise, label)
        h = self.enter(laid_out(x, self.enter.weight))
        skips = [h]
        for step, blocks in enumerate(self.down_blocks):
            if step > 0:
                h = self.apply_block(self.down[step - 1], h, condition)
                skips.append(h)
            for block in blocks:  # type: ignore[attr-defined]
                h = self.apply_block(block, h, condition)
                skips.append(h)
        for block in self.middle:
            h = self.apply_block(block, h, condition)
        for step, blocks in enumerate(self.up_blocks):
            if step > 0:
                h = self.apply_block(self.up[step - 1], h, condition)
            for block in blocks:  # type: ignore[attr-defined]
                h = self.apply_block(block, torch.cat([h, skips.pop()], dim=1), condition)
        return self.leave(F.silu(self.norm(h)))

    def _way_down(self) -> tuple[nn.ModuleList, nn.ModuleList, list[int]]:
        levels, between, skips = nn.ModuleList(), nn.ModuleList(), [self.width]
        for level, multiplier in enumerate(self.multipliers):
            if level > 0:
                between.append(self._downsample(skips[-1]))
                skips.append(skips[-1])
            blocks = nn.ModuleList()
            for _ in range(self.n_blocks):
                blocks.append(self._block(skips[-1], self.width * multiplier, level in self.attention_levels))
                skips.append(self.width * multiplier)
            levels.append(blocks)
        return levels, between, skips

    def _way_up(self, skips: Sequence[int]) -> tuple[nn.ModuleList, nn.ModuleList]:
        levels, between, waiting, n_in = nn.ModuleList(), nn.ModuleList(), list(skips), skips[-1]
        for level, multiplier in reversed(list(enumerate(self.multipliers))):
            if len(levels) > 0:
                between.append(self._upsample(n_in))
            blocks = nn.ModuleList()
            for block in range(self.n_blocks + 1):
                last = block == self.n_blocks or self.style.attention_in_every_block
                attention = last and level in self.attention_levels
                blocks.append(self._block(n_in + waiting.pop(), self.width * multiplier, attention))
                n_in = self.width * multiplier
            levels.append(blocks)
        return levels, between

    def _block(self, n_in: int, n_out: int, attention: bool = False) -> nn.Module:
        block = ResidualBlock(n_in, n_out, 4 * self.width, self.style, self.dropout)
        return Attended(block, Attention(n_out, self.style)) if attention else block

    def _downsample(self, n: int) -> nn.Module:
        if self.style.resampling == "convolution":
            return Downsample(n)
        # the mean of four pixels, which bilinear interpolation is as well
        return ResidualBlock(n, n, 4 * self.width, self.style, self.dropout, nn.AvgPool2d(2))

    def _upsample(self, n: int) -> nn.Module:
        if self.style.resampling == "convolution":
            return Upsample(n)
        double = nn.Upsample(scale_factor=2.0, mode=self.style.resampling)
        return ResidualBlock(n, n, 4 * self.width, self.style, self.dropout, double)


def ddpmpp(
    width: int = 128,
    multipliers: Sequence[int] = (1, 1, 2, 2, 2, 2, 2),
    n_blocks: int = 2,
    attention_levels: Sequence[int] = (),
    **others: Any,
) -> UNet:
    """Make a DDPM++ as in EDM; the defaults are the 64.7 million parameters of Arefeen et al. (arXiv 2603.13007).

    Arguments are those of `UNet`.
    """
    return UNet(width, multipliers, n_blocks, attention_levels, style=DDPMPP, **others)


def adm(
    width: int = 128,
    multipliers: Sequence[int] = (1, 1, 1, 2, 2),
    n_blocks: int = 1,
    attention_levels: Sequence[int] = (),
    **others: Any,
) -> UNet:
    """Make an ADM; the defaults are the 26.0 million parameters of InverseBench (Zheng et al. 2025).

    Arguments are those of `UNet`.
    """
    return UNet(width, multipliers, n_blocks, attention_levels, style=ADM, **others)
