"""`inspect` tells what a scan is, and warnings what deserves it."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from lightning_mri.io import Scan
from lightning_mri.io.arrays import ImageArray
from lightning_mri.physics import Equispaced, fft2c, ifft2c
from lightning_mri.reconstruction import Measurement, Problem, inspect, inspection, preview
from lightning_mri.reconstruction.preparing import prepare_measured
from lightning_mri.tensors import complex_noise
from tests.builders import InMemory

from .conftest import scan_of

ROWS, COLUMNS = 46, 40


@pytest.fixture
def scan(measured) -> Scan:  # type: ignore[no-untyped-def]
    return scan_of(measured.kspace, stored_mask=measured.mask, pixel_size=(1.5, 1.25), slice_spacing=5.0)


def warnings_of(scan: Scan) -> str:
    return "\n".join(inspect(scan).warnings)


def test_facts_are_those_of_the_scan(scan: Scan, measured) -> None:  # type: ignore[no-untyped-def]
    findings = inspect(scan).findings
    assert findings.subject == "someone"
    assert (findings.slices, findings.n_coils, findings.matrix) == (3, 5, (ROWS, COLUMNS))
    assert findings.voxel_mm == (1.5, 1.25, 5.0)
    assert findings.acceleration == pytest.approx(ROWS * COLUMNS / int(measured.mask.sum()))
    assert findings.acs == (ROWS, 12)
    assert not findings.fully_sampled
    assert findings.noise_std == pytest.approx(measured.noise_std, rel=0.15)


def test_signal_to_noise_is_that_of_the_acquired_samples(scan: Scan, measured) -> None:  # type: ignore[no-untyped-def]
    clean = fft2c(measured.maps[1] * measured.image[1]) * measured.mask
    power = float(clean.abs().square().sum()) / (5 * int(measured.mask.sum()))
    expected = 10 * np.log10(power / (2 * measured.noise_std**2) + 1)
    assert inspect(scan).findings.snr_db == pytest.approx(expected, abs=1)


def test_facts_are_json_and_one_screen(scan: Scan) -> None:
    found = inspect(replace(scan, warnings=("axes were guessed",)))
    assert json.loads(json.dumps(found.plain()))["warnings"][0] == "axes were guessed"
    assert len(found.text().splitlines()) < 40
    assert "warning: axes were guessed\n" in found.text()
    assert "contrast" in found.text()
    assert "not known" in found.text()


def test_nothing_but_the_missing_noise_scan_is_doubted_in_a_good_scan(scan: Scan) -> None:
    (warning,) = inspect(scan).warnings
    assert "noise scan" in warning
    assert not inspect(replace(scan, noise_covariance=torch.eye(5, dtype=torch.complex64))).warnings


def clipped(kspace: Tensor) -> Tensor:
    parts = torch.view_as_real(kspace)
    return torch.view_as_complex(parts.clamp(-0.1 * parts.abs().max(), 0.1 * parts.abs().max()))


def wrapped(kspace: Tensor, fov: int = 18) -> Tensor:
    """Return k-space of a field of view of fewer columns, onto which the rest wraps."""
    images = torch.nn.functional.pad(torch.view_as_real(ifft2c(kspace)), (0, 0, 0, -COLUMNS % fov))
    return fft2c(torch.view_as_complex(images.unflatten(-2, (-1, fov)).sum(-3)))


SPOILT = {
    "all zero is slice 1": lambda kspace: kspace * (torch.arange(3) != 1)[:, None, None, None],
    "values may be clipped": clipped,
    "is k-space centred?": lambda kspace: torch.fft.ifftshift(kspace, (-2, -1)),
    "are the axes swapped?": lambda kspace: kspace * Equispaced(2.0, 12).draw((COLUMNS, ROWS), 0).mT,
    "needs a second set of coil maps": wrapped,
}


@pytest.mark.parametrize(("words", "spoil"), SPOILT.items())
def test_what_is_wrong_with_the_samples_is_seen(measured, words: str, spoil: Callable[[Tensor], Tensor]) -> None:  # type: ignore[no-untyped-def]
    full = fft2c(measured.maps * measured.image[:, None])
    assert words in warnings_of(scan_of(spoil(full)))
    assert words not in warnings_of(scan_of(full))


def test_lost_calibration_lines_are_reported_and_nothing_else_is_lost(measured) -> None:  # type: ignore[no-untyped-def]
    mask = (torch.arange(COLUMNS) % 3 == 0).expand(1, ROWS, COLUMNS)
    found = inspect(scan_of(fft2c(measured.maps * measured.image[:, None]) * mask))
    assert any("cannot be reconstructed as it is" in warning for warning in found.warnings)
    assert found.findings.acs is None
    assert found.findings.acceleration == pytest.approx(COLUMNS / 14)


def test_magnitude_images_are_flagged(measured) -> None:  # type: ignore[no-untyped-def]
    images = ImageArray(InMemory(measured.image.abs().numpy()))
    scan = Scan(Path("head.nii"), "head", "x", images, (ROWS, COLUMNS), magnitude_only=True)
    findings = inspect(scan).findings
    assert findings.magnitude_only
    assert findings.n_coils == 1


def test_scan_without_any_signal_is_refused() -> None:
    with pytest.raises(ValueError, match=r"head\.h5: kspace must hold acquired samples"):
        inspect(scan_of(torch.zeros(2, 3, ROWS, COLUMNS, dtype=torch.complex64)))


def test_preview_is_a_picture_turned_as_in_radiology(
    scan: Scan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of x to the head and y to the front, as sagittal NIfTI has them; the mask turns with the images."""
    preview(scan, tmp_path / "preview.png")
    assert (tmp_path / "preview.png").read_bytes().startswith(b"\x89PNG")
    drawn: list[dict[str, Any]] = []
    monkeypatch.setattr(inspection, "picture", lambda path, panels, **known: drawn.append({"panels": panels, **known}))
    affine = torch.tensor([[0.0, 0, 5, 0], [0, 1.5, 0, 0], [1.25, 0, 0, 0], [0, 0, 0, 1]])
    preview(scan, tmp_path / "preview.png")
    preview(replace(scan, affine=affine), tmp_path / "preview.png")
    stored, turned = drawn
    for one, other in zip(stored["panels"], turned["panels"], strict=True):
        assert other.image.equal(one.image.flip(0, 1).T)
    assert turned["pixel_size"] == (1.25, 1.5)
    assert "as stored" in stored["title"]
    assert "as in radiology" in turned["title"]


def test_preview_prepares_each_slice_once(scan: Scan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    prepared: list[Tensor] = []

    def watch(measured: Measurement, *args: Any, **options: Any) -> Problem:
        prepared.append(measured.kspace)
        return prepare_measured(measured, *args, **options)

    monkeypatch.setattr(inspection, "prepare_measured", watch)
    preview(scan, tmp_path / "preview.png")
    assert len(prepared) == scan.n_slices == len({float(kspace.abs().sum()) for kspace in prepared})


@pytest.mark.parametrize("factors", [(0, 1, 1), (0.01, 1, 0.5), (1, 0, 0)])
def test_preview_has_one_window_of_all_slices(measured, tmp_path: Path, factors: tuple[float, ...]) -> None:  # type: ignore[no-untyped-def]
    """Regression: it was that of the first slice, and all was white where that one was empty or dim."""
    scan = scan_of(torch.tensor(factors)[:, None, None, None] * measured.kspace, stored_mask=measured.mask)
    preview(scan, tmp_path / "preview.png")
    panel = np.asarray(Image.open(tmp_path / "preview.png").convert("L"))[150:500, :]
    slices = [panel[:, 458 * k : 458 * k + 450] for k in range(3)]
    for image, factor in zip(slices, factors, strict=True):
        assert (image.max() == 255) == (factor == 1)
        assert image.mean() < 160
    mask = panel[:, 458 * 3 : 458 * 3 + 450]
    assert (mask > 250).mean() == pytest.approx(float(measured.mask.float().mean()), abs=0.05)


def test_preview_of_zeros_is_black(measured, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    """But for the mask; warnings of overflow are errors here."""
    preview(scan_of(0 * measured.kspace, stored_mask=measured.mask), tmp_path / "preview.png")
    assert not np.asarray(Image.open(tmp_path / "preview.png").convert("L"))[150:500, : 3 * 457].any()


@pytest.mark.slow
def test_command_prints_one_screen_and_one_object_a_scan(
    command: Callable[..., str], cohort: Path, tmp_path: Path
) -> None:
    assert "FLAIR" in command("inspect", cohort / "multicoil_test")
    lines = command("inspect", cohort, "--json").splitlines()
    assert [json.loads(line)["format"] for line in lines] == ["fastMRI HDF5"] * 5
    command("inspect", cohort / "multicoil_train", "--preview", tmp_path / "look.png")
    assert len(list(tmp_path.glob("look-*.png"))) == 3


def test_command_goes_on_after_a_broken_file_of_a_folder(
    command: Callable[..., str],
    failing_command: Callable[..., str],
    tmp_path: Path,
    measured,  # type: ignore[no-untyped-def]
) -> None:
    np.save(tmp_path / "good.npy", measured.kspace.numpy())
    (tmp_path / "broken.npy").write_bytes((tmp_path / "good.npy").read_bytes()[:3000])
    assert "good.npy" in command("inspect", tmp_path)
    assert "broken.npy" in failing_command("inspect", tmp_path / "broken.npy")


def test_slices_that_are_no_numbers_and_spikes_are_named(measured) -> None:  # type: ignore[no-untyped-def]
    """What follows is of the other slices, and k-space is not taken for decentred."""
    kspace = measured.kspace.clone()
    kspace[1, 0, 20, 20] = torch.nan
    line = int(measured.mask[0, 0].nonzero()[1])
    kspace[2, :, 9, line] = 1000 * kspace[2].abs().max()
    found = inspect(scan_of(kspace, stored_mask=measured.mask))
    assert found.findings.scale == pytest.approx(inspect(scan_of(measured.kspace[:1])).findings.scale, rel=1e-4)
    text = "\n".join(found.warnings)
    assert "NaN or infinity is in slice 1" in text
    assert f"slice 2: 1 samples of k-space stand far above their neighbours, at (y, x) (9, {line})" in text
    assert "centred" not in text


def test_what_cannot_be_written_as_dicom_is_named(measured) -> None:  # type: ignore[no-untyped-def]
    affine = torch.diag(torch.tensor([1.5, 2.0, 4.0, 1.0]))
    assert "DICOM" not in warnings_of(scan_of(measured.kspace, affine=affine))
    affine[0, 1] = 1.5
    told = "rows and columns are not at right angles (cosine 0.6): it cannot be written as DICOM"
    assert told in warnings_of(scan_of(measured.kspace, affine=affine))


def test_noisy_coils_are_named(measured) -> None:  # type: ignore[no-untyped-def]
    noise = complex_noise((ROWS, COLUMNS), torch.Generator().manual_seed(1))
    kspace = measured.kspace.clone()
    kspace[:, 3] += 20 * measured.noise_std * noise * measured.mask
    assert "slice 1: coils noisier than the others, counted less by whitening: 3 (" in warnings_of(scan_of(kspace))
