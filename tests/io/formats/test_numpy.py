"""NumPy files, written by numpy."""

import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch

from lightning_mri.io import find_scans, read_scan
from tests.builders import draw_complex as kspace

REAL = Path(__file__).parents[4] / "shared/data/brain8/kspace.npy"


@pytest.mark.parametrize(
    ("shape", "read"), [((5, 7), (1, 1, 5, 7)), ((3, 5, 7), (1, 3, 5, 7)), ((2, 3, 5, 7), (2, 3, 5, 7))]
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


def test_what_the_user_tells_is_not_missing(tmp_path: Path) -> None:
    np.save(tmp_path / "scan.npy", kspace(2, 3, 5, 7))
    scan = read_scan(tmp_path / "scan.npy", axes="z coil y x", pixel_size=(2.0, 1.5), contrast="T2w")
    assert (scan.pixel_size, scan.contrast) == ((2.0, 1.5), "T2w")
    assert scan.warnings == ("the file has no header: it does not name the subject",)


def test_real_numbers_that_may_be_pairs_are_hinted_at(tmp_path: Path) -> None:
    np.save(tmp_path / "plain.npy", kspace(4, 5, 7).view(np.float32).reshape(4, 5, 7, 2))
    rule = r"kspace must be complex: got float32 \(4, 5, 7, 2\): .*--data.axes 'coil y x part'"
    with pytest.raises(ValueError, match=rule):
        read_scan(tmp_path / "plain.npy")


def test_a_folder_lists_pairs_that_an_archive_names_as_kspace(tmp_path: Path) -> None:
    k = kspace(3, 6, 6)
    np.savez(tmp_path / "scan.npz", kspace=np.stack([k.real, k.imag]), mask=np.tri(6) > 0)
    np.savez(tmp_path / "mask.npz", mask=np.ones((3, 6, 2)))
    assert find_scans(tmp_path) == [tmp_path / "scan.npz"]
    scan = read_scan(tmp_path / "scan.npz", axes="part coil x y")
    assert scan.kspace[0].equal(torch.from_numpy(np.ascontiguousarray(k.swapaxes(-1, -2))))
    assert (scan.mask[0].numpy() == (np.tri(6) > 0).T).all()


@pytest.mark.parametrize(("shape", "read"), [((192, 160, 8), (1, 8, 192, 160)), ((3, 96, 80, 8), (3, 8, 96, 80))])
def test_coils_that_are_last_are_seen(tmp_path: Path, shape: tuple[int, ...], read: tuple[int, ...]) -> None:
    np.save(tmp_path / "scan.npy", kspace(*shape))
    scan = read_scan(tmp_path / "scan.npy")
    assert scan.kspace.shape == read
    assert "were taken for [" in scan.warnings[1]
    assert "y, x, coil]" in scan.warnings[1]


@pytest.mark.parametrize("name", ["ksp", "k", "data", "arr_0"])
def test_other_names_of_kspace_in_archives(tmp_path: Path, name: str) -> None:
    k = kspace(3, 5, 7)
    np.savez(tmp_path / "scan.npz", **{name: k, "info": np.arange(3)})
    assert read_scan(tmp_path / "scan.npz").kspace[0].equal(torch.from_numpy(k))
    np.savez(tmp_path / "scan.npz", image=k)
    with pytest.raises(ValueError, match=r"the archive must hold kspace \(or ksp, .*\): got image"):
        read_scan(tmp_path / "scan.npz")


def test_a_small_archive_that_unpacks_to_more_than_it_can_hold_is_refused(tmp_path: Path) -> None:
    def deflate(name: str, content: bytes, **header: object) -> Path:
        with zipfile.ZipFile(tmp_path / name, "w", zipfile.ZIP_DEFLATED) as archive, archive.open("k.npy", "w") as f:
            np.lib.format.write_array_header_1_0(f, {"descr": "<c8", **header})
            f.write(content)
        return tmp_path / name

    bomb = deflate("bomb.npz", b"", fortran_order=False, shape=(1, 1, 2**16, 2**16))
    with pytest.raises(OSError, match=r"bomb.npz: k must be a whole array .* does not fit into"):
        read_scan(bomb)
    large = deflate("large.npz", bytes(8 * 4 * 2 * 512 * 512), fortran_order=True, shape=(4, 2, 512, 512))
    assert not read_scan(large).kspace[3].any()


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
