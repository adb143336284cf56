"""A scan is read lazily, and says what its file says."""

import math
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch

from lightning_mri.io import read_scan
from lightning_mri.io.arrays import StoredArray
from lightning_mri.io.scan import Scan, acquired, is_fully_sampled, mask_from
from tests.builders import as_released, draw_complex


class Recorder(StoredArray):
    """Slices that hold their own number, and a record of what was read."""

    def __init__(self, n: int) -> None:
        super().__init__(Path("memory"), "kspace", (n, 2, 3, 5))
        self.asked: list[tuple[int, int]] = []

    def read(self, start: int, stop: int) -> np.ndarray:
        self.asked.append((start, stop))
        return np.broadcast_to(np.arange(start, stop).reshape(-1, 1, 1, 1), (stop - start, 2, 3, 5)) + 0j


def test_only_the_slices_asked_for_are_read() -> None:
    stored = Recorder(9)
    assert stored[2:4][:, 0, 0, 0].tolist() == [2, 3]
    assert stored[-1][0, 0, 0] == 8
    assert stored[[5, 6, 7]][:, 0, 0, 0].tolist() == [5, 6, 7]
    assert stored[[7, 1]][:, 0, 0, 0].tolist() == [7, 1]
    assert stored[np.array([4, -5])][:, 0, 0, 0].tolist() == [4, 4]
    assert stored.asked == [(2, 4), (8, 9), (5, 8), (7, 8), (1, 2), (4, 5), (4, 5)]
    assert stored[3:3].shape == (0, 2, 3, 5)


def test_chunks_stay_below_the_bound_and_cover_every_slice(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lightning_mri.io.arrays.CHUNK_BYTES", 2 * 2 * 3 * 5 * 8)
    stored = Recorder(5)
    assert torch.cat(list(stored.chunks()))[:, 0, 0, 0].tolist() == [0, 1, 2, 3, 4]
    assert stored.asked == [(0, 2), (2, 4), (4, 5)]


@pytest.mark.parametrize("index", [4, -5, True, 1.0, (0, 1), [True, False], [[0, 1]], ...])
def test_what_is_no_slice_is_named(index: object) -> None:
    """Regression: (0, 1) were two whole slices, where NumPy has one coil, and True and False the slices 1 and 0."""
    with pytest.raises(IndexError, match="memory: kspace "), as_released():
        Recorder(4)[index]  # type: ignore[index]


def test_double_precision_becomes_single_and_nan_is_refused(tmp_path: Path) -> None:
    kspace = np.ones((2, 3, 5, 7), np.complex128)
    kspace[1, 2, 3, 4] = np.nan
    np.save(tmp_path / "scan.npy", kspace)
    scan = read_scan(tmp_path / "scan.npy")
    assert scan.kspace[0].dtype == torch.complex64
    with pytest.raises(ValueError, match=r"scan.npy: kspace must be finite.* slices 1 to 1"):
        scan.kspace[1]


def test_the_mask_is_where_any_coil_of_any_slice_is_not_zero(tmp_path: Path) -> None:
    """Slices have the same lines; single zeros are chance, and a slice of zeros is padding."""
    kspace = draw_complex(3, 2, 60, 7)
    kspace[:, :, :, [1, 5]] = 0
    expected = kspace[0, 0] != 0
    kspace[0, :, 2, 3] = kspace[1, :, 4, 6] = kspace[2] = 0
    np.save(tmp_path / "scan.npy", kspace)
    scan = read_scan(tmp_path / "scan.npy")
    assert (scan.mask[0].numpy() == expected).all()
    assert scan.mask.shape == (1, 60, 7)
    assert acquired(torch.from_numpy(kspace)).equal(scan.mask)


def test_slices_sampled_differently_keep_their_masks(tmp_path: Path) -> None:
    kspace = draw_complex(5, 2, 5, 8)
    columns = [(0, 4), (0, 4), (2, 4, 6), (), (0, 4)]
    for k, own in zip(kspace, columns, strict=True):
        k[..., [x for x in range(8) if x not in own]] = 0
    np.save(tmp_path / "scan.npy", kspace)
    scan = read_scan(tmp_path / "scan.npy")
    found = [tuple(torch.nonzero(mask[2])[:, 0].tolist()) for mask in scan.mask]
    assert found == [(0, 4), (0, 4), (2, 4, 6), (0, 2, 4, 6), (0, 4)]
    assert scan.batches(range(5), 2) == [(0, 1), (2,), (3,), (4,)]
    assert scan.mask_of((0, 1)).shape == (1, 5, 8)
    assert scan.mask_of((1, 2)).shape == (2, 5, 8)
    assert scan.union_mask[0, 0].tolist() == [True, False, True, False, True, False, True, False]


def test_a_scan_survives_the_trip_to_another_process(tmp_path: Path) -> None:
    np.save(tmp_path / "scan.npy", np.full((3, 5, 7), 2 + 1j, np.complex64))
    scan = pickle.loads(pickle.dumps(read_scan(tmp_path / "scan.npy")))
    assert scan.kspace[0][0, 0, 0] == 2 + 1j


def test_a_scan_from_an_array() -> None:
    k = draw_complex(3, 2, 5, 7)
    scan = Scan.from_array(torch.from_numpy(k), "coil z y x", mask=np.ones(7), contrast="T2w", pixel_size=(1.0, 2.0))
    assert scan.kspace[:].equal(torch.from_numpy(k.swapaxes(0, 1).copy()))
    assert (scan.n_slices, scan.n_coils, scan.matrix, scan.contrast) == (2, 3, (5, 7), "T2w")
    assert scan.mask.all()
    assert scan.warnings == ()
    assert repr(scan) == (
        "Scan('memory': array, 2 slices of 3 coils, matrix (5, 7), contrast='T2w', pixel_size=(1.0, 2.0))"
    )
    plain = pickle.loads(pickle.dumps(Scan.from_array(k)))
    assert plain.warnings == ()  # the documented order is no guess
    plain.kspace[:].zero_()  # a copy
    assert plain.kspace[:].equal(torch.from_numpy(k))
    assert "were taken for [slice, y, x, coil]" in Scan.from_array(k.reshape(1, 105, 1, 2)).warnings[0]
    conjugate = torch.from_numpy(k).requires_grad_().conj()
    assert Scan.from_array(conjugate).kspace[:].equal(torch.from_numpy(k.conj()))


@pytest.mark.parametrize(
    ("k", "axes", "rule"),
    [
        (draw_complex(3, 5, 7).real, None, "complex: got float32"),
        (draw_complex(2, 5, 7), "part y x", "real where an axis holds its parts: got complex64"),
        (draw_complex(3, 0, 5), None, "not be empty"),
        (draw_complex(1025, 1, 1), "coil y x", "have at most 1024 coils"),
    ],
)
def test_what_is_no_kspace_is_refused(k: np.ndarray, axes: str | None, rule: str) -> None:
    with pytest.raises(ValueError, match=f"memory: kspace must (be )?{rule}"):
        Scan.from_array(k, axes)


@pytest.mark.parametrize(
    ("said", "rule"),
    [
        *(({"pixel_size": size}, "pixel_size must be two positive numbers") for size in [(0.0, 1.0), (1, 1, 2), 2.0]),
        *(
            ({"slice_spacing": gap}, "slice_spacing must be a positive number")
            for gap in (0.0, -2.0, math.inf, math.nan)
        ),
        *(({"n_volumes": n}, "n_volumes must divide the 3 slices") for n in (0, 2, 4)),
    ],
)
def test_what_a_scan_cannot_be_is_refused(said: dict, rule: str) -> None:
    with pytest.raises(ValueError, match=f"memory: {rule}"), as_released():
        Scan.from_array(draw_complex(3, 2, 5, 7), **said)


def test_fully_sampled_means_a_full_rectangle_around_the_centre() -> None:
    mask = torch.zeros(1, 7, 10, dtype=torch.bool)
    mask[:, :, 2:9] = True
    assert is_fully_sampled(mask)
    mask[:, 3, 4] = False
    assert not is_fully_sampled(mask)
    corner = torch.zeros(1, 7, 10, dtype=torch.bool)
    corner[:, :2, :2] = True
    assert not is_fully_sampled(corner)
    assert not is_fully_sampled(corner & False)


@pytest.mark.parametrize("shape", [(7,), (1, 7), (7, 1), (1, 1, 1, 7)])
def test_a_mask_of_columns_holds_for_every_row(shape: tuple[int, ...]) -> None:
    values = np.array([0, 1, 0, 1, 1, 0, 0], np.float32)
    mask = mask_from(Path("f"), values.reshape(shape), (5, 7))
    assert mask.shape == (1, 5, 7)
    assert (mask == torch.tensor(values != 0)).all()


def test_a_mask_may_be_given_for_each_slice() -> None:
    values = np.random.default_rng(0).random((3, 1, 7)) < 0.5
    mask = mask_from(Path("f"), values, (5, 7), n_slices=3)
    assert (mask.numpy() == values).all()
    assert mask.shape == (3, 5, 7)
    assert mask_from(Path("f"), np.repeat(values[:1], 3, axis=0), (5, 7), n_slices=3).shape == (1, 5, 7)


def test_a_mask_of_as_many_slices_as_rows_is_one_of_all() -> None:
    values = np.random.default_rng(0).random((5, 7)) < 0.5
    mask = mask_from(Path("f"), values, (5, 7), n_slices=5)
    assert mask.shape == (1, 5, 7)
    assert (mask[0].numpy() == values).all()


@pytest.mark.parametrize("values", [[0, 1, np.nan, 1, 1, 0, 1], [0, 1, np.inf, 1, 1, 0, 1], list("0111101")])
def test_a_mask_that_is_no_finite_number_is_refused(values: list) -> None:
    """Regression: NaN where nothing was acquired, a habit in MATLAB, counted as acquired."""
    with pytest.raises(ValueError, match=r"f.mat: mask must hold numbers"):
        mask_from(Path("f.mat"), np.array(values), (5, 7))


def test_a_mask_of_several_values_is_refused(tmp_path: Path) -> None:
    """Regression: weights from 0 to 1 counted as acquired wherever they are not 0. Images of masks hold 255."""
    assert mask_from(tmp_path, np.array([0, 255, 0, 255, 255, 0, 0]), (5, 7)).sum() == 15
    with pytest.raises(ValueError, match=r"f.mat: mask must hold 0 and one other value: got 0.25 and 0.5"):
        mask_from(Path("f.mat"), np.linspace(0, 1.5, 7), (5, 7))
