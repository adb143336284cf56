"""Commands: what the user types, and how failures are told."""

import json
import netrc
import os
import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NoReturn

from jsonargparse import ArgumentError, ArgumentParser, Namespace
from pytorch_lightning import Trainer
from pytorch_lightning.callbacks import ProgressBar, TQDMProgressBar
from pytorch_lightning.cli import LightningArgumentParser, LightningCLI
from pytorch_lightning.plugins.environments import SLURMEnvironment
from pytorch_lightning.utilities.exceptions import MisconfigurationException, SIGTERMException

from lightning_mri.datasets import prepare_folder, simulate
from lightning_mri.files import sentence
from lightning_mri.io import find_scans, read_scan
from lightning_mri.reconstruction import calibrate, inspect, preview, reference_spectrum, with_scanner
from lightning_mri.training import EMA, Checkpoint, PriorModule, ReconstructionModule, Results, TrainingPhase
from lightning_mri.training.checkpoint import CheckedIO, last_checkpoint
from lightning_mri.weights import export_weights, import_weights, show

COMMANDS = ("fit", "predict", "test", "prepare", "simulate", "inspect", "calibrate", "weights")
QUIET = {
    "logger": False,
    "enable_checkpointing": False,
    "enable_model_summary": False,
    "enable_progress_bar": False,
}


class OwnCLI(LightningCLI):
    """What the commands of Lightning have in common."""

    def _parse_ckpt_path(self) -> None:
        # Lightning would look for hyperparameters in the checkpoint, of which ours has none, and trust the file
        return

    def _keep_job_to_itself(self) -> Path:
        """Return Lightning's folder; on SLURM one for each job, which the job finds again when it is requeued.

        Otherwise Lightning goes on from the checkpoint of any requeued job there, of another network, too.
        """
        trainer = self.config[self.config["subcommand"]]["trainer"]
        folder = Path(trainer["default_root_dir"] or ".")
        if SLURMEnvironment.detect():
            folder /= f"slurm-{SLURMEnvironment.job_id()}"
            trainer["default_root_dir"] = str(folder)
        return folder


class FitCLI(OwnCLI):
    """``fit``: train a prior; ``--phase`` says whether from nothing or from a checkpoint."""

    @staticmethod
    def subcommands() -> dict[str, set[str]]:
        """Return the one command and the arguments that the configuration supplies."""
        return {"fit": {"model", "train_dataloaders", "val_dataloaders", "datamodule"}}

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Add what every run has: the phase, the average of the weights, and checkpoints."""
        parser.add_lightning_class_args(TrainingPhase, "phase", subclass_mode=True)
        parser.add_lightning_class_args(EMA, "ema")
        parser.add_lightning_class_args(Checkpoint, "checkpoint")
        parser.set_defaults({"checkpoint.save_last": True})

    def before_instantiate_classes(self) -> None:
        """Look at the checkpoint before anything is built; let a run of fine-tuning be either started or resumed.

        Raises:
            ValueError: If it is asked to do both, or the checkpoint is damaged or another file.
        """
        fit = self.config["fit"]
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
        requeued = list(self._keep_job_to_itself().glob("hpc_ckpt_*.ckpt"))
        if requeued:
            fit["ckpt_path"] = None  # a requeued job goes on where it was, not where it once resumed from
            resumed = max(requeued, key=lambda path: int(path.stem.removeprefix("hpc_ckpt_")))
        if resumed is not None and Path(resumed).is_file():
            self._keep_log(CheckedIO().load_checkpoint(resumed)["run"].get("version"))

    def _keep_log(self, version: int | str | None) -> None:
        """Let a resumed run write to the log that it had."""
        logger = self.config["fit"]["trainer"]["logger"]
        arguments = logger.get("init_args") if isinstance(logger, Namespace) else None
        if version is None or arguments is None or arguments.get("version", version) is not None:
            return
        arguments["version"] = version
        if logger["class_path"].endswith("WandbLogger"):
            arguments["resume"] = "allow"

    def _last_checkpoint(self) -> str | None:
        """Return the last intact checkpoint of the run's folder; None if the run has yet to start."""
        folder = self.config["fit"]["checkpoint"]["dirpath"]
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


class ReconstructCLI(OwnCLI):
    """``predict`` and ``test``: reconstruct scans; write images, or tables against the reference."""

    @staticmethod
    def subcommands() -> dict[str, set[str]]:
        """Return the commands and the arguments that the configuration supplies."""
        return {
            "test": {"model", "dataloaders", "datamodule"},
            "predict": {"model", "dataloaders", "datamodule"},
        }

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Add the folder for results."""
        parser.add_argument("--output_dir", type=str, required=True, help="Folder for the results.")
        parser.add_lightning_class_args(Results, "results")
        parser.link_arguments("output_dir", "results.output_dir")

    def before_instantiate_classes(self) -> None:
        """Keep no predictions in memory: they are written.

        Raises:
            ValueError: If a checkpoint is given that would not be used.
        """
        if self.config[self.subcommand]["ckpt_path"] is not None:
            raise ValueError(f"ckpt_path must be null for {self.subcommand}, which takes priors as model.priors")
        self._keep_job_to_itself()
        if self.subcommand == "predict":
            self.config["predict"]["return_predictions"] = False

    def before_predict(self) -> None:
        """Let every result hold the configuration that made it."""
        callbacks = self.trainer.callbacks  # type: ignore[attr-defined]
        results = next(callback for callback in callbacks if isinstance(callback, Results))
        results.run["config"] = self.parser.dump(self.config, skip_link_targets=False)


def run(arguments: list[str]) -> None:
    """Run one command; what the user can mend is told in one sentence, with exit code 2."""
    debug = "--debug" in arguments
    # Lightning reads the command line by itself, and starts further processes with it
    sys.argv = [sys.argv[0], *(argument for argument in arguments if argument != "--debug")]
    try:
        _dispatch(sys.argv[1:])
    except (ArgumentError, ValueError, OSError, MisconfigurationException) as error:
        if debug:
            raise
        _refuse(sentence(error))
    except SIGTERMException:  # before the first batch, or after the last; Lightning would exit with 0
        sys.exit(128 + signal.SIGTERM)


def _refuse(sentence: str) -> NoReturn:
    """End with one sentence on standard error and exit code 2."""
    print(f"error: {sentence}", file=sys.stderr)
    sys.exit(2)


def _dispatch(arguments: list[str]) -> None:
    parser_kwargs = {"exit_on_error": False}
    match arguments[0]:
        case "fit":
            _go_offline_without_key()
            FitCLI(
                PriorModule,
                subclass_mode_data=True,
                parser_kwargs=parser_kwargs,
                seed_everything_default=0,
                save_config_kwargs={"overwrite": True},
                trainer_defaults={"max_epochs": -1, "gradient_clip_val": 1.0},  # the phase sets the length
            )
        case "predict" | "test":
            ReconstructCLI(
                ReconstructionModule,
                subclass_mode_data=True,
                parser_kwargs=parser_kwargs,
                seed_everything_default=False,  # seeds follow from scan, slice and sample
                save_config_callback=None,
                trainer_defaults=QUIET,
            )
        case "simulate":
            parser = ArgumentParser(prog="lightning-mri simulate", exit_on_error=False)
            parser.add_function_arguments(simulate)
            simulate(**parser.instantiate(parser.parse_args(arguments[1:])))
        case "prepare":
            parser = ArgumentParser(prog="lightning-mri prepare", exit_on_error=False)
            parser.add_argument("--config", action="config", help="YAML file with any of these.")
            parser.add_function_arguments(prepare_folder)
            values = parser.instantiate(parser.parse_args(arguments[1:])).as_dict()
            values.pop("config")
            print(prepare_folder(**values))
        case "calibrate":
            parser = ArgumentParser(prog="lightning-mri calibrate", exit_on_error=False)
            parser.add_function_arguments(calibrate)
            print(calibrate(**parser.instantiate(parser.parse_args(arguments[1:]))))
        case "weights":
            _weights(arguments[1:])
        case "inspect":
            parser = ArgumentParser(prog="lightning-mri inspect", exit_on_error=False)
            parser.add_argument("paths", nargs="+", type=Path, help="Scans, or folders of scans.")
            parser.add_argument("--preview", type=Path, help="PNG to draw slices, mask and coil maps into.")
            parser.add_argument("--json", action="store_true", help="Print JSON, one object a scan.")
            parser.add_argument("--like", type=Path, help="High-field images of such objects, to find the blur by.")
            parser.add_argument("--readout_s", type=float, help="Duration of the readout in s, with --like.")
            parser.add_argument("--axes", type=str, help='Names of the axes of NumPy files, as in "coil z y x".')
            parser.add_argument("--measurement", type=str, help="Which to read of ISMRMRD files that hold several.")
            options = parser.parse_args(arguments[1:])
            inspect_all(
                options.paths,
                options.preview,
                options.json,
                options.like,
                options.readout_s,
                options.axes,
                options.measurement,
            )
        case other:
            raise ValueError(f"the command must be one of {', '.join(COMMANDS)}: got {other!r}")


def inspect_all(
    paths: Sequence[Path],
    picture: Path | None = None,
    as_json: bool = False,
    like: Path | None = None,
    readout_s: float | None = None,
    axes: str | None = None,
    measurement: str | None = None,
) -> None:
    """Print what is in each scan and warnings about it; a broken file of a folder does not stop the rest.

    Args:
        paths: Scans and folders.
        picture: PNG to draw into.
        as_json: Whether to print JSON.
        like: Folder of high-field images; then blur and decay of low-field scans are estimated, too.
        readout_s: Duration of the readout, which that needs.
        axes: Names of the axes of NumPy files, as in "coil z y x".
        measurement: Which to read of ISMRMRD files that hold several.

    Raises:
        ValueError: If a scan that was named breaks a rule, or a folder holds no scan that can be read.
        OSError: If it cannot be read.
    """
    files = [(file, path.is_dir()) for path in paths for file in find_scans(path)]
    failures = []
    if (like is None) != (readout_s is None):
        raise ValueError(f"like and readout_s must be given together: got {like} and {readout_s}")
    reference = None if like is None else reference_spectrum(like)
    for file, in_folder in files:
        try:
            scan = read_scan(file, axes=axes, measurement=measurement)
            found = inspect(scan)
            if reference is not None and readout_s is not None:
                found = with_scanner(found, readout_s, reference)
        except (ValueError, OSError) as error:
            if not in_folder:
                raise
            failures.append(sentence(error))
            continue
        print(json.dumps(found.plain()) if as_json else found.text(), flush=True)
        if picture is not None:
            preview(scan, picture if len(files) == 1 else picture.with_stem(f"{picture.stem}-{scan.name}"))
    if len(failures) == len(files):
        raise ValueError(f"no scan could be read: {'; '.join(failures)}")
    for failure in failures:
        print(f"failed: {failure}", file=sys.stderr)


def _weights(arguments: list[str]) -> None:
    """Run ``weights show``, ``weights import`` or ``weights export``."""
    functions: dict[str, Callable[..., str]] = {"show": show, "import": import_weights, "export": export_weights}
    parser = ArgumentParser(prog="lightning-mri weights", exit_on_error=False)
    commands = parser.add_subcommands(dest="command")
    for name, function in functions.items():
        command = ArgumentParser(exit_on_error=False)
        command.add_argument("path", type=str, help="File, or the name of a shipped prior.")
        command.add_function_arguments(function, skip={"path"})
        commands.add_subcommand(name, command)
    values = parser.instantiate(parser.parse_args(arguments))
    print(functions[values.command](**values[values.command].as_dict()))


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
