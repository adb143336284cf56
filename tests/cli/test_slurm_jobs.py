"""A job on SLURM goes on where it was, and takes no other job's checkpoint."""

import os
import signal
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from jsonargparse import Namespace
from pytorch_lightning import LightningModule, Trainer

from lightning_mri.cli.fit import FitCLI
from lightning_mri.cli.run_folder import check_free
from lightning_mri.training import FineTune, ReconstructHeldOut
from lightning_mri.training.checkpoint import CheckedIO

Command = Callable[..., str]
EXPERIMENTS = Path(__file__).parents[2] / "experiments"
RECONSTRUCT = ("predict", "--config", str(EXPERIMENTS / "reconstruct.yaml"))


@pytest.fixture
def slurm_job(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A job of one task in an empty folder; returns the folder that is its own."""
    world = {"NTASKS": 1, "JOB_NAME": "lightning-mri", "JOB_ID": 7, "PROCID": 0, "LOCALID": 0, "NODEID": 0}
    for name, value in world.items():
        monkeypatch.setenv(f"SLURM_{name}", str(value))
    monkeypatch.chdir(tmp_path)
    return tmp_path / "runs/synthetic_flair/slurm-7"


@pytest.mark.slow
def test_a_job_does_not_go_on_from_the_checkpoint_of_another(command: Command, slurm_job: Path, cohort: Path) -> None:
    """Regression: Lightning loads what any requeued job has left in its folder, here another network."""
    torch.save({"state_dict": {}, "pytorch-lightning_version": "2.6.6"}, "hpc_ckpt_1.ckpt")
    (scan,) = (cohort / "multicoil_test").iterdir()
    quick = ("--model.preset=preview", "--model.uncertainty=null")
    command(*RECONSTRUCT, "--data.root", scan, "--output_dir", "out", *quick)
    assert Path("out", scan.name).exists()


@pytest.mark.parametrize(("job", "resumed"), [("7", "runs/last.ckpt"), ("6", "older.ckpt")])
def test_a_requeued_job_goes_on_where_it_was(
    command: Command, slurm_job: Path, cohort: Path, monkeypatch: pytest.MonkeyPatch, job: str, resumed: str
) -> None:
    """Not from the older checkpoint that its command line names, nor from that of another job in the same folder."""
    started = []
    monkeypatch.setattr(Trainer, "fit", lambda *_, ckpt_path, **__: started.append(ckpt_path))
    monkeypatch.setattr("lightning_mri.cli.fit.last_checkpoint", lambda folder: folder / "last.ckpt")
    saved = {"run": {"job": job}, "prior": {"card": {"history": [{}]}}}
    monkeypatch.setattr(CheckedIO, "load_checkpoint", lambda *_: saved)
    monkeypatch.setattr(FineTune, "resume", lambda *_: None)
    for restarts in ("0", "1"):
        monkeypatch.setenv("SLURM_RESTART_COUNT", restarts)
        command(
            *("fit", "--config", EXPERIMENTS / "finetune/synthetic_flair.yaml", "--trainer.logger=false"),
            *("--phase.checkpoint=null", "--ckpt_path=older.ckpt", "--trainer.callbacks=null"),
            *("--data.root", cohort / "multicoil_train", "--data.n_subjects=2", "--data.n_val=1"),
            "--checkpoint.dirpath=runs",
        )
    assert started == ["older.ckpt", resumed]


def test_a_signal_in_the_first_scoring_ends_the_job_and_lightning_requeues_none(
    command: Command, slurm_job: Path, cohort: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Regression: without a sanity check Lightning saved its own checkpoint, called scontrol and trained on."""
    score, requeued = ReconstructHeldOut.on_train_start, list[object]()

    def signalled(self: ReconstructHeldOut, trainer: Trainer, module: LightningModule) -> None:
        os.kill(os.getpid(), signal.SIGUSR1)
        score(self, trainer, module)

    monkeypatch.setattr(ReconstructHeldOut, "on_train_start", signalled)
    monkeypatch.setattr("pytorch_lightning.trainer.connectors.signal_connector.call", requeued.append)
    plugin = "--trainer.plugins=[lightning_fabric.plugins.environments.SLURMEnvironment]"
    with pytest.raises(SystemExit) as end:
        command(
            *("fit", "--config", "finetune/synthetic_flair", "--phase.epochs=null", "--phase.steps=2", plugin),
            *(
                "--data.root",
                cohort / "multicoil_train",
                "--data.n_subjects=2",
                "--data.n_val=1",
                "--data.crop=[32,32]",
            ),
            *("--data.batch_size=2", "--data.n_reconstructions=1", "--data.cache_dir=cache"),
            *("--data.pattern=Equispaced", "--data.pattern.acceleration=3", "--data.pattern.n_center=8"),
            *("--trainer.num_sanity_val_steps=0", "--trainer.enable_progress_bar=false", "--trainer.accelerator=cpu"),
        )
    assert end.value.code == 128 + signal.SIGUSR1
    assert requeued == []
    assert not [*Path().rglob("hpc_ckpt*")]
    assert (slurm_job / "last.ckpt").exists()


@pytest.mark.usefixtures("slurm_job")
@pytest.mark.parametrize("job", ["7", "6"])
def test_a_requeued_job_that_was_cut_off_before_its_first_last_checkpoint_goes_on_from_its_best(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, job: str
) -> None:
    """Regression: it began anew, over that of another run, too."""
    best, is_mine = tmp_path / "best.ckpt", job == "7"
    best.touch()
    monkeypatch.setenv("SLURM_RESTART_COUNT", "1")
    monkeypatch.setattr("lightning_mri.training.checkpoint.read_run", lambda _: {"run": {"job": job}})
    config = Namespace(checkpoint={"dirpath": str(tmp_path)}, trainer={"default_root_dir": str(tmp_path)})
    with pytest.warns(UserWarning, match="goes on from .*best"):
        found = FitCLI._checkpoint_of_job(SimpleNamespace(config=config))  # type: ignore[arg-type]
    assert found == (str(best) if is_mine else None)
    with nullcontext() if is_mine else pytest.raises(FileExistsError, match="no other run"):
        check_free(config, found)


def test_tasks_that_are_not_one_run_are_refused(
    failing_command: Command, slurm_job: Path, cohort: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each of them would run alone, all in one folder."""
    monkeypatch.setenv("SLURM_STEP_NUM_TASKS", "6")
    monkeypatch.setenv("SLURM_STEP_NUM_NODES", "2")
    message = failing_command(*RECONSTRUCT, "--data.root", cohort, "--output_dir=out", "--trainer.devices=1")
    assert "trainer.devices x trainer.num_nodes must be the 6 processes that srun started: got 1 x 1" in message
