"""Measured low-field scans come with the operator that is known of their scanner, and no reference."""

import math
from functools import cache
from pathlib import Path

import nibabel
import numpy as np
import pytest
import torch

from lightning_mri.datasets.batches import LowFieldBatch
from lightning_mri.datasets.low_field_scans import LowFieldScans
from lightning_mri.io import write_fastmri
from lightning_mri.io.arrays import ImageArray
from lightning_mri.phantoms.mice import Mouse
from lightning_mri.physics import Damping, Phase, fft2c, ifft2c
from lightning_mri.physics.low_field import LowField
from lightning_mri.reconstruction import Reconstructor, prepare_likelihood
from lightning_mri.sampling import HQS
from lightning_mri.scaling import Scaling
from lightning_mri.tensors import centre_pad, complex_noise
from lightning_mri.weights import load_prior
from tests.builders import InMemory

EXPERIMENTS = Path(__file__).parents[2] / "experiments"
SHAPE = (64, 48)
SCANNER = LowField(fwhm_mm=0.6, t2star_s=0.01)
SHARP = LowField(fwhm_mm=0.0)


def nifti(folder: Path, values: np.ndarray, zooms=(0.3, 0.4, 1.0), readout=None) -> Path:
    path = folder / "mouse.nii.gz"
    image = nibabel.Nifti1Image(values.T.astype(values.dtype), np.diag((*zooms, 1.0)))
    image.header.set_dim_info(freq=readout)
    nibabel.save(image, path)
    return path


@cache
def mouse(seed: int) -> torch.Tensor:
    return Mouse(seed).slice(-1.0, SHAPE, 0.3)


def mice(n=3) -> torch.Tensor:
    return torch.stack([mouse(seed) for seed in range(n)])


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
        *("predict", f"--config={EXPERIMENTS / 'mouse/measured.yaml'}", "--model.sampler.n_steps=2"),
        *("--model.uncertainty=null", f"--data.root={path}", "--data.degradation.fwhm_mm=0.6"),
        *("--data.degradation.readout=x", f"--output_dir={tmp_path / 'out'}"),
    )
    written, given = nibabel.load(tmp_path / "out/mouse.nii.gz"), nibabel.load(path)
    assert written.shape == given.shape
    assert written.header.get_dim_info()[0] == 0  # x, as was said
    np.testing.assert_allclose(written.affine, given.affine, atol=1e-4)


def test_a_file_that_cannot_be_used_stops_no_other(tmp_path, command):
    nifti(tmp_path, mice(1).abs().numpy())
    np.save(tmp_path / "coils.npy", complex_noise((2, 3, *SHAPE), torch.Generator().manual_seed(0)).numpy())
    (tmp_path / "broken.npy").write_bytes((tmp_path / "coils.npy").read_bytes()[:1000])
    module = LowFieldScans(tmp_path)
    module.setup()
    assert [scan.name for scan in module.scans] == ["mouse"]
    assert sorted(Path(failure.source).name for failure in module.failures) == ["broken.npy", "coils.npy"]
    command(
        *("predict", "--model.sampler=HQS", "--model.sampler.n_steps=2", "--model.uncertainty=null"),
        *("--data=LowFieldScans", f"--data.root={tmp_path}", f"--output_dir={tmp_path / 'out'}"),
    )
    assert (tmp_path / "out/mouse.h5").exists()
    failed = (tmp_path / "out/failed.jsonl").read_text()
    assert "must have one coil: got 3" in failed
    assert "broken.npy" in failed


def test_a_map_of_b0_takes_its_phase_out_of_the_image(tmp_path):
    x = mice(2).abs().to(torch.complex64)
    field = torch.linspace(-40, 30, 2 * SHAPE[0] * SHAPE[1]).reshape(2, *SHAPE)
    np.save(tmp_path / "mouse.npy", fft2c(Phase.b0(field, 0.01)(x))[:, None].numpy())
    np.save(tmp_path / "field.npy", fft2c(field.to(torch.complex64))[:, None].numpy())
    (batch,) = batches(tmp_path / "mouse.npy", LowField(te_s=0.01), field=tmp_path / "field.npy")
    torch.testing.assert_close(batch.likelihood.adjoint(), x, rtol=0, atol=1e-4)
    _, second = batches(tmp_path / "mouse.npy", LowField(te_s=0.01), field=tmp_path / "field.npy", batch_size=1)
    torch.testing.assert_close(second.likelihood.adjoint(), x[1:], rtol=0, atol=1e-4)


def test_a_map_that_does_not_fit_is_refused(tmp_path):
    path = nifti(tmp_path, mice(2).abs().numpy())
    np.save(tmp_path / "field.npy", fft2c(mice(2).abs().to(torch.complex64))[:, None].numpy())
    with pytest.raises(ValueError, match=r"mouse.nii.gz: it must hold complex data, since a map of B0 models their ph"):
        batches(path, field=tmp_path / "field.npy")
    np.save(tmp_path / "complex.npy", fft2c(mice(3))[:, None].numpy())
    with pytest.raises(ValueError, match=r"field.npy: field must have the slices and matrix of the image: got .*2, 1"):
        batches(tmp_path / "complex.npy", field=tmp_path / "field.npy")
    (failed,) = batches(tmp_path / "complex.npy", field=tmp_path / "complex.npy")
    assert "complex.npy: field must be a real image in Hz" in failed.reason
    with pytest.raises(ValueError, match=r"degradation.te_s must be positive where there is a map of B0: got 0"):
        LowFieldScans(path, LowField(te_s=0), field=path)


@pytest.fixture
def field(tmp_path):
    """Paths of a scan, of a map of B0 that fits it, and of two echoes."""
    scan, mapped, echoes = (tmp_path / name for name in ("scan", "field", "echoes"))
    for folder in (scan, mapped, echoes):
        folder.mkdir()
    hertz = np.linspace(-40, 30, 2 * SHAPE[0] * SHAPE[1], dtype=np.float32).reshape(2, *SHAPE)
    nifti(echoes, np.stack([mice(2).numpy()] * 2))
    return nifti(scan, mice(2).numpy()), nifti(mapped, hertz), echoes / "mouse.nii.gz"


def test_echoes_are_refused_where_there_is_a_map(field):
    """Regression: all of them had the phase of one echo time."""
    _, mapped, echoes = field
    with pytest.raises(ValueError, match=r"mouse.nii.gz: it must hold one volume .*degradation.te_s .*: got 2$"):
        batches(echoes, SCANNER, field=mapped)
    assert len(batches(echoes, SCANNER)) == 1


def test_a_refused_map_is_not_explained_by_the_readout(field):
    scan, mapped, _ = field
    nifti(mapped.parent, np.linspace(1, 9, 126, dtype=np.float32).reshape(2, 9, 7))
    with pytest.raises(ValueError, match=r"must have the slices and matrix of the image: got [^;]*$"):
        batches(scan, SCANNER, field=mapped)


def test_a_map_with_gaps_is_a_warning(field):
    scan, mapped, _ = field
    told = "mouse.nii.gz: NaN in the map of B0 was read as 0 Hz"
    assert not any(told in warning for warning in batches(scan, SCANNER, field=mapped)[0].warnings)
    hertz = nibabel.load(mapped).get_fdata(dtype=np.float32).T
    hertz[1, 5, 5] = np.nan
    nifti(mapped.parent, hertz)
    warnings = batches(scan, SCANNER, field=mapped)[0].warnings
    assert any(warning.endswith(told) for warning in warnings)
    assert any("--data.degradation.readout x" in warning for warning in warnings)


def test_an_oversampled_field_of_view_is_cut_and_takes_a_map_of_the_image(tmp_path):
    """The readout is twice, the phase encoding half again as long as the image."""
    x, matrix = mice(2).abs().to(torch.complex64), (2 * SHAPE[0], 3 * SHAPE[1] // 2)
    field = torch.linspace(-40, 30, x.numel()).reshape(x.shape)
    kspace = fft2c(centre_pad(Phase.b0(field, 0.01)(x), matrix))[:, None]
    write_fastmri(tmp_path / "mouse.h5", kspace, contrast="T2w", subject="m", reconstruction_size=SHAPE)
    np.save(tmp_path / "field.npy", fft2c(field.to(torch.complex64))[:, None].numpy())
    (batch,) = batches(tmp_path / "mouse.h5", LowField(te_s=0.01), field=tmp_path / "field.npy")
    assert batch.reconstruction_size == SHAPE
    problem = prepare_likelihood(batch.likelihood, Scaling(), batch.reconstruction_size)
    torch.testing.assert_close(problem.finish(problem.likelihood.adjoint()), x, rtol=0, atol=1e-4)
    reconstructor = Reconstructor(load_prior("brain"), HQS(n_steps=2), uncertainty=None)
    empty = batch.likelihood.replace(y=batch.likelihood.y * torch.tensor([1.0, 0.0])[:, None, None, None])
    result = reconstructor.reconstruct_known(empty, size=batch.reconstruction_size)
    assert (result.image.shape, result.usable.tolist()) == (x.shape, [True, False])


@pytest.mark.parametrize(("readout", "given", "across"), [(0, None, True), (1, None, False), (None, "x", True)])
def test_the_signal_decays_along_the_readout_that_the_file_or_the_user_names(tmp_path, readout, given, across):
    path = nifti(tmp_path, mice(1).numpy(), readout=readout)
    (batch,) = batches(path, LowField(t2star_s=0.01, readout=given))
    weights = batch.likelihood.A.find(Damping).weights.expand(1, *SHAPE)[0]
    n, line = (SHAPE[1], weights[5]) if across else (SHAPE[0], weights[:, 5])
    torch.testing.assert_close(line, torch.exp(-(torch.arange(n) - n // 2).abs() * 0.0128 / n / 0.01))
    assert not any("readout direction" in warning for warning in batch.warnings)


def test_a_readout_whose_direction_is_not_known_is_a_warning(tmp_path):
    path = nifti(tmp_path, mice(1).numpy())
    decays, stays = batches(path, LowField(t2star_s=0.01)), batches(path, SHARP)
    assert any("--data.degradation.readout x" in warning for warning in decays[0].warnings)
    assert not any("readout" in warning for warning in stays[0].warnings)


def test_a_partial_echo_lasts_as_long_as_what_was_read_of_it(tmp_path):
    """48 of 64 samples in 9.6 ms: 0.2 ms between two."""
    kspace = fft2c(mice(1))[:, None]
    kspace[:, :, :16] = 0
    np.save(tmp_path / "mouse.npy", kspace.numpy())
    (batch,) = batches(tmp_path / "mouse.npy", LowField(t2star_s=0.004, readout_s=0.0096))
    weights = batch.likelihood.A.find(Damping).weights[0, :, 3]
    assert weights[[16, 40, 63]].tolist() == pytest.approx([math.exp(-t / 4) for t in (3.2, 1.6, 6.2)], rel=1e-4)


def test_what_a_file_does_not_say_is_given(tmp_path):
    np.save(tmp_path / "mouse.npy", fft2c(mice(2)).movedim(0, -1)[..., None].numpy())
    path = tmp_path / "mouse.npy"
    (batch,) = batches(path, SCANNER, axes="y x slice coil", pixel_size=(0.3, 0.4), contrast="T2w")
    assert (batch.n_slices, batch.pixel_size, batch.contrast) == (2, (0.3, 0.4), "T2w")
    torch.testing.assert_close(batch.likelihood.A.find(Damping).weights, SCANNER.damping(SHAPE, (0.3, 0.4)).weights)


def test_scans_that_the_scanner_cannot_have_made_are_named(tmp_path):
    kspace = complex_noise((2, 3, *SHAPE), torch.Generator().manual_seed(0)).numpy()
    np.save(tmp_path / "coils.npy", kspace)
    with pytest.raises(ValueError, match=r"coils.npy: a low-field scan must have one coil: got 3"):
        batches(tmp_path / "coils.npy")
    np.save(tmp_path / "volume.npy", kspace[0])
    with pytest.raises(ValueError, match=r"volume.npy: .* got 3; .*\(--data.axes\) can name others, as in 'slice y x'"):
        batches(tmp_path / "volume.npy")
    np.save(tmp_path / "bare.npy", kspace[:, :1])
    with pytest.raises(
        ValueError, match=r"bare.npy: pixel_size must be in the file or given, since degradation.fwhm_mm is in mm"
    ):
        batches(tmp_path / "bare.npy", SCANNER)
    path = nifti(tmp_path, mice(1).numpy())
    with pytest.raises(
        ValueError, match=r"mouse.nii.gz: fwhm_mm must be smaller than the image: got 40.0 .*25.6 x 14.4"
    ):
        batches(path, LowField(fwhm_mm=40.0))


def test_a_bad_slice_is_zero_filled_and_the_others_are_as_usual(tmp_path):
    kspace = fft2c(mice(4))[:, None] + 0.01 * complex_noise((4, 1, *SHAPE), torch.Generator().manual_seed(1))
    kspace[1, 0, 3, 4], kspace[3] = torch.nan, 0
    np.save(tmp_path / "bad.npy", kspace.numpy())
    np.save(tmp_path / "good.npy", kspace[::2].numpy())
    (bad,), (good,) = batches(tmp_path / "bad.npy", SHARP), batches(tmp_path / "good.npy", SHARP)
    reconstructor = Reconstructor(load_prior("brain"), HQS(n_steps=2), uncertainty=None)
    result = reconstructor.reconstruct_known(bad.likelihood, "mouse", bad.slices)
    whole = reconstructor.reconstruct_known(good.likelihood, "mouse", (0, 2))
    torch.testing.assert_close(result.image[::2], whole.image)
    assert result.usable.tolist() == [True, False, True, False]
    assert not result.image[3].any()
    assert result.image[1].isfinite().all()
    assert [text.split(";")[0] for text in result.warnings[:2]] == [
        "slice 1: NaN or infinity among acquired samples",
        "slice 3: no signal: k-space is all zero",
    ]


def test_a_slice_of_an_image_that_is_not_a_number_loses_no_other():
    """The Fourier transform of such a slice has no sample that is a number."""
    images = mice(3).numpy()
    images[1, 5, 5] = np.nan
    stored = InMemory(images)
    assert torch.equal(ImageArray(stored)[[0, 2]], fft2c(torch.from_numpy(images[::2]))[:, None])
    assert not ImageArray(stored).with_gaps([1]).isfinite().any()
