"""The combined image of a fully sampled scan is the object, up to the phase of the array."""

import math
from collections.abc import Callable

import torch
from torch import Tensor

from lightning_mri.phantoms import Scanner
from lightning_mri.physics import fft2c
from lightning_mri.physics.combination import combine, combine_coils
from lightning_mri.tensors import complex_noise


def test_the_object_comes_back_with_the_oversampling_removed(blobs: Callable[..., Tensor]) -> None:
    images = blobs(0, n_slices=2, matrix=(44, 38))
    kspace = Scanner(n_coils=4, snr_db=60).measure(images, seed=3, pixel_size=(5.0, 5.5))
    assert kspace.shape == (2, 4, 88, 38)
    combined = combine(kspace, (44, 38))
    error = torch.linalg.vector_norm(combined.abs() - images.abs()) / torch.linalg.vector_norm(images)
    assert error < 0.02


def test_nothing_is_cut_away_where_there_is_no_signal() -> None:
    kspace = fft2c(torch.zeros(1, 2, 30, 32, dtype=torch.complex64).index_fill_(3, torch.tensor([5]), 1))
    noise = 1e-3 * torch.randn(kspace.shape, dtype=torch.complex64, generator=torch.Generator().manual_seed(0))
    assert (combine(kspace + noise, (30, 32)).abs() > 0).all()


def test_one_coil_is_its_own_image() -> None:
    image = torch.randn(1, 1, 12, 14, dtype=torch.complex64, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(combine(fft2c(image), (12, 14)), image[:, 0])


def test_correlated_noise_is_weighed_by_its_covariance(blobs: Callable[..., Tensor]) -> None:
    """One coil is ten times as noisy: whitened, it counts less, and the image is cleaner for the same object."""
    images = blobs(0, n_slices=1, matrix=(44, 38))
    clean = Scanner(4, math.inf, 1).measure(images, seed=3, pixel_size=(5.0, 5.5))
    levels = torch.tensor([10.0, 1.0, 1.0, 1.0]) * 0.02
    noise = complex_noise(clean.shape, torch.Generator().manual_seed(0)) * levels[:, None, None]
    covariance = levels.square().diag().to(torch.complex64)

    def snr(noise_covariance: Tensor | None) -> float:
        seen, there = (combine(k, (44, 38), noise_covariance=noise_covariance) for k in (clean + noise, clean))
        return float(there.abs().mean() / (seen.abs() - there.abs()).std())

    assert snr(covariance) > 1.5 * snr(None)


def test_whitening_with_equal_coils_changes_nothing(blobs: Callable[..., Tensor]) -> None:
    kspace = fft2c(blobs(0, n_slices=3, matrix=(20, 18)))[None]
    equal = 5.0 * torch.eye(3, dtype=torch.complex64)
    torch.testing.assert_close(combine(kspace, (20, 18), noise_covariance=equal), combine(kspace, (20, 18)))


def test_virtual_coils_show_the_same_image(blobs: Callable[..., Tensor]) -> None:
    images = blobs(0, n_slices=2, matrix=(44, 38))
    kspace = Scanner(n_coils=8, snr_db=30).measure(images, seed=3, pixel_size=(5.0, 5.5))
    reduced = combine_coils(kspace, (44, 38), n_coils=5)
    assert reduced.kspace.shape == (2, 5, 44, 38)
    whole = combine(kspace, (44, 38))
    error = torch.linalg.vector_norm(reduced.image.abs() - whole.abs()) / torch.linalg.vector_norm(whole)
    assert error < 0.03


def test_spikes_are_replaced_and_noisy_coils_count_less(blobs: Callable[..., Tensor]) -> None:
    """The image keeps its brightness, and the slice without either stays as it is."""
    images = blobs(0, n_slices=3, matrix=(96, 80))
    kspace = Scanner(n_coils=6, snr_db=30, oversampling=1).measure(images, seed=3, pixel_size=(2.0, 2.2))
    bad = kspace.clone()
    bad[0, :, 20, 61] += 300 * kspace[0].abs().max()
    bad[1, 2] += 10 * (kspace[1] - kspace[1].roll(1, -1)).abs()[:, :8].median() * complex_noise((96, 80))
    found, whole = combine_coils(bad, (96, 80), n_coils=5), combine(kspace, (96, 80))
    errors = torch.linalg.vector_norm(found.image.abs() - whole.abs(), dim=(-2, -1)) / torch.linalg.vector_norm(
        whole, dim=(-2, -1)
    )
    assert (errors < torch.tensor([0.05, 0.1, 0.05])).all(), errors
    assert [text.split(",")[0].split(":")[0] for texts in found.warnings for text in texts] == [
        "1 samples of k-space stand far above their neighbours",
        "coils noisier than the others",
    ]
    torch.testing.assert_close(combine(bad, (96, 80))[2], whole[2])


def test_slices_of_zeros_stay_zero_and_harm_no_other(blobs: Callable[..., Tensor]) -> None:
    kspace = Scanner(n_coils=4).measure(blobs(0, n_slices=2, matrix=(44, 38)), seed=3, pixel_size=(5.0, 5.5))
    padded = torch.cat([torch.zeros_like(kspace[:1]), kspace])
    found = combine_coils(padded, (44, 38), n_coils=3)
    assert not found.image[0].any()
    assert torch.equal(found.image[1:], combine_coils(kspace, (44, 38), n_coils=3).image)
