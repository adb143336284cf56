"""A sweep runs every trial once, whoever runs it and however often it is started."""

import math
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml
from optuna.distributions import IntDistribution

from lightning_mri.__main__ import main
from lightning_mri.cli.sweep_file import SweepFile
from lightning_mri.cli.trials import Sweep
from lightning_mri.evaluation.table_files import read_csv

ROOT = Path(__file__).parents[2]
PROGRAM = (sys.executable, str(Path(__file__).with_name("trial.py")))
FORK = multiprocessing.get_context("fork")
SPREAD = {"min": 1e-6, "max": 1.0, "distribution": "log_uniform_values"}


def sweep(folder: Path, method: str = "grid", options: tuple[str, ...] = (), **changes: Any) -> Sweep:
    path = folder / "sweep.yaml"
    metric = {"name": "val/nrmse", "goal": "minimize"}
    path.write_text(yaml.safe_dump({"method": method, "metric": metric, "command": ["fit", "${args}"], **changes}))
    return Sweep(SweepFile.read(path), folder / "out", options, PROGRAM)


def grid(*rates: float) -> dict[str, Any]:
    return {"rate": {"values": [*rates]}, "seed_everything": {"values": [1, 2]}}


def trials(folder: Path) -> list[dict[str, str]]:
    return read_csv(folder / "out/trials.csv")


def begun(folder: Path) -> list[str]:
    """Return how often each trial was begun, one letter each time."""
    return [path.read_text() for path in sorted((folder / "out").glob("trial-*/begun"))]


def started(folder: Path, **options: Any) -> Any:
    process = FORK.Process(target=lambda: sweep(folder, **options).run())
    process.start()
    return process


@pytest.mark.slow
def test_processes_share_the_trials_and_a_restart_repeats_none(tmp_path: Path) -> None:
    parameters = grid(1e-4, 1e-3, 1e-2)
    processes = [started(tmp_path, parameters=parameters) for _ in range(3)]
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0, 0, 0]
    assert begun(tmp_path) == ["x"] * 6
    assert {row["state"] for row in trials(tmp_path)} == {"finished"}
    table = (tmp_path / "out/table.md").read_text().splitlines()
    # the mean over seeds 1 and 2, and their spread; the better of them
    assert table[2] == "| 1 | 0.001 | 0.1817 | - | - | 0.0071 | 2 | trial-0002 |"
    sweep(tmp_path, parameters=parameters).run()
    assert begun(tmp_path) == ["x"] * 6


@pytest.mark.parametrize("content", [b"{method: [", "method: sweep à l'ancienne".encode("latin-1")])
def test_a_file_that_is_no_yaml_is_named(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "sweep.yaml"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"sweep.yaml must be YAML"):
        SweepFile.read(path)


@pytest.mark.parametrize("limits", [(1.5, 3.5), (1, 3.5), (1.5, 3)])
def test_whole_numbers_are_drawn_between_whole_numbers(tmp_path: Path, limits: tuple[float, float]) -> None:
    """Regression: from 1.5 to 3.5 was from 1 to 3."""
    low, high = limits
    between = {"min": low, "max": high, "distribution": "int_uniform"}
    with pytest.raises(ValueError, match=rf"sweep.yaml: parameter n .*: got .*{high}.*{low}"):
        sweep(tmp_path, "random", parameters={"n": between}, run_cap=1)
    whole = sweep(tmp_path, "random", parameters={"n": {**between, "min": 1.0, "max": 3}}, run_cap=1)
    assert whole.file.parameters["n"] == IntDistribution(1, 3)


@pytest.mark.slow
def test_a_grid_of_which_a_part_was_tried_is_gone_on_with(tmp_path: Path) -> None:
    sweep(tmp_path, parameters=grid(1e-3, 1e-2), run_cap=1).run()
    assert begun(tmp_path) == ["x"]
    sweep(tmp_path, parameters=grid(1e-3, 1e-2)).run()
    assert begun(tmp_path) == ["x"] * 4
    assert [row["rate"] for row in trials(tmp_path)] == ["0.001", "0.001", "0.01", "0.01"]
    for changes in ({"parameters": grid(1e-3, 1e-4)}, {"parameters": grid(1e-3, 1e-2), "name": "another"}):
        with pytest.raises(ValueError, match="holds trials of another sweep"):
            sweep(tmp_path, **changes)


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGUSR1])
def test_a_trial_that_was_cut_off_is_taken_up_and_no_other(tmp_path: Path, number: int) -> None:
    parameters, slow = grid(1e-3, 1e-2), ("--pause=0.2",)
    process = started(tmp_path, parameters=parameters, options=slow)
    while len(begun(tmp_path)) < 2:
        time.sleep(0.01)
    os.kill(process.pid, number)
    process.join()
    assert process.exitcode == (-number if number == signal.SIGKILL else 128 + number)
    while Path(f"/proc/{(tmp_path / 'out/trial-0001/process').read_text()}").exists():
        time.sleep(0.01)
    metrics = tmp_path / "out/trial-0001/metrics.csv"
    assert not metrics.exists() or len(metrics.read_text().splitlines()) < 7
    sweep(tmp_path, parameters=parameters, options=slow).run()
    assert begun(tmp_path) == ["x", "xx", "x", "x"]
    assert {row["state"] for row in trials(tmp_path)} == {"finished"}


def test_a_trial_that_is_taken_up_reports_no_validation_again(tmp_path: Path) -> None:
    """Regression: Optuna warned of each one, with a line of its own code."""
    found = (first := sweep(tmp_path, parameters={"rate": {"values": [1e-3]}}))._next()
    assert found is not None
    with found[1]:
        found[0].report(2.0, 1)
    sweep(tmp_path, parameters={"rate": {"values": [1e-3]}}).run()
    assert len(first.study.trials[0].intermediate_values) == 6


@pytest.mark.slow
def test_a_trial_that_fails_is_recorded_and_stops_no_other(tmp_path: Path) -> None:
    """Neither one that ends with an error nor one that gives no number."""
    assert sweep(tmp_path, parameters=grid(1e-3, -1.0, math.inf)).run() == 3
    assert [(row["state"], row["reason"]) for row in trials(tmp_path)] == [
        *[("finished", "")] * 2,
        *[("failed", "rate must be positive")] * 2,
        *[("failed", "val/nrmse was never a number, see fit.log")] * 2,
    ]
    assert "failed" in (tmp_path / "out/table.md").read_text()


@pytest.mark.slow
def test_trials_that_failed_are_tried_again_by_the_same_command(tmp_path: Path) -> None:
    parameters = {"rate": {"values": [1e-3, 1e-2]}}
    folder = tmp_path / "a, b: {c}"  # which YAML would take apart
    (folder / "out/trial-0001/metrics.csv").mkdir(parents=True)
    assert sweep(folder, parameters=parameters).run() == 3
    assert [row["state"] for row in trials(folder)] == ["finished", "failed"]
    assert sweep(folder, parameters=parameters).run() == 0
    assert [(row["trial"], row["rate"], row["state"]) for row in trials(folder)] == [
        ("0", "0.001", "finished"),
        ("2", "0.01", "finished"),
    ]
    assert sweep(folder, parameters=parameters).run() == 0
    assert begun(folder) == ["x"] * 3


@pytest.mark.slow
def test_a_sweep_ends_at_the_first_trial_that_is_refused_and_may_then_have_other_options(tmp_path: Path) -> None:
    """Regression: without the data, twenty trials failed one after another."""
    parameters, wrong = {"rate": {"values": [1e-3, 1e-2]}}, ("--broken=nowhere: there is no such folder",)
    for n in (1, 2):  # the failed one is tried, and fails again
        with pytest.raises(ValueError, match=r"trial \d was refused.*: nowhere: there is no such folder"):
            sweep(tmp_path, parameters=parameters, options=wrong).run()
        assert begun(tmp_path) == ["x"] * n
    assert sweep(tmp_path, parameters=parameters).run() == 0
    assert sorted((row["rate"], row["state"]) for row in trials(tmp_path)) == [
        ("0.001", "finished"),
        ("0.01", "finished"),
    ]
    with pytest.raises(ValueError, match="holds trials with other options"):
        sweep(tmp_path, parameters=parameters, options=wrong)


@pytest.mark.slow
def test_trials_of_a_file_that_has_changed_are_not_gone_on_with(tmp_path: Path) -> None:
    file, parameters = tmp_path / "split.yaml", {"rate": {"values": [1e-3, 1e-2]}}
    file.write_text("train: [a]")
    options = (f"--data.split_file={file}",)
    for n_trials in (1, 2):
        sweep(tmp_path, parameters=parameters, options=options, run_cap=n_trials).run()
        os.utime(file, (0, 0))
    file.write_text("train: [b]")
    with pytest.raises(ValueError, match="files that have changed since"):
        sweep(tmp_path, parameters=parameters, options=options)


@pytest.mark.slow
@pytest.mark.parametrize("method", ["random", "bayes"])
def test_values_are_drawn_from_where_they_may_be(tmp_path: Path, method: str) -> None:
    sweep(tmp_path, method, run_cap=5, parameters={"rate": SPREAD, "n": {"min": 1, "max": 4}}).run()
    rows = trials(tmp_path)
    assert len({row["rate"] for row in rows}) == len(rows) == 5
    assert all(1e-6 <= float(row["rate"]) <= 1 and int(row["n"]) in range(1, 5) for row in rows)


def test_bayes_looks_where_it_was_good(tmp_path: Path) -> None:
    """By the trials' numbers alone, so that a sweep of one process can be repeated."""
    file = sweep(tmp_path, "bayes", run_cap=1, parameters={"rate": SPREAD})
    study, values = file.study, list[float]()
    for number in range(30):
        study.sampler = file.file.sampler(number)
        trial = study.ask(fixed_distributions=dict(file.file.parameters))
        values.append(abs(math.log10(trial.params["rate"]) + 3))
        study.tell(trial, values[-1])
    assert sum(values[20:]) / 10 < 0.5 * sum(values[:10]) / 10


@pytest.mark.slow
def test_hopeless_trials_are_stopped_early(tmp_path: Path) -> None:
    early = {"type": "hyperband", "min_iter": 2, "eta": 2}
    rates = {"rate": {"values": [1e-3, 1e-2, 1e-6]}}
    sweep(tmp_path, options=("--pause=0.4",), parameters=rates, early_terminate=early).run()
    assert [row["state"] for row in trials(tmp_path)] == ["finished", "stopped early", "stopped early"]
    assert (tmp_path / "out/table.md").read_text().splitlines()[2].startswith("| 1 | 0.001 |")


def test_an_option_that_fit_does_not_know_ends_the_sweep_before_it_begins(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"sweep\.yaml: no such option: typo"):
        sweep(tmp_path, parameters={"typo": {"values": [1]}, **grid(1.0)})
    assert not (tmp_path / "out").exists()


def test_a_file_in_the_folder_s_place_is_refused_by_the_option(tmp_path: Path) -> None:
    (tmp_path / "out").touch()
    with pytest.raises(OSError, match="out: output_dir must be a folder that can be written"):
        sweep(tmp_path, parameters=grid(1.0))


@pytest.mark.parametrize("option", ["--print_config", "--print_config=comments", "--dry_run"])
def test_a_sweep_is_not_begun_with_an_option_that_trains_nothing(
    tmp_path: Path, failing_command: Any, option: str
) -> None:
    message = failing_command("sweep", "sweeps/finetune", "--output_dir", tmp_path / "out", option)
    assert option in message
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("options", "command", "refused"),
    [
        (("--rate=2",), (), "--rate is varied by .*sweep.yaml"),
        ((), ("--rate", "2"), "--rate is varied by .*sweep.yaml"),
        (("--phase.init_args.epochs", "3"), (), "--phase.epochs is varied"),
        (("--ckpt_path=last",), (), "--ckpt_path is set by the sweep"),
        (("--checkpoint.dirpath", "here"), (), "--checkpoint.dirpath is set by the sweep"),
        ((), ("--trainer.default_root_dir=here",), "--trainer.default_root_dir is set by the sweep"),
        (("--trainer.logger.project=mine",), (), "--trainer.logger.project is set by the sweep"),
        (
            (),
            ("--trainer.logger=TensorBoardLogger", "--trainer.logger.save_dir=."),
            "--trainer.logger is set by the sweep",
        ),
        (
            (),
            ("--trainer.logger", "WandbLogger", "--trainer.logger.project=mine"),
            "--trainer.logger.project is set by",
        ),
        (("--trainer.enable_progress_bar=true",), (), "--trainer.enable_progress_bar is set by the sweep"),
    ],
)
def test_an_option_that_every_trial_would_overrule_is_refused(
    tmp_path: Path, options: tuple[str, ...], command: tuple[str, ...], refused: str
) -> None:
    """Regression: it was ignored."""
    parameters = {"rate": {"values": [1e-3]}, "phase.epochs": {"values": [1]}}
    with pytest.raises(ValueError, match=refused):
        sweep(tmp_path, options=options, parameters=parameters, command=["fit", *command, "${args}"])
    assert not (tmp_path / "out").exists()


def test_a_module_that_is_allowed_is_allowed_to_the_trials(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[Sequence[str]] = []
    monkeypatch.setattr(Sweep, "__init__", lambda self, file, folder, options: given.append(options))
    monkeypatch.setattr(Sweep, "run", lambda self: 0)
    options = ("--output_dir", str(tmp_path), "--import", "shelve", "--phase.steps=2", "--import=this")
    main(["sweep", "sweeps/finetune", *options])
    assert given == [["--phase.steps=2", "--import=shelve", "--import=this"]]


@pytest.mark.slow
def test_the_agent_of_wandb_and_a_sweep_without_server_give_the_same(cohort: Path, tmp_path: Path) -> None:
    """The shipped file with a grid of two, by W&B's own agent code and by `sweep`: the same curves."""
    file = yaml.safe_load((ROOT / "lightning_mri/configs/sweeps/finetune.yaml").read_text())
    data = (f"--data.root={cohort / 'multicoil_train'}", "--data.n_subjects=2", "--data.n_val=1", "--data.crop=[32,32]")
    sizes = ("--data.n_reconstructions=1", "--data.cache_dir=cache", "--trainer.check_val_every_n_epoch=1")
    lines = ("--data.pattern=Equispaced", "--data.pattern.acceleration=3", "--data.pattern.n_center=8")
    file["command"][-2:] = [
        *("finetune/synthetic_flair", *data, *sizes, *lines, "--trainer.logger=WandbLogger", "${args}")
    ]
    file["parameters"] = {"phase.learning_rate": {"values": [1e-6, 1e-3]}, "phase.epochs": {"values": [1]}}
    (tmp_path / "sweep.yaml").write_text(yaml.safe_dump(file))
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    environment = {**os.environ, "PATH": path, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "WANDB_MODE": "offline"}

    def run(*line: str | Path) -> None:
        subprocess.run([sys.executable, *line], cwd=tmp_path, env=environment, check=True, timeout=600)

    run(ROOT / "tests/cli/wandb_agent.py", "sweep.yaml")
    run("-m", "lightning_mri", "sweep", "sweep.yaml", "--output_dir=out")
    agent = [path.read_text() for path in sorted((tmp_path / "runs/synthetic_flair").glob("*/curve.csv"))]
    own = [path.read_text() for path in sorted((tmp_path / "out").glob("trial-*/curve.csv"))]
    assert len(own) == 2
    assert agent == own
    assert own[0] != own[1]
    offline = sorted(path.name.rpartition("-")[2] for path in tmp_path.glob("runs/**/offline-run-*"))
    assert offline == ["run0", "run1"]
    assert len(list((tmp_path / "out").glob("trial-*/wandb/offline-run-*"))) == 2
    assert {row["state"] for row in trials(tmp_path)} == {"finished"}
