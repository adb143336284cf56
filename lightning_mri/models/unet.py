"""The U-Net of the diffusion literature: DDPM as in score_sde (Ho et al. 2020, Song et al. 2021)."""

import math
from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from lightning_mri.models.network import DenoisingNetwork, label_embedding, zeroed


class UNet(DenoisingNetwork):
    """DDPM: residual blocks with group norm and SiLU, concatenated skips, self-attention at coarse levels.

    The defaults are score_sde's network for 256 or 320 px: 34,423,297 parameters with one channel and
    34,425,602 with two, before labels. Its attention "at 16 px" of an image of 256 px is level 4, one below
    the coarsest level of four, so that attention is in the middle only.

    Args:
        width: Channels of the finest level; a multiple of 4.
        multipliers: Channels of each level, finest first, in multiples of ``width``.
        n_blocks: Residual blocks a level on the way down; one more on the way up.
        attention_levels: Levels with self-attention after every block; level i sees the image at 1 / 2^i of
            its size. The middle has attention always.
        dropout: Share of activations dropped in training.
        n_labels: Number of labels; see `DenoisingNetwork`.
        channels: Channels of the image; 2 for real and imaginary part.

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
    ) -> None:
        if not multipliers or min(*multipliers, width, n_blocks, channels) < 1 or width % 4:
            raise ValueError(
                "multipliers must name one level or more, every count be positive and width a multiple of 4: "
                f"got width {width}, multipliers {tuple(multipliers)}, n_blocks {n_blocks}"
            )
        super().__init__(n_labels, multiple=2 ** (len(multipliers) - 1))
        self.width, self.multipliers, self.n_blocks = width, tuple(multipliers), n_blocks
        self.attention_levels, self.dropout, self.channels = tuple(attention_levels), dropout, channels

        # modules are made in score_sde's order, because its published weights arrive by position
        self.time = TimeEmbedding(width)
        self.enter = nn.Conv2d(channels, width, 3, padding=1)
        self.down, skips = self._way_down()
        coarsest = skips[-1]
        self.middle = nn.ModuleList(
            [self._block(coarsest, coarsest), Attention(coarsest), self._block(coarsest, coarsest)]
        )
        self.up = self._way_up(skips)
        self.norm = group_norm(width * self.multipliers[0])
        self.leave = zeroed(nn.Conv2d(width * self.multipliers[0], channels, 3, padding=1))
        self.label = label_embedding(n_labels, 4 * width)
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def forward(
        self,
        x: Float[Tensor, "batch channel y x"],
        c_noise: Float[Tensor, "batch"],
        label: Int[Tensor, "batch"],
    ) -> Float[Tensor, "batch channel y x"]:
        """Return F(x; c_noise, label); see `DenoisingNetwork`."""
        condition = self.time(c_noise)
        if self.label is not None:
            condition = condition + self.label(label)
        condition = F.silu(condition)
        h = self.enter(x.contiguous(memory_format=torch.channels_last))
        skips = [h]
        for layer in self.down:
            h = layer(h, condition)
            skips.append(h)
        for layer in self.middle:
            h = layer(h, condition)
        for layer in self.up:
            h = layer(h if isinstance(layer, Upsample) else torch.cat([h, skips.pop()], dim=1), condition)
        return self.leave(F.silu(self.norm(h)))

    @property
    def label_rows(self) -> Float[Tensor, "rows width"] | None:
        """Return the weights of the label embedding."""
        return None if self.label is None else self.label.weight

    @property
    def config(self) -> dict[str, Any]:
        """Return the constructor's arguments."""
        return {
            "width": self.width,
            "multipliers": list(self.multipliers),
            "n_blocks": self.n_blocks,
            "attention_levels": list(self.attention_levels),
            "dropout": self.dropout,
            "n_labels": self.n_labels,
            "channels": self.channels,
        }

    def _block(self, n_in: int, n_out: int, attention: bool = False) -> nn.Module:
        block = ResidualBlock(n_in, n_out, 4 * self.width, self.dropout)
        return Attended(block, Attention(n_out)) if attention else block

    def _way_down(self) -> tuple[nn.ModuleList, list[int]]:
        layers, skips = nn.ModuleList(), [self.width]
        for level, multiplier in enumerate(self.multipliers):
            for _ in range(self.n_blocks):
                n_out = self.width * multiplier
                layers.append(self._block(skips[-1], n_out, attention=level in self.attention_levels))
                skips.append(n_out)
            if level < len(self.multipliers) - 1:
                layers.append(Downsample(skips[-1]))
                skips.append(skips[-1])
        return layers, skips

    def _way_up(self, skips: Sequence[int]) -> nn.ModuleList:
        layers, waiting, n_in = nn.ModuleList(), list(skips), skips[-1]
        for level, multiplier in reversed(list(enumerate(self.multipliers))):
            n_out = self.width * multiplier
            for block in range(self.n_blocks + 1):
                attention = block == self.n_blocks and level in self.attention_levels
                layers.append(self._block(n_in + waiting.pop(), n_out, attention))
                n_in = n_out
            if level > 0:
                layers.append(Upsample(n_in))
        return layers


class TimeEmbedding(nn.Module):
    """Embed the noise code by sines and cosines, 1 ... 1e-4 radians a unit, and two linear layers."""

    angular: Tensor

    def __init__(self, width: int) -> None:
        super().__init__()
        half = width // 2
        angular = torch.exp(-math.log(10000) / max(half - 1, 1) * torch.arange(half))
        self.register_buffer("angular", angular, persistent=False)
        self.linear1 = nn.Linear(width, 4 * width)
        self.linear2 = nn.Linear(4 * width, 4 * width)

    def forward(self, c_noise: Float[Tensor, "batch"]) -> Float[Tensor, "batch width"]:
        """Return the embedding of each sample."""
        angle = c_noise[:, None] * self.angular
        return self.linear2(F.silu(self.linear1(torch.cat([angle.sin(), angle.cos()], dim=1))))


class ResidualBlock(nn.Module):
    """Normalise, SiLU, convolve, add the condition; normalise, SiLU, drop, convolve; add the input."""

    def __init__(self, n_in: int, n_out: int, condition: int, dropout: float) -> None:
        super().__init__()
        self.norm1 = group_norm(n_in)
        self.conv1 = nn.Conv2d(n_in, n_out, 3, padding=1)
        self.condition = nn.Linear(condition, n_out)
        self.norm2 = group_norm(n_out)
        self.dropout = nn.Dropout(dropout)
        self.conv2 = zeroed(nn.Conv2d(n_out, n_out, 3, padding=1))
        self.skip = nn.Conv2d(n_in, n_out, 1) if n_in != n_out else nn.Identity()

    def forward(
        self, x: Float[Tensor, "batch channel y x"], condition: Float[Tensor, "batch width"]
    ) -> Float[Tensor, "batch out y x"]:
        """Return the input, in the new number of channels, plus its residue."""
        h = self.conv1(F.silu(self.norm1(x))) + self.condition(condition)[:, :, None, None]
        return self.skip(x) + self.conv2(self.dropout(F.silu(self.norm2(h))))


class Attention(nn.Module):
    """Self-attention of every pixel to every pixel of one level, with one head; starts as nothing."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = group_norm(width)
        self.query = nn.Conv2d(width, width, 1)
        self.key = nn.Conv2d(width, width, 1)
        self.value = nn.Conv2d(width, width, 1)
        self.out = zeroed(nn.Conv2d(width, width, 1))

    def forward(
        self, x: Float[Tensor, "batch channel y x"], condition: Float[Tensor, "batch width"]
    ) -> Float[Tensor, "batch channel y x"]:
        """Return the input plus what it attends to; the condition plays no part."""
        h = self.norm(x)
        q, k, v = (conv(h).flatten(2).mT for conv in (self.query, self.key, self.value))
        attended = F.scaled_dot_product_attention(q, k, v)
        return x + self.out(attended.mT.unflatten(2, x.shape[-2:]))


class Attended(nn.Module):
    """A residual block followed by attention."""

    def __init__(self, block: ResidualBlock, attention: Attention) -> None:
        super().__init__()
        self.block, self.attention = block, attention

    def forward(
        self, x: Float[Tensor, "batch channel y x"], condition: Float[Tensor, "batch width"]
    ) -> Float[Tensor, "batch out y x"]:
        """Return the block's result and what it attends to."""
        return self.attention(self.block(x, condition), condition)


class Downsample(nn.Module):
    """Halve height and width by a strided convolution, padded at the far edges as in score_sde."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(width, width, 3, stride=2)

    def forward(
        self, x: Float[Tensor, "batch channel y x"], condition: Float[Tensor, "batch width"]
    ) -> Float[Tensor, "batch channel v u"]:
        """Return the input at half its size."""
        return self.conv(F.pad(x, (0, 1, 0, 1)))


class Upsample(nn.Module):
    """Double height and width by repeating pixels, then convolve."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(width, width, 3, padding=1)

    def forward(
        self, x: Float[Tensor, "batch channel y x"], condition: Float[Tensor, "batch width"]
    ) -> Float[Tensor, "batch channel v u"]:
        """Return the input at twice its size."""
        return self.conv(F.interpolate(x, scale_factor=2.0, mode="nearest"))


def group_norm(width: int) -> nn.GroupNorm:
    """Return a group norm of 32 groups, or of fewer where a small network has fewer than 128 channels."""
    return nn.GroupNorm(math.gcd(32, width // 4), width, eps=1e-6)
