"""Scans of every format in one folder, each in batches of its own."""

from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from torch import Tensor

from lightning_mri.datasets import Scans
from lightning_mri.phantoms import Scanner
from tests.builders import draw_complex

WriteScan = Callable[..., Path]
RECONSTRUCT = Path(__file__).parents[2] / "experiments" / "reconstruct.yaml"


def test_batches_are_split_where_masks_differ_and_user_s_words_are_passed_on(tmp_path: Path) -> None:
    k = draw_complex(2, 3, 5, 8)
    k[:, 0, :, 1::2], k[:, 1:, :, ::2] = 0, 0
    np.save(tmp_path / "scan.npy", k)
    data = Scans(tmp_path, axes="coil z y x", pixel_size=(1.0, 2.0), contrast="T2w")
    data.setup()
    (batch,) = data.predict_dataloader()
    parts = batch.split()
    assert [part.slices for part in parts] == [(0,), (1, 2)]
    assert [tuple(part.mask.shape) for part in parts] == [(1, 5, 8)] * 2
    assert parts[1].kspace.equal(torch.from_numpy(k[:, 1:].swapaxes(0, 1).copy()))
    assert (batch.contrast, batch.pixel_size) == ("T2w", (1.0, 2.0))


def test_a_folder_of_different_formats_and_sizes(tmp_path: Path, write_scan: WriteScan) -> None:
    write_scan(tmp_path / "a.h5", "Ann", n_slices=3)
    np.save(tmp_path / "b.npy", np.ones((2, 5, 7), np.complex64))
    data = Scans(tmp_path, batch_size=2)
    data.setup("predict")
    batches = list(data.predict_dataloader())
    assert [(b.scan, b.slices) for b in batches] == [("a", (0, 1)), ("a", (2,)), ("b", (0,))]
    assert batches[2].kspace.shape == (1, 2, 5, 7)


def test_a_broken_file_is_named_before_anything_is_computed(tmp_path: Path, write_scan: WriteScan) -> None:
    np.save(tmp_path / "b.npy", np.ones((2, 5, 7), np.float32))
    with pytest.raises(ValueError, match=r"b.npy: kspace must be complex"):
        Scans(tmp_path).setup("predict")
    write_scan(tmp_path / "a.h5", "Ann")
    data = Scans(tmp_path)
    data.setup("predict")
    assert [scan.name for scan in data.scans] == ["a"]
    assert [(failure.scan, "complex" in failure.reason) for failure in data.failures] == [("b", True)]
    with pytest.raises(ValueError, match="batch_size must be positive: got 0"):
        Scans(tmp_path, batch_size=0)


def test_scans_of_different_matrices_are_reconstructed_each_at_its_own(
    tmp_path: Path, command: Callable[..., str], blobs: Callable[..., Tensor]
) -> None:
    """One folder, two matrices, of which neither is a multiple of the network's: no image is cut or padded."""
    (tmp_path / "in").mkdir()
    sizes = {"b": (22, 37), "c": (31, 18)}
    for name, size in sizes.items():
        kspace = Scanner(n_coils=2, oversampling=1).measure(blobs(0, n_slices=1, matrix=size), 1, (8.0, 8.0))
        np.save(tmp_path / "in" / f"{name}.npy", kspace.numpy())
    command(
        "predict",
        "--config",
        RECONSTRUCT,
        "--data.root",
        tmp_path / "in",
        "--output_dir",
        tmp_path / "out",
        "--model.sampler=HQS",
        "--model.sampler.n_steps=2",
        "--model.uncertainty=null",
    )
    for name, size in sizes.items():
        with h5py.File(tmp_path / "out" / f"{name}.h5") as file:
            assert file["reconstruction"].shape[1:] == size
