import os
from pathlib import Path

import pytest

from lightning_mri.weights import files


def test_of_several_checkpoints_the_newest_best_is_taken_whatever_its_name(tmp_path: Path) -> None:
    """Lightning's second run in a folder writes ``best-v1.ckpt``, which stands before ``best.ckpt`` in the alphabet."""
    runs = {"both": ("best.ckpt", "best-v1.ckpt", "last.ckpt"), "steps": ("best-900.ckpt", "best-1200.ckpt")}
    runs["none"] = ("last-v1.ckpt", "last.ckpt")
    for second, path in enumerate(tmp_path / run / name for run, found in runs.items() for name in found):
        path.parent.mkdir(exist_ok=True)
        path.touch()
        os.utime(path, (second, second))
    chosen = {run: files.checkpoint_of(tmp_path / run) for run in runs}
    assert {run: path and path.name for run, path in chosen.items()} == {
        "both": "best-v1.ckpt",
        "steps": "best-1200.ckpt",
        "none": "last.ckpt",
    }
    assert files.find_prior(tmp_path / "both") == chosen["both"]
    assert files.find_prior(tmp_path) == chosen["none"]  # the newest run
    (tmp_path / "empty").mkdir()
    with pytest.raises(FileNotFoundError, match="must hold a run's"):
        files.find_prior(tmp_path / "empty")
    with pytest.raises(ValueError, match="got an empty one"):
        files.find_prior("")
