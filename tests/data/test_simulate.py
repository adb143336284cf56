"""A simulated cohort is read by the real reader, and depends on its seed alone."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor

from lightning_mri.data import Scanner, combine, find_scans, read_scan, simulate, undersampled_slice
from lightning_mri.physics import Equispaced, ifft2c
from lightning_mri.tensors import centre_crop


def test_noise_has_the_level_that_was_asked_for(blobs: Callable[..., Tensor]) -> None:
    images = blobs(0, n_slices=2)
    clean = Scanner(n_coils=3, snr_db=200).measure(images, 1, (8.0, 8.0))
    noise = Scanner(n_coils=3, snr_db=7).measure(images, 1, (8.0, 8.0)) - clean
    ratio = clean.abs().square().mean() / noise.abs().square().mean()
    assert 10 * ratio.log10().item() == pytest.approx(7, abs=0.15)


def test_the_coils_share_out_the_image(blobs: Callable[..., Tensor]) -> None:
    images = blobs(0, n_slices=2)
    kspace = Scanner(n_coils=3, snr_db=200, oversampling=2).measure(images, 1, (8.0, 8.0))
    coils = centre_crop(ifft2c(kspace), (28, 26))
    torch.testing.assert_close(coils.abs().square().sum(1), images.abs().square(), atol=1e-5, rtol=1e-3)


def test_impossible_scanners_are_refused() -> None:
    with pytest.raises(ValueError, match="n_coils and oversampling must be at least 1: got 0 and 2"):
        Scanner(n_coils=0)


def test_one_slice_is_undersampled_with_its_reference(blobs: Callable[..., Tensor]) -> None:
    image = blobs(0, n_slices=1)[0]
    batch = undersampled_slice(image, "a", "PD", Equispaced(2, 8), Scanner(3, 60), (8.0, 8.0))
    assert batch.kspace.shape == (1, 3, 56, 26)
    assert (batch.kspace[..., ~batch.mask[0]] == 0).all()
    assert batch.mask.float().mean() == 0.5
    assert batch.reference is not None
    torch.testing.assert_close(batch.reference[0].abs(), image.abs(), atol=0.05, rtol=0)


def test_a_cohort_is_written_in_fastmri_s_folders(tmp_path: Path) -> None:
    options = {
        "n_train": 1,
        "n_val": 0,
        "n_test": 1,
        "n_slices": 2,
        "matrix": (32, 30),
        "pixel_size": (7.0, 7.0),
        "scanner": Scanner(n_coils=2),
    }
    files = simulate(tmp_path / "a", contrasts=("FLAIR", "T1w"), n_processes=1, **options)  # type: ignore[arg-type]
    assert sorted(files) == find_scans(tmp_path / "a")
    assert [file.parent.name for file in files] == ["multicoil_train"] * 2 + ["multicoil_test"] * 2
    scan = read_scan(files[2])
    assert scan.kspace.shape == (2, 2, 64, 30)
    assert (scan.reconstruction_size, scan.pixel_size, scan.contrast) == ((32, 30), (7.0, 7.0), "FLAIR")
    assert scan.subject == read_scan(files[3]).subject != read_scan(files[0]).subject
    assert scan.doubts == ()
    assert scan.reference is not None
    shown = combine(scan.kspace[:], (32, 30)).abs()
    assert torch.corrcoef(torch.stack([shown.flatten(), scan.reference[:].flatten()]))[0, 1] > 0.99
    again = simulate(tmp_path / "b", n_processes=1, **options)  # type: ignore[arg-type]
    assert read_scan(again[1]).kspace[:].equal(scan.kspace[:])


def test_an_empty_cohort_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="there must be at least one subject, contrast and slice"):
        simulate(tmp_path, n_train=0, n_test=0)
