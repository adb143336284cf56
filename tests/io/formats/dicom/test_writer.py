"""A derived series is complete, lies where the scan did, and belongs to the study it came from."""

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from itertools import permutations, product
from pathlib import Path
from typing import Literal
from urllib.error import URLError
from urllib.request import urlopen

import nibabel
import numpy as np
import pydicom
import pytest
import torch
from torch import Tensor

import lightning_mri
from lightning_mri.io import find_scans, read_scan
from lightning_mri.io.formats.dicom.study import DicomStudy
from lightning_mri.io.formats.dicom.writer import Series, write_dicom
from lightning_mri.io.formats.nifti.writer import write_nifti
from lightning_mri.io.geometry import Place
from tests.builders import as_released, images_of
from tests.io.formats.dicom.series import IMAGES, OBLIQUE, PLACE, write


def stored(path: Path) -> Tensor:
    return torch.from_numpy(images_of(path))


@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e5])
def test_values_are_kept_to_16_bits_and_the_window_is_one(tmp_path: Path, scale: float) -> None:
    files = write(tmp_path / "out", IMAGES * scale)
    unit = stored(tmp_path / "out" / "reconstruction").max() / (IMAGES * scale).max()
    assert float(unit.log10()) == pytest.approx(round(float(unit.log10())), abs=1e-4)
    error = stored(tmp_path / "out" / "reconstruction") / (unit * scale) - IMAGES
    assert error.abs().max() <= 0.51 / 65535
    assert {(f.RescaleSlope, f.RescaleIntercept, f.WindowCenter, f.WindowWidth) for f in files} == {
        (files[0].RescaleSlope, 0, files[0].WindowCenter, files[0].WindowWidth)
    }
    assert files[0].WindowWidth >= 1
    # both series have the same unit
    std = stored(tmp_path / "out" / "uncertainty" / "0001.dcm").max()
    assert std == pytest.approx(float(unit * scale * IMAGES.max() / 50))


def test_a_voxel_lies_where_it_did(tmp_path: Path) -> None:
    files = write(tmp_path / "out")
    f = files[2]
    row, column = np.array(f.ImageOrientationPatient).reshape(2, 3)
    lps = np.array(f.ImagePositionPatient) + 6 * f.PixelSpacing[1] * row + 3 * f.PixelSpacing[0] * column
    # RAS (10 - 6 * 1.2 + 3 * 1.2, -20 - 6 * 0.9 - 3 * 1.6, 30 + 2 * 4), left and back positive
    np.testing.assert_allclose(lps, [-6.4, 30.2, 38], atol=1e-5)
    assert row @ column == pytest.approx(0, abs=1e-9)
    # as they were before single precision rounded them; the distance of slices is no thickness, which is not known
    assert (*f.PixelSpacing, f.SpacingBetweenSlices, f.SliceThickness) == (2, 1.5, 4, None)


def test_nifti_and_dicom_agree_on_every_voxel(tmp_path: Path) -> None:
    write(tmp_path / "out")
    write_nifti(tmp_path / "out.nii.gz", IMAGES, Place(OBLIQUE))
    nifti = nibabel.load(tmp_path / "out.nii.gz")
    dicom = read_scan(tmp_path / "out" / "reconstruction")
    np.testing.assert_allclose(dicom.affine.numpy(), nifti.affine, atol=1e-5)
    ratio = stored(tmp_path / "out" / "reconstruction").numpy() / nifti.get_fdata().T
    np.testing.assert_allclose(ratio, ratio.mean(), rtol=1e-2)


def test_slices_that_count_towards_the_feet_come_back_in_dicom_s_order_at_the_same_place(tmp_path: Path) -> None:
    down = OBLIQUE.clone()
    down[2, 2] = -4
    write(tmp_path / "out", place=Place(down))
    write_nifti(tmp_path / "out.nii.gz", IMAGES, Place(down))
    nifti, dicom = (read_scan(path) for path in (tmp_path / "out.nii.gz", tmp_path / "out" / "reconstruction"))
    torch.testing.assert_close(
        nifti.affine @ torch.tensor([6.0, 3, 1, 1]), dicom.affine @ torch.tensor([6.0, 3, 2, 1]), atol=1e-4, rtol=1e-5
    )
    image = stored(tmp_path / "out" / "reconstruction")
    assert float(torch.corrcoef(torch.stack([image.flip(0).flatten(), IMAGES.flatten()]))[0, 1]) > 0.999


@pytest.mark.parametrize("order", [[0, 1, 2, 3], [1, 0, 2, 3]])
@pytest.mark.parametrize(("x", "y"), [(1, -1), (-1, 1), (1, 1)])
def test_rows_and_columns_run_as_viewers_show_them_and_voxels_stay_where_they_are(
    tmp_path: Path, x: int, y: int, order: list[int]
) -> None:
    turned = (OBLIQUE * torch.tensor([x, y, 1, 1]))[:, order]
    row, column = np.array(write(tmp_path / "out", place=Place(turned))[0].ImageOrientationPatient).reshape(2, 3)
    assert row[0] > 0.5
    assert column[1] > 0.5
    dicom = read_scan(tmp_path / "out" / "reconstruction")
    image = stored(tmp_path / "out" / "reconstruction")
    peak = torch.nonzero(IMAGES.max() == IMAGES)[0]
    found = torch.nonzero(image == image.max())[0]
    one = torch.ones(1)
    torch.testing.assert_close(turned @ torch.cat([peak.flip(0), one]), dicom.affine @ torch.cat([found.flip(0), one]),
                               atol=1e-4, rtol=1e-5)  # fmt: skip


@pytest.mark.parametrize("readout", ["y", "x"])
@pytest.mark.parametrize("axes", list(permutations(range(3))))
def test_the_phase_encoding_runs_across_the_readout_however_images_are_turned(
    tmp_path: Path, axes: tuple[int, ...], readout: Literal["y", "x"]
) -> None:
    for signs in product((1, -1), repeat=3):
        turned = torch.eye(4)
        turned[:3, :3] = torch.diag(torch.tensor(signs) * torch.tensor([1.5, 2.0, 4.0]))[list(axes)]
        f = write(tmp_path / "out", IMAGES[:1], Place(turned), readout=readout)[0]
        row, column = np.array(f.ImageOrientationPatient).reshape(2, 3)
        encoded = {"ROW": row, "COL": column}[f.InPlanePhaseEncodingDirection] * [-1, -1, 1]
        phase = turned[:3, 0 if readout == "y" else 1].numpy()
        assert abs(encoded @ phase) == pytest.approx(np.linalg.norm(phase))
    assert "InPlanePhaseEncodingDirection" not in write(tmp_path / "out", IMAGES[:1])[0]


def test_volumes_come_back(tmp_path: Path) -> None:
    write(tmp_path / "out", n_volumes=2)
    assert read_scan(tmp_path / "out" / "reconstruction").n_volumes == 2
    image = stored(tmp_path / "out" / "reconstruction")
    assert float(torch.corrcoef(torch.stack([image.flatten(), IMAGES.flatten()]))[0, 1]) > 0.999


def test_it_says_that_it_is_derived_and_for_research(tmp_path: Path) -> None:
    first, second, *_ = write(tmp_path / "out")
    assert list(first.ImageType)[:2] == ["DERIVED", "SECONDARY"]
    assert "Research use only" in first.DerivationDescription
    assert "HQS." in first.DerivationDescription
    assert first.BurnedInAnnotation == "NO"
    assert first.SOPInstanceUID != second.SOPInstanceUID
    other = pydicom.dcmread(tmp_path / "out" / "uncertainty" / "0001.dcm")
    assert other.SeriesInstanceUID != first.SeriesInstanceUID
    for name in ("StudyInstanceUID", "FrameOfReferenceUID", "PatientID"):
        assert other[name].value == first[name].value
    again = write(tmp_path / "out")[0]
    assert again.SOPInstanceUID != first.SOPInstanceUID
    assert len({f.SeriesNumber for f in (first, other, again)}) == 3
    assert first.SoftwareVersions == lightning_mri.__version__
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_rows_and_columns_that_are_not_at_right_angles_are_refused(tmp_path: Path) -> None:
    skew = OBLIQUE.clone()
    skew[0, 1] = 0
    with pytest.raises(ValueError, match="rows and columns at right angles"):
        write(tmp_path / "out", place=Place(skew))
    assert not list(tmp_path.iterdir())


def test_each_slice_says_its_warnings_and_those_of_all(tmp_path: Path) -> None:
    """Regression: of a slice that nothing could be found in the archive showed a black image, and not a word."""
    files = write(tmp_path / "out")
    others = "No noise scan."
    own = f"This slice: no signal; it is zero-filled. {others}"
    assert [str(f.ImageComments) for f in files] == [others, others, own, others]
    assert "ImageComments" not in pydicom.dcmread(tmp_path / "out" / "uncertainty" / "0001.dcm")


def test_an_uncertainty_is_no_scan(tmp_path: Path) -> None:
    write(tmp_path / "out")
    assert find_scans(tmp_path) == [tmp_path / "out" / "reconstruction" / "0001.dcm"]


def test_long_names_of_subjects_stay_apart(tmp_path: Path) -> None:
    names = ["study/" * 11 + end for end in ("P001/flair", "P002/flair")]
    for name in names:
        write_dicom(str(tmp_path / name), [Series("image", IMAGES, "FLAIR", "")], PLACE, DicomStudy(), name)
    found = [pydicom.dcmread(tmp_path / name / "image" / "0001.dcm").PatientID for name in names]
    assert len(set(found)) == 2
    assert max(map(len, found)) <= 64


@pytest.mark.parametrize("images", [IMAGES + 0j, IMAGES - 1, IMAGES * torch.tensor(float("nan"))])
def test_images_that_grey_values_cannot_hold_are_refused(tmp_path: Path, images: Tensor) -> None:
    """Regression: a complex image and NaN, as std without uncertainty has it, became series of zeros."""
    rule = "out: images of reconstruction must be real, finite and not negative"
    with as_released(), pytest.raises(ValueError, match=rule):
        write(tmp_path / "out", images)
    assert not list(tmp_path.iterdir())


def test_images_of_zeros_are_written(tmp_path: Path) -> None:
    f = write(tmp_path / "out", torch.zeros(2, 5, 7))[0]
    assert not f.pixel_array.any()


@pytest.mark.skipif(shutil.which("dciodvfy") is None, reason="needs dciodvfy, of dicom3tools")
@pytest.mark.parametrize("n_volumes", [1, 2])
def test_dciodvfy_finds_no_error(tmp_path: Path, source: Path, n_volumes: int) -> None:
    write(tmp_path / "new", n_volumes=n_volumes, readout="y")
    write(tmp_path / "inherited", study=DicomStudy.of(source), n_volumes=n_volumes)
    for part in ("BRAIN", "LSPINE", "KNEE"):
        study = DicomStudy.of(source)
        assert study.attributes is not None
        study.attributes.BodyPartExamined = part
        write(tmp_path / part, study=study, n_volumes=n_volumes)
    for path in tmp_path.glob("*/*/*.dcm"):
        ran = subprocess.run(["dciodvfy", path], capture_output=True, text=True, check=False)
        told = ran.stdout + ran.stderr
        assert "MRImage" in told
        assert "Error" not in told, told
        assert "Retired Person Name form" not in told


@pytest.mark.skipif(shutil.which("dcmdump") is None, reason="needs dcmdump, of dcmtk")
def test_dcmtk_reads_it(tmp_path: Path) -> None:
    write(tmp_path / "out")
    told = subprocess.run(
        ["dcmdump", tmp_path / "out" / "uncertainty" / "0004.dcm"], capture_output=True, text=True, check=True
    )
    assert "=MRImageStorage" in told.stdout
    assert told.stderr == ""


ORTHANC = shutil.which("Orthanc") or ("/usr/sbin/Orthanc" if os.path.exists("/usr/sbin/Orthanc") else None)


def free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return int(s.getsockname()[1])


@pytest.fixture
def archive(tmp_path: Path) -> Iterator[tuple[int, str]]:
    """An archive on this machine, that keeps what it is sent in a scratch folder."""
    assert ORTHANC is not None
    dicom, http = free_port(), free_port()
    (tmp_path / "orthanc.json").write_text(
        f'{{"StorageDirectory": "{tmp_path}/store", "IndexDirectory": "{tmp_path}/store", "DicomPort": {dicom},'
        f' "HttpPort": {http}, "RemoteAccessAllowed": false, "AuthenticationEnabled": false, "Plugins": [],'
        f' "DicomAet": "ARCHIVE", "DicomCheckCalledAet": false, "HttpBindAddresses": ["127.0.0.1"]}}'
    )
    server = subprocess.Popen([ORTHANC, tmp_path / "orthanc.json"], stderr=subprocess.DEVNULL)
    try:
        for _ in range(100):
            try:
                urlopen(f"http://127.0.0.1:{http}/system").close()
                break
            except URLError:
                time.sleep(0.1)
        yield dicom, f"http://127.0.0.1:{http}"
    finally:
        server.terminate()
        server.wait(20)


@pytest.mark.slow
@pytest.mark.skipif(ORTHANC is None or shutil.which("storescu") is None, reason="needs Orthanc and storescu, of dcmtk")
def test_an_archive_takes_it_and_gives_back_the_same_pixels(tmp_path: Path, archive: tuple[int, str]) -> None:
    port, url = archive
    files = write(tmp_path / "out")
    subprocess.run(["storescu", "127.0.0.1", str(port), "+sd", "+r", tmp_path / "out"], check=True)
    assert len(_json(f"{url}/studies")) == 1
    assert len(_json(f"{url}/series")) == 2
    for f in files:
        found = [i for i in _json(f"{url}/instances?expand")
                 if i["MainDicomTags"]["SOPInstanceUID"] == f.SOPInstanceUID]  # fmt: skip
        with urlopen(f"{url}/instances/{found[0]['ID']}/file") as answer:
            back = pydicom.dcmread(pydicom.filebase.DicomBytesIO(answer.read()))
        assert np.array_equal(back.pixel_array, f.pixel_array)
        assert back.ImagePositionPatient == f.ImagePositionPatient


def _json(url: str) -> list:
    import json

    with urlopen(url) as answer:
        return json.load(answer)
