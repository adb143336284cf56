"""A volume of magnitude images is scanned by a simulated array and reconstructed."""

import runpy
from pathlib import Path

import nibabel
import numpy as np
import torch

from lightning_mri.phantoms import Geometry, Head, Scanner
from lightning_mri.sampling import HQS

EXPERIMENT = Path(__file__).parents[1] / "experiments/magnitude.py"


def test_table_and_picture_of_a_volume(tmp_path: Path) -> None:
    image = Head("magnitude").slice("T2w", Geometry((56, 48), (4.0, 4.0))).image.abs()
    volume = np.stack([image.T.numpy()] * 3, axis=-1)
    nibabel.save(nibabel.Nifti1Image(volume, np.diag([4.0, 4.0, 4.0, 1.0])), tmp_path / "head_T2w.nii.gz")
    run = runpy.run_path(str(EXPERIMENT))["magnitude"]
    scanner = Scanner(4, snr_db=25.0, oversampling=1)
    run(tmp_path / "head_T2w.nii.gz", "brain", HQS(n_steps=3), (3.0,), 1, scanner, 12, tmp_path)
    _, _, row, mean = (tmp_path / "magnitude.md").read_text().splitlines()
    r, index, *errors, ratio = map(float, row.strip("| ").split(" | "))
    assert (r, index) == (3, 2)
    assert 0.5 > errors[0] > errors[2] > 0  # zero-filled is worse than L1-wavelet
    assert ratio == float(mean.split("|")[-2])
    assert abs(ratio - errors[3] / errors[2]) < 0.01
    assert (tmp_path / "magnitude.png").stat().st_size > 5000


def test_phase_leaves_the_magnitude() -> None:
    with_phase = runpy.run_path(str(EXPERIMENT))["with_phase"]
    image = torch.rand(1, 9, 8)
    turned = with_phase(image, 3)
    torch.testing.assert_close(turned.abs(), image)
    assert turned.angle().std() > 0.3
