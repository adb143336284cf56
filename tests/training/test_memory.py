"""What `predict` holds in memory is bounded, however many scans there are."""

import gc
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from lightning_mri.io import read_scan
from lightning_mri.training import Results

NUMPY = np.lib.tracemalloc_domain


@pytest.mark.slow
def test_what_predict_holds_does_not_grow_with_the_scans(
    cohort: Path, tmp_path: Path, command: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "in").mkdir()
    kspace = read_scan(next((cohort / "multicoil_test").glob("*.h5"))).kspace[:].numpy()
    lines = np.arange(kspace.shape[-1]) % 3 == 0
    lines[16:24] = True
    for i in range(4):
        np.save(tmp_path / f"in/{i}.npy", kspace * lines)
    held, finish = [], Results.on_predict_batch_end

    def watch(self: Results, *args: Any, **options: Any) -> None:
        finish(self, *args, **options)
        held.append(bytes_of_arrays())

    monkeypatch.setattr(Results, "on_predict_batch_end", watch)
    tracemalloc.start()
    try:
        options = ("--model.sampler=HQS", "--model.sampler.n_steps=2", "--model.uncertainty=null")
        command("predict", "--data.root", tmp_path / "in", "--output_dir", tmp_path / "out", *options)
    finally:
        tracemalloc.stop()
    assert len(list((tmp_path / "out").glob("*.h5"))) == len(held) == 4
    image = kspace[:, 0].size * 4
    assert max(held[2:]) - held[1] < image / 10


def bytes_of_arrays() -> int:
    """Return the bytes of all tensors and NumPy arrays that are alive."""
    gc.collect()
    # by their type, since a dead proxy has no class
    tensors = [each for each in gc.get_objects() if type(each) in (Tensor, nn.Parameter)]
    tensors = [each for each in tensors if each.layout is torch.strided]
    storages = {each.untyped_storage().data_ptr(): each.untyped_storage().nbytes() for each in tensors}
    arrays = tracemalloc.take_snapshot().filter_traces([tracemalloc.DomainFilter(True, NUMPY)])
    return sum(storages.values()) + sum(trace.size for trace in arrays.traces)
