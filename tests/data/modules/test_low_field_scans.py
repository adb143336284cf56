"""Measured low-field scans come with the operator that is known of their scanner, and no reference."""

from pathlib import Path

import nibabel
import numpy as np
import pytest
import torch

from lightning_mri.data.low_field import LowField, LowFieldBatch
from lightning_mri.data.modules.low_field_scans import LowFieldScans
from lightning_mri.data.synthetic.mice import Mouse
from lightning_mri.physics import Damping, ifft2c
from lightning_mri.tensors import complex_noise

SHAPE = (64, 48)
SCANNER = LowField(fwhm_mm=0.6, t2star_s=0.01)


def nifti(folder: Path, values: np.ndarray, zooms=(0.3, 0.4, 1.0)) -> Path:
    path = folder / "mouse.nii.gz"
    nibabel.save(nibabel.Nifti1Image(values.T.astype(values.dtype), np.diag((*zooms, 1.0))), path)
    return path


def mice(n=3) -> torch.Tensor:
    return torch.stack([Mouse(i).slice(-1.0, SHAPE, 0.3) for i in range(n)])


def batches(*args, **options) -> list[LowFieldBatch]:
    module = LowFieldScans(*args, **options)
    module.setup()
    return list(module.predict_dataloader())


def test_a_volume_becomes_measurements_with_the_scanners_damping(tmp_path):
    path = nifti(tmp_path, mice().numpy())
    first, second = batches(path, SCANNER, batch_size=2)
    assert (first.slices, second.slices, first.n_slices) == ((0, 1), (2,), 3)
    assert first.reference is None
    assert first.affine is not None
    damping = first.likelihood.A.find(Damping).weights
    expected = SCANNER.damping(first.reconstruction_size, first.pixel_size).weights
    torch.testing.assert_close(damping, expected)
    assert sorted(first.pixel_size) == pytest.approx([0.3, 0.4])  # of unequal edges


def test_the_noise_level_is_found_in_the_measurement_or_given(tmp_path):
    noise = 0.05 * complex_noise((1, *SHAPE), torch.Generator().manual_seed(0))
    kspace = LowField(fwhm_mm=1.0, pixel_size=0.3).operator(SHAPE, [1])(mice(1)) + noise[None]
    np.save(tmp_path / "mouse.npy", kspace.numpy())
    (found,), (given,) = batches(tmp_path / "mouse.npy"), batches(tmp_path / "mouse.npy", noise_std=0.2)
    assert found.likelihood.noise_std.item() == pytest.approx(0.05, rel=0.2)
    assert given.likelihood.noise_std.item() == pytest.approx(0.2)
    assert found.likelihood.A.find(Damping) is None
    torch.testing.assert_close(found.likelihood.adjoint(), ifft2c(kspace)[:, 0])


def test_predict_writes_a_volume_where_the_scan_was(tmp_path, command):
    path = nifti(tmp_path, mice(2).numpy())
    command(
        "predict",
        "--model.sampler=HQS",
        "--model.sampler.n_steps=2",
        "--model.uncertainty=null",
        "--data=LowFieldScans",
        f"--data.root={path}",
        "--data.degradation.fwhm_mm=0.6",
        f"--output_dir={tmp_path / 'out'}",
        "--results.formats=[nifti]",
    )
    written, given = nibabel.load(tmp_path / "out/mouse.nii.gz"), nibabel.load(path)
    assert written.shape == given.shape
    np.testing.assert_allclose(written.affine, given.affine, atol=1e-4)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"degradation": LowField(b0_hz=40.0)}, "degradation.b0_hz must be 0 for measured scans.*: got 40.0"),
        ({"noise_std": 0.0}, "noise_std must be finite and positive: got 0.0"),
        ({"batch_size": 0}, "batch_size must be positive: got 0"),
    ],
)
def test_what_a_measured_scan_cannot_have_is_refused(options, message):
    with pytest.raises(ValueError, match=message):
        LowFieldScans(Path("mouse.nii"), **options)


def test_scans_that_the_scanner_cannot_have_made_are_named(tmp_path):
    kspace = complex_noise((2, 3, *SHAPE), torch.Generator().manual_seed(0)).numpy()
    np.save(tmp_path / "coils.npy", kspace)
    with pytest.raises(ValueError, match=r"coils.npy: a low-field scan must have one coil: got 3"):
        batches(tmp_path / "coils.npy")
    np.save(tmp_path / "bare.npy", kspace[:, :1])
    with pytest.raises(
        ValueError, match=r"bare.npy: pixel_size must be in the file, since degradation.fwhm_mm is in mm"
    ):
        batches(tmp_path / "bare.npy", SCANNER)
    path = nifti(tmp_path, mice(1).numpy())
    with pytest.raises(
        ValueError, match=r"mouse.nii.gz: fwhm_mm must be smaller than the image: got 40.0 .*25.6 x 14.4"
    ):
        batches(path, LowField(fwhm_mm=40.0))
