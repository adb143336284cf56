"""A low-field scan is matched through its file, with images of such objects at high field beside it."""

import json
from dataclasses import replace
from pathlib import Path

import nibabel
import numpy as np
import pytest
import torch

from lightning_mri.io import read_scan
from lightning_mri.physics import ifft2c
from lightning_mri.physics.low_field import LowField
from lightning_mri.reconstruction import estimate_scanner_of, inspect, reference_spectrum, with_scanner
from lightning_mri.tensors import complex_noise

SHAPE, ZOOMS = (48, 64), (0.3, 0.3, 1.0)
SCANNER = LowField(fwhm_mm=0.8, pixel_size=0.3, snr_db=(15.0, 15.0))


def objects(seed: int) -> torch.Tensor:
    """Draw three images whose power is abs(k)^-3."""
    y, x = (torch.arange(n) - n // 2 for n in SHAPE)
    radius = torch.hypot(y[:, None] / SHAPE[0], x / SHAPE[1]).clamp(min=0.01)
    return ifft2c(radius**-1.5 * complex_noise((3, *SHAPE), torch.Generator().manual_seed(seed)))


def nifti(path: Path, images: torch.Tensor) -> Path:
    """Store images [slice, y, x] so that reading finds y and x again."""
    nibabel.save(nibabel.Nifti1Image(images.numpy().transpose(2, 1, 0), np.diag((*ZOOMS, 1.0))), path)
    return path


@pytest.fixture
def like(tmp_path: Path) -> Path:
    """A folder of high-field images."""
    (tmp_path / "like").mkdir()
    for i in range(4):
        nifti(tmp_path / f"like/mouse{i}.nii", objects(i))
    return tmp_path / "like"


@pytest.fixture
def blurred(tmp_path: Path) -> Path:
    """A low-field scan of another object."""
    return nifti(tmp_path / "blurred.nii", ifft2c(SCANNER.degrade(objects(9), [1, 2, 3]).y[:, 0]))


def test_the_command_tells_the_blur_with_its_error(blurred: Path, like: Path, command) -> None:
    told = json.loads(command("inspect", blurred, "--like", like, "--readout_s", "0.0128", "--json"))
    assert abs(told["fwhm_mm"] - 0.8) < 2.5 * told["fwhm_mm_error"]
    assert 0.5 < told["fwhm_mm"] < 1.1
    assert told["fwhm_mm_error"] < 0.3
    assert any("T2* decay about the echo" in warning for warning in told["warnings"])
    text = command("inspect", blurred, "--like", like, "--readout_s", "0.0128")
    assert "blur, full width at half maximum in mm" in text


def test_a_reference_is_asked_for_with_the_readout(blurred: Path, like: Path, failing_command) -> None:
    message = failing_command("inspect", blurred, "--like", like)
    assert "like and readout_s must be given together" in message


def test_a_refused_scan_names_the_axes_that_were_guessed(tmp_path: Path, like: Path, failing_command) -> None:
    """Regression: the axes were among the warnings, which a refused scan had lost."""
    np.save(tmp_path / "volume.npy", np.ones((3, 8, 9), np.complex64))
    message = failing_command("inspect", tmp_path / "volume.npy", "--like", like, "--readout_s", "0.0128")
    assert "of one coil: got 3 coils; the axes (3, 8, 9) were taken for [coil, y, x]" in message


def test_what_cannot_be_matched_is_said(like: Path, tmp_path: Path) -> None:
    magnitude = read_scan(nifti(tmp_path / "magnitude.nii", objects(0).abs()))
    with pytest.raises(ValueError, match=r"nii: the scan must be complex, of one coil: got magnitudes alone"):
        estimate_scanner_of(magnitude, 0.0128)
    np.save(tmp_path / "bare.npy", np.ones((2, 1, 8, 9), np.complex64))
    with pytest.raises(ValueError, match=r"bare.npy: pixel_size must be in the file"):
        estimate_scanner_of(read_scan(tmp_path / "bare.npy"), 0.0128)
    with pytest.raises(ValueError, match=r"bare.npy: pixel_size must be in the file"):
        reference_spectrum(tmp_path / "bare.npy")


def test_a_readout_along_x_is_that_of_the_transposed_scan(tmp_path: Path) -> None:
    images = ifft2c(SCANNER.degrade(objects(9), [1, 2, 3]).y[:, 0])
    y, x = (read_scan(nifti(tmp_path / name, each)) for name, each in (("y.nii", images), ("x.nii", images.mT)))
    along_y, along_x = (estimate_scanner_of(replace(scan, readout=way), 0.0128) for scan, way in ((y, "y"), (x, "x")))
    assert along_x.readout_decay_hz.value == pytest.approx(along_y.readout_decay_hz.value, rel=1e-3)


def test_facts_of_an_inspection_stay(blurred: Path, like: Path) -> None:
    before = inspect(read_scan(blurred))
    after = with_scanner(before, 0.0128, reference_spectrum(like))
    assert after.findings.acceleration == before.findings.acceleration
    assert set(before.warnings) <= set(after.warnings)
    truth = SCANNER.degrade(objects(9), [1, 2, 3]).noise_std.square().mean().sqrt().item()
    assert after.findings.noise_std == pytest.approx(truth, rel=0.05)  # closer than what sees no spectrum
