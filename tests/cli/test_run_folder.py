"""A run writes into one folder and nowhere else; what W&B keeps of it is read from its own files."""

import json
import os
import shutil
import struct
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import h5py
import pytest
import torch
import wandb
import yaml
from jsonargparse import Namespace

from lightning_mri.cli.fit import FitCLI
from lightning_mri.cli.run_folder import kept, manifest_of
from lightning_mri.datasets import StrokeFLAIR, prepare_folder
from lightning_mri.evaluation.table_files import read_csv
from lightning_mri.files import locked
from lightning_mri.weights import find_prior, fingerprint, load_prior

Command = Callable[..., str]


@pytest.fixture
def tiny(cohort: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Two steps of fine-tuning, in an empty folder; what is cached goes elsewhere."""
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.setenv("WANDB_MODE", "offline")
    sampler = '{"class_path": "HQS", "init_args": {"n_steps": 2}}'
    return [
        *("--config", "finetune/synthetic_flair", "--phase.epochs=null", "--phase.steps=2", "--data.n_val=1"),
        *(f"--data.root={cohort / 'multicoil_train'}", "--data.n_subjects=2", "--data.crop=[32,32]"),
        *(f"--data.cache_dir={tmp_path / 'cache'}", "--data.batch_size=2", "--data.n_reconstructions=1"),
        *("--data.pattern=Equispaced", "--data.pattern.acceleration=3", "--data.pattern.n_center=8"),
        *("--trainer.check_val_every_n_epoch=1", "--trainer.enable_progress_bar=false"),
        f'--trainer.callbacks=[{{"class_path": "ReconstructHeldOut", "init_args": {{"sampler": {sampler}}}}}]',
    ]


@pytest.mark.parametrize(("files", "left"), [(["config.yaml", "split.yaml"], False), (["config.yaml", "a.ckpt"], True)])
def test_nothing_is_left_of_a_run_that_was_refused_before_its_first_step(
    tmp_path: Path, files: list[str], left: bool
) -> None:
    """Regression: held-out slices without room for the central lines left a folder with a split."""

    def write(folder: Path, error: Exception) -> None:
        for name in files:
            (folder / name).write_text("")
        raise error

    def run(folder: Path, error: type[Exception]) -> None:
        with pytest.raises(error), kept(str(folder), True):
            write(folder, error("n_center must leave room"))

    run(tmp_path / "runs/one", ValueError)
    assert (tmp_path / "runs").exists() == left
    run(tmp_path / "runs/two", RuntimeError)
    assert (tmp_path / "runs/two/config.yaml").exists()
    run(tmp_path / "runs/two", ValueError)
    assert (tmp_path / "runs/two/config.yaml").exists()  # of a folder that was there


def test_what_a_killed_run_was_writing_goes_with_the_next_one(tmp_path: Path) -> None:
    for name in (".validation.0123abcd.part.png", ".best.0123abcd.part.ckpt", ".mine.part.png", "best.ckpt"):
        (tmp_path / name).touch()
    with kept(str(tmp_path), True):
        pass
    assert sorted(path.name for path in tmp_path.iterdir()) == [".mine.part.png", "best.ckpt"]
    rule = "best.ckpt: checkpoint.dirpath must be a folder that can be written"
    with pytest.raises(OSError, match=rule), kept(str(tmp_path / "best.ckpt"), True):
        pass


def records(path: Path) -> Iterator[Any]:
    """Yield what W&B wrote: records of LevelDB's log, in blocks of 32 KiB behind a header of 7 bytes."""
    from wandb.proto.wandb_internal_pb2 import Record

    content, place, payload = path.read_bytes(), 7, b""
    while place + 7 <= len(content):
        if 32768 - place % 32768 < 7:
            place += 32768 - place % 32768
        length, kind = struct.unpack("<HB", content[place + 4 : place + 7])
        payload += content[place + 7 : place + 7 + length]
        place += 7 + length
        if kind in (1, 4):  # whole, or the last part
            record = Record()
            record.ParseFromString(payload)
            payload = b""
            yield record


@pytest.mark.slow
def test_data_of_a_prepared_folder_have_a_hash_that_follows_the_scans(cohort: Path, tmp_path: Path) -> None:
    found = []
    for factor in (1, 2, 1):
        raw, prepared = tmp_path / f"raw{len(found)}", tmp_path / f"set{len(found)}"
        raw.mkdir()
        for scan in sorted((cohort / "multicoil_train").iterdir())[:2]:
            shutil.copy(scan, raw)
        with h5py.File(sorted(raw.iterdir())[0], "r+") as file:
            file["kspace"][:] *= factor
        prepare_folder(raw, prepared, n_processes=1)
        shutil.rmtree(raw)
        data = StrokeFLAIR(prepared, n_subjects=1, n_val=1, cache_dir=tmp_path / "cache")
        data.prepare_data()
        data.setup("fit")
        found.append(manifest_of(data))
    assert found[0] == found[2] != found[1]
    assert found[0]


def values(items: Any) -> dict[str, Any]:
    return {item.key or ".".join(item.nested_key): json.loads(item.value_json) for item in items}


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_wandb_has_every_option_hashes_summary_files_and_checkpoints(
    command: Command, tiny: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("WANDB_DATA_DIR", raising=False)
    command("fit", *tiny, "--trainer.logger=WandbLogger", "--trainer.logger.project=p", "--log_checkpoints")
    monkeypatch.delenv("WANDB_DATA_DIR")
    wandb.finish()  # without it, the next run in this process would be this one
    wandb.teardown()  # which waits until all is written; finish does not
    (run,) = Path("runs/synthetic_flair").iterdir()
    assert [path.name for path in Path().iterdir()] == ["runs"]
    assert {"config.yaml", "split.yaml", "best.ckpt", "last.ckpt", "curve.csv", "wandb"} <= {
        f.name for f in run.iterdir()
    }
    (file,) = run.rglob("*.wandb")
    config, summary, files, about, artifacts, history = {}, {}, [], None, {}, []
    for record in records(file):
        if record.HasField("run"):
            about = record.run
            config |= values(record.run.config.update)
        config |= values(record.config.update) if record.HasField("config") else {}
        summary |= values(record.summary.update) if record.HasField("summary") else {}
        history += [values(record.history.item)] if record.HasField("history") else []
        if record.HasField("artifact"):
            artifacts[Path(record.artifact.manifest.contents[0].path).stem] = record.artifact
        files += [each.path for each in record.files.files] if record.HasField("files") else []
    assert (about.display_name, about.run_group, about.job_type, list(about.tags)) == (
        f"synthetic_flair {run.name}",
        "synthetic_flair",
        "FineTune",
        ["FineTune", "StrokeFLAIR"],
    )
    assert config["phase.learning_rate"] == 5e-4
    assert config["data.crop"] == [32, 32]
    trained = load_prior(str(run / "last.ckpt"))  # the checkpoint's process and labels, not the defaults of options
    assert config["model.process.sigma_max"] == trained.process.sigma_max == 10
    assert config["model.labels"] == list(trained.labels)
    model = yaml.safe_load((run / "config.yaml").read_text())["model"]
    assert [model[name] for name in ("process", "labels", "scaling")] == [None, None, None]
    assert config["prior_sha256"] == fingerprint(load_prior("brain-noflair"))
    assert all(config[name] for name in ("prior_sha256", "data_sha256", "commit"))
    assert summary["start/val/nrmse"] != summary["last/val/nrmse"]  # before training, so that W&B shows what it gained
    scored, shown = (
        {row["trainer/global_step"] for row in history if any(name.startswith(start) for name in row)}
        for start in ("val/nrmse", "val/reconstruction")
    )
    assert scored == shown != set()
    assert summary["last/val/nrmse"] >= summary["best/val/nrmse"] > 0
    for alias in ("best", "last"):  # where they came from, and what is uploaded, within the run's folder
        made_from, (content,) = json.loads(artifacts[alias].metadata), artifacts[alias].manifest.contents
        assert made_from["prior_sha256"] == config["prior_sha256"] == made_from["history"][-1]["sha256"]
        assert made_from["data_sha256"] == config["data_sha256"]
        assert made_from["history"][-1]["steps"] == 2
        assert alias in artifacts[alias].aliases
        assert Path(content.local_path).read_bytes() == (run / f"{alias}.ckpt").read_bytes()
        assert run.absolute() in Path(content.local_path).parents
    assert {"config.yaml", "split.yaml", "curve.csv"} <= {Path(path).name for path in files}


@pytest.mark.slow
@pytest.mark.parametrize("logger", ["MetricsFile", "CSVLogger", "TensorBoardLogger"])
def test_other_loggers_write_into_the_same_folder(logger: str, command: Command, tiny: list[str]) -> None:
    options = [f"--trainer.logger={logger}", *(["--trainer.logger.save_dir=."] if logger != "MetricsFile" else [])]
    command("fit", *tiny, *options)
    assert [path.name for path in Path().iterdir()] == ["runs"]
    (run,) = Path("runs/synthetic_flair").iterdir()
    assert list(run.rglob("metrics.csv")) or list(run.rglob("events.out.*"))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--log_checkpoints"], "log_checkpoints needs WandbLogger"),
        (  # of which each would write every row
            ["--trainer.logger=[{class_path: CSVLogger, init_args: {save_dir: .}}, {class_path: MetricsFile}]"],
            "trainer.logger must name one logger for runs/synthetic_flair/",
        ),
        (["--trainer.logger=TensorBoardLogger", "--trainer.logger.save_dir=."], "lightning-mri[tensorboard]"),
    ],
)
def test_loggers_that_cannot_do_what_is_asked_are_refused(
    failing_command: Command, tiny: list[str], options: list[str], words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lightning_mri.cli.fit.find_spec", lambda name: None)  # no TensorBoard is installed
    assert words in failing_command("fit", *tiny, *options)


LOGGERS = """[{class_path: CSVLogger, init_args: {save_dir: ., name: ''}},
    {class_path: WandbLogger, init_args: {project: p}}]"""


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("logger", [LOGGERS, "WandbLogger"])
def test_a_run_that_goes_on_keeps_its_logs(logger: str, command: Command, tiny: list[str]) -> None:
    """Regression: it was two runs of W&B, and the rows of a CSV file were lost."""
    line = ("fit", *tiny, f"--trainer.logger={logger}", "--trainer.log_every_n_steps=1")
    for more in ((), ("--phase.steps=4", "--phase.checkpoint=null", "--ckpt_path=last")):
        command(*line, *more)
        wandb.finish()
    (run,) = Path("runs/synthetic_flair").iterdir()
    parts = list(run.glob("wandb/offline-run-*"))
    assert (len(parts), len({part.name.rpartition("-")[2] for part in parts})) == (2, 1)
    if logger == LOGGERS:
        logged = read_csv(run / "metrics.csv")
        assert [row["step"] for row in logged if row["train/loss"]] == ["0", "1", "2", "3"]


@pytest.mark.slow
def test_a_run_goes_on_in_its_folder_and_is_found_by_its_name(command: Command, tiny: list[str]) -> None:
    command("fit", *tiny)
    (run,) = Path("runs/synthetic_flair").iterdir()
    command("fit", *tiny, "--phase.steps=4", "--phase.checkpoint=null", f"--ckpt_path={run / 'last.ckpt'}")
    command("fit", *tiny, "--phase.steps=5", "--ckpt_path=last")
    assert list(Path("runs/synthetic_flair").iterdir()) == [run]
    assert torch.load(run / "last.ckpt", weights_only=True)["global_step"] == 5
    assert find_prior("runs/synthetic_flair") == Path(run, "best.ckpt")
    assert "FLAIR" in load_prior("runs/synthetic_flair").labels
    command("fit", *tiny)
    assert len(list(Path("runs/synthetic_flair").iterdir())) == 2


@pytest.mark.slow
def test_what_is_kept_of_a_run_makes_another_one(command: Command, failing_command: Command, tiny: list[str]) -> None:
    """Regression: it named the run's folder, whose checkpoints, metrics and curve the other run overwrote."""
    command("fit", *tiny)
    (run,) = Path("runs/synthetic_flair").iterdir()
    command("fit", *tiny, "--phase.steps=3", "--phase.checkpoint=null", "--ckpt_path=last")
    kept = yaml.safe_load((run / "config.yaml").read_text())
    assert (kept["data"]["init_args"]["n_subjects"], kept["phase"]["init_args"]["steps"]) == (2, 3)
    assert kept["phase"]["init_args"]["checkpoint"] == "brain-noflair"  # what the run began with
    before = {path.name: path.read_bytes() for path in run.iterdir()}
    command("fit", f"--config={run / 'config.yaml'}", "--phase.learning_rate=1e-3")
    other = max(Path("runs/synthetic_flair").iterdir())
    assert other != run
    assert torch.load(other / "last.ckpt", weights_only=True)["global_step"] == 3
    assert "must hold no other run" in failing_command("fit", *tiny, f"--checkpoint.dirpath={run}")
    assert "must hold no other run" in failing_command("fit", *tiny, f"--trainer.default_root_dir={run}")
    with locked(run / "last.ckpt"):
        go_on = ("--phase.steps=9", f"--ckpt_path={run / 'last.ckpt'}")
        assert "another run writes here" in failing_command("fit", *tiny, *go_on)
    refused = failing_command("fit", *tiny, f"--ckpt_path={run / 'last.ckpt'}", "--phase.checkpoint=brain")
    assert "its own phase.checkpoint, brain-noflair: got brain" in refused
    assert {path.name: path.read_bytes() for path in run.iterdir()} == before


@pytest.mark.parametrize(
    ("newest", "file", "given"),
    [
        ("slurm-100", "last.ckpt", None),
        ("2026-11-30_18-34-34-000000", "last.ckpt", None),
        ("2026-11-30_18-34-34-000000", "best.ckpt", None),
        ("slurm-100", "best.ckpt", "runs/n/slurm-100"),
    ],
)
def test_the_last_run_is_the_newest_by_time(
    newest: str, file: str, given: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Regression: by name, slurm-99 came after slurm-100, and either after all dates.

    A run that was killed between its first best.ckpt and its first last.ckpt began anew, over the best one.
    """
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("lightning_mri.training.checkpoint.read_run", lambda _: {})
    for at, path in enumerate((Path("runs/n/slurm-99/last.ckpt"), Path("runs/n", newest, file))):
        path.parent.mkdir(parents=True)
        path.touch()
        os.utime(path, (at, at))
    places = {"checkpoint": Namespace(dirpath=given), "trainer": Namespace(default_root_dir=None)}
    cli = SimpleNamespace(config=Namespace(name="n", **places))
    with pytest.warns(UserWarning, match=file) if file == "best.ckpt" else nullcontext():
        assert FitCLI._last_checkpoint(cli) == f"runs/n/{newest}/{file}"  # type: ignore[arg-type]
