"""``fit``: train a prior."""

import netrc
import os
from pathlib import Path
from typing import Any

from jsonargparse import Namespace
from pytorch_lightning import Trainer
from pytorch_lightning.callbacks import ProgressBar, TQDMProgressBar
from pytorch_lightning.cli import LightningArgumentParser

from lightning_mri.cli.lightning import OwnCLI, own_errors
from lightning_mri.training import EMA, Checkpoint, PriorModule, TrainingPhase
from lightning_mri.training.checkpoint import CheckedIO, last_checkpoint


def fit(arguments: list[str]) -> None:
    """Train a prior."""
    _go_offline_without_key()
    with own_errors(arguments):
        cli = FitCLI(
            "fit",
            PriorModule,
            None,
            arguments,
            "Train a prior, from nothing (--phase Pretrain) or from a finished one (--phase FineTune).",
            seed_everything_default=0,
            save_config_kwargs={"overwrite": True},
            trainer_defaults={"max_epochs": -1, "gradient_clip_val": 1.0},  # the phase sets the length
        )
        cli.trainer.fit(cli.model, datamodule=cli.datamodule, ckpt_path=cli.config["ckpt_path"])


class FitCLI(OwnCLI):
    """``fit``: ``--phase`` says whether from nothing or from a checkpoint."""

    shown = ("--config", "--phase", "--data", "--model", "--checkpoint.dirpath", "--ckpt_path")
    unused = frozenset({"limit_test_batches", "limit_predict_batches", "inference_mode", "model_registry"})

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Add what every run has: the phase, the average of the weights, and checkpoints."""
        parser.add_lightning_class_args(TrainingPhase, "phase", subclass_mode=True)
        parser.add_lightning_class_args(EMA, "ema")
        parser.add_lightning_class_args(Checkpoint, "checkpoint")
        parser.set_defaults({"checkpoint.save_last": True})
        about = "Checkpoint of a run to go on with; last for the newest intact one in checkpoint.dirpath."
        parser.add_argument("--ckpt_path", type=str | None, default=None, help=about)

    def before_instantiate_classes(self) -> None:
        """Look at the checkpoint before anything is built; let a run of fine-tuning be either started or resumed.

        Raises:
            ValueError: If it is asked to do both, or the checkpoint is damaged or another file.
        """
        fit = self.config
        resumed, phase = fit["ckpt_path"], fit["phase"]["init_args"]
        if resumed == "last":
            resumed = fit["ckpt_path"] = self._last_checkpoint()
        elif resumed is not None and phase.get("checkpoint") is not None:
            raise ValueError(
                "ckpt_path resumes a run and phase.checkpoint starts one, so that one of them must be null: "
                f"got {resumed} and {phase['checkpoint']}"
            )
        if resumed is not None and "checkpoint" in phase:
            phase["checkpoint"] = str(resumed)  # for its architecture; Lightning restores the rest
        requeued = list(self.keep_job_to_itself().glob("hpc_ckpt_*.ckpt"))
        if requeued:
            fit["ckpt_path"] = None  # a requeued job goes on where it was, not where it once resumed from
            resumed = max(requeued, key=lambda path: int(path.stem.removeprefix("hpc_ckpt_")))
        if resumed is not None and Path(resumed).is_file():
            self._keep_log(CheckedIO().load_checkpoint(resumed)["run"].get("version"))

    def _keep_log(self, version: int | str | None) -> None:
        """Let a resumed run write to the log that it had."""
        logger = self.config["trainer"]["logger"]
        arguments = logger.get("init_args") if isinstance(logger, Namespace) else None
        if version is None or arguments is None or arguments.get("version", version) is not None:
            return
        arguments["version"] = version
        if logger["class_path"].endswith("WandbLogger"):
            arguments["resume"] = "allow"

    def _last_checkpoint(self) -> str | None:
        """Return the last intact checkpoint of the run's folder; None if the run has yet to start."""
        folder = self.config["checkpoint"]["dirpath"]
        if folder is None:
            raise ValueError("ckpt_path last needs the folder of the run's checkpoints: give checkpoint.dirpath")
        last = last_checkpoint(Path(folder))
        return None if last is None else str(last)

    def _instantiate_trainer(self, config: dict[str, Any], callbacks: list[Any]) -> Trainer:
        # the phase sets the weights that the average copies; Lightning puts the checkpoints behind all others
        phase, average, checkpoints = (
            next(callback for callback in callbacks if isinstance(callback, kind))
            for kind in (TrainingPhase, EMA, Checkpoint)
        )
        theirs = config.get("callbacks") or []
        if config.get("enable_progress_bar") is not False and not any(isinstance(each, ProgressBar) for each in theirs):
            theirs = [*theirs, TQDMProgressBar()]  # that of rich moves the cursor, which output may not
        config["callbacks"] = [phase, *theirs, average, checkpoints]
        return super()._instantiate_trainer(config, [])


def _go_offline_without_key() -> None:
    """Let W&B log to disk where there is no account, instead of asking for one; ``wandb sync`` uploads later."""
    if "WANDB_API_KEY" in os.environ or "WANDB_MODE" in os.environ:
        return
    try:
        hosts = netrc.netrc().hosts
    except (OSError, netrc.NetrcParseError):
        hosts = {}
    if not any("wandb" in host for host in hosts):
        os.environ["WANDB_MODE"] = "offline"
