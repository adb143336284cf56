"""A folder of scans becomes a folder of images, past broken files and killed runs, and never half a scan."""

import importlib
import math
import multiprocessing
import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
import torch

from lightning_mri.cfl import write_cfl
from lightning_mri.datasets import FullySampledScans, Preparation, SubjectSplit, build_cache, prepare_folder
from lightning_mri.datasets.cache import MANIFEST, ImageCache
from lightning_mri.datasets.preparation import _problems
from lightning_mri.io import add_format, find_scans, read_scan, write_fastmri
from lightning_mri.io.scan import MAGNITUDE_ONLY, Scan
from lightning_mri.phantoms import Scanner
from lightning_mri.physics import combine
from lightning_mri.scaling import Scaling
from lightning_mri.tensors import complex_noise
from tests.builders import draw_kspace
from tests.io.formats import dicom_slices

WriteScan = Callable[..., Path]
Command = Callable[..., str]
CONFIG = Path(__file__).parents[2] / "experiments" / "prepare.yaml"


def here(root: Path, out: Path, **options: object) -> str:
    return str(prepare_folder(root, out, n_processes=1, **options))  # type: ignore[arg-type]


def write_all(write_scan: WriteScan, root: Path, names: str, n_slices: int = 1) -> list[Path]:
    return [write_scan(root / f"{name}.h5", name, n_slices=n_slices) for name in names]


def cache_of(folder: Path) -> ImageCache:
    return Preparation().cache(folder.parent, folder.name)


def before_each_slice(monkeypatch: pytest.MonkeyPatch, act: Callable[[Scan], object]) -> None:
    """Do something with a scan before each of its images is made."""
    image = Preparation.image

    def act_first(self: Preparation, scan: Scan, index: int) -> object:
        act(scan)
        return image(self, scan, index)

    monkeypatch.setattr(Preparation, "image", act_first)


def test_images_are_combined_cropped_and_scaled_slice_by_slice(tmp_path: Path, write_scan: WriteScan) -> None:
    path = write_scan(tmp_path / "raw" / "multicoil_val" / "scan.h5", "Ann", "T2w", n_slices=2)
    (entry,) = prepare_folder(tmp_path / "raw", tmp_path / "out", n_processes=1).entries
    assert (entry.subject, entry.contrasts, entry.shape) == ("Ann", ("T2w", "T2w"), (2, 28, 26))
    assert (entry.pixel_size, entry.problems) == ((8.0, 8.0), ())
    expected = combine(read_scan(path).kspace[1:2], (28, 26))[0]
    stored = cache_of(tmp_path / "out").read(entry, 1)
    torch.testing.assert_close(stored * entry.scales[1], expected)
    assert Scaling().of(stored).item() == pytest.approx(1)


def test_the_row_knows_the_noise_of_the_scan(tmp_path: Path) -> None:
    y, x = torch.linspace(-1, 1, 64)[:, None], torch.linspace(-1, 1, 48)
    disc = 20.0 * ((y**2 + x**2) < 0.3).to(torch.complex64)
    kspace = Scanner(n_coils=4, snr_db=25, oversampling=1).measure(disc[None], 1, (4.0, 4.0))
    clean = Scanner(4, math.inf, 1).measure(disc[None], 1, (4.0, 4.0))
    write_fastmri(tmp_path / "a.h5", kspace, contrast="T2w", subject="a")
    (entry,) = prepare_folder(tmp_path, tmp_path / "out", n_processes=1).entries
    truth = (kspace - clean).real.std().item()
    assert entry.noise_stds[0] == pytest.approx(truth, rel=0.15)


def test_coils_are_whitened_by_the_scan_s_own_noise(tmp_path: Path, write_scan: WriteScan) -> None:
    scan = read_scan(write_scan(tmp_path / "a.h5", "a"))
    covariance = torch.diag(torch.tensor([9.0, 1.0, 0.5])).to(torch.complex64)
    white, plain = replace(scan, noise_covariance=covariance), scan
    expected = combine(scan.kspace[:1], (28, 26), noise_covariance=covariance)[0]
    image, scale, *_ = Preparation().image(white, 0)
    torch.testing.assert_close(image * scale, expected)
    assert not torch.allclose(Preparation().image(plain, 0)[0], image, atol=1e-2)


def test_finished_scans_are_not_redone_and_changed_ones_are(
    tmp_path: Path, write_scan: WriteScan, monkeypatch: pytest.MonkeyPatch
) -> None:
    root, out = tmp_path / "raw", tmp_path / "raw" / "out"  # the output is no input
    paths = write_all(write_scan, root, "ab")
    assert "2 scans new" in here(root, out)
    next(out.glob("b-*")).unlink()
    made: list[str] = []
    before_each_slice(monkeypatch, lambda scan: made.append(scan.name))
    assert "2 scans, 2 slices, 2 subjects; 1 scan new" in here(root, out)
    assert made == ["b"]
    os.utime(paths[0])  # touched, but the same
    here(root, out)
    assert made == ["b"]
    write_scan(paths[0], "c", n_slices=1)
    here(root, out)
    assert made == ["b", "a"]
    assert {entry.subject for entry in cache_of(out).entries().values()} == {"b", "c"}


def test_a_change_of_any_file_of_a_scan_makes_it_anew(tmp_path: Path) -> None:
    rng, root, out = np.random.default_rng(0), tmp_path / "raw", tmp_path / "out"
    root.mkdir()
    nibabel.save(nibabel.Nifti1Image(1 + rng.random((12, 10, 4)), np.eye(4)), root / "a_mag.nii")
    contents = [prepare_folder(root, out, n_processes=1).entries[0].content]
    for _ in range(2):  # a phase comes, and changes, while the magnitude stays as it is
        nibabel.save(nibabel.Nifti1Image(3 * rng.random((12, 10, 4)), np.eye(4)), root / "a_ph.nii")
        prepared = prepare_folder(root, out, n_processes=1)
        assert prepared.n_new == 1
        contents.append(prepared.entries[0].content)
    assert len(set(contents)) == 3
    assert cache_of(out).read(prepared.entries[0], 1).equal(Preparation().image(read_scan(root / "a_ph.nii"), 1).image)
    assert prepare_folder(root, out, n_processes=1).n_new == 0


def test_slices_that_arrive_later_are_prepared(tmp_path: Path) -> None:
    root, out = tmp_path / "raw", tmp_path / "out"
    root.mkdir()
    for k in range(3):
        dicom_slices.save(dicom_slices.image(k, dicom_slices.PIXELS[k], "1.2.3"), root / f"{k}.dcm")
        (entry,) = prepare_folder(root, out, n_processes=1).entries
        assert entry.n_slices == k + 1


def test_the_data_of_a_pair_may_change_behind_its_header(tmp_path: Path) -> None:
    root, out = tmp_path / "raw", tmp_path / "out"
    root.mkdir()
    kspace = draw_kspace(2, 12, 10).transpose(1, 2, 0)[:, :, None]
    for factor in (1, 2):
        write_cfl(root / "a.hdr", factor * kspace)
        os.utime(root / "a.hdr", (0, 0))
        assert prepare_folder(root, out, n_processes=1).n_new == 1


def test_images_whose_scan_is_gone_are_told_of(tmp_path: Path, write_scan: WriteScan) -> None:
    root, out = tmp_path / "raw", tmp_path / "out"
    write_all(write_scan, root, "abc")
    assert "are gone" not in here(root, out)
    (root / "c.h5").unlink()
    said = here(root, out)
    assert "2 scans, 2 slices" in said
    assert f"are gone: {root / 'c.h5'}: a new folder" in said
    assert len(FullySampledScans(out, SubjectSplit(1)).scans["train"]) == 2  # which is what is said


def test_a_folder_that_was_moved_is_still_prepared(tmp_path: Path, write_scan: WriteScan) -> None:
    write_scan(tmp_path / "raw" / "a.h5", "a", n_slices=1)
    here(tmp_path / "raw", tmp_path / "out")
    (tmp_path / "raw").rename(tmp_path / "elsewhere")
    assert "0 scans new" in here(tmp_path / "elsewhere", tmp_path / "out")


def test_a_name_as_long_as_a_file_system_allows_is_prepared(tmp_path: Path, write_scan: WriteScan) -> None:
    write_scan(tmp_path / "a.h5", "a", n_slices=1).rename(tmp_path / ("\u00e4" * 126 + ".h5"))
    (entry,) = prepare_folder(tmp_path, tmp_path / "out").entries
    assert (tmp_path / "out" / f"{entry.name}.npy").exists()


def test_equal_names_in_folders_of_patients_are_as_many_subjects(tmp_path: Path) -> None:
    kspace = complex_noise((2, 3, 12, 10)).numpy()
    for patient in ("P001", "P002"):
        for name in ("cine_sax", "cine_lax"):
            (tmp_path / "raw" / patient).mkdir(parents=True, exist_ok=True)
            np.save(tmp_path / "raw" / patient / f"{name}.npy", kspace * int(patient[1:]) + len(name))
    prepared = prepare_folder(tmp_path / "raw", tmp_path / "out")
    assert sorted(entry.subject for entry in prepared.entries) == ["P001", "P001", "P002", "P002"]
    assert "subjects: 2 named by their folders" in str(prepared)
    assert FullySampledScans(tmp_path / "out", SubjectSplit(1)).split_names()["val"]


@pytest.mark.slow
def test_four_runs_make_every_scan_once(tmp_path: Path, write_scan: WriteScan) -> None:
    """As the first processes of four nodes do, that share a file system."""
    write_all(write_scan, tmp_path / "raw", "0123")
    context = multiprocessing.get_context("fork")
    runs = [context.Process(target=prepare_folder, args=(tmp_path / "raw", tmp_path / "out")) for _ in range(4)]
    for run in runs:
        run.start()
    for run in runs:
        run.join()
    assert [run.exitcode for run in runs] == [0] * 4
    assert len((tmp_path / "out" / MANIFEST).read_text().splitlines()) == 4


def test_a_scan_of_another_folder_does_not_take_the_place_of_one_of_its_name(
    tmp_path: Path, write_scan: WriteScan
) -> None:
    """Regression: the second patient's images replaced those of the first without a word."""
    for patient in "AB":
        (tmp_path / patient).mkdir()
        write_scan(tmp_path / patient / "scan.h5", patient)
    here(tmp_path / "A", tmp_path / "out")
    with pytest.raises(FileExistsError, match=rf"B/scan\.h5: output_dir .* the images of {tmp_path}/A/scan\.h5"):
        here(tmp_path / "B", tmp_path / "out")
    (entry,) = prepare_folder(tmp_path / "A", tmp_path / "out", n_processes=1).entries
    assert entry.subject == "A"
    shutil.copytree(tmp_path / "A", tmp_path / "copy", copy_function=shutil.copyfile)
    assert "1 scan, 2 slices" in here(tmp_path / "copy", tmp_path / "out")


@pytest.mark.parametrize(
    ("name", "said", "usual"),
    [
        ("axes", "y x coil", "None"),
        ("pixel_size", (2.0, 1.5), "None"),
        ("contrast", "T2w", "None"),
        ("n_coils", 4, "12"),
        ("scaling", Scaling(95), ".*99.0"),
    ],
)
def test_what_is_said_of_files_is_followed_and_remembered(tmp_path: Path, name: str, said: Any, usual: str) -> None:
    """Another way of preparing needs another folder."""
    np.save(tmp_path / "scan.npy", draw_kspace(3, 24, 20).transpose(1, 2, 0))
    (entry,) = prepare_folder(tmp_path, tmp_path / "out", 1, **{"axes": "y x coil", name: said}).entries
    assert entry.shape == (1, 24, 20)
    assert entry.pixel_size == (said if name == "pixel_size" else None)
    assert entry.contrast == (said if name == "contrast" else None)
    with pytest.raises(ValueError, match=f"out: {name} must be the one it was prepared with, .*: got {usual}"):
        prepare_folder(tmp_path, tmp_path / "out", 1, **({} if name == "axes" else {"axes": "y x coil"}))


def test_magnitude_images_are_accepted_and_flagged(tmp_path: Path, write_scan: WriteScan) -> None:
    scan = replace(read_scan(write_scan(tmp_path / "a.h5", "a")), magnitude_only=True)
    assert MAGNITUDE_ONLY in _problems(scan, [1.0, 0.0])


def test_an_empty_slice_stays_empty(tmp_path: Path, write_scan: WriteScan) -> None:
    kspace = complex_noise((2, 2, 20, 18))
    kspace[1] = 0
    write_fastmri(tmp_path / "a.h5", kspace, contrast="T2w", subject="a")
    (entry,) = prepare_folder(tmp_path, tmp_path / "out", n_processes=1).entries
    assert entry.scales[0] > 0
    assert entry.scales[1] == 0
    assert entry.problems[-1] == "1 of 2 slices are empty"
    assert not cache_of(tmp_path / "out").read(entry, 1).any()


def test_files_of_one_name_in_two_folders_are_two_scans(tmp_path: Path, write_scan: WriteScan) -> None:
    paths = [write_scan(tmp_path / folder / "scan.h5", folder, n_slices=1) for folder in ("one", "two")]
    rows = build_cache(paths, ImageCache(tmp_path, "scans", {}), n_processes=2).entries
    assert [row.subject for row in rows] == ["one", "two"]
    assert len({row.name for row in rows}) == 2


def test_prepared_images_are_no_raw_scans(tmp_path: Path, write_scan: WriteScan) -> None:
    write_scan(tmp_path / "raw" / "a.h5", "a", n_slices=1)
    here(tmp_path / "raw", tmp_path / "raw" / "below" / "out")
    assert find_scans(tmp_path / "raw") == [tmp_path / "raw" / "a.h5"]
    with pytest.raises(FileNotFoundError, match="it must hold scans as they came: got a prepared folder"):
        find_scans(tmp_path / "raw" / "below" / "out")


@pytest.mark.parametrize(
    "line", ["predict --data.root {} --output_dir {}/r", "inspect {}", "test --data.root {} --output_dir {}/r"]
)
def test_commands_refuse_prepared_images(
    line: str, tmp_path: Path, write_scan: WriteScan, failing_command: Command
) -> None:
    write_scan(tmp_path / "raw" / "a.h5", "a", n_slices=1)
    here(tmp_path / "raw", tmp_path / "out")
    message = failing_command(*line.format(tmp_path / "out", tmp_path).split())
    assert "must hold scans as they came: got a prepared folder" in message
    assert not (tmp_path / "r").exists()


def test_the_command_ends_with_2_if_there_is_nothing(failing_command: Command, tmp_path: Path) -> None:
    np.save(tmp_path / "nan.npy", np.full((2, 8, 10), np.nan, np.complex64))
    message = failing_command("prepare", "--root", tmp_path, "--output_dir", tmp_path / "out", "--n_processes", "1")
    assert "nan.npy" in message


FORMAT = """
from pathlib import Path
import numpy as np
import turning
from lightning_mri.io import Scan

def locate(path, head):
    return path if path.suffix == ".mine" else None

def read(path):
    return Scan.from_array(turning.upright(np.load(path)), axes="coil y x", name=path.stem)
"""


def test_scans_are_prepared_anew_when_the_users_reader_of_them_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And not when other code does, such as that of a network beside it."""
    (tmp_path / "format_of_mine.py").write_text(FORMAT)
    for name in ("turning", "net_of_mine"):
        (tmp_path / f"{name}.py").write_text("def upright(kspace):\n    return kspace\n")
    with (tmp_path / "raw.mine").open("wb") as file:
        np.save(file, draw_kspace(3, 28, 26))
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr("lightning_mri.io.formats.ADDED", [])
    add_format(importlib.import_module("format_of_mine"))
    importlib.import_module("net_of_mine")
    assert "; 1 scan new" in here(tmp_path / "raw.mine", tmp_path / "out")
    (images,) = (tmp_path / "out").glob("raw-*.npy")
    first = images.stat().st_mtime_ns
    (tmp_path / "net_of_mine.py").write_text("# larger\n")
    assert "; 0 scans new" in here(tmp_path / "raw.mine", tmp_path / "out")
    (tmp_path / "turning.py").write_text("def upright(kspace):\n    return kspace.conj()\n")
    assert "; 1 scan new" in here(tmp_path / "raw.mine", tmp_path / "out")
    assert images.stat().st_mtime_ns > first
