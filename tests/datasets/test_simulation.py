"""A simulated cohort is read by the real reader, and depends on its seed alone."""

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch
from torch import Tensor

from lightning_mri.datasets import simulate, undersample, undersampled_slice
from lightning_mri.io import find_scans, read_scan, write_fastmri
from lightning_mri.phantoms import Scanner
from lightning_mri.physics import Equispaced, combine, ifft2c, noise_covariance, whiten
from lightning_mri.tensors import centre_crop


def test_noise_has_the_level_that_was_asked_for(blobs: Callable[..., Tensor]) -> None:
    images = blobs(0, n_slices=2)
    clean = Scanner(3, math.inf).measure(images, 1, (8.0, 8.0))
    noise = Scanner(n_coils=3, snr_db=7).measure(images, 1, (8.0, 8.0)) - clean
    ratio = clean.abs().square().mean() / noise.abs().square().mean()
    assert 10 * ratio.log10().item() == pytest.approx(7, abs=0.15)


def test_the_coils_share_out_the_image(blobs: Callable[..., Tensor]) -> None:
    images = blobs(0, n_slices=2)
    kspace = Scanner(3, math.inf, 2).measure(images, 1, (8.0, 8.0))
    coils = centre_crop(ifft2c(kspace), (28, 26))
    torch.testing.assert_close(coils.abs().square().sum(1), images.abs().square(), atol=1e-5, rtol=1e-3)


def test_what_is_outside_of_a_narrow_field_of_view_wraps_around(tmp_path: Path, blobs: Callable[..., Tensor]) -> None:
    images = blobs(0, n_slices=2)
    coils, narrow = (
        ifft2c(Scanner(3, math.inf, field_of_view=part).measure(images, 1, (8.0, 8.0))) for part in (1.0, 0.5)
    )
    first = coils.shape[-1] // 2 - narrow.shape[-1] // 2  # the middle stays the middle
    expected = coils.roll(-first, -1).unflatten(-1, (2, -1)).sum(-2)
    torch.testing.assert_close(narrow, expected, rtol=0, atol=1e-5)
    scanner = Scanner(2, 20.0, field_of_view=0.6)
    options = {"matrix": (45, 40), "pixel_size": (5.0, 5.0), "lesions": True, "n_slices": 1, "n_processes": 1}
    (path,) = simulate(tmp_path, n_train=1, n_test=0, scanner=scanner, **options)
    with h5py.File(path) as file:
        assert file["kspace"].shape == (1, 2, 90, 24)
        assert file["reconstruction_rss"].shape == file["lesion_mask"].shape == (1, 45, 24)


def test_correlated_noise_is_that_of_the_noise_scan(blobs: Callable[..., Tensor]) -> None:
    scanner = Scanner(n_coils=5, snr_db=6, noise_correlation=0.6)
    images = blobs(0, n_slices=2, matrix=(60, 50))
    kspace = scanner.measure(images, 1, (4.0, 4.0))
    noise = kspace - replace(scanner, snr_db=math.inf).measure(images, 1, (4.0, 4.0))
    found = noise_covariance(noise.transpose(0, 1))
    told = scanner.noise_scan(1, kspace)
    assert told is not None
    torch.testing.assert_close(told, found, rtol=0, atol=0.05 * found.abs().max().item())
    correlation = found / (found.diagonal().real[:, None] * found.diagonal().real).sqrt()
    assert (correlation - torch.eye(5)).abs().max() > 0.2
    white = whiten(noise, told)
    torch.testing.assert_close(noise_covariance(white.transpose(0, 1)), torch.eye(5) + 0j, rtol=0, atol=0.08)
    assert Scanner(n_coils=5).noise_scan(1, kspace) is None


def test_a_noise_scan_whitens_from_the_file_to_the_reference(tmp_path: Path, blobs: Callable[..., Tensor]) -> None:
    scanner = Scanner(n_coils=4, snr_db=0, noise_correlation=0.9)
    kspace = scanner.measure(blobs(0, n_slices=1, matrix=(40, 36)), 1, (6.0, 6.0))
    covariance = scanner.noise_scan(1, kspace)
    known = {"contrast": "T2w", "subject": "a", "reconstruction_size": (40, 36)}
    write_fastmri(tmp_path / "a.h5", kspace, noise_covariance=covariance, **known)  # type: ignore[arg-type]
    scan = read_scan(tmp_path / "a.h5")
    assert scan.noise_covariance is not None
    white = whiten(scan.kspace[:], scan.noise_covariance)
    edge = noise_covariance(white[..., :6].transpose(0, 1))  # of k-space, which holds no signal
    torch.testing.assert_close(edge, torch.eye(4) + 0j, rtol=0, atol=0.25)
    batch = undersample(scan, (0,), Equispaced(2, 8), 2)
    assert batch.noise_covariance is scan.noise_covariance
    assert batch.reference.equal(combine(scan.kspace[:], (40, 36), noise_covariance=covariance))


def test_one_slice_is_undersampled_with_its_reference(blobs: Callable[..., Tensor]) -> None:
    image = blobs(0, n_slices=1)[0]
    batch = undersampled_slice(image, "a", "PD", Equispaced(2, 8), Scanner(3, 60), (8.0, 8.0))
    assert batch.kspace.shape == (1, 3, 56, 26)
    assert (batch.kspace[..., ~batch.mask[0]] == 0).all()
    assert batch.mask.float().mean() == 0.5
    torch.testing.assert_close(batch.reference[0].abs(), image.abs(), atol=0.05, rtol=0)


@pytest.mark.slow
def test_a_cohort_is_written_in_fastmri_s_folders(tmp_path: Path) -> None:
    options: dict[str, Any] = {"n_train": 1, "n_test": 1, "n_slices": 2, "n_processes": 1}
    options |= {"matrix": (32, 30), "pixel_size": (7.0, 7.0), "scanner": Scanner(n_coils=2, noise_correlation=0.3)}
    files = simulate(tmp_path / "a", contrasts=("FLAIR", "T1w"), **options)
    assert sorted(files) == find_scans(tmp_path / "a")
    assert [file.parent.name for file in files] == ["multicoil_train"] * 2 + ["multicoil_test"] * 2
    scan = read_scan(files[2])
    assert scan.kspace.shape == (2, 2, 64, 30)
    assert (scan.reconstruction_size, scan.pixel_size, scan.contrast) == ((32, 30), (7.0, 7.0), "FLAIR")
    assert scan.subject == read_scan(files[3]).subject != read_scan(files[0]).subject
    assert scan.warnings == ()
    assert scan.noise_covariance[0, 1].abs() > 0
    shown = combine(scan.kspace[:], (32, 30)).abs()
    assert torch.corrcoef(torch.stack([shown.flatten(), scan.reference[:].flatten()]))[0, 1] > 0.99
    again = simulate(tmp_path / "b", **options)
    assert read_scan(again[1]).kspace[:].equal(scan.kspace[:])


@pytest.mark.slow
def test_the_mask_of_lesions_is_stored_beside_the_scan_and_lies_where_it_is_brighter(tmp_path: Path) -> None:
    options: dict[str, Any] = {"n_train": 3, "n_test": 0, "contrasts": ("DWI",), "n_slices": 2, "n_processes": 1}
    options |= {"matrix": (45, 40), "pixel_size": (5.0, 5.0), "spacing_mm": 15.0, "scanner": Scanner(1, snr_db=60)}
    files = [simulate(tmp_path / str(lesions), lesions=lesions, **options) for lesions in (True, False)]
    brighter, marked = [], []
    for ill, healthy in zip(*files, strict=True):
        with h5py.File(ill) as one, h5py.File(healthy) as other:
            mask = one["lesion_mask"][:]
            assert (mask.shape, mask.dtype) == ((2, 45, 40), np.uint8)
            assert not other["lesion_mask"][:].any()
            assert dict(one["lesion_mask"].attrs) == {"acute": 1, "gliosis": 2}
            assert undersample(read_scan(ill), (1,), Equispaced(1, 8), 1).lesions.equal(torch.from_numpy(mask[1:] != 0))
            brighter.append(one["reconstruction_rss"][:] - other["reconstruction_rss"][:])
            marked.append(mask == 1)
    difference, acute = np.stack(brighter), np.stack(marked)
    assert acute.sum() > 20
    assert difference[acute].mean() > 10 * np.abs(difference[~acute]).mean()


@pytest.mark.slow
def test_a_cohort_may_grow_but_no_subject_changes_sides_and_no_file_of_others_is_lost(tmp_path: Path) -> None:
    small: dict[str, Any] = {"matrix": (20, 18), "pixel_size": (12.0, 12.0), "n_slices": 1, "n_processes": 1}
    simulate(tmp_path, n_train=1, n_test=1, **small)
    before = sorted(tmp_path.rglob("*.h5"))
    with pytest.raises(FileExistsError, match=r"multicoil_test: no subject may be in two folders"):
        simulate(tmp_path, n_train=2, n_test=1, contrasts=("T2w",), **small)
    assert sorted(tmp_path.rglob("*")) == sorted({*before, *(path.parent for path in before)})
    left = before[0].with_name(f".{before[0].stem}.0123abcd.part.h5")  # by a run that was killed
    left.touch()
    assert sorted(simulate(tmp_path, n_train=1, n_test=1, **small)) == before
    assert not left.exists()
    simulate(tmp_path, n_train=1, n_test=2, **small)
    notes = tmp_path / "multicoil_train" / "synthetic-0-0000_AXFLAIR.h5"
    notes.write_text("my notes")
    with pytest.raises(FileExistsError, match=r"synthetic-0-0000_AXFLAIR.h5: output_dir must be elsewhere"):
        simulate(tmp_path, n_train=1, n_test=2, **small)
    assert notes.read_text() == "my notes"
