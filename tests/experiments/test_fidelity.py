"""Inserted infarcts lie where they are said to lie; the page itself needs real data, which the package has not."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
import torch

from lightning_mri.evaluation import head_of, lesion_scores
from lightning_mri.phantoms import Geometry, Head, Scanner


def test_infarcts_are_two_in_the_head_and_half_brighter(
    module: Callable[[str], dict[str, Any]], tmp_path: Path
) -> None:
    page = module("fidelity.py")
    slices = [Head(7, lesions=False).slice("FLAIR", Geometry((160, 140), (1.4, 1.4), z)).image.abs() for z in (0, 20)]
    volume = (100 * torch.stack(slices, -1) / slices[0].max()).numpy()
    nibabel.save(nibabel.Nifti1Image(volume, np.diag([1.4, 1.4, 5, 1])), tmp_path / "flair.nii.gz")
    case = page["WithInfarcts"](tmp_path / "flair.nii.gz", 0, 4.0, Scanner(4), 16, 1)
    healthy = page["magnitude"].Case(tmp_path / "flair.nii.gz", 0, 4.0, Scanner(4), 16, 1)
    gain = case.truth / healthy.truth.clamp(min=1e-3)
    inside = case.lesions & head_of(healthy.truth)
    assert inside.equal(case.lesions)
    assert 100 < int(inside.sum()) < 600  # discs of 8 and 3 pixels
    assert float(gain[inside].median()) == pytest.approx(1.5, abs=0.02)
    assert lesion_scores(healthy.truth, case.truth, case.lesions).n_missed >= 1


def test_a_folder_without_any_of_the_data_is_refused(script: Callable[..., str], tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="data must hold at least one of real, flair, brain8, mouse"):
        script("fidelity.py", f"--data={tmp_path}", "--results=results")
    assert not Path("results").exists()
