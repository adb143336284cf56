"""BART's files, laid out by hand as its manual says: column-major, sixteen dimensions."""

from pathlib import Path

import numpy as np
import pytest

from lightning_mri.cfl import write_cfl
from lightning_mri.io import find_scans, read_scan
from tests.builders import draw_complex, draw_kspace


def values(*shape: int) -> np.ndarray:
    return np.ascontiguousarray(draw_kspace(*shape[::-1]).T)


@pytest.mark.parametrize(
    ("shape", "axes", "guess"),
    [
        ((5, 7, 1, 3), (13, 3, 0, 1), None),
        ((5, 7, 1, 3, *(1,) * 9, 4), (13, 3, 0, 1), None),
        ((1, 5, 7, 3), (13, 3, 1, 2), None),  # a slice of a 3-D scan, with both phase encodings
        ((5, 7, 4, 3), (2, 3, 0, 1), "dimension 2 was taken for slices"),
    ],
)
def test_dimensions_are_slice_coil_y_and_x(
    tmp_path: Path, shape: tuple[int, ...], axes: tuple[int, ...], guess: str | None
) -> None:
    k = values(*shape)
    write_cfl(tmp_path / "scan.hdr", k)
    expected = np.moveaxis(k.reshape(*shape, *(1,) * (16 - len(shape))), axes, range(4)).squeeze(tuple(range(4, 16)))
    for name in ("scan", "scan.hdr", "scan.cfl"):
        scan = read_scan(tmp_path / name)
        assert np.array_equal(scan.kspace[:].numpy(), expected)
        assert np.array_equal(scan.kspace[len(expected) - 1].numpy(), expected[-1])
        assert (scan.name, scan.kspace.path.name) == ("scan", "scan.cfl")
        assert len(scan.warnings) == 1 if guess is None else guess in scan.warnings[1]


def test_half_a_pair_is_refused(tmp_path: Path) -> None:
    write_cfl(tmp_path / "scan.hdr", values(5, 7, 1, 3))
    data = tmp_path / "scan.cfl"
    data.write_bytes(data.read_bytes()[:-8])
    with pytest.raises(OSError, match=r"scan.cfl: the file must have 840 bytes, as its header says: got 832"):
        read_scan(tmp_path / "scan")
    data.unlink()
    with pytest.raises(FileNotFoundError, match=r"scan.cfl: the data of scan.hdr must be beside it"):
        read_scan(tmp_path / "scan")


def test_a_folder_lists_kspace_and_not_what_bart_made_of_it(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """k-space, its image, smooth coil maps, a sampling pattern and a trajectory."""
    y, x = np.mgrid[-24:24, -20:20]
    image = ((y / 17) ** 2 + (x / 13) ** 2 < 1) * (2 + np.sin(y / 3) + 1j * np.cos(x / 4))
    maps = np.exp(-((y[..., None] - [-9, 0, 9]) ** 2) / 900 + 1j * x[..., None] / [40, 30, 20])
    k = np.fft.fftshift(np.fft.fft2(np.fft.ifftshift(image[..., None] * maps, (0, 1)), axes=(0, 1)), (0, 1))
    for name, array in {"ksp": k, "sens": maps, "rec": image[..., None], "pat": np.abs(k[..., :1]) > 30}.items():
        write_cfl(tmp_path / f"{name}.hdr", array[:, :, None])
    write_cfl(tmp_path / "traj.hdr", values(3, 48, 40))
    for name, array, axis in (("sens2", maps, 4), ("echoes", image[..., None], 5), ("slabs", maps, 13), ("ksp2", k, 5)):
        whole = array[:, :, None].repeat(2 if axis == 13 else 1, 2)
        write_cfl(tmp_path / f"{name}.hdr", np.stack([whole.reshape(*whole.shape, *[1] * (axis - 4))] * 2, axis=-1))
    assert find_scans(tmp_path) == [tmp_path / "ksp.hdr", tmp_path / "ksp2.hdr"]
    (tmp_path / "ksp2.hdr").unlink()
    assert find_scans(tmp_path) == [tmp_path / "ksp.hdr", tmp_path / "ksp2.cfl"]
    with pytest.raises(ValueError, match=r"ksp2\.cfl: .* without its header, ksp2\.hdr"):
        read_scan(tmp_path / "ksp2.cfl")
    assert "echoes.hdr, pat.hdr, rec.hdr, sens.hdr, sens2.hdr, slabs.hdr, traj.hdr" in caplog.text
    assert "looks like images" in read_scan(tmp_path / "rec.hdr").warnings[1]
    assert len(read_scan(tmp_path / "ksp.hdr").warnings) == 1


@pytest.mark.parametrize("centre", [16.0, 0.0], ids=["spokes", "spirals and half spokes"])
def test_radial_data_is_refused_by_name(tmp_path: Path, centre: float) -> None:
    spokes = draw_complex(1, 32, 24, 4) / (1 + np.abs(np.arange(32) - centre))[:, None, None] ** 2
    write_cfl(tmp_path / "radial.hdr", spokes)
    with pytest.raises(ValueError, match=r"radial.hdr: k-space must be Cartesian, .* each line crosses the centre"):
        read_scan(tmp_path / "radial.hdr")
    write_cfl(tmp_path / "scan.hdr", draw_kspace(4, 30, 24).transpose(1, 2, 0)[None])
    read_scan(tmp_path / "scan.hdr")
    write_cfl(tmp_path / "traj.hdr", values(3, 30, 24))
    with pytest.raises(ValueError, match=r"scan.hdr: k-space must be Cartesian, .* traj.hdr is its trajectory"):
        read_scan(tmp_path / "scan.hdr")
    with pytest.raises(ValueError, match=r"traj.hdr: the file must hold k-space: it holds a trajectory"):
        read_scan(tmp_path / "traj.hdr")
