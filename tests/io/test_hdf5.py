"""A full disk is an error that names the file: HDF5 itself, which crashes at one, never meets it."""

import subprocess
import sys
from pathlib import Path

import h5py
import pytest

from lightning_mri.io.hdf5 import new_hdf5

FULL = """
import gc, resource, signal, sys
from pathlib import Path
import torch
from lightning_mri.io import write_fastmri, write_result
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
x = torch.randn(2, 32, 32)
mask = torch.ones(2, 32, 32, dtype=torch.bool)
for room in range(0, 60_000, 3_000):
    resource.setrlimit(resource.RLIMIT_FSIZE, (room, resource.RLIM_INFINITY))
    try:
        if sys.argv[1] == "result":
            write_result("a.h5", x.abs(), x + 0j, x.abs(), mask, {"a": "b" * 3000})
        else:
            write_fastmri("a.h5", x[:, None] + 0j, contrast="T2w", subject="s", lesion_mask=mask.byte())
        print("written")
    except OSError as error:
        print(error)
    gc.collect()
    left = [path.name for path in Path().iterdir()]
    assert left == ["a.h5"] * Path("a.h5").exists(), left
"""


@pytest.mark.parametrize("kind", ["result", "fastmri"])
def test_a_full_disk_is_an_error_and_no_crash(kind: str, tmp_path: Path) -> None:
    """Regression: HDF5 ended the process with signal 11, or raised what was no OSError, and left the hidden file."""
    run = [sys.executable, "-c", FULL, kind]
    done = subprocess.run(run, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=120)
    assert (done.returncode, done.stderr) == (0, "")
    full = "[Errno 27] File too large: 'a.h5'"
    n_full = done.stdout.splitlines().count(full)
    assert 3 < n_full < 20
    assert done.stdout.splitlines() == [full] * n_full + ["written"] * (20 - n_full)


def test_a_file_that_is_not_filled_leaves_the_old_one(tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    with new_hdf5(path) as file:
        file["x"] = [1.0, 2.0]

    def fail() -> None:
        with new_hdf5(path) as file:
            file["y"] = [3.0]
            raise ValueError("no more")

    with pytest.raises(ValueError, match="no more"):
        fail()
    with h5py.File(path) as file:
        assert {name: list(values) for name, values in file.items()} == {"x": [1, 2]}
    assert list(tmp_path.iterdir()) == [path]
