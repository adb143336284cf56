"""A W&B sweep file becomes trials; what it gets wrong is one sentence."""

from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from lightning_mri.cli.options import CONFIGURATIONS
from lightning_mri.cli.sweep_file import SweepFile

SWEEP = CONFIGURATIONS / "sweeps/finetune.yaml"


def changed(folder: Path, **changes: object) -> Path:
    path = folder / "sweep.yaml"
    path.write_text(yaml.safe_dump({**yaml.safe_load(SWEEP.read_text()), **changes}))
    return path


def test_the_shipped_sweep_is_a_grid_of_twenty_trials() -> None:
    file = SweepFile.read(SWEEP)
    assert (file.n_trials, len(file.grid()), file.metric, file.maximise) == (20, 20, "val/nrmse", False)
    assert file.options[:2] == ("--config", "finetune/stroke_flair")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"method": "anneal"}, "method must be one of grid, random, bayes: got anneal"),
        ({"metric": {"name": "val/nrmse", "goal": "least"}}, "minimize or maximize"),
        ({"parameters": {"phase.epochs": {"min": 1, "max": 9}}}, "phase.epochs has none"),
        ({"method": "random"}, "random needs run_cap or --n_trials"),
        ({"method": "bayes", "run_cap": 3, "parameters": {"a": {"min": 3, "max": 1}}}, "parameter a must have"),
        ({"command": ["python", "train.py"]}, "command must run fit"),
        ({"early_terminate": {"type": "median"}}, "early_terminate must have the type hyperband"),
        ({"early_terminate": "hyperband"}, "early_terminate must have the type hyperband: got hyperband"),
        ({"early_terminate": {"type": "hyperband", "min_iter": 0}}, "whole numbers"),
        ({"early_terminate": {"type": "hyperband", "min_iter": 3, "eta": 1}}, "eta of 2 or more"),
        (
            {"early_terminate": {"type": "hyperband", "min_iter": 3, "strict": True}},
            "early_terminate must have min_iter",
        ),
        ({"metric": {"goal": "minimize"}}, "metric must have a name"),
        ({"parameters": {"phase.epochs": {"values": [1, 2], "probabilities": [0.9, 0.1]}}}, "and nothing else"),
        ({"run_capp": 3}, "run_capp is no field of a sweep; did you mean run_cap?"),
        ({"command": "python train.py"}, "command must run fit with ${args} at its end: got python train.py"),
        ({"early_terminate": {"type": "hyperband", "s": 2}}, "min_iter, or max_iter and s"),
        ({"parameters": None}, "it names no parameters"),
    ],
)
def test_what_a_sweep_file_gets_wrong_is_one_sentence(
    failing_command: Callable[..., str], tmp_path: Path, changes: dict[str, object], words: str
) -> None:
    message = failing_command("sweep", changed(tmp_path, **changes), "--output_dir", tmp_path / "out")
    assert "sweep.yaml" in message
    assert words in message
    assert not (tmp_path / "out").exists()


def test_values_that_yaml_takes_for_text_are_numbers_and_lists_are_text(tmp_path: Path) -> None:
    parameters = {"rate": {"values": ["1e-5", "1E-4"]}, "crop": {"value": [64, 64]}, "name": {"value": "e5"}}
    file = SweepFile.read(changed(tmp_path, parameters=parameters))
    assert file.grid()[0] == {"rate": 1e-5, "crop": "[64, 64]", "name": "e5"}
    spread = {"rate": {"min": "1e-5", "max": "1e-3", "distribution": "log_uniform_values"}}
    rate = SweepFile.read(changed(tmp_path, method="random", run_cap=1, parameters=spread)).parameters["rate"]
    assert (rate.low, rate.high, rate.log) == (1e-5, 1e-3, True)


@pytest.mark.slow
def test_a_parameter_that_fit_does_not_know_is_named(failing_command: Callable[..., str], tmp_path: Path) -> None:
    path = changed(tmp_path, parameters={"phase.lerning_rate": {"values": [1.0]}})
    assert "phase.lerning_rate" in failing_command("sweep", path, "--output_dir", tmp_path / "out")
