"""The experiments that train, at a tiny size; they go on where they were cut off."""

import importlib.util
import runpy
import sys
from datetime import timedelta
from functools import partial
from pathlib import Path

import pytest

from lightning_mri.baselines import Unrolled
from lightning_mri.training import RandomScans
from tests.experiments.conftest import EXPERIMENTS

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


@pytest.mark.slow
def test_sizes_learn_for_as_long_and_what_is_done_is_kept(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    script = runpy.run_path(str(EXPERIMENTS / "sizes.py"))
    candidates = ((8, 8), (8, 16))
    heads = script["Heads"](n_subjects=1, n_val=1, size=48, crop=32, batch_size=2)
    options = {"minutes": 0.02, "heads": heads, "cache_dir": tmp_path, "table": tmp_path / "sizes.md"}
    script["sizes"](tmp_path / "runs", candidates=candidates[:1], **options)
    capsys.readouterr()
    script["sizes"](tmp_path / "runs", candidates=candidates, **options)
    printed = capsys.readouterr().out
    assert "8-16: " in printed
    assert "8-8: " not in printed
    rows = [line.split(" | ") for line in (tmp_path / "sizes.md").read_text().splitlines() if "| 8, " in line]
    assert rows[0][4] != rows[1][4]
    assert all(0 < float(row[5]) < 5 and int(row[2]) > 0 for row in rows)
    script["sizes"](tmp_path / "runs", candidates=candidates[:1], n_steps=3, **options)
    (row,) = (line for line in (tmp_path / "sizes.md").read_text().splitlines() if "| 8, " in line)
    assert row.split(" | ")[2] == "3"


@pytest.mark.slow
def test_strategies_are_compared_and_what_is_done_is_kept(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    strategies = runpy.run_path(str(EXPERIMENTS / "strategies.py"))
    sizes = strategies["Sizes"](
        n_steps=2, n_subjects=1, n_slices=1, matrix=(64, 56), n_source=1, n_test=1, sampler_steps=2
    )
    names = ("source only", "joint", "LoRA")
    options = {"seeds": (4,), "sizes": sizes, "results": tmp_path / "results"}
    strategies["compare"](tmp_path / "runs", strategies=names[:2], **options)
    before = (tmp_path / "runs/runs/joint-4/scores.json").stat().st_mtime_ns
    strategies["compare"](tmp_path / "runs", strategies=names, **options)
    assert (tmp_path / "runs/runs/joint-4/scores.json").stat().st_mtime_ns == before
    printed = capsys.readouterr().out
    assert "LoRA: " in printed
    table = (tmp_path / "results/strategies.md").read_text()
    assert [line.split(" | ")[0] for line in table.splitlines() if line.startswith("| ")][2:] == [
        f"| {name}" for name in names
    ]
    rows = (tmp_path / "results/strategies.csv").read_text().splitlines()
    assert rows[0] == "strategy,seed,FLAIR nrmse,FLAIR ssim,T2w nrmse,T2w ssim"
    assert len({row.split(",", 2)[2] for row in rows}) == 4
    assert (tmp_path / "results/strategies.png").exists()
