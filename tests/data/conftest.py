"""Small scans of blobs, written as fastMRI does, for the tests of caches and DataModules."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor

from lightning_mri.data.simulate import Scanner
from lightning_mri.data.writers import write_fastmri
from lightning_mri.tensors import derive_seed

MATRIX = (28, 26)
WriteScan = Callable[..., Path]


def draw_blobs(seed: int, n_slices: int = 2, matrix: tuple[int, int] = MATRIX) -> Tensor:
    """Return smooth images of order 1 with a smooth phase."""
    generator = torch.Generator().manual_seed(seed)
    y, x = (torch.linspace(-1, 1, n) for n in matrix)
    radius2 = (y[:, None] / 0.8) ** 2 + (x / 0.7) ** 2
    brightness = 0.5 + torch.rand(n_slices, 1, 1, generator=generator)
    stripes = 1 + 0.3 * torch.sin(6 * y[:, None] + 4 * x)
    magnitude = torch.sigmoid(12 * (1 - radius2)) * brightness * stripes
    return torch.polar(magnitude, (y[:, None] + x).expand(n_slices, *matrix).contiguous())


@pytest.fixture
def blobs() -> Callable[..., Tensor]:
    return draw_blobs


@pytest.fixture
def write_scan() -> WriteScan:
    """Write a fully sampled scan of three coils with twofold readout oversampling."""

    def write(path: Path, subject: str, contrast: str = "FLAIR", n_slices: int = 2) -> Path:
        images = draw_blobs(derive_seed(subject, contrast), n_slices)
        kspace = Scanner(n_coils=3, snr_db=40).measure(images, 1, (8.0, 8.0))
        size = {"pixel_size": (8.0, 8.0), "reconstruction_size": MATRIX}
        write_fastmri(path, kspace, contrast=contrast, subject=subject, **size)  # type: ignore[arg-type]
        return path

    return write
