"""The combined image of a fully sampled scan is the object, up to the phase of the array."""

from collections.abc import Callable

import torch
from torch import Tensor

from lightning_mri.data import combine
from lightning_mri.data.simulate import Scanner
from lightning_mri.physics import fft2c


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
