"""A sweep is ranked by the best validation value of its trials, over seeds, and drawn over two parameters."""

import csv
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lightning_mri.evaluation.sweep import Result, best_and_spread, points_of, read_sweep, start_of, write_sweep


def trial(number: int, rate: float, epochs: int, value: float | None, seed: int = 0) -> Result:
    parameters = {"phase.learning_rate": rate, "phase.epochs": epochs, "seed_everything": seed}
    return Result(
        number, parameters, value, 0.01, "failed" if value is None else "finished", "no memory" * (value is None)
    )


GRID = [
    trial(10 * i + j, rate, epochs, abs(i - 1) + abs(j - 1) / 2 + 0.1)
    for i, rate in enumerate((1e-5, 1e-4, 1e-3))
    for j, epochs in enumerate((1, 2, 4))
]


def test_the_best_of_a_trial_counts_and_not_its_last(tmp_path: Path) -> None:
    (tmp_path / "metrics.csv").write_text("step,val/nrmse,val/nrmse_std\n1,0.3,0.01\n2,,\n3,0.2,0.05\n5,0.4,0.02\n")
    assert best_and_spread(tmp_path, "val/nrmse", maximise=False) == (0.2, 0.05)
    assert best_and_spread(tmp_path, "val/nrmse", maximise=True) == (0.4, 0.02)
    assert best_and_spread(tmp_path / "none", "val/nrmse", maximise=False) is None


def test_seeds_are_one_point_with_their_spread() -> None:
    points = points_of(
        [trial(0, 1e-4, 2, 0.1), trial(1, 1e-4, 2, 0.3, seed=1), trial(2, 1e-5, 2, 0.15)], maximise=False
    )
    assert [(point.value, point.n) for point in points] == [(0.15, 1), (pytest.approx(0.2), 2)]
    assert points[1].seeds == pytest.approx(np.std([0.1, 0.3], ddof=1))
    assert points[0].seeds is None


@pytest.mark.parametrize(
    ("maximise", "value", "improved"), [(False, 0.1, True), (False, 0.3, False), (True, 0.3, True)]
)
def test_a_sweep_that_made_all_worse_says_so(tmp_path: Path, maximise: bool, value: float, improved: bool) -> None:
    """Regression: it ranked trials of which each was worse than what it had started from."""
    results = [replace(trial(seed, 1e-4, 2, value, seed), start=0.2) for seed in (0, 1)]
    text = write_sweep(tmp_path, results, "val/nrmse", maximise)
    assert f"| {value:.4f} | 0.2000 |" in text
    assert ("No trial was better than before training." in text) == (not improved)
    table, notes = read_sweep(tmp_path)
    assert (len(table["rows"]), table["rows"][0][-1], bool(notes)) == (1, "trial-0000", not improved)


def test_the_value_before_training_is_that_of_the_same_metric(tmp_path: Path) -> None:
    (tmp_path / "metrics.csv").write_text("step,start/val/nrmse,val/nrmse\n0,,\n0,0.4,\n1,,0.3\n")
    assert start_of(tmp_path, "val/nrmse") == 0.4
    assert start_of(tmp_path, "val/ssim") is None
    assert start_of(tmp_path / "none", "val/nrmse") is None


def test_table_and_heat_map(tmp_path: Path) -> None:
    text = write_sweep(tmp_path, [*GRID, trial(99, 1e-2, 1, None)], "val/nrmse")
    assert text.splitlines()[2] == "| 1 | 0.0001 | 2 | 0.1000 | - | 0.0100 | - | 1 | trial-0011 |"
    assert "| best val/nrmse (convention slice) |" in text
    assert "Trial 99 failed" in text
    assert "no memory" in text
    with (tmp_path / "trials.csv").open() as file:
        assert len(list(csv.DictReader(file))) == 10
    with Image.open(tmp_path / "heatmap.png") as picture:
        assert min(picture.size) > 300
