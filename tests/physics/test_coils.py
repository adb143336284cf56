"""Virtual coils keep the energy, the noise and the image."""

import numpy as np
import pytest
import torch
from torch import Tensor

from lightning_mri.physics import Acs, compress_coils, fft2c, mix_coils, noise_covariance, principal_coils
from lightning_mri.tensors import complex_noise


def source(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.fixture
def kspace() -> Tensor:
    """Seven coils [coil, y, x] that see much of the same, and a little noise."""
    mixing = complex_noise((7, 3), source(0))
    seen = mixing @ complex_noise((3, 9 * 11), source(1))
    return (seen + 0.05 * complex_noise((7, 9 * 11), source(2))).reshape(7, 9, 11)


def test_rows_are_orthonormal(kspace: Tensor) -> None:
    matrix = principal_coils(kspace, 4)
    assert matrix.shape == (4, 7)
    torch.testing.assert_close(matrix @ matrix.mH, torch.eye(4, dtype=torch.complex64), atol=1e-5, rtol=0)


def test_the_phase_of_a_row_is_the_same_on_every_device(kspace: Tensor) -> None:
    matrix = principal_coils(kspace, 4)
    largest = matrix.gather(1, matrix.abs().argmax(1, keepdim=True))
    assert largest.imag.abs().max() < 1e-6
    assert bool((largest.real > 0).all())


@pytest.mark.parametrize("n", [1, 3, 6])
def test_the_energy_that_is_kept_is_that_of_the_largest_singular_values(kspace: Tensor, n: int) -> None:
    kept = mix_coils(principal_coils(kspace, n), kspace).abs().square().sum().item()
    singular = np.linalg.svd(kspace.flatten(1).numpy(), compute_uv=False)
    assert kept == pytest.approx(float((singular[:n] ** 2).sum()), rel=1e-4)


@pytest.mark.parametrize("n", [7, 12])
def test_enough_virtual_coils_keep_everything(kspace: Tensor, n: int) -> None:
    matrix = principal_coils(kspace, n)
    assert matrix.shape == (7, 7)
    torch.testing.assert_close(
        mix_coils(matrix.mH.resolve_conj(), mix_coils(matrix, kspace)), kspace, atol=1e-4, rtol=0
    )


def test_compression_of_images_is_compression_of_kspace(kspace: Tensor) -> None:
    matrix = principal_coils(kspace, 3)
    torch.testing.assert_close(mix_coils(matrix, fft2c(kspace)), fft2c(mix_coils(matrix, kspace)), atol=1e-4, rtol=0)


def test_white_noise_stays_white(kspace: Tensor) -> None:
    noise = mix_coils(principal_coils(kspace, 4), complex_noise((7, 100, 101), source(3)))
    torch.testing.assert_close(noise_covariance(noise), torch.eye(4, dtype=torch.complex64), atol=0.04, rtol=0)


def test_slices_are_mixed_each_by_itself(kspace: Tensor) -> None:
    matrix = principal_coils(kspace, 2)
    both = mix_coils(matrix, torch.stack([kspace, 2 * kspace]))
    torch.testing.assert_close(both[1], 2 * mix_coils(matrix, kspace))


def test_each_slice_is_compressed_by_itself(kspace: Tensor) -> None:
    acs = Acs(slice(2, 7), slice(0, 11))
    slices = torch.stack([kspace, kspace.flip(0) * 1j])
    for one, virtual in zip(slices, compress_coils(slices, 3, acs), strict=True):
        torch.testing.assert_close(virtual, mix_coils(principal_coils(one[:, 2:7], 3), one))
    assert compress_coils(slices, 7, acs) is slices
