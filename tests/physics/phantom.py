"""A small object seen by smooth coils, built from closed forms."""

import torch

from lightning_mri.physics import fft2c
from lightning_mri.tensors import complex_noise


def coil_maps(n_coils: int, size: tuple[int, int]) -> torch.Tensor:
    """Coils around the object, [coil, y, x], with sum over coils of abs(S)^2 = 1."""
    y, x = (torch.linspace(-1, 1, n) for n in size)
    angle = 2 * torch.pi * torch.arange(n_coils) / n_coils
    dy = y[None, :, None] - 1.4 * torch.sin(angle)[:, None, None]
    dx = x[None, None, :] - 1.4 * torch.cos(angle)[:, None, None]
    maps = torch.polar(1 / (0.5 + dy**2 + dx**2), angle[:, None, None] + 0.8 * dy - 0.5 * dx)
    return maps / torch.linalg.vector_norm(maps, dim=0)


def head(size: tuple[int, int]) -> torch.Tensor:
    """A smooth-edged ellipse with inner structure and phase, which leaves a margin."""
    y, x = (torch.linspace(-1, 1, n) for n in size)
    y, x = torch.meshgrid(y, x, indexing="ij")
    edge = torch.sigmoid(18 * (1 - torch.sqrt((y / 0.65) ** 2 + (x / 0.6) ** 2)))
    inside = 1 - 0.5 * torch.sigmoid(25 * (0.35 - torch.sqrt(y**2 + (x - 0.1) ** 2)))
    return torch.polar(edge * inside * (1 + 0.2 * torch.cos(9 * x + 5 * y)), 0.7 * y - x**2)


def kspace(maps: torch.Tensor, image: torch.Tensor, noise_std: float, seed: int = 0) -> torch.Tensor:
    """Fully sampled k-space [1, coil, y, x] with noise."""
    k = fft2c(maps * image)[None]
    return k + noise_std * complex_noise(k.shape, torch.Generator().manual_seed(seed))
