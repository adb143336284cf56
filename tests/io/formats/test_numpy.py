"""NumPy files, written by numpy."""

from pathlib import Path

import numpy as np
import pytest
import torch

from lightning_mri.io import read_scan
from tests.builders import draw_complex as kspace

REAL = Path(__file__).parents[4] / "shared/data/brain8/kspace.npy"


@pytest.mark.parametrize(
    ("shape", "read"),
    [((5, 7), (1, 1, 5, 7)), ((3, 5, 7), (1, 3, 5, 7)), ((2, 3, 5, 7), (2, 3, 5, 7))],
)
@pytest.mark.parametrize("ending", ["npy", "npz", "compressed"])
@pytest.mark.parametrize("order", ["C", "F"])
def test_axes(tmp_path: Path, shape: tuple[int, ...], read: tuple[int, ...], ending: str, order: str) -> None:
    values = np.asarray(kspace(*shape), order=order)  # type: ignore[call-overload]
    path = tmp_path / f"scan.{'npy' if ending == 'npy' else 'npz'}"
    if ending == "npy":
        np.save(path, values)
    elif ending == "npz":
        np.savez(path, kspace=values)
    else:
        np.savez_compressed(path, kspace=values)
    scan = read_scan(path)
    assert scan.kspace.shape == read
    assert scan.reconstruction_size == (5, 7)
    last = scan.kspace[read[0] - 1]
    assert last.equal(torch.from_numpy(np.ascontiguousarray(values.reshape(read)[-1])))
    assert (scan.name, scan.subject, scan.contrast) == ("scan", "scan", None)
    assert "no header" in scan.warnings[0]


def test_an_archive_may_hold_the_mask(tmp_path: Path) -> None:
    mask = np.array([0, 1, 0, 1, 1, 0, 1], bool)
    np.savez(tmp_path / "scan.npz", kspace=kspace(3, 5, 7), mask=mask)
    assert (read_scan(tmp_path / "scan.npz").mask == torch.from_numpy(mask)).all()
    np.savez(tmp_path / "scan.npz", kspace=kspace(3, 5, 7), mask=mask[:4])
    with pytest.raises(ValueError, match=r"scan.npz: mask and kspace must agree on \(y, x\)"):
        read_scan(tmp_path / "scan.npz")


def test_real_numbers_are_no_kspace(tmp_path: Path) -> None:
    np.save(tmp_path / "scan.npy", np.ones((3, 5, 7), np.float32))
    with pytest.raises(ValueError, match=r"scan.npy: kspace must be complex: got float32"):
        read_scan(tmp_path / "scan.npy")


def test_pickles_are_not_opened(tmp_path: Path) -> None:
    np.save(tmp_path / "scan.npy", np.array([{}, []], object), allow_pickle=True)
    with pytest.raises(OSError, match=r"scan.npy: kspace must be a whole npy array"):
        read_scan(tmp_path / "scan.npy")


@pytest.mark.parametrize("ending", ["npy", "npz"])
@pytest.mark.parametrize("kept", [0.03, 0.2, 0.6, 0.95])
def test_a_truncated_file_is_named(tmp_path: Path, ending: str, kept: float) -> None:
    path = tmp_path / f"scan.{ending}"
    values = kspace(8, 30, 40)
    np.save(path, values) if ending == "npy" else np.savez(path, kspace=values)
    path.write_bytes(path.read_bytes()[: int(kept * path.stat().st_size)])
    with pytest.raises(OSError, match=rf"scan.{ending}: kspace must be a whole"):
        read_scan(path)


def test_a_flipped_bit_in_an_archive_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "scan.npz"
    np.savez(path, kspace=kspace(3, 50, 70))
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 64
    path.write_bytes(content)
    with pytest.raises(OSError, match=r"scan.npz: kspace"):
        read_scan(path).kspace[:]


@pytest.mark.skipif(not REAL.exists(), reason="the shared folder with real data is not here")
def test_the_measured_brain_is_read() -> None:
    scan = read_scan(REAL)
    assert scan.kspace.shape == (1, 8, 230, 180)
    assert scan.mask.float().mean().item() == pytest.approx(0.124, abs=1e-3)


def test_a_header_that_is_no_text_is_refused_in_one_sentence(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.ones((2, 3, 8, 6), np.complex64))
    content = bytearray((tmp_path / "a.npy").read_bytes())
    content[content.index(b")")] = ord("{")  # a bracket that nothing closes
    (tmp_path / "a.npy").write_bytes(content)
    with pytest.raises(OSError, match=r"a\.npy: kspace must be a whole npy array"):
        read_scan(tmp_path / "a.npy")
