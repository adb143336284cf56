from pathlib import Path

import numpy as np
import pytest
import torch

from lightning_mri.phantoms import CoilArray
from lightning_mri.physics import (
    Equispaced,
    GaussianLikelihood,
    NonlinearInversion,
    cg_sense,
    estimate_maps,
    estimate_noise_std,
    fft2c,
    find_acs,
    ifft2c,
    sense,
)
from lightning_mri.reconstruction.maps import choose_maps
from lightning_mri.tensors import complex_noise

from .conftest import ellipse

SHAPE = (72, 60)
REAL = Path(__file__).parents[3] / "shared/data/real"


def scan(n_lines: int, noise_std: float = 0.2) -> tuple[torch.Tensor, ...]:
    """Return coil images of two slices, their measured k-space, mask, calibration block and noise level."""
    array = CoilArray.draw(6, 1)
    maps = torch.stack([array.maps(SHAPE, 3.0, offset) for offset in (0.0, 20.0)])
    maps = maps / torch.linalg.vector_norm(maps, dim=1, keepdim=True)
    images = maps * torch.stack([ellipse(1.5, SHAPE), ellipse(0.8, SHAPE)])[:, None]
    mask = Equispaced(3, n_lines).draw(SHAPE, 0)
    noise = noise_std * complex_noise(images.shape, torch.Generator().manual_seed(0))
    return images, torch.where(mask, fft2c(images) + noise, 0), mask, find_acs(mask, 2), torch.full((2,), noise_std)


def unexplained(images: torch.Tensor, maps: torch.Tensor) -> torch.Tensor:
    """Norm of what maps leave of coil images, relative to the images, slice by slice."""
    left = images - maps[:, 0] * (maps[:, 0].conj() * images).sum(1, keepdim=True)
    return left.flatten(1).norm(dim=1) / images.flatten(1).norm(dim=1)


def test_a_wide_block_is_left_to_espirit():
    _, y, mask, acs, noise = scan(20)
    maps, inverted = choose_maps(y, mask, acs, noise)
    assert not inverted.any()
    assert torch.equal(maps, estimate_maps(y, mask, acs.limited(), noise))


def test_with_few_lines_all_samples_decide_and_nothing_that_espirit_sees_is_lost():
    images, y, mask, acs, noise = scan(6)
    maps, inverted = choose_maps(y, mask, acs, noise)
    of_block = estimate_maps(y, mask, acs.limited(), noise)
    assert inverted.all()
    assert (unexplained(images, maps) < 0.7 * unexplained(images, of_block)).all()
    assert ((maps != 0) | (of_block == 0)).all()
    alone = NonlinearInversion().maps(y, mask, acs, noise)
    assert torch.equal(torch.where(alone == 0, 0, maps), alone)


def test_several_sets_and_single_coils_are_left_to_espirit():
    _, y, mask, acs, noise = scan(6)
    two, inverted = choose_maps(y, mask, acs, noise, n_sets=2)
    assert two.shape[1] == 2
    assert not inverted.any()
    assert not choose_maps(y[:, :1], mask, acs, noise)[1].any()


@pytest.mark.parametrize("n_lines", [2, 3, 6, 8])
def test_noise_alone_has_no_maps(n_lines):
    _, y, mask, acs, _ = scan(n_lines)
    noise = torch.where(mask, complex_noise(y.shape, torch.Generator().manual_seed(3)), 0)
    maps, inverted = choose_maps(noise, mask, acs, torch.ones(2))
    assert not inverted.any()
    assert not maps.any()


@pytest.mark.skipif(not REAL.exists(), reason=f"needs the measured scans of {REAL}")
@pytest.mark.parametrize(("name", "n_lines", "most"), [("brain16", 8, 0.6), ("brain16", 12, 0.8), ("ucb8", 12, 1.0)])
def test_maps_of_measured_heads_explain_more_than_those_of_espirit(name, n_lines, most):
    kspace = torch.from_numpy(np.load(REAL / f"{name}.npy"))[None]
    mask = Equispaced(6, n_lines).draw(kspace.shape[-2:], 0)
    y = torch.where(mask, kspace, 0)
    acs, noise = find_acs(mask), estimate_noise_std(y, mask)
    maps, _ = choose_maps(y, mask, acs, noise)
    images = ifft2c(kspace)
    images = images * (images.abs().square().sum(1, keepdim=True) > (0.2 * images.abs().max()) ** 2)
    assert unexplained(images, maps) < most * unexplained(images, estimate_maps(y, mask, acs.limited(), noise))


@pytest.mark.skipif(not REAL.exists(), reason=f"needs the measured scans of {REAL}")
@pytest.mark.parametrize(
    ("name", "n_lines", "most"), [("brain16", 2, 0.8), ("brain16", 3, 0.3), ("ucb8", 2, 0.7), ("ucb8", 3, 0.5)]
)
def test_two_and_three_lines_are_better_than_zero_filling(name, n_lines, most):
    """Issue of 0.1: maps of so few lines gave 0.97, zero-filling 0.25."""
    kspace = torch.from_numpy(np.load(REAL / f"{name}.npy"))[None]
    x = torch.arange(kspace.shape[-1]) - kspace.shape[-1] // 2
    mask = ((x % 3 == 0) | ((x >= -(n_lines // 2)) & (x < (n_lines + 1) // 2))).expand(1, *kspace.shape[-2:])
    y = torch.where(mask, kspace, 0) / kspace.abs().max()
    acs, noise = find_acs(mask, 2), estimate_noise_std(y, mask)
    maps, _ = choose_maps(y, mask, acs, noise)
    image = cg_sense(GaussianLikelihood(sense(maps, mask), y, noise)).abs()
    truth, zero_filled = (torch.linalg.vector_norm(ifft2c(k), dim=1) for k in (kspace / kspace.abs().max(), y))
    assert torch.dist(image, truth) < most * torch.dist(zero_filled, truth)
