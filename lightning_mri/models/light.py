"""The light U-Net, which ships with 6.4 million weights: no attention, the same behaviour at every image size."""

import math
from collections.abc import Sequence
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lightning_mri.models.network import (
    Codes,
    Condition,
    DenoisingNetwork,
    Embedding,
    Image,
    Labels,
    label_embedding,
    zeroed,
)

N_FREQUENCIES = 32  # of the embedding of the noise code


class LightUNet(DenoisingNetwork):
    """U-Net without attention whose normalisation looks at one pixel at a time.

    A pixel-unshuffle stem halves the image before the first convolution, so that most of the work is done
    on a quarter of the pixels. Normalising each pixel over its channels, instead of groups over the image,
    lets a network trained on crops of 128 px behave the same on whole images of any size. Levels are
    joined by addition, and noise level and label scale and shift the channels of every block.

    Args:
        widths: Channels of each level, finest first.
        n_blocks: Residual blocks a level, on the way down and on the way up.
        embedding: Width of the embedding of noise code and label.
        stem: Pixels of the image, in each direction, that become one pixel of the first level.
        n_labels: Number of labels; see `DenoisingNetwork`.
        frequencies: Lowest and highest frequency of the noise embedding, in cycles per unit of the noise
            code. The default suits EDM and VE; for VP, whose code runs to 999, divide by about 1000.
        channels: Channels of the image; 2 for real and imaginary part.
        recompute: See `UNet`.

    Raises:
        ValueError: If there is no level, or a count is not positive.
    """

    def __init__(
        self,
        widths: Sequence[int] = (48, 96, 144, 192),
        n_blocks: int = 2,
        embedding: int = 128,
        stem: int = 2,
        n_labels: int = 10,
        frequencies: Sequence[float] = (0.25, 8.0),
        channels: int = 2,
        recompute: bool = False,
    ) -> None:
        if not widths or min(*widths, n_blocks, embedding, stem, channels) < 1:
            raise ValueError(
                "widths must name one level or more, and every count be positive: got "
                f"widths {tuple(widths)}, n_blocks {n_blocks}, embedding {embedding}, stem {stem}"
            )
        super().__init__(n_labels, multiple=stem * 2 ** (len(widths) - 1), recompute=recompute)
        self.widths, self.n_blocks, self.embedding = tuple(widths), n_blocks, embedding
        self.stem, self.frequencies, self.channels = stem, tuple(frequencies), channels

        def blocks(width: int) -> nn.ModuleList:
            return nn.ModuleList(Block(width, embedding) for _ in range(n_blocks))

        finest, steps = channels * stem**2, list(pairwise(widths))
        self.condition = LightCondition(embedding, self.frequencies, n_labels)
        self.enter = nn.Conv2d(finest, widths[0], 3, padding=1)
        self.down_blocks = nn.ModuleList(blocks(width) for width in widths)
        self.down = nn.ModuleList(nn.Conv2d(fine, coarse, 2, stride=2) for fine, coarse in steps)
        self.up = nn.ModuleList(nn.Conv2d(coarse, 4 * fine, 1) for fine, coarse in reversed(steps))
        self.up_blocks = nn.ModuleList(blocks(fine) for fine, _ in reversed(steps))
        self.norm = PixelNorm(widths[0])
        self.leave = zeroed(nn.Conv2d(widths[0], finest, 3, padding=1))
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def forward(self, x: Image, c_noise: Codes, label: Labels) -> Image:
        """Return F(x; c_noise, label); see `DenoisingNetwork`."""
        condition = self.condition(c_noise, label)
        h = self.enter(channels_last(F.pixel_unshuffle(x, self.stem)))
        skips = []
        for level, blocks in enumerate(self.down_blocks):
            if level > 0:
                skips.append(h)
                h = self.down[level - 1](h)
            for block in blocks:  # type: ignore[attr-defined]
                h = self.apply_block(block, h, condition)
        for up, blocks in zip(self.up, self.up_blocks, strict=True):
            h = skips.pop() + channels_last(F.pixel_shuffle(up(h), 2))
            for block in blocks:  # type: ignore[attr-defined]
                h = self.apply_block(block, h, condition)
        return F.pixel_shuffle(self.leave(self.norm(h)), self.stem)


class LightCondition(Condition):
    """Embed noise code and label in one vector; of the code, sines and cosines in geometric progression."""

    angular: Tensor

    def __init__(self, width: int, frequencies: Sequence[float], n_labels: int) -> None:
        super().__init__()
        lowest, highest = (math.log(frequency) for frequency in frequencies)
        angular = 2 * math.pi * torch.linspace(lowest, highest, N_FREQUENCIES, dtype=torch.float32).exp()
        # not among the weights: it follows from the arguments, and fp16 storage would round it
        self.register_buffer("angular", angular, persistent=False)
        self.noise = nn.Sequential(nn.Linear(2 * N_FREQUENCIES, width), nn.SiLU(), nn.Linear(width, width))
        self.label = label_embedding(n_labels, width)

    def forward(self, c_noise: Codes, label: Labels) -> Embedding:
        """Return the embedding of each sample."""
        angle = c_noise[:, None] * self.angular
        embedded = self.noise(torch.cat([angle.sin(), angle.cos()], dim=1))
        if self.label is not None:
            embedded = embedded + self.label(label)
        return F.silu(embedded)


class PixelNorm(nn.Module):
    """Normalise each pixel over its channels (layer norm without bias); free of copies in channels-last."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))

    def forward(self, x: Image) -> Image:
        """Return x with zero mean and unit variance over channels, times a weight a channel."""
        weight = self.weight.to(x.dtype)
        return F.layer_norm(x.movedim(1, -1), weight.shape, weight).movedim(-1, 1)


class Block(nn.Module):
    """Residual block: normalise, convolve, modulate by the condition, SiLU, convolve. Starts as nothing."""

    def __init__(self, width: int, condition: int) -> None:
        super().__init__()
        self.norm = PixelNorm(width)
        self.conv1 = nn.Conv2d(width, width, 3, padding=1)
        self.modulation = zeroed(nn.Linear(condition, 2 * width))
        self.conv2 = zeroed(nn.Conv2d(width, width, 3, padding=1))

    def forward(self, x: Image, condition: Embedding) -> Image:
        """Return x plus its residue."""
        h = self.conv1(self.norm(x))
        scale, shift = self.modulation(condition)[:, :, None, None].to(h.dtype).chunk(2, dim=1)
        return x + self.conv2(F.silu(torch.addcmul(shift, h, 1 + scale)))


def channels_last(x: Image) -> Image:
    """Return x with the channels of a pixel next to each other in memory."""
    return x.contiguous(memory_format=torch.channels_last)
