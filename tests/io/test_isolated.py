"""What crashes or hangs a library ends a child process, and is one sentence here."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from lightning_mri.io import isolated as module
from lightning_mri.io.arrays import StoredArray
from lightning_mri.io.isolated import isolated
from tests.io.files import fastmri, ismrmrd_file, matlab73

FILE = Path("scan.h5")
ROOT = Path(__file__).parents[2]


def test_values_and_errors_come_back() -> None:
    large = np.arange(3_000_000)
    assert np.array_equal(isolated(FILE, np.square, large), large**2)
    with pytest.raises(ValueError, match="could not convert"):
        isolated(FILE, float, "x")


def test_a_crash_is_one_sentence() -> None:
    with pytest.raises(OSError, match=r"scan.h5: .* crashed \(Segmentation fault\)"):
        isolated(FILE, _crash)


def test_what_does_not_end_is_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SECONDS", 0.2)
    start = time.monotonic()
    with pytest.raises(OSError, match=r"scan.h5: .* took more than 0 s"):
        isolated(FILE, time.sleep, 60)
    assert time.monotonic() - start < 30


IMPORTED = """
import sys
from pathlib import Path
from lightning_mri.io import formats
from lightning_mri.io.isolated import isolated

def imported(path):
    before = set(sys.modules)
    file, reader = formats._locate(path)
    reader.read(file)
    return {name.partition(".")[0] for name in set(sys.modules) - before}

formats.read_scan(sys.argv[1])
print(*isolated(Path(sys.argv[1]), imported, Path(sys.argv[1])))
"""


@pytest.mark.slow
@pytest.mark.parametrize("make", [fastmri, ismrmrd_file, matlab73])
def test_only_the_first_file_costs_imports(make: Callable[[Path], Path], tmp_path: Path) -> None:
    """Each of 4,000 files took a third of a second, since each child imported the parser of headers."""
    line = [sys.executable, "-c", IMPORTED, make(tmp_path)]
    done = subprocess.run(line, capture_output=True, text=True, cwd=ROOT, check=True)
    assert set(done.stdout.split()) <= {"encodings", "numpy"}  # small parts of them


def _crash() -> None:
    os.kill(os.getpid(), signal.SIGSEGV)


class Fragile(StoredArray):
    """An array whose third slice crashes, and of which another is broken."""

    fragile = True

    def read(self, start: int, stop: int) -> np.ndarray:
        if start <= 2 < stop:
            _crash()
        if start <= 0 < stop:
            raise OSError("scan.h5: slice 0 is broken")
        return np.ones((stop - start, 1, 2, 3), np.complex64)


def test_slices_are_read_by_a_child_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lightning_mri.io.arrays.PROVEN_BYTES", 2 * 8 * 6)
    stored = Fragile(FILE, "kspace", (6, 1, 2, 3))
    assert stored[4].shape == (1, 2, 3)
    with pytest.raises(OSError, match="slice 0 is broken"):
        stored[0]
    with pytest.raises(OSError, match="crashed"):
        stored[2]
