"""MATLAB files: of version 5 to 7 as scipy writes them, of version 7.3 laid out with h5py as MATLAB does."""

import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import scipy.io
import torch
from scipy.io import loadmat, savemat

from lightning_mri.io import find_scans, read_scan
from lightning_mri.io.formats.matlab.mat5 import list_variables, read_numbers
from lightning_mri.io.scan import NO_HEADER
from tests.builders import RNG, draw
from tests.io.files import save_v73

Write = Callable[..., Path]
N_Y, N_X, N_COILS, N_SLICES, N_TIMES = 9, 7, 3, 4, 2
"""Readout, phase encoding, coil, slice and time."""


def v6(path: Path, **variables: np.ndarray) -> Path:
    savemat(path, variables)
    return path


def v7(path: Path, **variables: np.ndarray) -> Path:
    savemat(path, variables, do_compression=True)
    return path


every_version = pytest.mark.parametrize("write", [v6, v7, save_v73])


@every_version
def test_five_axes_are_readout_phase_coil_slice_and_time(tmp_path: Path, write: Write) -> None:
    k = draw(N_Y, N_X, N_COILS, N_SLICES, N_TIMES)
    scan = read_scan(write(tmp_path / "cine_sax.mat", kspace_full=k))
    assert (scan.kspace.shape, scan.n_volumes) == ((8, N_COILS, N_Y, N_X), N_TIMES)
    expected = torch.from_numpy(np.ascontiguousarray(k.transpose(4, 3, 2, 0, 1).reshape(8, N_COILS, N_Y, N_X)))
    assert scan.kspace[:].equal(expected)
    assert scan.kspace[5].equal(expected[5])
    assert scan.kspace[[6, 1]].equal(expected[[6, 1]])
    assert scan.warnings == (
        NO_HEADER,
        "axes are guessed: kspace_full (9, 7, 3, 4, 2) was taken for (readout, phase encoding, coil, slice, time)"
        ": axes (--data.axes) can name others",
    )


@every_version
@pytest.mark.parametrize(
    ("name", "shape", "order", "n_volumes"),
    [
        ("kspace", (N_Y, N_X), (0, 1), 1),
        ("kspace", (N_Y, N_X, N_COILS), (2, 0, 1), 1),
        ("kspace", (N_Y, N_X, N_COILS, N_SLICES), (3, 2, 0, 1), 1),
        ("kspace_single_full", (N_Y, N_X, N_SLICES), (2, 0, 1), 1),
        ("kspace_single_sub04", (N_Y, N_X, N_SLICES, N_TIMES), (3, 2, 0, 1), N_TIMES),
    ],
)
def test_fewer_axes(
    tmp_path: Path, write: Write, name: str, shape: tuple[int, ...], order: tuple[int, ...], n_volumes: int
) -> None:
    k = draw(*shape)
    scan = read_scan(write(tmp_path / "scan.mat", **{name: k}))
    n_coils = N_COILS if "single" not in name and len(shape) > 2 else 1
    assert scan.kspace[:].numpy().tolist() == k.transpose(order).reshape(-1, n_coils, N_Y, N_X).tolist()
    assert scan.n_volumes == n_volumes


@every_version
def test_pairs_of_real_and_imaginary_parts(tmp_path: Path, write: Write) -> None:
    """They are read where an axis is named so, and hinted at, also in folders, where none is."""
    k = draw(2, 3, 5, 7)
    path = write(tmp_path / "scan.mat", kspace=np.stack([k.real, k.imag], axis=-1), mask=np.ones((5, 7)))
    scan = read_scan(path, axes="slice coil y x part")
    assert scan.kspace[:].equal(torch.from_numpy(k))
    write(tmp_path / "mask.mat", mask=np.ones((5, 7, 2)))
    assert find_scans(tmp_path) == [path]
    with pytest.raises(ValueError, match=r"scan.mat: kspace must be complex: got .* name it part \(--data.axes"):
        read_scan(path)


@every_version
def test_a_last_axis_of_one_which_matlab_leaves_out_may_be_named(tmp_path: Path, write: Write) -> None:
    k = draw(5, 7, 3)
    scan = read_scan(write(tmp_path / "scan.mat", kspace=k), axes="y x coil z")
    assert scan.kspace[:].equal(torch.from_numpy(np.ascontiguousarray(k.transpose(2, 0, 1)[None])))


@every_version
def test_coils_that_are_first_are_seen(tmp_path: Path, write: Write) -> None:
    k = draw(4, 66, 70)
    scan = read_scan(write(tmp_path / "scan.mat", kspace=k))
    assert scan.kspace[:].equal(torch.from_numpy(k[None]))
    assert "(4, 66, 70) was taken for (coil, readout, phase encoding)" in scan.warnings[1]


@every_version
def test_a_mask_has_its_axes_in_the_order_of_kspace(tmp_path: Path, write: Write) -> None:
    k, mask = draw(3, 6, 6), RNG.random((6, 6)) < 0.5
    path = write(tmp_path / "scan.mat", kspace=k, mask=mask.astype(float))
    assert (read_scan(path, axes="coil y x").mask[0].numpy() == mask).all()
    assert (read_scan(path, axes="coil x y").mask[0].numpy() == mask.T).all()


@every_version
def test_the_likeliest_name_is_chosen_and_the_others_are_told(tmp_path: Path, write: Write) -> None:
    k, maps = draw(N_Y, N_X, N_COILS), draw(N_Y, N_X, N_COILS)
    scan = read_scan(write(tmp_path / "scan.mat", maps=maps, ksp=k, info=np.arange(3.0)))
    assert scan.kspace[0].numpy().tolist() == k.transpose(2, 0, 1).tolist()
    assert scan.warnings[2] == "maps could be k-space as well: ksp was read"
    only = read_scan(write(tmp_path / "only.mat", measurement=k, info=np.arange(3.0)))
    assert only.kspace[0].equal(scan.kspace[0])


@every_version
def test_several_alike_and_none_are_refused(tmp_path: Path, write: Write) -> None:
    k = draw(N_Y, N_X, N_COILS)
    with pytest.raises(ValueError, match=r"one.mat: one variable must be k-space: got kspace_sub04, kspace_sub08"):
        read_scan(write(tmp_path / "one.mat", kspace_sub04=k, kspace_sub08=k))
    with pytest.raises(ValueError, match=r"one.mat: one variable must be complex.*: got image \(9, 7, 3\)"):
        read_scan(write(tmp_path / "one.mat", image=np.abs(k)))
    with pytest.raises(ValueError, match=r"one.mat: kspace must be \(readout, .*\), with at most 256 coils"):
        read_scan(write(tmp_path / "one.mat", kspace=draw(70, 3, 300)))


@every_version
def test_a_mask_may_be_beside_it(tmp_path: Path, write: Write) -> None:
    k = draw(N_Y, N_X, N_COILS)
    mask = RNG.random((N_Y, N_X)) < 0.5
    scan = read_scan(write(tmp_path / "scan.mat", kspace=k, mask=mask.astype(np.uint8)))
    assert (scan.mask[0].numpy() == mask).all()
    lines = read_scan(write(tmp_path / "lines.mat", kspace=k, mask=mask[:1].astype(float)))
    assert (lines.mask[0].numpy() == mask[0]).all()
    with pytest.raises(ValueError, match=r"wrong.mat: mask and kspace must agree on \(y, x\)"):
        read_scan(write(tmp_path / "wrong.mat", kspace=k, mask=mask.T.astype(float)))


@every_version
def test_a_folder_lists_scans_and_no_masks(tmp_path: Path, write: Write) -> None:
    write(tmp_path / "cine_mask.mat", mask=np.ones((N_Y, N_X)))
    write(tmp_path / "cine.mat", kspace_sub04=draw(N_Y, N_X, N_COILS))
    assert find_scans(tmp_path) == [tmp_path / "cine.mat"]


@pytest.mark.parametrize("kind", [np.complex128, np.int16])
def test_numbers_of_any_kind_are_read(tmp_path: Path, kind: type) -> None:
    """MATLAB stores whole numbers of an array in double precision as small integers."""
    k = RNG.integers(-99, 99, (N_Y, N_X, 2)) @ np.array([1, 1j])
    path = v6(tmp_path / "scan.mat", kspace=k, text=np.array("words"), cells=np.array([1, "a"], object))
    if kind is np.int16:
        path.write_bytes(_with_small_integers(path.read_bytes(), k))
    assert read_scan(path).kspace[0].numpy().tolist() == k[None].astype(np.complex64).tolist()


@pytest.mark.parametrize("name", ["testcomplex", "test3dmatrix", "testdouble", "testmulti", "teststruct", "testbool"])
def test_what_matlab_itself_wrote_is_read_as_scipy_reads_it(name: str) -> None:
    """Versions 6.1 (of the other byte order) to 8, which scipy carries for its own tests."""
    files = [
        path
        for path in (Path(scipy.io.__file__).parent / "matlab/tests/data").glob(f"{name}_[678]*.mat")
        if path.read_bytes().startswith(b"MATLAB 5.0")
    ]
    if not files:
        pytest.skip("this scipy comes without its test files")
    for path in files:
        whole = loadmat(path)
        numeric = {
            key: value for key, value in whole.items() if isinstance(value, np.ndarray) and value.dtype.kind in "biufc"
        }
        found = {variable.name: variable for variable in list_variables(path)}
        assert found.keys() == numeric.keys()
        for key, values in numeric.items():
            read = read_numbers(path, found[key], 0, values.size).reshape(values.shape, order="F")
            np.testing.assert_allclose(read, values, rtol=1e-6)
            assert found[key].is_complex == np.iscomplexobj(values)


def _with_small_integers(content: bytes, k: np.ndarray) -> bytes:
    parts = [part.astype("<f8").tobytes("F") for part in (k.real, k.imag)]
    n_saved = 0
    for part, values in zip(parts, (k.real, k.imag), strict=True):
        tag = (9).to_bytes(4, "little") + len(part).to_bytes(4, "little")
        small = values.astype("<i2").tobytes("F")
        padded = small + bytes(-len(small) % 8)
        assert content.count(tag + part) == 1
        content = content.replace(tag + part, (3).to_bytes(4, "little") + len(small).to_bytes(4, "little") + padded)
        n_saved += len(part) - len(padded)
    element = int.from_bytes(content[132:136], "little")
    return content[:132] + (element - n_saved).to_bytes(4, "little") + content[136:]


def test_a_shape_that_the_bytes_cannot_fill_is_refused(tmp_path: Path) -> None:
    path = v6(tmp_path / "scan.mat", kspace=draw(N_Y, N_X, N_COILS))
    content = path.read_bytes()
    shape = np.array([N_Y, N_X, N_COILS], "<i4").tobytes()
    path.write_bytes(content.replace(shape, np.array([N_Y, N_X, 2**30], "<i4").tobytes()))
    with pytest.raises(OSError, match=r"'kspace' claims the shape \(9, 7, 1073741824\) in"):
        read_scan(path)


def test_a_compressed_bomb_is_refused(tmp_path: Path) -> None:
    """Four gigabytes claimed in a few bytes; and a megabyte of zeros for each kilobyte, in a shape that fits."""
    path = v6(tmp_path / "scan.mat", kspace=np.zeros((1000, 500, 4), np.complex64))
    content = path.read_bytes()
    matrix = bytearray(content[128:])
    bomb = zlib.compress(bytes(matrix), 9)
    path.write_bytes(content[:128] + (15).to_bytes(4, "little") + len(bomb).to_bytes(4, "little") + bomb)
    assert not read_scan(path).kspace[0].any()
    matrix[4:8] = (2**32 - 8).to_bytes(4, "little")
    bomb = zlib.compress(bytes(matrix), 9)
    path.write_bytes(content[:128] + (15).to_bytes(4, "little") + len(bomb).to_bytes(4, "little") + bomb)
    with pytest.raises(OSError, match=r"compressed bytes cannot hold 4294967288"):
        read_scan(path)
