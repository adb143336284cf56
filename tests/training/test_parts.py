"""Parts of an earlier run are taken up where they are whole and of the same settings, and nothing else is."""

from pathlib import Path

import pytest

from lightning_mri.datasets import Failed
from lightning_mri.training.parts import Parts


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """What a killed run left: two whole parts, one of other settings, a failure, a damaged one, half of one.

    And one of a class that there is no more.
    """
    parts = Parts(tmp_path / ".parts", "first")
    parts.open()
    for name in ("a-0-1", "a-2-3", "old-0-1", "flipped-0-1"):
        parts.store(name, name)
    parts.store("failed-0-1", Failed("scan.h5", "no calibration"))
    parts.store("renamed-0-1", Parts(tmp_path, "any"))
    flipped = bytearray((parts.folder / "flipped-0-1.pt").read_bytes())
    flipped[-1] ^= 1
    (parts.folder / "flipped-0-1.pt").write_bytes(flipped)
    (parts.folder / ".a-4-5.0123abcd.part.pt").write_bytes(b"half")
    (parts.folder / "notes.txt").write_text("somebody's")
    assert parts.claim("a-4-5")
    return parts.folder


def test_only_whole_parts_of_the_same_settings_stay(folder: Path) -> None:
    parts = Parts(folder, "second")
    parts.open(["a-0-1", "a-2-3", "a-4-5", "flipped-0-1", "failed-0-1", "renamed-0-1"])
    assert parts.names() == {"a-0-1", "a-2-3"}
    assert parts.load("a-2-3") == "a-2-3"
    assert sorted(path.name for path in folder.iterdir()) == ["a-0-1.pt", "a-2-3.pt", "notes.txt", "run-second"]


def test_a_part_that_stays_is_not_made_again_when_its_scan_is_finished(folder: Path) -> None:
    parts = Parts(folder, "second")
    parts.open(["a-0-1", "a-2-3", "failed-0-1"])
    parts.remove("a-0-1")
    assert not parts.claim("a-0-1")
    assert parts.claim("failed-0-1")


def test_a_thing_is_claimed_once_a_run(tmp_path: Path) -> None:
    one, other = (Parts(tmp_path / ".parts", "run") for _ in range(2))
    one.open()
    assert one.claim("a-0-1")
    assert not other.claim("a-0-1")
    assert other.claimed() == {"a-0-1"}
    later = Parts(tmp_path / ".parts", "later")
    later.open()
    assert later.claim("a-0-1")


@pytest.mark.parametrize(("keep", "left"), [(True, ["a-0-1.pt", "a-2-3.pt", "notes.txt"]), (False, ["notes.txt"])])
def test_parts_stay_only_for_a_run_that_goes_on(folder: Path, keep: bool, left: list[str]) -> None:
    parts = Parts(folder, "second")
    parts.open(["a-0-1", "a-2-3"])
    parts.close(keep)
    assert sorted(path.name for path in folder.iterdir()) == left


@pytest.mark.parametrize("keep", [True, False])
def test_a_run_that_kept_nothing_leaves_no_folder(tmp_path: Path, keep: bool) -> None:
    parts = Parts(tmp_path / ".parts", "run")
    parts.open()
    parts.close(keep)
    assert not parts.folder.exists()
