"""A scan that cannot be read, reconstructed or written is listed, and stops no other."""

import json
import resource
import shutil
import signal
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import h5py
import nibabel
import numpy as np
import pytest
import torch

from lightning_mri.__main__ import main
from lightning_mri.evaluation.page import read_page
from lightning_mri.io import read_scan
from lightning_mri.io.formats.nifti.writer import write_nifti
from lightning_mri.io.geometry import Place
from lightning_mri.reconstruction import Problem, Reconstruction, Reconstructor
from lightning_mri.training.finished import PARTLY_UNCERTAIN, FinishedScan

from .test_results import CERTAIN, OBLIQUE, QUICK, Command, names, predict, predictable, untrusted


@pytest.mark.slow
def test_a_broken_file_of_a_folder_is_listed_and_stops_no_other(command: Command, cohort: Path, tmp_path: Path) -> None:
    folder, out = tmp_path / "in", tmp_path / "out"
    folder.mkdir()
    whole = next((cohort / "multicoil_test").glob("*.h5"))
    (folder / "whole.h5").write_bytes(whole.read_bytes())
    (folder / "cut.h5").write_bytes(whole.read_bytes()[:2000])
    kspace = read_scan(whole).kspace[:].numpy()
    kspace[1, 0, 3, 4] = np.nan
    np.save(folder / "holed.npy", np.concatenate([kspace, 0 * kspace[:1]]))
    np.save(folder / "lost.npy", kspace[:1] * (np.arange(kspace.shape[-1]) % 3 == 0))
    command(*predict(folder, out, CERTAIN))
    assert sorted(path.name for path in out.glob("*.h5")) == ["holed.h5", "whole.h5"]
    rows = [json.loads(line) for line in (out / "failed.jsonl").read_text().splitlines()]
    reasons = {Path(row["source"]).name: row["reason"] for row in rows}
    assert set(reasons) == {"cut.h5", "lost.npy"}
    with h5py.File(out / "holed.h5") as file:
        assert "slice 1: NaN or infinity among acquired samples; it is zero-filled" in file.attrs["warnings"]
        assert np.isfinite(file["image"][:]).all()
        assert PARTLY_UNCERTAIN not in file.attrs["warnings"]  # of air alone it is known without any
    assert "calibration" in reasons["lost.npy"]
    failed, marked = read_page(out / "index.html")["warnings"]
    assert sorted(failed.removeprefix("2 scans failed, see failed.jsonl: ").split(", ")) == ["cut", "lost"]
    assert "holed (slices 1" in marked


def test_a_scan_that_dicom_cannot_express_stops_no_other(command: Command, cohort: Path, tmp_path: Path) -> None:
    """Regression: a sheared affine ended the run of a whole folder, in a sentence without the file's name."""
    folder, out = tmp_path / "in", tmp_path / "out"
    folder.mkdir()
    shutil.copy(next((cohort / "multicoil_test").glob("*.h5")), folder / "whole.h5")
    sheared = OBLIQUE.clone()
    sheared[0, 1] = 0
    write_nifti(folder / "sheared.nii.gz", torch.rand(1, 12, 14), Place(sheared))
    command(*predict(folder, out, CERTAIN, "--results.formats=[hdf5,dicom]"))
    assert names(out) == ["failed.jsonl", "index.html", "whole.h5", "whole.png", "whole_dicom", "whole_view"]
    row = json.loads((out / "failed.jsonl").read_text())
    assert row["source"] == str(folder / "sheared.nii.gz")
    assert "affine must have rows and columns at right angles to be DICOM" in row["reason"]
    assert "would fail" in command(*predict(folder, tmp_path / "dry", "--results.formats=[dicom]", "--dry_run"))


@pytest.mark.parametrize("words", [["predict"], ["predict", "--results.formats=[dicom]"], ["test"]], ids=" ".join)
def test_scans_that_all_fail_are_counted_and_listed(words: list[str], failing_command: Command, tmp_path: Path) -> None:
    """Regression: forty reasons on one line, and no list."""
    folder, out, sheared = tmp_path / "in", tmp_path / "out", OBLIQUE.clone()
    folder.mkdir()
    sheared[0, 1] = 0
    for name in "abc":
        write_nifti(folder / f"{name}.nii.gz", torch.rand(1, 12, 14), Place(sheared))
    if "--results.formats=[dicom]" not in words:
        for path in folder.iterdir():
            path.write_bytes(path.read_bytes()[:99])
    for _ in range(2):  # the second run writes its list over that of the first
        message = failing_command(*words, "--data.root", folder, "--output_dir", out, *QUICK, CERTAIN)
        assert f"error: none of 3 scans could be used, the first because {folder / 'a.nii.gz'}: " in message
        assert "b.nii.gz" not in message
        assert names(out) == ["failed.jsonl"]
        rows = [json.loads(line) for line in (out / "failed.jsonl").read_text().splitlines()]
        assert [Path(row["source"]).name for row in rows] == ["a.nii.gz", "b.nii.gz", "c.nii.gz"]


@pytest.mark.slow
def test_any_exception_of_one_scan_is_a_line_and_its_traceback_a_log(
    command: Command, cohort: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root, out = predictable(cohort, tmp_path / "in", "a", "b"), tmp_path / "out"
    solve = Reconstructor.solve

    def broken(self: Reconstructor, problem: Problem, scan: str, *args: object) -> Reconstruction:
        if scan == "a":
            raise torch.linalg.LinAlgError("the input is singular")
        return solve(self, problem, scan, *args)  # type: ignore[arg-type]

    monkeypatch.setattr(Reconstructor, "solve", broken)
    command(*predict(root, out, CERTAIN))
    assert names(out) == ["b.h5", "b.png", "b_view", "failed.jsonl", "failed.log", "index.html"]
    (row,) = (json.loads(line) for line in (out / "failed.jsonl").read_text().splitlines())
    assert row == {"source": str(root / "a.h5"), "reason": f"{root / 'a.h5'}: LinAlgError: the input is singular"}
    assert "in broken\n" in (out / "failed.log").read_text()


def test_a_broken_file_takes_no_result_of_another_ending(command: Command, cohort: Path, tmp_path: Path) -> None:
    """Regression: the result of `a.npy` was removed as that of `a.h5`; of two broken ones of a stem one was listed."""
    root, out = predictable(cohort, tmp_path / "in", "b"), tmp_path / "out"
    np.save(root / "a.npy", read_scan(root / "b.h5").kspace[:].numpy())
    for name in ("a.h5", "c.h5", "c.mat"):
        (root / name).touch()
    command(*predict(root, out, CERTAIN))
    assert [path.name for path in sorted(out.glob("*.h5"))] == ["a.h5", "b.h5"]
    rows = [json.loads(line) for line in (out / "failed.jsonl").read_text().splitlines()]
    assert {(Path(row["source"]).name, row["reason"].endswith("it is empty")) for row in rows} == {
        ("a.h5", True),
        ("c.h5", True),
        ("c.mat", True),
    }


@pytest.mark.parametrize(("room", "file"), [(20_000, ".parts/*-0.pt"), (65_000, "a.h5"), (77_000, "a.png")])
def test_a_full_disk_is_one_sentence_and_keeps_the_parts(
    room: int, file: str, command: Command, cohort: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Regression: HDF5 crashed, or the scans counted as failed and their finished slices were removed."""
    root, out = predictable(cohort, tmp_path / "in", "a", "b"), tmp_path / "out"
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (room, before[1]))
    try:
        with pytest.raises(SystemExit, match="2"):
            command(*predict(root, out, CERTAIN, "--data.batch_size=1"))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    (message,) = (line for line in capsys.readouterr().err.splitlines() if "rror" in line)
    assert fnmatch(message, f"error: {out}/{file}: file too large")
    written = [path.name for path in out.rglob("*") if path.is_file() and path.suffix != ".json"]
    assert sorted(path for path in written if not path.endswith(".pt")) == (["a.h5"] if room == 77_000 else [])
    n_kept = sum(path.endswith(".pt") for path in written)
    assert n_kept == (0 if room == 20_000 else 2)  # those of the scan at which it stopped
    if room == 65_000:
        command(*predict(root, out, CERTAIN, "--data.batch_size=1"))
        assert sorted(path.name for path in out.glob("*.h5")) == ["a.h5", "b.h5"]


@pytest.mark.slow
def test_a_result_does_not_stay_when_its_scan_fails_whatever_its_format_and_name(
    command: Command, tmp_path: Path
) -> None:
    """Regression: those of NIfTI files stayed, and those of files that another had shared the name with."""
    root, out = tmp_path / "in", tmp_path / "out"
    root.mkdir()
    y, x = np.mgrid[-1:1:24j, -1:1:20j]
    image = np.exp(-4 * y**2 - 5 * x**2).astype(np.complex64)
    files = [root / name for name in ("p.npy", "p.nii.gz", "q.nii.gz", "r.npy")]
    for file in files:
        if file.suffix == ".npy":
            np.save(file, np.fft.fftshift(np.fft.fft2(image))[None])
        else:
            nibabel.save(nibabel.Nifti1Image(np.abs(image).T[..., None], np.eye(4)), file)
    command(*predict(root, out, CERTAIN))
    assert [name for name in names(out) if name.endswith(".h5")] == ["p.nii.gz.h5", "p.npy.h5", "q.h5", "r.h5"]
    files[0].unlink()
    for file in files[1:3]:
        file.write_bytes(file.read_bytes()[:50])
    command(*predict(root, out, CERTAIN))
    assert [name for name in names(out) if name.endswith(".h5")] == ["p.npy.h5", "r.h5"]
    assert [case["name"] for case in read_page(out / "index.html")["cases"]] == ["p.npy", "r"]
    assert {json.loads(line)["source"] for line in (out / "failed.jsonl").read_text().splitlines()} == {
        str(file) for file in files[1:3]
    }


@pytest.mark.slow
def test_a_result_does_not_stay_when_its_scan_fails_and_the_page_shows_all_there_are(
    command: Command, cohort: Path, tmp_path: Path
) -> None:
    root, out = predictable(cohort, tmp_path / "in", "a", "b"), tmp_path / "out"
    command(*predict(root, out, CERTAIN))
    (root / "a.h5").write_bytes((root / "a.h5").read_bytes()[:3000])
    command(*predict(root, out, CERTAIN))
    assert names(out) == ["b.h5", "b.png", "b_view", "failed.jsonl", "index.html"]
    predictable(cohort, tmp_path / "whole", "a")
    shutil.copy(tmp_path / "whole" / "a.h5", root / "a.h5")
    command(*predict(root, out, CERTAIN))
    assert names(out) == ["a.h5", "a.png", "a_view", "b.h5", "b.png", "b_view", "index.html"]
    page = read_page(out / "index.html")
    assert [case["name"] for case in page["cases"]] == ["a", "b"]
    (layers,) = {tuple(name for name, _ in case["sources"][0]["layers"]) for case in page["cases"]}
    assert layers[:2] == ("zero-filled", "reconstruction")
    ((_, facts),) = page["facts"]
    assert {"command", "config", "version", "weights_sha256"} <= dict(facts).keys()
    assert all((Path(case["sources"][0]["path"]) / "0000.js").is_file() for case in page["cases"])


def test_a_scan_that_could_not_be_written_failed_and_is_no_result_to_be_wary_of(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Regression: it was told among those that were written, too."""
    (tmp_path / "in").mkdir()
    write = FinishedScan.write

    def refuse(self: FinishedScan, *arguments: Any) -> tuple[str, ...]:
        if self.scan.name == "b":
            raise ValueError("b.npy: it has no place")
        return write(self, *arguments)

    monkeypatch.setattr(FinishedScan, "write", refuse)
    for name in "ab":
        untrusted(tmp_path / "in" / f"{name}.npy")
    with pytest.raises(SystemExit, match="3"):
        main([*predict(tmp_path / "in", tmp_path / "out", CERTAIN)])
    printed = capsys.readouterr().err
    assert "a: do not trust slice 0 " in printed
    assert "b: do not trust" not in printed
