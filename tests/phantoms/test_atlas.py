"""The averaged brain: its files, its frame and the distances measured in it."""

import pytest

from lightning_mri.phantoms import atlas
from lightning_mri.phantoms.atlas import load_atlas

from .test_canvas import at


def test_white_matter_grey_matter_and_ventricles_are_where_anatomists_put_them() -> None:
    grey, white, t1 = load_atlas().tissue_at(at((27, -30, 30), (-28, 4, 0), (12, -35, 14), (0, 0, 140)))[:, :, 0]
    assert white[0] > 0.9  # centrum semiovale
    assert grey[1] > 0.6  # putamen
    assert grey[2] + white[2] < 0.5  # lateral ventricle
    assert t1[3] == 0  # air


def test_the_hull_is_a_distance_in_mm_that_grows_by_1_each_mm_outwards() -> None:
    hull, pia = load_atlas().distance_at(at((0, -18, 8), (0, -18, 100), (0, -18, 110), (60, 70, 70)))[:, :, 0]
    assert hull[0] < -30
    assert float(hull[2] - hull[1]) == pytest.approx(10, abs=0.5)
    assert pia[0] > 10
    assert float(pia[3]) == pytest.approx(0, abs=1e-3)


def test_a_nilearn_without_the_maps_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(atlas, "ATLAS_FILE", "no_{}_here.nii.gz")
    with pytest.raises(FileNotFoundError, match=r"nilearn must ship no_gm_here\.nii\.gz"):
        load_atlas.__wrapped__()
