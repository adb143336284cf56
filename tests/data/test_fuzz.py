"""Damaged files are read, or refused in one sentence; nothing else happens."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lightning_mri.data import read_scan, write_fastmri

KSPACE = (np.random.default_rng(0).standard_normal((2, 3, 8, 6, 2)) @ [1, 1j]).astype(np.complex64)


def npy(folder: Path) -> Path:
    np.save(folder / "scan.npy", KSPACE)
    return folder / "scan.npy"


def npz(folder: Path) -> Path:
    np.savez(folder / "scan.npz", kspace=KSPACE, mask=np.ones(6, bool))
    return folder / "scan.npz"


def cfl(folder: Path) -> Path:
    (folder / "scan.hdr").write_text("# Dimensions\n6 8 1 3 1 1 1 1 1 1 1 1 1 2\n")
    KSPACE.tofile(folder / "scan.cfl")
    return folder / "scan.hdr"


def fastmri(folder: Path) -> Path:
    write_fastmri(folder / "scan.h5", torch.from_numpy(KSPACE), contrast="T2w", subject="a")
    return folder / "scan.h5"


@pytest.mark.parametrize("write", [npy, npz, cfl, fastmri])
@given(
    changes=st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 255)), max_size=8), cut=st.floats(0, 1)
)
def test_damaged_file(
    write: Callable[[Path], Path], tmp_path: Path, changes: list[tuple[float, int]], cut: float
) -> None:
    path = write(tmp_path)
    content = bytearray(path.read_bytes())
    for place, value in changes:
        content[int(place * len(content))] = value
    path.write_bytes(content[: int(cut * len(content))] if cut < 0.5 else content)
    refusal = _refusal(path)
    assert refusal is None or (path.stem in refusal and "\n" not in refusal)


def _refusal(path: Path) -> str | None:
    """Read everything, and return why not if it is refused."""
    try:
        for kspace in read_scan(path).kspace.chunks():
            assert kspace.isfinite().all()
    except (ValueError, OSError) as error:
        return str(error)
    return None
