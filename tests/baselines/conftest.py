"""A small parallel-imaging scan: smooth object, three smooth coils, an irregular mask."""

import math

import pytest
import torch

from lightning_mri.physics import GaussianLikelihood, sense
from lightning_mri.tensors import complex_noise

ROWS, COLUMNS = 34, 26


def smooth_maps(n_sets=1):
    y, x = torch.meshgrid(torch.linspace(-1, 1, ROWS), torch.linspace(-1, 1, COLUMNS), indexing="ij")
    centres = [(-1.5, 0.3), (0.8, 1.4), (0.9, -1.3)]
    maps = torch.stack([torch.exp(-((y - v) ** 2 + (x - u) ** 2) / 3 + 1j * (u * y + v * x)) for v, u in centres])
    maps = maps / maps.abs().square().sum(0).sqrt()
    return torch.stack([maps.roll(shift, 0) for shift in range(n_sets)]).to(torch.complex64)


def ellipse(shift=0.0):
    y, x = torch.meshgrid(torch.linspace(-1, 1, ROWS), torch.linspace(-1, 1, COLUMNS), indexing="ij")
    inside = (y / 0.8) ** 2 + ((x - shift) / 0.6) ** 2 < 1
    return torch.polar(inside * (1.0 - 0.5 * (y > 0.1)), math.pi / 5 * x)


def scan(image, mask, n_sets=1, noise_std=0.01, seed=0):
    """Return the likelihood of a noisy scan of images [*batch, (set,) y, x]."""
    A = sense(smooth_maps(n_sets), mask)
    kspace = A(image)
    noise = noise_std * complex_noise(kspace.shape, torch.Generator().manual_seed(seed))
    return GaussianLikelihood(A, (kspace + noise) * mask, torch.full(kspace.shape[:-3], noise_std))


@pytest.fixture
def mask():
    """Two of five points at random and a full centre, in two dimensions."""
    drawn = torch.rand(1, ROWS, COLUMNS, generator=torch.Generator().manual_seed(3)) < 0.4
    drawn[:, ROWS // 2 - 4 : ROWS // 2 + 4, COLUMNS // 2 - 4 : COLUMNS // 2 + 4] = True
    return drawn
