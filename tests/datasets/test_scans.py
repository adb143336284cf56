"""Scans of every format in one folder, each in batches of its own."""

import io
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from torch import Tensor

from lightning_mri.datasets import OperatorScans, ReferenceScans, Scans
from lightning_mri.datasets.fully_sampled import open_raw
from lightning_mri.datasets.scans import with_distinct_names
from lightning_mri.io import read_scan
from lightning_mri.io.failures import FAILED
from lightning_mri.phantoms import Scanner
from lightning_mri.physics import Fourier, Mask, cg_sense
from lightning_mri.training.finished import short_name
from tests.builders import draw_complex

WriteScan = Callable[..., Path]
RECONSTRUCT = Path(__file__).parents[2] / "experiments" / "reconstruct.yaml"
QUICK = ("--model.sampler=HQS", "--model.sampler.n_steps=1", "--model.uncertainty=null")
PREDICT = ("predict", "--config", RECONSTRUCT, *QUICK)


def test_batches_are_split_where_masks_differ_and_user_s_words_are_passed_on(tmp_path: Path) -> None:
    k = draw_complex(2, 3, 5, 8)
    k[:, 0, :, 1::2], k[:, 1:, :, ::2] = 0, 0
    np.save(tmp_path / "scan.npy", k)
    data = Scans(tmp_path, axes="coil z y x", pixel_size=(1.0, 2.0), contrast="T2w")
    data.setup()
    (batch,) = data.predict_dataloader()
    parts = batch.split()
    assert [part.slices for part in parts] == [(0,), (1, 2)]
    assert [tuple(part.mask.shape) for part in parts] == [(1, 5, 8)] * 2
    assert parts[1].kspace.equal(torch.from_numpy(k[:, 1:].swapaxes(0, 1).copy()))
    assert (batch.contrast, batch.pixel_size) == ("T2w", (1.0, 2.0))


@pytest.mark.parametrize(
    ("is_terminal", "after_s", "is_shown"), [(True, 0, True), (True, 60, False), (False, 0, False)]
)
def test_reading_many_headers_has_a_bar_in_a_terminal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_terminal: bool, after_s: float, is_shown: bool
) -> None:
    """Regression: for a minute nothing was said."""
    np.save(tmp_path / "a.npy", np.ones((2, 5, 7), np.complex64))
    screen = io.StringIO()
    monkeypatch.setattr(screen, "isatty", lambda: is_terminal)
    monkeypatch.setattr(sys, "stderr", screen)
    monkeypatch.setattr("lightning_mri.datasets.scans.BAR_AFTER_S", after_s)
    Scans(tmp_path).setup()
    assert ("reading headers" in screen.getvalue()) == is_shown


def test_a_folder_of_different_formats_and_sizes(tmp_path: Path, write_scan: WriteScan) -> None:
    write_scan(tmp_path / "a.h5", "Ann", n_slices=3)
    np.save(tmp_path / "b.npy", np.ones((2, 5, 7), np.complex64))
    data = Scans(tmp_path, batch_size=2)
    data.setup("predict")
    batches = list(data.predict_dataloader())
    assert [(b.scan, b.slices) for b in batches] == [("a", (0, 1)), ("a", (2,)), ("b", (0,))]
    assert batches[2].kspace.shape == (1, 2, 5, 7)


def test_the_operator_of_a_scan_may_be_the_fourier_transform_alone_or_behind_a_mask(
    tmp_path: Path, blobs: Callable[..., Tensor]
) -> None:
    kspace = Scanner(n_coils=3, oversampling=1).measure(blobs(0, n_slices=1, matrix=(31, 24)), 1, (8.0, 8.0))
    np.save(tmp_path / "scan.npy", kspace.numpy())
    mask = torch.rand(1, 31, 24, generator=torch.Generator().manual_seed(0)) < 0.9
    for operator, acquired in ((Fourier(), kspace), (Mask(mask) @ Fourier(), torch.where(mask, kspace, 0))):
        data = OperatorScans(tmp_path, operator, noise_std=0.01)
        data.setup()
        (batch,) = data.predict_dataloader()
        torch.testing.assert_close(batch.likelihood.y, acquired, rtol=1e-4, atol=0)
        residual = batch.likelihood.residual(cg_sense(batch.likelihood))
        assert residual.norm() < 0.1 * acquired.norm()


def test_a_broken_file_is_named_before_anything_is_computed(tmp_path: Path, write_scan: WriteScan) -> None:
    np.save(tmp_path / "b.npy", np.ones((2, 5, 7), np.float32))
    with pytest.raises(ValueError, match=r"b.npy: kspace must be complex"):
        Scans(tmp_path).setup("predict")
    write_scan(tmp_path / "a.h5", "Ann")
    (tmp_path / "c.nii.gz").write_bytes(b"\x1f\x8b")
    data = Scans(tmp_path)
    data.setup("predict")
    assert [scan.name for scan in data.scans] == ["a"]
    failures = [(failure.scan, "complex" in failure.reason) for failure in data.failures]
    assert failures == [("b", True), ("c", False)]


def test_scans_of_different_matrices_are_reconstructed_each_at_its_own(
    tmp_path: Path, command: Callable[..., str], blobs: Callable[..., Tensor]
) -> None:
    """One folder, two matrices, of which neither is a multiple of the network's: no image is cut or padded."""
    (tmp_path / "in").mkdir()
    sizes = {"b": (22, 37), "c": (31, 18)}
    for name, size in sizes.items():
        kspace = Scanner(n_coils=2, oversampling=1).measure(blobs(0, n_slices=1, matrix=size), 1, (8.0, 8.0))
        np.save(tmp_path / "in" / f"{name}.npy", kspace.numpy())
    command(*PREDICT, "--data.root", tmp_path / "in", "--output_dir", tmp_path / "out")
    for name, size in sizes.items():
        with h5py.File(tmp_path / "out" / f"{name}.h5") as file:
            assert file["reconstruction"].shape[1:] == size


@pytest.mark.slow
def test_results_mirror_the_folders_of_the_input(
    command: Callable[..., str], blobs: Callable[..., Tensor], tmp_path: Path
) -> None:
    """Files of one name in folders of patients, of one stem in one folder, a broken one, and names of other results."""
    kspace = Scanner(n_coils=2, oversampling=1).measure(blobs(0, n_slices=1), 1, (8.0, 8.0)).numpy()
    names = ("P001/cine.npy", "P002/cine.npy", "P002/cine.npz", "P003/cine.npy", "a.npy", "a_std.npy", "a_view/b.npy")
    for name in names:
        (tmp_path / "in" / name).parent.mkdir(parents=True, exist_ok=True)
        save = np.save if name.endswith("npy") else lambda path, x: np.savez(path, kspace=x)
        save(tmp_path / "in" / name, kspace)
    broken = tmp_path / "in" / "P003" / "cine.npy"
    broken.write_bytes(broken.read_bytes()[:300])
    out = tmp_path / "out"
    command(*PREDICT, "--data.root", tmp_path / "in", "--output_dir", out)
    written = sorted(path.relative_to(out).as_posix() for path in out.rglob("*.h5"))
    expected = [f"{short_name(name)}.h5" for name in ("a", "a_std", "a_view/b")]
    assert written == ["P001/cine.h5", "P002/cine.npy.h5", "P002/cine.npz.h5", *expected]
    assert [json.loads(line)["source"] for line in (out / FAILED).read_text().splitlines()] == [str(broken)]


@pytest.mark.slow
def test_any_name_that_a_file_system_takes_is_reconstructed_and_prepared(
    command: Callable[..., str], blobs: Callable[..., Tensor], tmp_path: Path
) -> None:
    """Regression: one name that is no text ended the whole folder."""
    kspace = Scanner(n_coils=2, oversampling=1).measure(blobs(0, n_slices=1), 1, (8.0, 8.0)).numpy()
    root = tmp_path / "in" / os.fsdecode(b"P\xe9") / "a b"
    root.mkdir(parents=True)
    for name in (b"bad\xff.npy", b"two\nlines.npy", b"\x1b[31mred.npy", b"-x.npy", "ünï.npy".encode()):
        np.save(root / os.fsdecode(name), kspace)
    (root / "\x1b[31mbroken.npy").write_bytes(b"\x93NUMPY")
    out = tmp_path / "out"
    printed = command(*PREDICT, "--data.root", tmp_path / "in", "--output_dir", out)
    printed += command("prepare", "--root", tmp_path / "in", "--output_dir", tmp_path / "made", "--n_processes=1")
    names = {path.stem for path in out.glob(r"P*udce9/a b/*.h5")}
    assert names == {r"bad\udcff", r"two\nlines", r"\x1b[31mred", "-x", "ünï"}
    assert "5 scans" in printed
    assert "\x1b[31m" not in printed


def test_names_stay_distinct_whatever_the_folders(tmp_path: Path) -> None:
    for name in ("a/b/x.npy", "a/x.npy"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        np.save(tmp_path / name, np.ones((3, 5, 7), np.complex64))
    scans = [read_scan(tmp_path / name) for name in ("a/b/x.npy", "a/x.npy")]
    assert [scan.name for scan in with_distinct_names(scans[:1])] == ["x"]
    assert len({scan.name for scan in with_distinct_names(scans)}) == 2


def test_a_subject_that_no_file_names_is_the_scan_s_own(tmp_path: Path, write_scan: WriteScan) -> None:
    """Regression: `P001/flair` and `P002/flair` were both of a subject "flair", one patient in DICOM."""
    for folder in ("P001", "P002"):
        (tmp_path / folder).mkdir()
        np.save(tmp_path / folder / "flair.npy", np.ones((2, 5, 7), np.complex64))
    write_scan(tmp_path / "P003" / "flair.h5", "Ann")
    data = Scans(tmp_path)
    data.setup()
    found = [(scan.name, scan.subject, scan.subject_known) for scan in data.scans]
    named = ("P003/flair", "Ann", True)
    assert found == [("P001/flair", "P001/flair", False), ("P002/flair", "P002/flair", False), named]


def test_tests_count_subjects_as_training_does(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Regression: two contrasts of one person were two subjects, and not the one that was trained on."""
    for name in ("P001_FLAIR", "P001_T1w", "P002_FLAIR"):
        np.save(tmp_path / f"{name}.npy", np.ones((2, 24, 96), np.complex64))
    data = ReferenceScans(tmp_path)
    data.setup("test")
    subjects = [scan.subject for scan in data.scans]
    assert subjects == [scan.subject for scan in open_raw(tmp_path)] == ["P001", "P001", "P002"]
    assert "2 named by their files' names" in capsys.readouterr().err
