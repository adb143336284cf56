"""A killed run leaves whole files or none."""

from pathlib import Path

import pytest

from lightning_mri.files import atomic, atomic_folder


def test_the_file_appears_when_it_is_whole(tmp_path: Path) -> None:
    target = tmp_path / "deep" / "file.txt"
    with atomic(target) as part:
        part.write_text("half")
        assert not target.exists()
        part.write_text("whole")
    assert target.read_text() == "whole"
    assert list(target.parent.iterdir()) == [target]


def test_a_failure_leaves_the_old_file(tmp_path: Path) -> None:
    target = tmp_path / "file.txt"
    target.write_text("old")

    def fail() -> None:
        with atomic(target) as part:
            part.write_text("half")
            raise RuntimeError("killed")

    with pytest.raises(RuntimeError, match="killed"):
        fail()
    assert target.read_text() == "old"
    assert list(tmp_path.iterdir()) == [target]


def test_a_folder_that_is_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match="file"), atomic(tmp_path / "file" / "x.h5"):
        pass


def test_a_folder_replaces_the_old_one_when_it_is_whole(tmp_path: Path) -> None:
    for content in ("old", "new"):
        with atomic_folder(tmp_path / "series") as part:
            (part / content).touch()
    assert [path.relative_to(tmp_path) for path in tmp_path.rglob("*")] == [Path("series"), Path("series/new")]


def test_a_failure_leaves_the_old_folder(tmp_path: Path) -> None:
    (tmp_path / "series").mkdir()
    (tmp_path / "series" / "old").touch()

    def fail() -> None:
        with atomic_folder(tmp_path / "series") as part:
            (part / "new").touch()
            raise RuntimeError("killed")

    with pytest.raises(RuntimeError, match="killed"):
        fail()
    assert [path.relative_to(tmp_path) for path in tmp_path.rglob("*")] == [Path("series"), Path("series/old")]
