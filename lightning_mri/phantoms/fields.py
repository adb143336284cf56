"""Smooth random fields in space: what varies from place to place in a synthetic subject or scan."""

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import grid_sample, interpolate, pad

from lightning_mri.tensors import derive_seed

NODES_PER_CELL = 3
STEPS_PER_CELL = 6


def trilinear(volume: Float[Tensor, "channel i j k"], index: Float[Tensor, "3 y x"]) -> Float[Tensor, "channel y x"]:
    """Interpolate a volume at fractional indices; beyond its edges it continues with the edge's value."""
    size = torch.tensor(volume.shape[1:], dtype=torch.float32)
    grid = (index / (size - 1)[:, None, None] * 2 - 1).flip(0).movedim(0, -1)
    return grid_sample(volume[None], grid[None, None], padding_mode="border", align_corners=True)[0, :, 0]


def length(vector: Float[Tensor, " axis *shape"]) -> Float[Tensor, "*shape"]:
    """Return the Euclidean length over the first axis; on a CPU much faster than torch's own norm."""
    return (vector * vector).sum(0).sqrt()


def log_uniform(rng: np.random.Generator, low: float, high: float) -> float:
    """Draw a positive number whose logarithm is uniform."""
    return math.exp(rng.uniform(math.log(low), math.log(high)))


@dataclass(frozen=True)
class Plane:
    """The points at which a slice is computed."""

    points: Float[Tensor, "3 y x"]  # position of each point in mm; affine in the indices
    spacing: tuple[float, float]  # distance of neighbouring points along y and x in mm

    @property
    def step(self) -> float:
        """The larger of the two distances."""
        return max(self.spacing)

    def resampled(self, stride: int) -> Float[Tensor, "3 v u"]:
        """Return the points of a coarser grid with the same corners."""
        size = [max(2, math.ceil(n / stride) + 1) for n in self.points.shape[1:]]
        return interpolate(self.points[None], size, mode="bilinear", align_corners=True)[0]


@dataclass(frozen=True)
class SmoothField:
    """A stationary Gaussian random field of mean 0 and standard deviation of nearly 1, periodic in space.

    White noise on a lattice is filtered with a cubic B-spline-like kernel and interpolated linearly, so the
    field has a value at every point in space and neighbouring slices agree. Its correlation is about
    exp(-r^2 / (2 (cell / 2)^2)) at distance r.
    """

    seed: int  # the field depends on this number alone
    cell: float  # size of its features in mm
    n_channels: int = 1  # number of independent fields
    n_nodes: int = 32  # lattice nodes along each axis; the period is ``n_nodes * cell / 3``

    @cached_property
    def lattice(self) -> Float[Tensor, "channel i j k"]:
        """Values at the nodes, with the first node repeated at the end of each axis."""
        generator = torch.Generator().manual_seed(self.seed)
        values = torch.randn(self.n_channels, *[self.n_nodes] * 3, generator=generator)
        kernel = torch.tensor([1.0, 4.0, 6.0, 4.0, 1.0])
        kernel /= kernel.norm()
        for axis in (1, 2, 3):
            values = torch.stack([w * values.roll(k - 2, axis) for k, w in enumerate(kernel.tolist())]).sum(0)
        return pad(values[None], (0, 1, 0, 1, 0, 1), mode="circular")[0]

    def __call__(self, points: Float[Tensor, "3 y x"]) -> Float[Tensor, "channel y x"]:
        """Return the field at points given in mm."""
        index = points * (NODES_PER_CELL / self.cell) + self.n_nodes / 2
        return trilinear(self.lattice, index.remainder(self.n_nodes))

    def on(self, plane: Plane) -> Float[Tensor, "channel y x"]:
        """Return the field on a plane, computed no finer than its features need."""
        stride = int(self.cell / STEPS_PER_CELL / plane.step)
        if stride < 2:
            return self(plane.points)
        coarse = self(plane.resampled(stride))
        size = plane.points.shape[1:]
        return interpolate(coarse[None], size, mode="bilinear", align_corners=True)[0]


def field(seed: int, name: str, cell: float, n_channels: int = 1, n_nodes: int = 32) -> SmoothField:
    """Return the field of one name that belongs to a subject's or scan's seed."""
    return SmoothField(derive_seed(seed, "field", name), cell, n_channels, n_nodes)
