"""The comparison with unrolled networks and the failure table run at a tiny size, and go on where they stopped."""

import importlib.util
import runpy
import sys
from datetime import timedelta
from functools import partial
from pathlib import Path

import pytest

from lightning_mri.baselines import Unrolled
from lightning_mri.training import RandomScans

EXPERIMENTS = Path(__file__).parents[1] / "experiments"
TINY = {"n_subjects": 1, "n_val": 1, "size": 48, "n_cascades": 1, "width": 2, "n_levels": 2, "val_every": 10}


def test_no_experiment_hides_a_module_of_the_same_name() -> None:
    """Python looks for modules in a script's folder first, and libraries import these by their names."""
    wanted = {*sys.stdlib_module_names, "coverage"}  # numba takes coverage where it finds it
    for path in EXPERIMENTS.glob("*.py"):
        assert path.stem not in wanted, path.name
        assert importlib.util.find_spec(path.stem) is None, path.name


# the run that goes on starts in the middle of an epoch
@pytest.mark.filterwarnings("ignore:You're resuming from a checkpoint:UserWarning")
@pytest.mark.slow
def test_training_goes_on_and_its_card_tells_how_it_went(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PL_GLOBAL_SEED", raising=False)
    train = runpy.run_path(str(EXPERIMENTS / "unrolled.py"))["unrolled"]
    few = partial(train.__globals__["SyntheticHeads"], slices_per_subject=2)
    monkeypatch.setitem(train.__globals__, "SyntheticHeads", few)
    path, scans = tmp_path / "varnet.safetensors", RandomScans(n_coils=(4,), matrices=(40,))
    train(path, **TINY, scans=scans, cache_dir=tmp_path, n_steps=20)
    first = Unrolled(path).card
    train(path, **TINY, scans=scans, cache_dir=tmp_path, n_steps=30)
    card = Unrolled(path).card
    assert (first["steps"], card["steps"]) == (20, 30)
    assert (card["subjects"], card["images"]) == (1, 2)
    assert card["val_steps"] == [10, 20, 30]
    assert card["val_nrmse"][:2] == first["val_nrmse"]
    assert all(0 < value < 2 for value in card["val_nrmse"])


def test_a_time_limit_counts_from_each_call_on() -> None:
    """Regression: a run that had used up its time once did no further step when the command was repeated."""
    limit = runpy.run_path(str(EXPERIMENTS / "unrolled.py"))["TimeOfThisCall"](timedelta(minutes=1))
    limit.load_state_dict({"time_elapsed": {"train": 3600.0}})
    assert limit.time_remaining() == 60
