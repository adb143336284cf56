"""What `predict` says of slices that should not be trusted, whichever run has made them."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from lightning_mri.__main__ import main
from lightning_mri.phantoms import Scanner

from .test_results import CERTAIN, predict


def test_slices_that_should_not_be_trusted_are_told_again_where_their_scan_is_finished(
    tmp_path: Path, blobs: Callable[..., Tensor], capsys: pytest.CaptureFixture[str]
) -> None:
    """A single line in the centre gives no coil maps; the same command says so and ends with 4 each time."""
    lines = torch.arange(40)
    mask = (lines % 2 == 1) & ((lines - 20).abs() > 5) | (lines == 20)
    kspace = Scanner(n_coils=3, snr_db=40).measure(blobs(0, 1, (44, 40)), 1, (5.0, 5.0))
    np.save(tmp_path / "few.npy", (kspace * mask).numpy())
    for end in ("1 scan written", "1 finished before"):
        with pytest.raises(SystemExit, match="4"):
            main([*predict(tmp_path / "few.npy", tmp_path / "out", CERTAIN)])
        printed = capsys.readouterr()
        assert end in printed.out
        assert "few: do not trust slice 0 " in printed.err
