"""What `predict` leaves behind says where it came from and how it was made, in every format."""

import importlib
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import h5py
import nibabel
import numpy as np
import pydicom
import pytest
import torch
import yaml
from torch import Tensor

from lightning_mri.__main__ import main
from lightning_mri.evaluation import code_version
from lightning_mri.evaluation.page import read_page
from lightning_mri.io import find_scans, read_scan
from lightning_mri.io.arrays import ImageArray
from lightning_mri.io.formats.dicom.study import DicomStudy
from lightning_mri.io.formats.dicom.writer import Series, write_dicom
from lightning_mri.io.geometry import Place
from lightning_mri.io.scan import MAGNITUDE_ONLY
from lightning_mri.phantoms import Scanner
from lightning_mri.reconstruction import CALIBRATION, Measurement, Problem, Reconstructor
from lightning_mri.training.provenance import key_of
from lightning_mri.weights import fingerprint, load_prior

from ..conftest import draw_blobs

Command = Callable[..., str]
ROOT = Path(__file__).parents[2]
OBLIQUE = torch.tensor([[-1.2, 1.2, 0.0, 10.0], [-0.9, -1.6, 0.0, -20.0], [0.0, 0.0, 4.0, 30.0], [0, 0, 0, 1]])
QUICK = ("--model.sampler=HQS", "--model.sampler.n_steps=2")
CERTAIN = "--model.uncertainty=null"


def predict(root: Path, folder: str | Path, *options: str) -> tuple[str, ...]:
    chosen = ("--config", "reconstruct", "--data.root", str(root), "--output_dir", str(folder))
    return ("predict", *chosen, *QUICK, *options)


def names(folder: Path) -> list[str]:
    """Return what is visible in a folder."""
    return sorted(path.name for path in folder.iterdir() if not path.name.startswith("."))


@pytest.fixture
def series(tmp_path: Path, blobs: Tensor) -> Path:
    """A scanner's series of three slices, and a localizer of the same study with another matrix."""
    study = DicomStudy(pydicom.Dataset())
    study.attributes.PatientID, study.attributes.StudyInstanceUID = "P-7", "1.2.4"
    for name, images in (("head", blobs), ("other", blobs[:, 1:])):
        write_dicom(
            tmp_path / "in",
            [Series(name, images, "t2_flair", "")],
            Place(OBLIQUE),
            DicomStudy(study.attributes, "1.2.3"),
            "",
            readout="y",
        )
        (tmp_path / "in" / name).rename(tmp_path / name)
    return tmp_path / "head"


@pytest.fixture
def blobs() -> Tensor:
    y, x = torch.linspace(-1, 1, 26)[:, None], torch.linspace(-1, 1, 22)
    return torch.stack([1000 * torch.exp(-4 * (y - s / 9) ** 2 - 5 * x**2) + 20 for s in range(3)])


def test_every_format_says_the_same(series: Path, tmp_path: Path, command: Command) -> None:
    options = ("--results.formats=[hdf5,nifti,dicom]", f"--results.source_dicom={series}")
    command(*predict(series, tmp_path / "out", "--model.uncertainty.n_samples=2", *options))
    out = tmp_path / "out"
    assert names(out) == [
        "head.h5", "head.nii.gz", "head.png", "head_dicom", "head_std.nii.gz", "head_view", "index.html"
    ]  # fmt: skip
    nifti, dicom = nibabel.load(out / "head.nii.gz"), read_scan(out / "head_dicom" / "reconstruction")
    np.testing.assert_allclose(nifti.affine, OBLIQUE, atol=1e-4)
    assert dicom.affine is not None
    torch.testing.assert_close(dicom.affine, OBLIQUE, atol=1e-4, rtol=1e-5)
    assert isinstance(dicom.kspace, ImageArray)
    with h5py.File(out / "head.h5") as file:
        image, std = file["reconstruction"][:], file["std"][:]
        assert file["null_space"].shape == image.shape
        assert file["null_space"][:].max() <= image.max()
        assert file.attrs["null_space_share"].shape == (len(image),)
    assert np.array_equal(nifti.get_fdata(dtype=np.float32).T, image)
    assert np.array_equal(nibabel.load(out / "head_std.nii.gz").get_fdata(dtype=np.float32).T, std)
    np.testing.assert_allclose(dicom.kspace.images[:].numpy(), image, atol=image.max() / 60000)
    assert (dicom.readout, nifti.header.get_dim_info()[0]) == ("y", 1)
    first = pydicom.dcmread(out / "head_dicom" / "uncertainty" / "0001.dcm")
    assert (first.PatientID, first.StudyInstanceUID, first.FrameOfReferenceUID) == ("P-7", "1.2.4", "1.2.3")
    assert "RESEARCH USE ONLY" in first.SeriesDescription
    assert find_scans(out / "head_dicom") == [out / "head_dicom" / "reconstruction" / "0001.dcm"]
    (case,) = read_page(out / "index.html")["cases"]
    assert case["size"] == [first.Rows, first.Columns]  # turned as in the series
    assert case["pixel"] == pytest.approx(first.PixelSpacing)


def test_magnitude_only_is_said_everywhere_and_every_slice_is_prepared_once(
    series: Path, tmp_path: Path, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And the summary has a line of its own, below a bar that says that all is done."""
    prepared, prepare = [], Reconstructor.prepare

    def watch(self: Reconstructor, measured: Measurement) -> Problem:
        prepared.append(len(measured))
        return prepare(self, measured)

    monkeypatch.setattr(Reconstructor, "prepare", watch)
    printed = command(*predict(series, tmp_path / "out", "--results.formats=[hdf5,dicom]", CERTAIN))
    assert prepared == [3]
    assert f"head: {MAGNITUDE_ONLY}" in printed
    assert f"\n1 scan written to {tmp_path / 'out'}" in printed
    with h5py.File(tmp_path / "out" / "head.h5") as file:
        assert file.attrs["magnitude_only"]
        assert MAGNITUDE_ONLY in file.attrs["warnings"]
    first = pydicom.dcmread(tmp_path / "out" / "head_dicom" / "reconstruction" / "0001.dcm")
    assert MAGNITUDE_ONLY[1:] in first.ImageComments
    assert first.StudyInstanceUID != "1.2.4"


@pytest.mark.slow
def test_a_result_can_be_traced_and_repeated(series: Path, tmp_path: Path, command: Command) -> None:
    command(*predict(series, tmp_path / "out", CERTAIN))
    with h5py.File(tmp_path / "out" / "head.h5") as file:
        attributes = dict(file.attrs)
        assert "null_space" not in file
    assert attributes["weights_sha256"] == fingerprint(load_prior("brain"))
    assert (attributes["prior"], attributes["checkpoint"]) == ("brain", "brain")
    assert (attributes["nfe"].tolist(), attributes["nfe_uncertainty"]) == ([2, 2, 2], 0)
    assert "scan, slice, sample" in attributes["seeds"]
    assert attributes["acceleration"] == 1
    assert attributes["affine"] == pytest.approx(OBLIQUE.numpy())
    config = tmp_path / "again.yaml"
    config.write_text(yaml.safe_dump(yaml.safe_load(attributes["config"])))
    command("predict", "--config", config, "--output_dir", tmp_path / "again")
    with h5py.File(tmp_path / "out" / "head.h5") as one, h5py.File(tmp_path / "again" / "head.h5") as two:
        assert np.array_equal(one["image"], two["image"])


@pytest.mark.parametrize(
    ("options", "rule"),
    [
        (
            ("--results.formats=[dicom]", "--results.source_dicom={}/other"),
            "source_dicom must have the matrix (26, 22)",
        ),
        (("--results.formats=[dicom]", "--results.source_dicom={}/nowhere"), "nowhere"),
        (("--results.source_dicom={}/head",), "source_dicom needs dicom among the formats: got hdf5"),
        (("--results.formats=[]",), "formats must name at least one of hdf5, nifti and dicom"),
        (("--results.formats=[tiff]",), "tiff"),
    ],
)
def test_what_cannot_be_written_is_said_before_anything_is_computed(
    series: Path,
    tmp_path: Path,
    failing_command: Command,
    monkeypatch: pytest.MonkeyPatch,
    options: tuple[str, ...],
    rule: str,
) -> None:
    monkeypatch.setattr(Reconstructor, "prepare", None)
    message = failing_command(*predict(series, tmp_path / "out", *(o.format(tmp_path) for o in options)))
    assert rule in message
    assert not list((tmp_path / "out").glob("*"))


def test_samples_are_kept_when_asked_for(command: Callable[..., str], cohort: Path, tmp_path: Path) -> None:
    scan = next((cohort / "multicoil_test").glob("*.h5"))
    draws = ("--model.sampler=DDS", "--model.sampler.n_steps=2", "--model.n_samples=2", "--model.keep_samples=true")
    command(*predict(scan, tmp_path, *draws))
    with h5py.File(tmp_path / scan.name) as file:
        samples, image = file["samples"][()], file["image"][()]
    assert samples.shape == (2, *image.shape)
    assert not np.array_equal(samples[0], samples[1])
    np.testing.assert_allclose(samples.mean(0), image, rtol=1e-4, atol=1e-6 * np.abs(image).max())


def predictable(cohort: Path, folder: Path, *names: str) -> Path:
    """Copy the test scan of the cohort under several names."""
    folder.mkdir()
    for name in names:
        shutil.copy(next((cohort / "multicoil_test").glob("*.h5")), folder / f"{name}.h5")
    return folder


def untrusted(path: Path) -> None:
    """Write a scan of one slice without a calibration block."""
    lines = torch.arange(40)
    mask = (lines % 2 == 1) & ((lines - 20).abs() > 5) | (lines == 20)
    kspace = Scanner(n_coils=3, snr_db=40).measure(draw_blobs(0, 1, (44, 40)), 1, (5.0, 5.0))
    np.save(path, (kspace * mask).numpy())


def times(folder: Path) -> dict[str, int]:
    return {path.name: path.stat().st_mtime_ns for path in folder.glob("*.h5")}


@pytest.mark.slow
def test_finished_scans_are_skipped_until_file_weights_or_settings_change(
    command: Command, cohort: Path, tmp_path: Path
) -> None:
    root, out = predictable(cohort, tmp_path / "in", "a", "b"), tmp_path / "out"
    command(*predict(root, out, CERTAIN))
    first = times(out)
    assert "2 of 2 scans are finished" in command(*predict(root, out, CERTAIN, "--data.batch_size=1"))
    assert times(out) == first
    os.utime(root / "a.h5", (0, 0))
    assert "1 of 2 scans are finished" in command(*predict(root, out, CERTAIN))
    second = times(out)
    assert (second["a.h5"] > first["a.h5"], second["b.h5"] == first["b.h5"]) == (True, True)
    for options in (
        ("--results.redo=true",),
        ("--model.sampler.n_steps=3",),
        ("--model.priors={brain: brain-noflair}",),
    ):
        assert "are finished" not in command(*predict(root, out, CERTAIN, *options))
        assert all(times(out)[name] > second[name] for name in second)
        second = times(out)


def test_a_key_changes_with_named_files_code_and_calibration(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = ("field.npy", "samples.txt", "sampler_of_mine.py", "steps_of_mine.py")
    for name in files:
        (tmp_path / name).write_text("import steps_of_mine\n" if name == "sampler_of_mine.py" else "")
    monkeypatch.syspath_prepend(tmp_path)
    importlib.import_module("sampler_of_mine")
    prior, seen = load_prior("brain"), set[str]()
    own = {"class_path": "sampler_of_mine.Mine", "init_args": {"samples": [str(tmp_path / "samples.txt")]}}
    settings = {"model": {"sampler": own}, "data": {"field": tmp_path / "field.npy", "contrast": "T2w"}}

    def key() -> str:
        code_version.cache_clear()  # a run does not edit its own code
        return key_of(settings, prior)

    for name in files:
        seen.add(key())
        (tmp_path / "other_of_mine.py").write_text(name)
        assert key() in seen
        (tmp_path / name).write_text((tmp_path / name).read_text() + "\n")
        assert key() not in seen
    prior.card[CALIBRATION] = {"weights": "", "recipes": []}
    assert key() not in seen


def test_a_name_as_long_as_a_file_system_takes_is_shortened(command: Command, cohort: Path, tmp_path: Path) -> None:
    """And only what was asked for is written."""
    root = predictable(cohort, tmp_path / "in", "ä" * 126)
    command(*predict(root, tmp_path / "out", CERTAIN, "--results.formats=[nifti]"))
    page, *ours = names(tmp_path / "out")
    assert page == "index.html"
    assert [name.split("~")[1][8:] for name in ours] == [".nii.gz", ".png", "_view"]
    assert all(name.startswith("ä" * 90) for name in ours)


@pytest.mark.slow
def test_a_signal_stops_predict_after_its_batch_and_keeps_what_is_finished(cohort: Path, tmp_path: Path) -> None:
    """Regression: SIGTERM was ignored to the end."""
    root, out = predictable(cohort, tmp_path / "in", *"abcdefgh"), tmp_path / "out"
    line = [sys.executable, "-m", "lightning_mri", *predict(root, out, CERTAIN, "--data.batch_size=1")]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    run = subprocess.Popen(line, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True, env=environment)
    while run.poll() is None and not (out / "a.png").exists():
        time.sleep(0.01)
    run.terminate()
    _, message = run.communicate()
    assert run.returncode == 143, message
    done = sorted(out.glob("*.h5"))
    assert 1 <= len(done) < 8
    assert f"stopped by SIGTERM: {len(done)} of 8 scans are finished" in message
    for path in done:
        with h5py.File(path) as file:
            assert file["image"].shape[0] == 2


def test_slices_that_should_not_be_trusted_are_told_again_where_their_scan_is_finished(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A single line in the centre gives no coil maps; the same command says so and ends with 4 each time."""
    untrusted(tmp_path / "few.npy")
    for end in ("1 scan written", "1 finished before"):
        with pytest.raises(SystemExit, match="4"):
            main([*predict(tmp_path / "few.npy", tmp_path / "out", CERTAIN)])
        printed = capsys.readouterr()
        assert end in printed.out
        assert "few: do not trust slice 0 " in printed.err
