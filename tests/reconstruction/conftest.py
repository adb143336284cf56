"""Small measured scans: ellipses seen by a few smooth coils, others in each slice, with a little noise."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from jaxtyping import Complex
from torch import Tensor

from lightning_mri.diffusion import Prior
from lightning_mri.io import Scan
from lightning_mri.physics import Equispaced, GaussianLikelihood, fft2c, find_acs, sense
from lightning_mri.reconstruction import Problem, ProblemFindings
from lightning_mri.scaling import Scaling
from lightning_mri.tensors import complex_noise
from tests.builders import InMemory

SHAPE = (46, 40)
SCALE = 200.0


class Isotropic(Prior):
    """Gaussian prior with independent pixels of standard deviation ``sigma_data``."""

    sigma_data, sigma_min, sigma_max = 0.5, 0.002, 80.0
    scaling = Scaling()
    labels = ("T1w", "FLAIR")

    def denoise(self, x, sigma, label=None):  # type: ignore[no-untyped-def]
        """Return the posterior mean of each pixel by itself."""
        variance = torch.as_tensor(sigma, dtype=torch.float32)[..., None, None] ** 2
        return x * self.sigma_data**2 / (self.sigma_data**2 + variance)


@dataclass(frozen=True)
class Measured:
    """K-space of three slices with everything that is true about it."""

    image: Complex[Tensor, "slice y x"]
    maps: Complex[Tensor, "slice coil y x"]
    kspace: Complex[Tensor, "slice coil y x"]
    mask: Tensor
    noise_std: float


def coils(n: int, turn: float, shape: tuple[int, int] = SHAPE) -> Tensor:
    """Return smooth normalised maps of coils on a ring that is turned by an angle."""
    y, x = torch.meshgrid(*(torch.linspace(-1, 1, size) for size in shape), indexing="ij")
    angles = turn + 2 * torch.pi * torch.arange(n) / n
    across = y - 1.1 * angles.sin()[:, None, None], x - 1.1 * angles.cos()[:, None, None]
    maps = torch.polar(torch.exp(-(across[0] ** 2 + across[1] ** 2) / 1.5), 0.8 * across[0] + 0.5 * across[1])
    return maps / torch.linalg.vector_norm(maps, dim=0)


def ellipse(size: float, shape: tuple[int, int] = SHAPE) -> Tensor:
    """Return an ellipse with a hole, of magnitude 200 and a smooth phase."""
    y, x = torch.meshgrid(*(torch.linspace(-1, 1, n) for n in shape), indexing="ij")
    body = ((y / 0.75) ** 2 + (x / 0.6) ** 2 < size).float()
    hole = ((y - 0.2) ** 2 + (x + 0.1) ** 2 < 0.04).float()
    return torch.polar(200 * (body - 0.6 * hole), 0.5 * y - 0.3 * x + 1)


def measure(mask: Tensor, noise_std: float = 0.5, shape: tuple[int, int] = SHAPE) -> Measured:
    """Simulate three slices with five coils."""
    image = torch.stack([ellipse(size, shape) for size in (1.0, 0.8, 0.6)])
    maps = torch.stack([coils(5, turn, shape) for turn in (0.0, 0.7, 1.9)])
    noise = complex_noise((3, 5, *shape), torch.Generator().manual_seed(7))
    kspace = (fft2c(maps * image[:, None]) + noise_std * noise) * mask
    return Measured(image, maps, kspace, mask, noise_std)


def scan_of(kspace: Tensor, name: str = "head", **known: object) -> Scan:
    """Return a scan of the matrix of its k-space."""
    return Scan(Path(f"{name}.h5"), name, "someone", InMemory(kspace.numpy()), tuple(kspace.shape[-2:]), **known)  # type: ignore[arg-type]


@pytest.fixture(scope="session")
def simulate() -> Callable[..., Measured]:
    return measure


@pytest.fixture(scope="session")
def prior() -> Prior:
    return Isotropic()


@pytest.fixture(scope="session")
def measured() -> Measured:
    return measure(Equispaced(2.0, 12).draw(SHAPE, 0))


@pytest.fixture(scope="session")
def known(measured: Measured) -> Problem:
    """The measured scan with its true maps and noise level."""
    noise = torch.full((3,), measured.noise_std / SCALE)
    truth = GaussianLikelihood(sense(measured.maps[:, None], measured.mask), measured.kspace / SCALE, noise)
    scale, acs = torch.full((3,), SCALE), find_acs(measured.mask)
    findings = ProblemFindings(matrix=SHAPE, acceleration=2.0, noise_std=SCALE * noise, scale=scale)
    return Problem(truth, scale, measured.maps[:, None], SCALE * noise, acs, measured.mask, SHAPE, findings)
