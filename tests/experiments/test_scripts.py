"""The experiments that train, at a tiny size; they go on where they were cut off."""

import csv
import json
import os
import runpy
import subprocess
import sys
from collections.abc import Callable
from datetime import timedelta
from functools import partial
from importlib.machinery import PathFinder
from itertools import product
from pathlib import Path

import pytest

from lightning_mri.baselines import Unrolled
from lightning_mri.training import RandomScans
from tests.experiments.conftest import EXPERIMENTS, rows_of, times

TINY = {"n_subjects": 1, "n_val": 1, "size": 48, "n_cascades": 1, "width": 2, "n_levels": 2, "val_every": 10}


def test_no_experiment_hides_a_module_of_the_same_name() -> None:
    """Python looks for modules in a script's folder first, and libraries import these by their names."""
    elsewhere = [folder for folder in sys.path if folder != str(EXPERIMENTS)]
    wanted = {*sys.stdlib_module_names, "coverage"}  # numba takes coverage where it finds it
    for path in EXPERIMENTS.glob("*.py"):
        assert path.stem not in wanted, path.name
        assert PathFinder.find_spec(path.stem, elsewhere) is None, path.name


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
def test_strategies_are_compared_and_what_is_done_is_kept(script: Callable[..., str], tmp_path: Path) -> None:
    sizes = {"n_steps": 2, "n_subjects": 1, "n_slices": 1, "matrix": [64, 56], "n_source": 1, "n_test": 1}
    options = [f"--sizes={json.dumps(sizes | {'sampler_steps': 2})}", "--seeds=[4]", "--results=results"]
    script("strategies.py", *options, "--output_dir=runs", "--strategies=[source only,replay]")
    before = times(Path("runs/rows"))
    script("strategies.py", *options, "--output_dir=runs", "--strategies=[source only,replay,LoRA]")
    after = times(Path("runs/rows"))
    assert {name: after[name] for name in before} == before
    table = rows_of(Path("results/strategies.md"))[2:]
    assert [row[0] for row in table] == ["source only", "replay", "LoRA"]
    assert len({row[2] for row in table}) == 3
    lines = Path("results/strategies.csv").read_text().splitlines()
    assert lines[0] == "strategy,seed,subject,FLAIR NRMSE,FLAIR SSIM,T2w NRMSE,T2w SSIM"
    assert Path("results/strategies.png").exists()


@pytest.mark.slow
def test_every_time_stands_beside_that_of_a_peer(tmp_path: Path) -> None:
    """In a process of its own, since peak memory is measured in a further one that imports the script."""
    sizes = {"matrix": 48, "n_coils": 3, "n_center": 12, "n_cached": 1, "n_raw": 1, "cached_matrix": 32}
    command = [sys.executable, str(EXPERIMENTS / "bench.py"), "--repeats=1", f"--sizes={json.dumps(sizes)}"]
    environment = os.environ | {"PYTHONPATH": str(EXPERIMENTS.parent), "OMP_NUM_THREADS": "1"}
    command += ["--output=bench.md", "--history=history.csv"]
    Path("history.csv").write_text("day,commit,on,threads,what,ours,peer,peer's,ratio\n")
    subprocess.run(command, env=environment, check=True, capture_output=True)
    rows = {row[0]: row for row in rows_of(Path("bench.md"))}
    assert {"ESPIRiT", "`standard`, maps included", "read a cached slice"} <= set(rows)
    time, theirs, ratio = (float(rows["ESPIRiT"][i]) for i in (1, 3, 4))
    assert ratio == pytest.approx(time / theirs, rel=0.1)
    with Path("history.csv").open() as file:
        kept = [(row["what"], row["peer"], row["ratio"]) for row in csv.DictReader(file)]
    for name in ("ESPIRiT", "`standard`, maps included", "read a cached slice"):
        assert [ratio for what, peer, ratio in kept if (what, peer) == (name, rows[name][2])] == [rows[name][4]]


def test_processes_that_help_each_other_end_together() -> None:
    """Of twelve equal batches three processes have four each; one of half the speed does two or three."""
    last_end = runpy.run_path(str(EXPERIMENTS / "many_gpus.py"))["last_end"]
    ones = [1.0] * 12
    assert last_end(ones, ones, [1.0] * 3, True) == last_end(ones, ones, [1.0] * 3, False) == 4.0
    assert last_end(ones, ones, [1.0, 1.0, 0.5], False) == 8.0
    assert last_end(ones, ones, [1.0, 1.0, 0.5], True) in (5.0, 6.0)


@pytest.mark.slow
def test_two_processes_are_timed_against_one(script: Callable[..., str]) -> None:
    script("two_processes.py", "--n_scans=2", "--n_slices=1", "--repeats=1", "--output=two.md")
    one, two, apart = rows_of(Path("two.md"))[-3:]
    assert (one[3], one[5]) == ("1.00", "1.00")
    for row in (two, apart):
        assert float(row[3]) == pytest.approx(float(one[2]) / float(row[2]) / 2, abs=0.02)


@pytest.mark.slow
def test_draws_are_compared_with_new_slices_and_the_atlas(script: Callable[..., str]) -> None:
    script("memorisation.py", "--n_draws=2", "--n_new=3", "--output_dir=runs", "--results=results")
    rows = {(row[0].split()[0], row[1]): row[2:] for row in rows_of(Path("results/memorisation.md"))}
    for prior, among in product(("`brain`", "`brain-noflair`"), ("one another", "3 other new slices")):
        assert (prior, among) in rows
        assert all(0 < float(cell) <= 1 for cell in rows[prior, "slices of the atlas"][:4])
    assert Path("results/memorisation.png").exists()
