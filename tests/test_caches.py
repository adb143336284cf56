"""A container that runs as any user, without a home and with a package that nobody may write to."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from lightning_mri import caches

ROOT = Path(__file__).parents[1]
READ_ONLY = """
for folder in "$1" "$2"; do
    mount --bind "$folder" "$folder" && mount -o remount,ro,bind "$folder" || exit 99
done
shift 2
exec unshare -U --map-user=12345 --map-group=12345 "$@"
"""


def test_a_home_that_can_be_written_keeps_its_caches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    caches.use_writable_caches()
    assert "XDG_CACHE_HOME" not in os.environ


def test_without_a_home_caches_are_among_the_temporary_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in caches.FOLDERS:
        monkeypatch.setenv(variable, "")
        monkeypatch.delenv(variable)
    monkeypatch.setenv("MPLCONFIGDIR", "mine")
    monkeypatch.setenv("HOME", str(tmp_path / "none"))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    caches.use_writable_caches()
    (folder,) = tmp_path.iterdir()
    assert folder.stat().st_mode & 0o077 == 0
    assert os.environ["XDG_CACHE_HOME"] == str(folder / "cache")
    assert os.environ["MPLCONFIGDIR"] == "mine"


def test_a_folder_that_is_a_link_is_not_trusted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Caches hold code, and anybody may have made a folder of this name among the temporary files."""
    monkeypatch.setenv("HOME", str(tmp_path / "none"))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    (tmp_path / "theirs").mkdir()
    (tmp_path / f"lightning_mri-{os.getuid()}").symlink_to(tmp_path / "theirs")
    caches.use_writable_caches()
    assert not list((tmp_path / "theirs").iterdir())
    assert Path(os.environ["XDG_CACHE_HOME"]).is_dir()


@pytest.mark.slow
def test_a_read_only_installation_runs_as_a_user_without_a_home(tmp_path: Path) -> None:
    """Root of a namespace mounts package and Python read-only; inside, a user that no file knows imports all of it."""
    if shutil.which("unshare") is None or subprocess.run(["unshare", "-U", "-r", "-m", "true"], check=False).returncode:
        pytest.skip("this machine lets nobody make namespaces")
    (tmp_path / "temporary").mkdir()
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(ROOT / "home"),
        "TMPDIR": str(tmp_path / "temporary"),
        "PYTHONPATH": str(ROOT),
    }
    program = "import lightning_mri as lm, sigpy, matplotlib.pyplot; lm.baselines.L1Wavelet; print('imported')"
    line = ["unshare", "-U", "-r", "-m", "bash", "-c", READ_ONLY, "bash", str(ROOT), sys.prefix]
    run = subprocess.run(
        [*line, sys.executable, "-c", program],
        env=environment,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    assert run.stdout == "imported\n"
    assert run.stderr == ""
