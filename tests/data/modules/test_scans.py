"""Scans of every format in one folder, each in batches of its own."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from lightning_mri.data import Scans

WriteScan = Callable[..., Path]


def test_a_folder_of_different_formats_and_sizes(tmp_path: Path, write_scan: WriteScan) -> None:
    write_scan(tmp_path / "a.h5", "Ann", n_slices=3)
    np.save(tmp_path / "b.npy", np.ones((2, 5, 7), np.complex64))
    data = Scans(tmp_path, batch_size=2)
    data.setup("predict")
    batches = list(data.predict_dataloader())
    assert [(b.scan, b.slices) for b in batches] == [("a", (0, 1)), ("a", (2,)), ("b", (0,))]
    assert batches[2].kspace.shape == (1, 2, 5, 7)


def test_a_broken_file_is_named_before_anything_is_computed(tmp_path: Path, write_scan: WriteScan) -> None:
    write_scan(tmp_path / "a.h5", "Ann")
    np.save(tmp_path / "b.npy", np.ones((2, 5, 7), np.float32))
    with pytest.raises(ValueError, match=r"b.npy: kspace must be complex"):
        Scans(tmp_path).setup("predict")
    with pytest.raises(ValueError, match="batch_size must be positive: got 0"):
        Scans(tmp_path, batch_size=0)
