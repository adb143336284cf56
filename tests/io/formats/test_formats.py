"""The format is decided by what a file holds, not by its name."""

import gzip
import os
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
import torch
from scipy.io import savemat

from lightning_mri.io import find_scans, read_scan, write_fastmri, write_result
from lightning_mri.output import RECORDS
from tests.builders import draw_kspace as kspace
from tests.io.files import IMAGE_FILES, Write, fastmri, ismrmrd_file, matlab5, matlab7, matlab73, npy, npz


def test_a_wrong_ending_does_not_hide_the_format(tmp_path: Path) -> None:
    with (tmp_path / "scan.h5").open("wb") as file:
        np.save(file, kspace(3, 5, 7))
    assert read_scan(tmp_path / "scan.h5").kspace.shape == (1, 3, 5, 7)


def test_unknown_content_missing_files_and_folders_are_told_apart(tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    (tmp_path / "notes.h5").write_text("not a scan")
    (tmp_path / "empty.npy").touch()
    for name in ("notes.h5", "empty.npy"):
        with pytest.raises(ValueError, match=f"{name}: format must be one of bart, .*fastmri, .*numpy"):
            read_scan(tmp_path / name)
    for use in (read_scan, find_scans):
        with pytest.raises(FileNotFoundError, match=r"nowhere.npy: there is no such file"):
            use(tmp_path / "nowhere.npy")
        with pytest.raises(FileNotFoundError, match="the folder must hold scans"):
            use(tmp_path / "deep")
    with pytest.raises(ValueError, match=r"empty\.npy: .*it is empty"):
        read_scan(tmp_path / "empty.npy")


def test_what_is_known_under_another_cover_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.npy.gz").write_bytes(gzip.compress(b"any"))
    savemat(tmp_path / "a.mat", {"kspace": kspace(5, 7)}, format="4")
    (tmp_path / "a.dcm").write_bytes(b"\x08\0\x08\0CS\x10\0ORIGINAL")
    (tmp_path / "a.hdr").write_bytes(b"\x5c\x01\0\0".ljust(348, b"\0"))
    (tmp_path / "a.mgz").write_bytes(gzip.compress(b"\0\0\0\1"))
    for name, words in (
        ("mgz", "FreeSurfer"),
        ("npy.gz", "compressed, .*: unpack"),
        ("mat", "version 4"),
        ("dcm", "DICOM"),
        ("hdr", "Analyze"),
    ):
        with pytest.raises(ValueError, match=f"a.{name}: format must be one of .*: it is .*{words}"):
            read_scan(tmp_path / f"a.{name}")


def test_a_folder_lists_each_scan_once_and_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    np.save(tmp_path / "deep" / "b.npy", kspace(3, 5, 7))
    np.savez(tmp_path / "c.npz", kspace=kspace(3, 5, 7))
    np.savez(tmp_path / "other.npz", image=kspace(5, 7))
    np.save(tmp_path / ".half.npy", kspace(3, 5, 7))
    (tmp_path / "readme.txt").write_text("hello")
    (tmp_path / "a.hdr").write_text("# Dimensions\n5 7 1 3\n")
    np.ascontiguousarray(kspace(3, 5, 7).transpose(0, 2, 1)).tofile(tmp_path / "a.cfl")
    write_fastmri(tmp_path / "d.h5", torch.from_numpy(kspace(2, 3, 5, 7)), contrast="T2w", subject="s")
    image = torch.from_numpy(kspace(2, 5, 7))
    write_result(tmp_path / "result.h5", image.abs(), image)
    with pytest.raises(ValueError, match=r"result\.h5: it must be a scan: got a result of predict"):
        read_scan(tmp_path / "result.h5")
    names = [str(path.relative_to(tmp_path)) for path in find_scans(tmp_path)]
    assert names == ["a.hdr", "c.npz", "d.h5", "deep/b.npy"]
    assert find_scans(tmp_path / "a.cfl") == [tmp_path / "a.hdr"]


ABORTED = ("a.h5", "b.H5", "c.hdf5", "d.mrd", "e.npy", "f.npz", "g.mat", "h.cfl", "i.hdr", "j.nii", "k.nii.gz", "l.dcm")


@pytest.mark.parametrize("content", [b"", bytes(5000), b"<html>404</html>"])
def test_what_should_be_a_scan_but_is_none_is_listed(content: bytes, tmp_path: Path) -> None:
    """Regression: an aborted copy, of 0 bytes, was left out without a word; what failed to download, too."""
    for name in (*ABORTED, "notes.txt", "slice.png", "2.img"):
        (tmp_path / name).write_bytes(content)
    fsl = {"g.mat"} if content.startswith(b"<") else set()  # FSL's transforms are text of this ending
    assert {path.name for path in find_scans(tmp_path)} == {*ABORTED} - fsl
    for path in find_scans(tmp_path):
        with pytest.raises((ValueError, OSError), match=f"{path.name}: "):
            read_scan(path)


def test_a_header_that_is_lost_is_listed_once(tmp_path: Path) -> None:
    np.ascontiguousarray(kspace(3, 5, 7).transpose(0, 2, 1)).tofile(tmp_path / "a.cfl")
    (tmp_path / "a.hdr").touch()
    assert find_scans(tmp_path) == [tmp_path / "a.hdr"]


def test_linked_folders_are_searched_once_and_results_are_not(tmp_path: Path) -> None:
    """Patients are often links to an archive; a link may lead back, and results may lie beside their scans."""
    archive, root = tmp_path / "archive", tmp_path / "study"
    for folder in (archive / "P1", root, root / "out" / RECORDS):
        folder.mkdir(parents=True)
    np.save(archive / "P1" / "a.npy", kspace(3, 5, 7))
    np.save(root / "out" / "a.npy", kspace(3, 5, 7))
    (root / "P1").symlink_to(archive / "P1")
    (root / "P1 again").symlink_to("P1")
    (archive / "P1" / "loop").symlink_to(root)
    assert find_scans(root) == [root / "P1" / "a.npy"]
    (root / "unfetched.h5").symlink_to(archive / "gone")  # as git-annex leaves those that were not asked for
    assert find_scans(root) == [root / "P1" / "a.npy", root / "unfetched.h5"]
    with pytest.raises(FileNotFoundError, match=r"unfetched.h5: the link leads to no file"):
        read_scan(root / "unfetched.h5")
    assert find_scans(root / "out") == [root / "out" / "a.npy"]


@pytest.fixture
def unprivileged() -> Iterator[Path]:
    """A folder of a user who, unlike root, may not read everything; who runs the test."""
    with TemporaryDirectory() as folder:
        user = os.geteuid()
        if user == 0:
            os.chown(folder, 12345, -1)
            os.seteuid(12345)
        yield Path(folder)
        os.seteuid(user)


def test_what_may_not_be_read_counts_as_a_scan_and_is_named(unprivileged: Path) -> None:
    """Regression: one file without permission ended its folder, and a folder without was left out without a word."""
    for name in ("a.npy", "b.npy", "closed/c.npy"):
        (unprivileged / name).parent.mkdir(exist_ok=True)
        np.save(unprivileged / name, kspace(3, 5, 7))
    closed = [unprivileged / "b.npy", unprivileged / "closed"]
    for path in closed:
        path.chmod(0)
    try:
        assert find_scans(unprivileged) == [unprivileged / "a.npy", *closed]
        for path in closed:
            with pytest.raises(PermissionError, match=path.name):
                read_scan(path)
    finally:
        for path in closed:
            path.chmod(0o700)


def test_a_folder_of_one_scan_is_that_scan(tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    np.save(tmp_path / "deep" / "a.npy", kspace(3, 5, 7))
    assert read_scan(tmp_path).source == tmp_path / "deep" / "a.npy"
    np.save(tmp_path / "b.npy", kspace(3, 5, 7))
    with pytest.raises(ValueError, match="a folder that is read as one scan must hold one: got 2"):
        read_scan(tmp_path)


@pytest.mark.parametrize("path", [".", "./", ""])
def test_the_working_folder_is_a_folder(path: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    np.save(tmp_path / "a.npy", kspace(3, 5, 7))
    monkeypatch.chdir(tmp_path)
    assert find_scans(path) == [Path("a.npy")]
    assert read_scan(path).source == Path("a.npy")


@pytest.mark.parametrize("kept", [0.02, 0.3, 0.6, 0.95])
@pytest.mark.parametrize("write", [npy, npz, fastmri, ismrmrd_file, matlab5, matlab7, matlab73, *IMAGE_FILES])
def test_a_truncated_file_is_named(write: Write, tmp_path: Path, kept: float) -> None:
    path = write(tmp_path)
    path.write_bytes(path.read_bytes()[: int(kept * path.stat().st_size)])
    with pytest.raises((OSError, ValueError), match=f"{path.name}: "):
        read_scan(path).kspace[:]
