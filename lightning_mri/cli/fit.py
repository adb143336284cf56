"""``fit``: train a prior."""

import copy
import os
import sys
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from textwrap import fill
from typing import Any

from pytorch_lightning import Trainer
from pytorch_lightning.callbacks import ProgressBar, TQDMProgressBar
from pytorch_lightning.cli import LightningArgumentParser
from pytorch_lightning.utilities import rank_zero_only

from lightning_mri.cli.dry_run import ABOUT, dry_run_fit
from lightning_mri.cli.lightning import OwnCLI, own_errors
from lightning_mri.cli.options import WIDTH, configurations
from lightning_mri.cli.run_folder import (
    RUNS,
    Recorded,
    check_free,
    is_requeued,
    kept,
    loggers_of,
    name_of,
    quiet_wandb,
    settle,
)
from lightning_mri.lazy import MissingExtraError
from lightning_mri.training import EMA, Checkpoint, PriorModule, TrainingPhase
from lightning_mri.training.checkpoint import CheckedIO, last_checkpoint
from lightning_mri.training.wandb_tables import go_offline_without_key

ABOUT_FIT = """\
Train a prior, from nothing (--phase Pretrain) or from a finished one (--phase FineTune). For example:

  fit --config finetune/stroke_flair --data.root FOLDER --phase.epochs N

"""

LENGTHS = {
    "max_epochs": "phase.epochs",
    "max_steps": "phase.steps",
    "min_epochs": "phase.epochs",
    "min_steps": "phase.steps",
    "fast_dev_run": "dry_run, or phase.steps",
}
"""Options of the trainer that the phase would overrule, and what to give instead."""


def fit(arguments: list[str]) -> None:
    """Train a prior."""
    go_offline_without_key()
    with own_errors(arguments):
        cli = FitCLI(
            "fit",
            PriorModule,
            None,
            arguments,
            ABOUT_FIT + fill(f"Configurations that ship: {', '.join(configurations('phase'))}.", WIDTH),
            seed_everything_default=0,
            save_config_callback=Recorded,
            save_config_kwargs={"overwrite": True},
            trainer_defaults={
                "gradient_clip_val": 1.0,
                "enable_model_summary": False,  # the phase says how many weights train
                "logger": {"class_path": "lightning_mri.training.MetricsFile"},
            },
        )
        if cli.resumed is not None:
            TrainingPhase.of(cli.trainer).resume(cli.model, cli.resumed)
        if cli.config["dry_run"]:
            dry_run_fit(cli.trainer, cli.model, cli.datamodule)
            return
        quiet_wandb(cli.trainer, cli.config["verbose"])
        with kept(cli.dirpath, cli.trainer.is_global_zero):
            cli.trainer.fit(cli.model, datamodule=cli.datamodule, ckpt_path=cli.resumed)


class FitCLI(OwnCLI):
    """``fit``: ``--phase`` says whether from nothing or from a checkpoint."""

    shown = ("--config", "--phase", "--data", "--model", "--name", "--ckpt_path", "--log_checkpoints", "--dry_run")
    unused = frozenset({"limit_test_batches", "limit_predict_batches", "inference_mode", "model_registry", *LENGTHS})
    unused |= {"reload_dataloaders_every_n_epochs", "overfit_batches"}  # `ResumableLoader` has one order for a run

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Add what every run has: the phase, the average of the weights, and checkpoints."""
        parser.add_lightning_class_args(TrainingPhase, "phase", subclass_mode=True)
        parser.add_lightning_class_args(EMA, "ema")
        parser.add_lightning_class_args(Checkpoint, "checkpoint")
        parser.set_defaults({"checkpoint.save_last": True})
        about = "Name of the run, which is written to runs/NAME/TIME; that of the configuration if not given."
        parser.add_argument("--name", type=str | None, default=None, help=about)
        about = "Log the best and the last checkpoint to W&B as artifacts, with hashes of what they were made from."
        parser.add_argument("--log_checkpoints", action="store_true", help=about)
        parser.add_argument("--dry_run", action="store_true", help=ABOUT)
        about = "Checkpoint of a run to go on with, in its folder; last for that of the last run of this name."
        parser.add_argument("--ckpt_path", type=str | None, default=None, help=about)

    def parse_arguments(self, parser: LightningArgumentParser, args: Any) -> None:
        """Read the command line; name what ships where a part is missing, and what sets the length of a run."""
        try:
            super().parse_arguments(parser, args)
        except ValueError as error:
            told, _, _ = str(error).partition("; did you mean")
            missing, _, classes = told.partition(" is missing: ")
            if missing in ("--data", "--phase"):
                groups = dict.fromkeys(f"{name.partition('/')[0]}/..." for name in configurations("phase"))
                shipped = f"finetune/stroke_flair (or another that ships: {', '.join(groups)})"
                raise ValueError(f"{missing} is missing: give --config {shipped}, or {missing} {classes}") from error
            meant = next((LENGTHS[name] for name in LENGTHS if told.startswith(f"--trainer.{name} is no option")), None)
            if meant is None:
                raise
            raise ValueError(f"{told}: the phase sets how long it takes; give --{meant}") from error

    def before_instantiate_classes(self) -> None:
        """Choose the run's folder, and look at its checkpoint before anything is built."""
        fit, phase = self.config, self.config["phase"]["init_args"]
        kinds = [logger["class_path"].rpartition(".")[2] for logger in loggers_of(fit)]
        if fit["log_checkpoints"] and "WandbLogger" not in kinds:
            raise ValueError(f"log_checkpoints needs WandbLogger as trainer.logger: got {', '.join(kinds) or 'none'}")
        if "TensorBoardLogger" in kinds and not any(map(find_spec, ("tensorboard", "tensorboardX"))):
            missing = ModuleNotFoundError(name="tensorboard")
            raise MissingExtraError.of(missing) or missing  # Lightning's names no extra
        self.given = copy.deepcopy(fit)
        self.given["name"], self.given["ckpt_path"] = name_of(fit), None
        last = fit["ckpt_path"] == "last"
        resumed = self._last_checkpoint() if last else fit["ckpt_path"]
        settle(fit, resumed)
        self.dirpath, self.resumed = fit["checkpoint"]["dirpath"], self._checkpoint_of_job() or resumed
        if not last:
            check_free(fit, self.resumed)
        if self.resumed is not None:
            checkpoint = CheckedIO().load_checkpoint(self.resumed)
            self._keep_logs(checkpoint["run"].get("versions", {}))
            if phase.get("checkpoint", "given") is None:
                begun = checkpoint["prior"]["card"]["history"][-1]
                self.given["phase"]["init_args"]["checkpoint"] = begun.get("checkpoint")

    def _keep_logs(self, versions: Mapping[str, int | str | None]) -> None:
        """Let the loggers of a resumed run go on with the logs that they had."""
        for logger in loggers_of(self.config):
            kind, arguments = logger["class_path"].rpartition(".")[2], logger["init_args"]
            if arguments.get("version", "given") in (None, "") and kind in versions:
                arguments["version"] = versions[kind]
                if kind == "WandbLogger":
                    arguments["resume"] = "allow"

    def _checkpoint_of_job(self) -> str | None:
        """Return the last intact checkpoint of a job that SLURM has requeued; None of any other job or run."""
        folder = self.config["checkpoint"]["dirpath"]
        last = last_checkpoint(Path(folder)) if is_requeued() and folder is not None else None
        if last is None or CheckedIO().load_checkpoint(last)["run"].get("job") != os.environ["SLURM_JOB_ID"]:
            return None
        return str(last)

    def _last_checkpoint(self) -> str | None:
        """Return the last intact checkpoint of the run's folder; None if there is yet none."""
        given = self.config["checkpoint"]["dirpath"] or self.config["trainer"]["default_root_dir"]
        folder = Path(given or RUNS / name_of(self.config))
        newest = max(folder.glob("*.ckpt" if given else "*/*.ckpt"), key=os.path.getmtime, default=None)
        if newest is None:
            rank_zero_only(print)(f"{folder} has no run to go on with: this one starts anew", file=sys.stderr)
            return None
        return str(last_checkpoint(newest.parent))

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
        config["max_epochs"] = -1  # the phase sets the length
        self.config = self.given  # what is kept of the run makes another one, in a folder of its own
        return super()._instantiate_trainer(config, [])
