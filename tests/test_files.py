"""A killed run leaves whole files or none, and nobody writes where another run does."""

import errno
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from lightning_mri.files import atomic, atomic_folder, locked
from lightning_mri.messages import sentence


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


@pytest.mark.parametrize("make", [atomic, atomic_folder])
@pytest.mark.parametrize("culprit", [None, "part", "input"])
def test_an_error_of_writing_names_what_was_to_be_written(make: Any, culprit: str | None, tmp_path: Path) -> None:
    """A full disk does not say which file it had no room for, and nobody knows the hidden one; what was read stays."""
    target, read = tmp_path / "out.h5", tmp_path / "in.h5"

    def fail() -> None:
        with make(target) as part:
            names = {None: None, "part": str(part if make is atomic else part / "0001.js"), "input": str(read)}
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), names[culprit])

    with pytest.raises(OSError, match="No space left on device") as caught:
        fail()
    assert sentence(caught.value) == f"{read if culprit == 'input' else target}: no space left on device"
    assert list(tmp_path.iterdir()) == []


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


HOLD = """
import sys, time
from pathlib import Path
from lightning_mri.files import locked
with locked(Path(sys.argv[1])):
    print("locked", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def holder(tmp_path: Path):
    """Another process that holds the folder ``tmp_path``."""
    process = subprocess.Popen([sys.executable, "-c", HOLD, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "locked\n"
    yield process
    process.kill()
    process.wait()
    process.stdout.close()


def test_a_locked_folder_names_who_holds_it(tmp_path: Path, holder: subprocess.Popen[str]) -> None:
    with (
        pytest.raises(BlockingIOError, match=rf"process {holder.pid} on {socket.gethostname()} since 20"),
        locked(tmp_path),
    ):
        pass
    with locked(tmp_path / "another file"):  # which is not the folder
        pass


@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGTERM])
def test_the_lock_of_a_dead_process_blocks_nobody(tmp_path: Path, holder: subprocess.Popen[str], end: int) -> None:
    holder.send_signal(end)
    holder.wait()
    assert (tmp_path / ".lock").exists()
    with locked(tmp_path):
        pass
    assert list(tmp_path.iterdir()) == []


APPEND = """
import sys, time
from pathlib import Path
from lightning_mri.files import locked
path = Path(sys.argv[1])
for _ in range(25):
    with locked(path, wait=True):
        count = int(path.read_text())
        time.sleep(0.001)
        path.write_text(str(count + 1))
"""


def test_what_a_run_on_another_machine_left_is_named(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """One of this machine has ended for sure, as nobody holds its lock."""
    for host, told in ((socket.gethostname(), False), ("node\x1b17", True)):
        caplog.clear()
        (tmp_path / ".lock").write_text(f"process 7 on {host} since 2026-01-02 03:04:05 UTC")
        with locked(tmp_path):
            assert f" on {socket.gethostname()} since " in (tmp_path / ".lock").read_text()
        assert ("process 7 on node\\x1b17 since 2026-01-02" in caplog.text) == told
        assert not (tmp_path / ".lock").exists()


def test_processes_that_wait_for_each_other_lose_nothing(tmp_path: Path) -> None:
    path = tmp_path / "count"
    path.write_text("0")
    processes = [subprocess.Popen([sys.executable, "-c", APPEND, str(path)]) for _ in range(3)]
    assert [process.wait(60) for process in processes] == [0, 0, 0]
    assert path.read_text() == "75"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("n", [1, 2])
def test_a_lock_that_its_holder_removes_meanwhile_is_no_error(
    n: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lock, stat, calls = tmp_path / ".lock", os.stat, []

    def removing(path: Any, **options: Any) -> os.stat_result:
        calls.extend([path] if path == lock else [])
        if path == lock and len(calls) == n:
            lock.unlink()
        return stat(path, **options)

    monkeypatch.setattr(os, "stat", removing)
    with locked(tmp_path):
        assert calls
