"""Sampling masks, their acceleration, and the calibration block inside them.

Masks are [1, y, x]; one-dimensional patterns vary along x, the phase-encode direction, and keep whole
readouts. Every pattern has exactly round(n / acceleration) of n lines (or points), calibration included.
"""

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from itertools import groupby

import numpy as np
import torch
from jaxtyping import Bool, Shaped
from torch import Tensor

from lightning_mri.described import check_fields

Source = torch.Generator | int

MIN_ACS = 4  # lines: two positions of the smallest kernel of ESPIRiT


@dataclass(frozen=True)
class SamplingPattern(ABC):
    """A way to choose which samples to acquire.

    Args:
        acceleration: All samples divided by acquired samples, calibration included.
        n_center: Number of adjacent central lines that are always acquired.
    """

    acceleration: float
    n_center: int

    def __post_init__(self) -> None:
        if not 1 <= self.acceleration < math.inf:
            raise ValueError(f"acceleration must be finite and at least 1: got {self.acceleration}")
        if self.n_center < 0:
            raise ValueError(f"n_center must not be negative: got {self.n_center}")

    @abstractmethod
    def draw(self, shape: tuple[int, int], source: Source = 0) -> Bool[Tensor, "1 y x"]:
        """Draw a mask of ``shape`` (y, x) with a CPU generator or a seed; True = acquired.

        Raises:
            ValueError: If the acceleration leaves no line, or fewer than the central ones.
        """

    def _budget(self, n_all: int, n_central: int) -> int:
        """Number of samples to choose beside the central ones."""
        n_acquired = round(n_all / self.acceleration)
        if not n_acquired:
            raise ValueError(f"acceleration {self.acceleration:g} must leave a sample to acquire: got {n_all} in all")
        if n_central > n_acquired:
            raise ValueError(
                f"n_center must leave room for acceleration {self.acceleration:g}: "
                f"got {n_central} central of {n_acquired} samples in all"
            )
        return n_acquired - n_central


class LinePattern(SamplingPattern):
    """Whole readout lines along y; subclasses choose those outside the centre."""

    def draw(self, shape: tuple[int, int], source: Source = 0) -> Bool[Tensor, "1 y x"]:
        """Draw a mask; see `SamplingPattern.draw`."""
        n_chosen = self._budget(shape[1], self.n_center)
        lines = torch.zeros(shape[1], dtype=torch.bool)
        lines[_central(shape[1], self.n_center)] = True
        others = torch.nonzero(~lines).flatten()
        lines[others[self._choose(others - shape[1] // 2, n_chosen, _generator(source))]] = True
        return lines.expand(1, *shape).clone()

    @abstractmethod
    def _choose(self, offsets: Tensor, n: int, generator: torch.Generator) -> Tensor:
        """Return which ``n`` of the lines at these offsets from the centre of k-space to acquire."""


@dataclass(frozen=True)
class Equispaced(LinePattern):
    """Lines at equal distance, starting at random, and the central lines.

    So that the central lines do not lower the acceleration, the distance between the others is wider than
    ``acceleration``, and equal up to rounding to whole lines. The number of lines is exact.
    """

    def _choose(self, offsets: Tensor, n: int, generator: torch.Generator) -> Tensor:
        start = torch.rand(1, generator=generator, dtype=torch.float64)
        return ((torch.arange(n) + start) * (len(offsets) / max(n, 1))).long()


@dataclass(frozen=True)
class RandomUniform(LinePattern):
    """Lines drawn with equal probability, without replacement, and the central lines."""

    def _choose(self, offsets: Tensor, n: int, generator: torch.Generator) -> Tensor:
        return torch.randperm(len(offsets), generator=generator)[:n]


@dataclass(frozen=True)
class Gaussian1D(LinePattern):
    """Lines drawn without replacement, with probability exp(-d^2 / 2 s^2) at distance d, and the centre.

    Args:
        acceleration: All lines divided by acquired lines, calibration included.
        n_center: Number of adjacent central lines that are always acquired.
        width: Standard deviation s as a fraction of the width of k-space.
    """

    width: float = 0.2

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.width > 0:
            raise ValueError(f"width must be positive: got {self.width}")

    def _choose(self, offsets: Tensor, n: int, generator: torch.Generator) -> Tensor:
        extent = self.width * (torch.tensor((len(offsets) + self.n_center) // 2) + 1) * 2
        uniform = torch.rand(len(offsets), generator=generator, dtype=torch.float64)
        # the n largest of log p plus Gumbel noise are a draw of n without replacement (Vieira 2014)
        return torch.topk(-0.5 * (offsets / extent) ** 2 - (-uniform.log()).log(), n).indices


@dataclass(frozen=True)
class PoissonDisc(SamplingPattern):
    """Points no closer to one another than a radius that grows with abs(k), and a central square.

    Darts are thrown at the grid in random order, and the radius shrinks whenever no place is left, until the
    number of points is exact (McCool and Fiume 1992).

    Args:
        acceleration: All points, corners included, divided by acquired points.
        n_center: Edge of the central square that is always acquired.
        falloff: The radius at abs(k) is proportional to 1 + falloff abs(k) / k_max; 0 for uniform density.
        elliptical: Leave the corners of k-space empty.
    """

    falloff: float = 2.0
    elliptical: bool = True

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.falloff < math.inf:
            raise ValueError(f"falloff must be finite and not negative: got {self.falloff}")
        check_fields(self, bool)

    def draw(self, shape: tuple[int, int], source: Source = 0) -> Bool[Tensor, "1 y x"]:
        """Draw a mask of ``shape`` (y, x) with a CPU generator or a seed; True = acquired.

        Raises:
            ValueError: If the acceleration leaves no point, or fewer than the central square, which must fit into the
                matrix, or the ellipse holds too few.
        """
        if self.n_center > min(shape):
            raise ValueError(f"n_center must not exceed the matrix: got {self.n_center} and {shape}")
        n_points = self._budget(shape[0] * shape[1], self.n_center**2)
        centre = torch.zeros(shape, dtype=torch.bool)
        centre[_central(shape[0], self.n_center), _central(shape[1], self.n_center)] = True
        y, x = ((torch.arange(n) - n // 2) / (n / 2) for n in shape)
        k = torch.hypot(y[:, None], x[None, :])
        allowed = (k <= 1 if self.elliptical else torch.ones_like(centre)) & ~centre
        if int(allowed.sum()) < n_points:
            raise ValueError(
                f"acceleration {self.acceleration:g} must leave room in the ellipse of k-space {shape}: "
                f"got {int(allowed.sum())} places for {n_points}"
            )
        points = _throw_darts(allowed.numpy(), (1 + self.falloff * k).numpy(), n_points, _generator(source))
        return (centre | torch.from_numpy(points))[None]


def _throw_darts(allowed: np.ndarray, radius: np.ndarray, n_points: int, generator: torch.Generator) -> np.ndarray:
    """Choose ``n_points`` places on a grid with the largest radii, relative to ``radius``, that fit."""
    columns = allowed.shape[1]
    order = torch.randperm(allowed.size, generator=generator).numpy()
    points = np.zeros_like(allowed)
    # a maximal pattern has about one point for each 0.7 r^2 places: start above the radius that can fit
    scale = 1.5 * math.sqrt(float((1 / radius[allowed] ** 2).sum()) / max(n_points, 1))
    margin = math.ceil(scale * float(radius.max()))
    offsets = np.arange(-margin, margin + 1)
    disc = np.hypot(offsets[:, None], offsets[None, :]).astype(np.float32)
    # distance of each place to the nearest point, with a margin so that no window is cut
    distance = np.full(np.add(allowed.shape, 2 * margin), np.inf, dtype=np.float32)
    inside = distance[margin:-margin, margin:-margin]
    n_left = n_points
    while n_left:
        free = (allowed & ~points & (inside >= scale * radius)).ravel()
        for place in order[free[order]]:
            row, column = divmod(int(place), columns)
            if inside[row, column] < scale * radius[row, column]:
                continue
            points[row, column] = True
            window = distance[row : row + 2 * margin + 1, column : column + 2 * margin + 1]
            np.minimum(window, disc, out=window)
            n_left -= 1
            if not n_left:
                break
        scale *= 0.93
    return points


def _central(n: int, width: int) -> slice:
    """The central ``width`` of ``n`` samples; index n // 2 is index width // 2 of it."""
    return slice(n // 2 - width // 2, n // 2 - width // 2 + width)


def _generator(source: Source) -> torch.Generator:
    return source if isinstance(source, torch.Generator) else torch.Generator().manual_seed(source)


def achieved_acceleration(mask: Bool[Tensor, "*batch 1 y x"]) -> float:
    """Return all samples divided by acquired samples.

    Raises:
        ValueError: If nothing was acquired.
    """
    n_acquired = int(mask.sum())
    if not n_acquired:
        raise ValueError("mask must acquire something: got no sample that is True")
    return mask.numel() / n_acquired


@dataclass(frozen=True)
class Acs:
    """The fully sampled block at the centre of k-space, for calibration.

    Args:
        y: Its rows.
        x: Its columns.
    """

    y: slice
    x: slice

    @property
    def shape(self) -> tuple[int, int]:
        """Number of rows and columns."""
        return self.y.stop - self.y.start, self.x.stop - self.x.start

    def crop(self, kspace: Shaped[Tensor, "*batch y x"]) -> Shaped[Tensor, "*batch v u"]:
        """Return the block."""
        return kspace[..., self.y, self.x]

    def limited(self, n_lines: int = 32, aspect: int = 4) -> "Acs":
        """Return its centre: short edge at most ``n_lines``, long edge at most ``aspect`` times that."""
        rows, columns = self.shape
        short = min(rows, columns, n_lines)
        long = min(max(rows, columns), aspect * short)
        size = (long, short) if rows >= columns else (short, long)
        y, x = (_central(n, m) for n, m in zip(self.shape, size, strict=True))
        top, left = self.y.start, self.x.start
        return Acs(slice(top + y.start, top + y.stop), slice(left + x.start, left + x.stop))


def find_acs(mask: Bool[Tensor, "*batch 1 y x"], n_min: int = MIN_ACS) -> Acs:
    """Find the largest block around the centre of k-space that is fully sampled in every slice.

    Args:
        mask: True where a sample was acquired. Masks of whole lines give whole readouts.
        n_min: Smallest edge of a block that is of any use.

    Raises:
        ValueError: If there is no such block of at least ``n_min`` by ``n_min`` samples.
    """
    sampled = mask.flatten(0, -3).all(0).cpu()
    rows, columns = sampled.shape
    best, area = (0, 0), 0
    for width in range(1, columns + 1):
        full = sampled[:, _central(columns, width)].all(1)
        height = _central_run(full)
        if not height:
            break
        if min(height, width) >= n_min and height * width > area:
            best, area = (height, width), height * width
    if not area:
        raise ValueError(
            f"mask must hold a fully sampled block of at least {n_min} x {n_min} around the centre of "
            f"k-space for calibration: got none in {_described(sampled)}"
        )
    return Acs(_central(rows, best[0]), _central(columns, best[1]))


def _described(sampled: Tensor) -> str:
    """Return what a mask without a block around the centre has instead."""
    rows, columns = sampled.shape
    found = f"a mask of {(rows, columns)}"
    if not bool(sampled[rows // 2, columns // 2]):
        found += f", whose centre {(rows // 2, columns // 2)} was not acquired"
    lines = enumerate(sampled.all(0).nonzero().flatten().tolist())
    runs = [[line for _, line in run] for _, run in groupby(lines, lambda pair: pair[1] - pair[0])]
    longest = max(runs, key=len, default=[])
    if len(longest) >= MIN_ACS:
        where = f"{longest[0]} to {longest[-1]}, are not about the centre {columns // 2}"
        found += f"; its {len(longest)} adjacent lines, {where}"
    return found


def block_if_any(mask: Bool[Tensor, "*batch 1 y x"]) -> Acs | None:
    """Return the block of `find_acs`, None where there is none."""
    try:
        return find_acs(mask)
    except ValueError:
        return None


def _central_run(sampled: Tensor) -> int:
    """Length of the longest centred block of True."""
    n = len(sampled)
    gaps = torch.nonzero(~sampled).flatten() - n // 2
    before = int((-gaps[gaps <= 0]).min()) - 1 if (gaps <= 0).any() else n // 2
    after = int(gaps[gaps > 0].min()) if (gaps > 0).any() else n - n // 2
    # a block of width w reaches w // 2 before the centre and w - w // 2 from it on
    return max(0, min(2 * before + 1, 2 * after))
