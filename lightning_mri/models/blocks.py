"""The blocks of the U-Net, and the choices in which the published families differ."""

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from lightning_mri.described import check_fields
from lightning_mri.models.network import Codes, Condition, Embedding, Image, Labels, zeroed

RESAMPLINGS = ("convolution", "nearest", "bilinear")


@dataclass(frozen=True)
class Style:
    """What makes a U-Net one of a published family; `DDPM`, `DDPMPP` and `ADM` name three.

    Args:
        eps: Added to the variance by every group norm.
        group_width: Fewest channels that a group of a group norm may have; there are 32 groups otherwise. In a
            group of one channel the norm undoes what the condition adds.
        lowest_frequency_included: Whether the lowest frequency of the noise embedding is 1e-4 of the highest, or
            that is where the next one would be.
        scale_and_shift: Whether the condition scales and shifts what was normalised, or is added before that.
        shortcut_scale: Factor of the sum of a block's input and residue; sqrt(1/2) keeps its variance.
        shortcut_convolution: Whether the shortcut is a convolution when the size changes, even if the number of
            channels does not.
        resampling: How the size changes: "convolution", by a layer of its own (strided; repeated pixels), or
            within a residual block by "nearest" (mean of four; repeated pixels) or "bilinear" interpolation.
        head_width: Channels of one attention head; None for a single head.
        n_heads: Attention heads at every level, in place of a width.
        wider_heads: Whether heads are wider than ``head_width`` where that does not divide the channels: as many
            heads as it goes into them.
        attention_in_every_block: Whether all blocks on the way up have attention, or the last of a level.
        labels_join_noise: Whether labels are added to the noise embedding before its two linear layers, or after.

    Raises:
        ValueError: If the resampling is not known, a number is not positive, or heads have both a width and a number.
    """

    eps: float = 1e-6
    group_width: int = 4
    lowest_frequency_included: bool = True
    scale_and_shift: bool = False
    shortcut_scale: float = 1.0
    shortcut_convolution: bool = False
    resampling: str = "convolution"
    head_width: int | None = None
    attention_in_every_block: bool = False
    labels_join_noise: bool = False
    n_heads: int | None = None
    wider_heads: bool = False

    def __post_init__(self) -> None:
        if self.resampling not in RESAMPLINGS:
            raise ValueError(f"resampling must be one of {', '.join(RESAMPLINGS)}: got {self.resampling!r}")
        heads = [n for n in (self.head_width, self.n_heads) if n is not None]
        if not all(number > 0 for number in (self.eps, self.shortcut_scale, self.group_width, *heads)):
            raise ValueError(f"eps, shortcut_scale, group_width, head_width and n_heads must be positive: got {self}")
        check_fields(self, bool)
        if len(heads) > 1:
            raise ValueError(f"head_width or n_heads must be given, not both: got {self.head_width} and {self.n_heads}")


DDPM = Style()
"""Ho et al. 2020, as in score_sde (Song et al. 2021)."""

DDPMPP = Style(
    shortcut_scale=math.sqrt(0.5),
    shortcut_convolution=True,
    resampling="nearest",
    labels_join_noise=True,
)
"""DDPM++ of Song et al. 2021, as in EDM (Karras et al. 2022)."""

ADM = Style(
    eps=1e-5,
    lowest_frequency_included=False,
    scale_and_shift=True,
    resampling="nearest",
    head_width=64,
    attention_in_every_block=True,
)
"""Dhariwal and Nichol 2021, as in guided-diffusion and EDM."""


class NoiseEmbedding(Condition):
    """Embed the noise code by sines and cosines, 1 ... 1e-4 radians a unit, and the label by a row of a table."""

    angular: Tensor

    def __init__(self, width: int, style: Style, label: nn.Embedding | None) -> None:
        super().__init__()
        half = width // 2
        steps = half - 1 if style.lowest_frequency_included else half
        angular = torch.exp(-math.log(10000) / max(steps, 1) * torch.arange(half, dtype=torch.float32))
        self.register_buffer("angular", angular, persistent=False)
        self.linear1 = nn.Linear(width, 4 * width)
        self.linear2 = nn.Linear(4 * width, 4 * width)
        self.label = label
        self.labels_join_noise = style.labels_join_noise

    def forward(self, c_noise: Codes, label: Labels) -> Embedding:
        """Return the condition of each sample, by which every block is modulated."""
        angle = c_noise[:, None] * self.angular
        embedded = torch.cat([angle.sin(), angle.cos()], dim=1)
        row = 0 if self.label is None else self.label(label)
        if self.labels_join_noise:
            return F.silu(self.linear2(F.silu(self.linear1(embedded + row))))
        return F.silu(self.linear2(F.silu(self.linear1(embedded))) + row)


class ConditionedNorm(nn.Module):
    """Add the condition, then normalise; or normalise, then scale and shift by the condition."""

    def __init__(self, width: int, condition: int, style: Style) -> None:
        super().__init__()
        self.scale_and_shift = style.scale_and_shift
        self.linear = nn.Linear(condition, 2 * width if style.scale_and_shift else width)
        self.norm = group_norm(width, style)

    def forward(self, x: Tensor, condition: Embedding) -> Tensor:
        """Return norm(x + shift), or norm(x) (1 + scale) + shift."""
        modulation = self.linear(condition)[:, :, None, None]
        if not self.scale_and_shift:
            return self.norm(x + modulation)
        scale, shift = modulation.to(x.dtype).chunk(2, dim=1)
        return torch.addcmul(shift, self.norm(x), 1 + scale)


class ResidualBlock(nn.Module):
    """Normalise, SiLU, resample, convolve; modulate by the condition, SiLU, drop, convolve; add the input.

    Starts as nothing but its shortcut.
    """

    def __init__(
        self,
        n_in: int,
        n_out: int,
        condition: int,
        style: Style,
        dropout: float = 0.0,
        resample: nn.Module | None = None,
    ) -> None:
        super().__init__()
        self.resample = resample or nn.Identity()
        self.norm1 = group_norm(n_in, style)
        self.conv1 = nn.Conv2d(n_in, n_out, 3, padding=1)
        self.norm2 = ConditionedNorm(n_out, condition, style)
        self.dropout = nn.Dropout(dropout)
        self.conv2 = zeroed(nn.Conv2d(n_out, n_out, 3, padding=1))
        convolved = n_in != n_out or (resample is not None and style.shortcut_convolution)
        self.shortcut = nn.Conv2d(n_in, n_out, 1) if convolved else nn.Identity()
        self.scale = style.shortcut_scale

    def forward(self, x: Image, condition: Embedding) -> Image:
        """Return the input, in the new size and number of channels, plus its residue."""
        h = self.conv1(self.resample(F.silu(self.norm1(x))))
        h = self.conv2(self.dropout(F.silu(self.norm2(h, condition))))
        return scaled(self.shortcut(self.resample(x)) + h, self.scale)


class Attention(nn.Module):
    """Self-attention of every pixel to every pixel of one level; starts as nothing."""

    def __init__(self, width: int, style: Style) -> None:
        super().__init__()
        self.n_heads = n_heads(width, style)
        self.norm = group_norm(width, style)
        self.qkv = nn.Conv2d(width, 3 * width, 1)  # queries of all heads, then keys, then values
        self.out = zeroed(nn.Conv2d(width, width, 1))
        self.scale = style.shortcut_scale

    def forward(self, x: Image, condition: Embedding) -> Image:
        """Return the input plus what it attends to; the condition plays no part."""
        heads = rearrange(
            self.qkv(self.norm(x)), "b (kind head c) y x -> kind b head (y x) c", kind=3, head=self.n_heads
        )
        attended = F.scaled_dot_product_attention(*heads).mT.reshape(x.shape)
        return scaled(x + self.out(attended), self.scale)


class Attended(nn.Module):
    """A residual block followed by attention."""

    def __init__(self, block: ResidualBlock, attention: Attention) -> None:
        super().__init__()
        self.block, self.attention = block, attention

    def forward(self, x: Image, condition: Embedding) -> Image:
        """Return the block's result and what it attends to."""
        return self.attention(self.block(x, condition), condition)


class Downsample(nn.Module):
    """Halve height and width by a strided convolution, padded at the far edges as in score_sde."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(width, width, 3, stride=2)

    def forward(self, x: Image, condition: Embedding) -> Image:
        """Return the input at half its size."""
        return self.conv(F.pad(x, (0, 1, 0, 1)))


class Upsample(nn.Module):
    """Double height and width by repeating pixels, then convolve."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(width, width, 3, padding=1)

    def forward(self, x: Image, condition: Embedding) -> Image:
        """Return the input at twice its size."""
        return self.conv(F.interpolate(x, scale_factor=2.0, mode="nearest"))


def group_norm(width: int, style: Style) -> nn.GroupNorm:
    """Return a group norm of 32 groups, or of the most that fit a small network."""
    most = max(1, min(32, width // style.group_width))
    return nn.GroupNorm(next(n for n in range(most, 0, -1) if width % n == 0), width, eps=style.eps)


def n_heads(width: int, style: Style) -> int:
    """Return the number of attention heads.

    Raises:
        ValueError: If the heads' width or number does not divide the channels of the level.
    """
    name, n = ("n_heads", style.n_heads) if style.n_heads else ("head_width", style.head_width or width)
    heads = n if style.n_heads else width // n
    if width % n and not (style.wider_heads and heads and width % heads == 0):
        raise ValueError(f"{name} must divide the {width} channels of a level with attention: got {n}")
    return heads


def scaled(x: Tensor, factor: float) -> Tensor:
    """Return x times a factor, which most families set to 1."""
    return x if factor == 1 else x * factor
