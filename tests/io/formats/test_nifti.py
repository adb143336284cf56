"""NIfTI files: those that nibabel writes are read, and what is written lies where it came from."""

import gzip
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
import torch

from lightning_mri.io import files_of, find_scans, read_scan
from lightning_mri.io.arrays import ImageArray
from lightning_mri.io.formats.nifti.reader import STD
from lightning_mri.io.formats.nifti.writer import write_nifti
from lightning_mri.io.geometry import Place
from lightning_mri.io.scan import MAGNITUDE_ONLY, REAL_ONLY
from lightning_mri.physics import ifft2c
from tests.builders import as_released, images_of

RNG = np.random.default_rng(0)
VOXELS = RNG.random((7, 5, 4)).astype(np.float32)
AFFINE = np.array([[0, -2.0, 0.5, 10], [1.5, 0, 0, -20], [0, 0, 4, 30], [0, 0, 0, 1]])
REAL = Path(__file__).parents[4] / "shared/data"
Kind = type[nibabel.Nifti1Image] | type[nibabel.Nifti2Image]


def save(path: Path, voxels: np.ndarray = VOXELS, kind: Kind = nibabel.Nifti1Image) -> Path:
    nibabel.save(kind(voxels, AFFINE), path)
    return path


@pytest.mark.parametrize("ending", ["nii", "nii.gz"])
@pytest.mark.parametrize("kind", [nibabel.Nifti1Image, nibabel.Nifti2Image])
def test_the_axes_are_transposed_and_the_place_is_the_header_s(tmp_path: Path, ending: str, kind: Kind) -> None:
    scan = read_scan(save(tmp_path / f"sub-07_ses-2_T2w.{ending}", kind=kind))
    assert scan.kspace.shape == (4, 1, 5, 7)
    image = ifft2c(scan.kspace[2])[0]
    torch.testing.assert_close(image.real, torch.from_numpy(VOXELS[:, :, 2].T.copy()), atol=1e-6, rtol=1e-5)
    np.testing.assert_allclose(scan.affine.numpy(), AFFINE)
    np.testing.assert_allclose(scan.pixel_size, (2, 1.5))
    assert scan.slice_spacing == pytest.approx(np.hypot(0.5, 4))
    assert (scan.name, scan.subject, scan.contrast) == ("sub-07_ses-2_T2w", "sub-07", "T2w")
    assert (scan.magnitude_only, scan.warnings) == (True, (MAGNITUDE_ONLY,))
    unnamed = save(tmp_path / f"x.{ending}", kind=kind)
    assert "the contrast is not known" in read_scan(unnamed).warnings[1]
    assert read_scan(unnamed, contrast="PD").warnings == (MAGNITUDE_ONLY,)
    assert scan.mask.all()


@pytest.mark.parametrize("ending", ["nii", "nii.gz"])
def test_big_endian_integers_with_slope_and_intercept(tmp_path: Path, ending: str) -> None:
    stored = RNG.integers(0, 4000, (7, 5, 4)).astype(">i2")
    header = nibabel.Nifti1Header(endianness=">")
    header.set_data_dtype(">i2")
    image = nibabel.Nifti1Image(stored, AFFINE, header)
    image.header.set_slope_inter(0.5, -3)
    nibabel.save(image, tmp_path / f"scan.{ending}")
    assert (tmp_path / "scan.nii").exists() is (ending == "nii")
    expected = np.asarray(nibabel.load(tmp_path / f"scan.{ending}").dataobj)
    assert expected.min() == -3 + 0.5 * stored.min()
    np.testing.assert_allclose(images_of(tmp_path / f"scan.{ending}"), expected.T, rtol=1e-6)


def test_volumes_follow_each_other_and_may_be_read_across_their_border(tmp_path: Path) -> None:
    voxels = RNG.random((7, 5, 4, 3)).astype(np.float32)
    scan = read_scan(save(tmp_path / "scan.nii.gz", voxels))
    assert (scan.n_volumes, scan.n_slices) == (3, 12)
    assert isinstance(scan.kspace, ImageArray)
    expected = np.moveaxis(voxels, (3, 2, 1, 0), (0, 1, 2, 3)).reshape(12, 5, 7)
    assert np.array_equal(scan.kspace.images[2:11].numpy(), expected[2:11])


@pytest.mark.parametrize(("dim_info", "axis"), [((0, 1, 2), "x"), ((1, 0, 2), "y"), ((2, 0, 1), None), ((), None)])
def test_the_header_tells_the_axis_of_the_readout(tmp_path: Path, dim_info: tuple[int, ...], axis: str | None) -> None:
    image = nibabel.Nifti1Image(VOXELS, AFFINE)
    image.header.set_dim_info(*dim_info)
    nibabel.save(image, tmp_path / "a.nii")
    assert read_scan(tmp_path / "a.nii").readout == axis


def test_units_of_the_header_become_mm(tmp_path: Path) -> None:
    image = nibabel.Nifti1Image(VOXELS, AFFINE)
    image.header.set_xyzt_units("micron")
    nibabel.save(image, tmp_path / "scan.nii")
    scan = read_scan(tmp_path / "scan.nii")
    np.testing.assert_allclose(scan.affine.numpy()[:3], AFFINE[:3] * 1e-3, rtol=1e-6)
    np.testing.assert_allclose(scan.pixel_size, (2e-3, 1.5e-3))


def test_a_place_that_the_header_does_not_tell_causes_a_warning(tmp_path: Path) -> None:
    image = nibabel.Nifti1Image(VOXELS, None)
    image.header["pixdim"][1:4] = 2
    nibabel.save(image, tmp_path / "scan_flair.nii")
    scan = read_scan(tmp_path / "scan_flair.nii")
    assert (scan.affine, scan.pixel_size) == (None, (2, 2))
    assert scan.warnings[1:] == ("the header does not tell where the slices lie: orientation is not known",)


def with_forms(path: Path, sform: np.ndarray, qform: np.ndarray) -> Path:
    image = nibabel.Nifti1Image(VOXELS, sform)
    image.header.set_qform(qform, code=1)
    image.header["sform_code"] = 1
    path.write_bytes(image.to_bytes())
    return path


def test_two_affines_that_disagree_are_a_warning(tmp_path: Path) -> None:
    """Regression: left and right could be exchanged without a word. The farthest voxel is 6 mm from x = 0."""
    sform, qform = np.eye(4), np.diag([-1.0, 1, 1, 1])
    scan = read_scan(with_forms(tmp_path / "a_T2w.nii", sform, qform))
    np.testing.assert_allclose(scan.affine.numpy(), sform)
    assert scan.warnings[1:] == ("the header's sform and qform lie up to 12 mm apart: the sform is used",)
    assert read_scan(with_forms(tmp_path / "b_T2w.nii", qform, qform)).warnings[1:] == ()


def test_the_qform_takes_the_place_of_a_singular_sform(tmp_path: Path) -> None:
    """Regression: the place was said not to be known."""
    path = with_forms(tmp_path / "a_T2w.nii", np.eye(4), np.diag([-2.0, 2, 3, 1]))
    content = path.read_bytes()
    path.write_bytes(content[:280] + bytes(48) + content[328:])  # the three rows of the sform
    scan = read_scan(path)
    np.testing.assert_allclose(scan.affine.numpy(), np.diag([-2, 2, 3, 1]))
    assert scan.warnings[1:] == ("the header's sform is no affine: its qform is used",)


COMPLEX = (VOXELS * np.exp(2j * RNG.random((7, 5, 4)))).astype(np.complex64)


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("a_real", "a_imag"),
        ("a_real", "a_imaginary"),
        ("a_mag", "a_ph"),
        ("a_magnitude", "a_phase"),
        ("a", "a_ph"),
        ("sub-1_part-mag_T2w", "sub-1_part-phase_T2w"),
        ("sub-1_part-real_T2w", "sub-1_part-imag_T2w"),
        ("sub-1_magnitude2", "sub-1_phase2"),
    ],
)
def test_a_pair_of_files_is_one_complex_scan(tmp_path: Path, first: str, second: str) -> None:
    cartesian = "real" in first
    one = save(tmp_path / f"{first}.nii.gz", COMPLEX.real if cartesian else np.abs(COMPLEX))
    two = save(tmp_path / f"{second}.nii.gz", COMPLEX.imag if cartesian else np.angle(COMPLEX))
    assert find_scans(tmp_path) == [one]
    for path in (one, two):
        scan = read_scan(path)
        assert (scan.source, scan.magnitude_only) == (one, False)
        np.testing.assert_allclose(images_of(path), COMPLEX.T, rtol=1e-5, atol=1e-6)


def test_halves_that_lie_in_different_places_are_no_pair(tmp_path: Path) -> None:
    magnitude, phase = (nibabel.Nifti1Image(part, AFFINE) for part in (np.abs(COMPLEX), np.angle(COMPLEX)))
    nibabel.save(magnitude, tmp_path / "a.nii.gz")
    nibabel.save(phase, tmp_path / "a_ph.nii.gz")
    assert not read_scan(tmp_path / "a.nii.gz").magnitude_only
    turned = phase.as_reoriented(np.array([[0, -1], [1, 1], [2, 1]]))
    assert (turned.shape, turned.affine.tolist()) != (phase.shape, phase.affine.tolist())
    nibabel.save(turned, tmp_path / "a_ph.nii.gz")
    with pytest.raises(ValueError, match=r"a_ph.nii.gz: affine must be that of its other half a.nii.gz"):
        read_scan(tmp_path / "a.nii.gz")


def test_the_maps_of_a_bids_folder_are_no_scans(tmp_path: Path) -> None:
    scan = save(tmp_path / "sub-01_T1w.nii.gz")
    for name in ("phasediff", "fieldmap", "phase1", "dir-AP_fieldmap"):
        save(tmp_path / f"sub-01_{name}.nii.gz", np.angle(COMPLEX))
    assert find_scans(tmp_path) == [scan]


def test_a_complex_file_needs_no_other(tmp_path: Path) -> None:
    path = save(tmp_path / "scan.nii", COMPLEX)
    assert not read_scan(path).magnitude_only
    np.testing.assert_allclose(images_of(path), COMPLEX.T, rtol=1e-6)


def test_masks_and_lone_halves_are_left_out_of_a_folder_and_refused_by_name(tmp_path: Path) -> None:
    scan = save(tmp_path / "mouse.nii.gz")
    mask = save(tmp_path / "mouse_brain.nii.gz", (VOXELS > 0.5).astype(np.float32))
    phase = save(tmp_path / "other_ph.nii", np.angle(COMPLEX))
    assert find_scans(tmp_path) == [scan]
    with pytest.raises(ValueError, match=r"mouse_brain.nii.gz: image must be a scan: got a mask"):
        read_scan(mask)
    with pytest.raises(ValueError, match=r"other_ph.nii: image must have the other half .* got phase alone"):
        read_scan(phase)


def test_a_header_that_promises_more_than_the_file_can_hold_is_refused_unread(tmp_path: Path) -> None:
    header = nibabel.Nifti1Header()
    header.set_data_shape((4000, 4000, 32000))
    header["vox_offset"] = 352
    packed = gzip.compress(header.binaryblock + bytes(10_000))
    (tmp_path / "scan.nii.gz").write_bytes(packed)
    with pytest.raises(OSError, match=r"scan.nii.gz: image must hold .* the file is truncated"):
        read_scan(tmp_path / "scan.nii.gz")


def test_nan_is_zero_with_a_warning_and_infinity_is_refused(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    background = np.where(VOXELS > 0.3, VOXELS, np.nan)
    path = save(tmp_path / "scan.nii", background)
    np.testing.assert_array_equal(images_of(path), np.nan_to_num(background).T)
    assert "NaN was read as zero" in read_scan(path).warnings
    assert not caplog.records
    later = np.stack([VOXELS, background], axis=-1)  # a volume that is not looked at before it is read
    path = save(tmp_path / "later.nii", later)
    np.testing.assert_array_equal(images_of(path)[4:], np.nan_to_num(background).T)
    assert "later.nii: NaN in images 0 to 7 is read as zero" in caplog.text
    with pytest.raises(ValueError, match=r"scan.nii: image must be finite"):
        images_of(save(tmp_path / "scan.nii", np.where(VOXELS > 0.3, VOXELS, np.inf)))


def test_the_affine_wins_over_pixdim(tmp_path: Path) -> None:
    image = nibabel.Nifti1Image(VOXELS, np.diag([1.8, 1.7, 3, 1]))
    image.header["pixdim"][1:4] = 1
    (tmp_path / "scan.nii").write_bytes(image.to_bytes())
    stored = nibabel.load(tmp_path / "scan.nii").header
    assert stored.get_zooms() == (1, 1, 1)
    scan = read_scan(tmp_path / "scan.nii")
    assert scan.pixel_size == pytest.approx((1.7, 1.8))
    assert scan.slice_spacing == pytest.approx(3)
    assert "pixdim and the affine have voxels of 1 x 1 x 1 and 1.8 x 1.7 x 3 mm: the affine's are used" in scan.warnings


def test_tissue_classes_are_labels_and_a_coarse_scan_is_not(tmp_path: Path) -> None:
    y, x, _ = np.mgrid[:60, :50, :3]
    smooth = 1 + np.sin(x / 7) * np.cos(y / 9)
    labels = save(tmp_path / "a.nii", np.digitize(smooth, [0.5, 0.9, 1.3]).astype(np.int16) * 40)
    save(tmp_path / "b.nii", np.rint(RNG.normal(20 * smooth, 2)).clip(0).astype(np.int16))
    assert find_scans(tmp_path) == [tmp_path / "b.nii"]
    assert any("as labels do" in warning for warning in read_scan(labels).warnings)


def test_a_real_part_alone_is_not_called_a_magnitude(tmp_path: Path) -> None:
    assert read_scan(save(tmp_path / "a_real_T2w.nii", VOXELS)).warnings == (REAL_ONLY,)


@pytest.mark.skipif(not REAL.is_dir(), reason="the shared folder with real data is not here")
def test_real_images_are_read_and_their_masks_left_out() -> None:
    scan = read_scan(REAL / "flair/flair_above_orbits.nii.gz")
    assert (scan.kspace.shape, scan.contrast) == ((68, 1, 232, 176), "FLAIR")
    mice = find_scans(REAL / "mouse")
    assert [path.name for path in mice] == [f"FVB_NCrl_in_vivo_{i}.nii.gz" for i in range(1, 9)]


OBLIQUE = torch.tensor([[1.2, -1.2, 0.0, 10.0], [0.9, 1.6, 0.0, -20.0], [0.0, 0.0, 4.0, 30.0], [0, 0, 0, 1]])
"""Pixels of 2 mm (y) and 1.5 mm (x), turned in the plane by atan(3/4); slices 4 mm apart."""


def test_what_is_written_lies_where_it_did(tmp_path: Path) -> None:
    images = torch.rand(4, 5, 7)
    write_nifti(tmp_path / "scan.nii.gz", images, Place(OBLIQUE), description="é" * 90)
    read = nibabel.load(tmp_path / "scan.nii.gz")
    assert read.get_fdata(dtype=np.float32)[6, 3, 2] == images[2, 3, 6]
    # 10 + 6 * 1.2 - 3 * 1.2, -20 + 6 * 0.9 + 3 * 1.6, 30 + 2 * 4
    np.testing.assert_allclose((read.affine @ [6, 3, 2, 1])[:3], [13.6, -9.8, 38], rtol=1e-6)
    np.testing.assert_allclose(read.get_qform(), read.affine, atol=1e-5)
    np.testing.assert_allclose(read.header.get_zooms(), [1.5, 2, 4], rtol=1e-6)
    assert (int(read.header["sform_code"]), read.header.get_xyzt_units()[0]) == (1, "mm")
    scan = read_scan(tmp_path / "scan.nii.gz")
    assert isinstance(scan.kspace, ImageArray)
    assert scan.kspace.images[:].equal(images)
    torch.testing.assert_close(scan.affine, OBLIQUE)


def test_written_volumes_become_the_fourth_axis(tmp_path: Path) -> None:
    images = torch.rand(6, 5, 7)
    write_nifti(tmp_path / "scan.nii.gz", images, Place(OBLIQUE, False), n_volumes=3)
    read = nibabel.load(tmp_path / "scan.nii.gz")
    assert read.shape == (7, 5, 2, 3)
    assert read.get_fdata(dtype=np.float32)[4, 1, 1, 2] == images[5, 1, 4]
    assert int(read.header["sform_code"]) == 2


@pytest.mark.parametrize(("readout", "axes"), [("x", (0, 1, 2)), ("y", (1, 0, 2)), (None, (None, None, None))])
def test_the_readout_is_written_where_it_is_known(tmp_path: Path, readout: Any, axes: tuple[int | None, ...]) -> None:
    """Regression: a second pass asked for what the scan's file had said."""
    write_nifti(tmp_path / "scan.nii.gz", torch.rand(2, 5, 7), Place(OBLIQUE), readout=readout)
    assert nibabel.load(tmp_path / "scan.nii.gz").header.get_dim_info() == axes
    assert read_scan(tmp_path / "scan.nii.gz").readout == readout


def test_equal_images_give_equal_files(tmp_path: Path) -> None:
    images = torch.rand(2, 5, 7)
    for name in "ab":
        write_nifti(tmp_path / f"{name}.nii.gz", images, Place(OBLIQUE))
    assert (tmp_path / "a.nii.gz").read_bytes() == (tmp_path / "b.nii.gz").read_bytes()
    assert len(list(tmp_path.iterdir())) == 2


@pytest.mark.parametrize(
    ("name", "images", "n_volumes", "rule"),
    [
        ("a.nii.gz", torch.rand(3, 5, 7), 2, "n_volumes must divide the number of slices: got 2 and 3"),
        ("a.img", torch.rand(2, 5, 7), 1, r"a\.img: the name must end in \.nii\.gz or \.nii"),
        ("b.nii", torch.rand(2, 5, 7) + 0j, 1, r"b\.nii: images must be real"),
    ],
)
def test_what_nifti_cannot_hold_is_not_written(
    tmp_path: Path, name: str, images: torch.Tensor, n_volumes: int, rule: str
) -> None:
    with as_released(), pytest.raises(ValueError, match=rule):
        write_nifti(tmp_path / name, images, Place(OBLIQUE), n_volumes)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("dtype", [np.float32, np.complex64])
def test_an_infinite_slice_costs_no_other(tmp_path: Path, dtype: type) -> None:
    """In magnitudes, complex images, and a pair of files."""
    images = np.random.default_rng(0).random((12, 10, 3)).astype(dtype)
    images[4, 5, 1] = np.inf
    nibabel.save(nibabel.Nifti1Image(images, np.eye(4)), tmp_path / "a.nii")
    nibabel.save(nibabel.Nifti1Image(images.real.copy(), np.eye(4)), tmp_path / "b_real.nii")
    nibabel.save(nibabel.Nifti1Image(np.ones_like(images.real), np.eye(4)), tmp_path / "b_imag.nii")
    for name in ("a.nii", "b_real.nii"):
        kspace = read_scan(tmp_path / name).kspace.with_gaps([0, 1, 2])
        assert kspace.isfinite().flatten(1).all(1).tolist() == [True, False, True]


def test_an_uncertainty_that_predict_wrote_is_no_scan(tmp_path: Path) -> None:
    """By its description; a user's own file may end in `_std`, as images in standard orientation do."""
    for name, description in (("a", "HQS"), ("a_std", f"{STD}a, research use only"), ("b_std", "")):
        write_nifti(tmp_path / f"{name}.nii.gz", torch.rand(2, 5, 7), Place(OBLIQUE), description=description)
    assert [path.name for path in find_scans(tmp_path)] == ["a.nii.gz", "b_std.nii.gz"]


def test_the_ending_says_whether_a_file_is_compressed(tmp_path: Path) -> None:
    images = torch.rand(2, 5, 7)
    write_nifti(str(tmp_path / "a.nii"), images, Place(OBLIQUE))
    assert np.array_equal(nibabel.load(tmp_path / "a.nii").get_fdata(dtype=np.float32).T, images.numpy())


@pytest.mark.parametrize(("kind", "ending"), [(nibabel.Nifti1Pair, ".gz"), (nibabel.Nifti2Pair, "")])
def test_header_and_images_may_be_two_files(tmp_path: Path, kind: type, ending: str) -> None:
    """As SPM writes them."""
    images = np.random.default_rng(0).random((7, 5, 3)).astype(np.float32)
    for name in ("a_mag", "a_ph"):
        nibabel.save(kind(images, OBLIQUE.numpy()), tmp_path / f"{name}.img{ending}")
    header = tmp_path / f"a_mag.hdr{ending}"
    assert find_scans(tmp_path) == [header]
    for path in (header, tmp_path / f"a_mag.img{ending}"):
        scan = read_scan(path)
        assert (scan.name, scan.source) == ("a_mag", header)
        torch.testing.assert_close(scan.combined()[2, 3, 6].abs(), torch.tensor(images[6, 3, 2]))
    assert [path.name.partition(".")[0] for path in files_of(header)] == ["a_mag", "a_mag", "a_ph", "a_ph"]
    (tmp_path / f"a_mag.img{ending}").unlink()
    with pytest.raises(FileNotFoundError, match=r"a_mag\.img"):
        read_scan(header)
