"""The experiments on files, at a tiny size through their command lines."""

from collections.abc import Callable
from pathlib import Path

import nibabel
import numpy as np
import pytest
import torch

from lightning_mri.phantoms import Geometry, Head, Scanner
from lightning_mri.physics import PoissonDisc
from tests.experiments.conftest import rows_of

Script = Callable[..., str]


@pytest.fixture
def image() -> torch.Tensor:
    return Head("magnitude").slice("T2w", Geometry((56, 48), (4.0, 4.0))).image


@pytest.mark.slow
def test_a_volume_of_magnitude_images_is_scanned_and_reconstructed(
    script: Script, image: torch.Tensor, tmp_path: Path
) -> None:
    volume = tmp_path / "head_T2w.nii.gz"
    nibabel.save(nibabel.Nifti1Image(np.stack([image.abs().T.numpy()] * 3, axis=-1), np.diag([4, 4, 4, 1.0])), volume)
    options = ["--sampler=HQS", "--sampler.n_steps=3", "--accelerations=[3]", "--n_slices=1", "--n_center=12"]
    script("magnitude.py", volume, *options, "--scanner.n_coils=4", f"--output_dir={tmp_path}")
    _, _, row, mean = rows_of(tmp_path / "magnitude.md")
    r, index, *errors, ratio = map(float, row)
    assert (r, index) == (3, 2)
    assert 0.5 > errors[0] > errors[2] > 0  # zero-filled is worse than L1-wavelet
    assert ratio == float(mean[-1])
    assert ratio == pytest.approx(errors[3] / errors[2], abs=0.01)
    assert (tmp_path / "magnitude.png").stat().st_size > 5000


@pytest.mark.slow
def test_held_out_samples_are_predicted_from_the_rest(script: Script, image: torch.Tensor, tmp_path: Path) -> None:
    kspace = Scanner(4, snr_db=20.0, oversampling=1).measure(image[None], 0, (4.0, 4.0))[0]
    np.save(tmp_path / "scan.npy", (kspace * PoissonDisc(4, 14).draw((56, 48), 0)).numpy())
    options = ["--n_draws=2", "--sampler=HQS", "--sampler.n_steps=3", f"--output={tmp_path / 'table.md'}"]
    first = script("brain8.py", tmp_path / "scan.npy", *options)
    rows = [list(map(float, row[1:])) for row in rows_of(tmp_path / "table.md")[2:4]]
    assert rows[0] != rows[1]
    for ours, theirs, _, floor, ratio in rows:
        assert 0 < floor < ours < 1
        assert ratio == pytest.approx(ours / theirs, abs=0.01)
    assert "draw 1: " in first
    assert "draw 1: " not in script("brain8.py", tmp_path / "scan.npy", *options)


@pytest.mark.slow
def test_measured_scans_are_undersampled_and_scored(script: Script, image: torch.Tensor, tmp_path: Path) -> None:
    kspace = Scanner(4, snr_db=30.0, oversampling=1).measure(image[None], 0, (4.0, 4.0))[0]
    np.save(tmp_path / "head.npy", kspace.numpy())
    options = [f"--root={tmp_path}", "--scans=[head]", "--accelerations=[6]", "--patterns=[equispaced,Poisson]"]
    options += [
        *("--lines=[10]", "--noise_factors=[2]", "--weights=[0.004,0.002]", "--sampler=HQS"),
        "--sampler.n_steps=3",
    ]
    options += [f"--output_dir={tmp_path}", f"--work_dir={tmp_path / 'work'}"]
    printed = script("measured.py", *options)
    assert "equispaced, R = 6" not in printed  # eight lines cannot hold a centre of ten
    rows = [row for row in rows_of(tmp_path / "measured.md") if row[0] == "head"]
    assert [row[1] for row in rows] == ["Poisson, R = 6, 10 lines, noise x 2"] * 3
    for row in rows:
        errors = [float(cell) for cell in row[2:-1]]
        assert 0 < min(errors) < errors[0] < 1.1  # every method but zero-filled is better than that
    assert (tmp_path / "work/head.png").stat().st_size > 10_000
    assert "head, " not in script("measured.py", *options).split("Prior")[0]
    assert "does not hold brain16" in script("measured.py", f"--root={tmp_path / 'none'}")


def test_the_noise_of_a_reference_is_no_error(module: Callable[[str], dict], image: torch.Tensor) -> None:
    """Samples left out are predicted by the true image to their noise, whatever its phase and the coils."""
    scanner, noisy = (Scanner(4, snr_db=snr, oversampling=1) for snr in (200.0, 15.0))
    clean, kspace = (each.measure(image[None], 0, (4.0, 4.0)) for each in (scanner, noisy))
    noise_std = float((kspace - clean).abs().square().mean().div(2).sqrt())
    mask = torch.arange(48) % 2 < torch.ones(1, 56, 1)
    mask[..., 18:30] = True
    error = module("measured.py")["unacquired_error"]
    assert error(image, kspace, mask, noise_std) < 0.1
    assert error(1j * image, kspace, mask, noise_std) == pytest.approx(error(image, kspace, mask, noise_std), abs=1e-3)
    assert error(torch.zeros_like(image), kspace, mask, noise_std) == pytest.approx(1, abs=1e-3)
    for worse, least in ((image + 0.2 * image.roll(24, -1), 0.15), (0.5 * (image + image.roll(1, -1)), 0.4)):
        assert least < error(worse, kspace, mask, noise_std) < 1
