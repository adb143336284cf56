"""One folder a run, ``runs/<name>/<time>``, for all that `fit` writes; what a logger is told of the run."""

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from datetime import datetime
from pathlib import Path
from typing import Any

import yaml  # type: ignore[import-untyped]
from jsonargparse import Namespace
from pytorch_lightning import LightningModule, Trainer
from pytorch_lightning.cli import SaveConfigCallback
from pytorch_lightning.loggers import WandbLogger
from pytorch_lightning.plugins.environments import SLURMEnvironment

from lightning_mri.datasets import CachedScans, CacheEntry
from lightning_mri.diffusion import NetworkPrior
from lightning_mri.files import for_results, locked, remove_unfinished
from lightning_mri.io import Scan, files_of
from lightning_mri.lazy import lazy
from lightning_mri.output import digest, fingerprint_of
from lightning_mri.training import Checkpoint, PriorModule, TrainingPhase
from lightning_mri.weights import written_by

wandb = lazy("wandb")

RUNS = Path("runs")
CHILD = "LIGHTNING_MRI_RUN"
"""Environment variable by which the processes that Lightning starts learn of the folder."""
KEPT = ("config.yaml", "split.yaml", "curve.csv", "curve.png", "memorisation.txt")
"""Files of a run's folder that go to W&B."""
PLANS = ("config.yaml", "split.yaml", "hparams.yaml")
"""Files that are written before the first step."""


def name_of(config: Namespace) -> str:
    """Return the name of a run: the one given, else that of the configuration."""
    files = [Path(str(file)).stem for file in config.get("config") or ()]
    return str(config["name"] or (files[-1] if files else "fit"))


def settle(config: Namespace, resumed: str | None) -> None:
    """Send checkpoints, logs and what else a run writes to one folder.

    That is the folder of the checkpoint that it goes on from, or a new one. A job on SLURM finds its folder again when
    it is requeued, and no other's: Lightning goes on from any requeued job's checkpoint there, of another network, too.
    """
    trainer, checkpoint = config["trainer"], config["checkpoint"]
    given = trainer["default_root_dir"] or checkpoint["dirpath"]
    if SLURMEnvironment.detect():
        folder = Path(given or RUNS / name_of(config)) / f"slurm-{SLURMEnvironment.job_id()}"
    elif "LOCAL_RANK" in os.environ and CHILD in os.environ:
        folder = Path(os.environ[CHILD])
    else:
        now = datetime.now().strftime("%Y-%m-%d_%H-%M-%S-%f")  # as runs of a sweep start in the same second
        folder = Path(given) if given else Path(resumed).parent if resumed else RUNS / name_of(config) / now
    os.environ[CHILD] = str(folder)
    trainer["default_root_dir"] = str(folder)
    checkpoint["dirpath"] = checkpoint["dirpath"] or str(folder)
    for logger in loggers_of(config):
        _settle_logger(logger, folder, config)
    _check_loggers(loggers_of(config))


def is_requeued() -> bool:
    """Return whether this is a job that SLURM has started again."""
    return int(os.environ.get("SLURM_RESTART_COUNT", 0)) > 0


def check_free(config: Namespace, resumed: str | None) -> None:
    """Make sure that no other run than the one that goes on has left checkpoints where this one writes.

    Raises:
        FileExistsError: If one has.
    """
    mine = None if resumed is None else Path(resumed).parent.resolve()
    for option, place in (
        ("checkpoint.dirpath", config["checkpoint"]["dirpath"]),
        ("trainer.default_root_dir", config["trainer"]["default_root_dir"]),
    ):
        if any(Path(place).glob("*.ckpt")) and Path(place).resolve() != mine:
            raise FileExistsError(f"{place}: {option} must hold no other run: go on with it by --ckpt_path last")


@contextmanager
def kept(dirpath: str, first: bool) -> Iterator[None]:
    """Keep the folder of a run's checkpoints for this run, whose first process does so; one made in vain goes.

    So does one of a run that was refused before it did anything, with what it says of the run.
    """
    if not first or "://" in dirpath:
        yield
        return
    folder = Path(dirpath)
    made = [each for each in (folder, *folder.parents) if not each.exists()]
    try:
        with ExitStack() as held:
            with for_results(folder, "checkpoint.dirpath"):
                held.enter_context(locked(folder / "last.ckpt"))  # not the folder, which a sweep keeps
            remove_unfinished(folder)
            yield
    except ValueError:
        if folder in made and {file.name for file in folder.iterdir()} <= {*PLANS}:
            for file in folder.iterdir():
                file.unlink()
        raise
    finally:
        with suppress(OSError):  # it holds something
            for each in made:
                each.rmdir()


def loggers_of(config: Namespace) -> list[Namespace]:
    """Return the loggers that a configuration describes."""
    loggers = config["trainer"]["logger"]
    return [logger for logger in (loggers if isinstance(loggers, list) else [loggers]) if isinstance(logger, Namespace)]


def _settle_logger(logger: Namespace, folder: Path, config: Namespace) -> None:
    """Let a logger write into the folder, and W&B sort runs by what they are."""
    if logger["class_path"].endswith(".CSVLogger"):
        logger["class_path"] = "lightning_mri.training.MetricsFile"  # Lightning's deletes the file of a resumed run
    options, phase = logger["init_args"], config["phase"]["class_path"].rpartition(".")[2]
    usual: dict[str, Any] = {"save_dir": folder, "root_dir": folder}
    if logger["class_path"].endswith("WandbLogger"):
        data = config["data"]["class_path"].rpartition(".")[2]
        usual |= {"name": f"{name_of(config)} {folder.name}", "group": name_of(config), "job_type": phase}
        usual |= {"tags": [phase, data]}
    for option, value in usual.items():
        if option in options and options[option] in (None, "", "."):  # "" is what the default logger passes on
            options[option] = str(value) if isinstance(value, Path) else value


def _check_loggers(loggers: Sequence[Namespace]) -> None:
    """Refuse two loggers that would write into one file of metrics, each row twice."""
    files = [logger["init_args"] for logger in loggers if logger["class_path"].endswith(".MetricsFile")]
    places = [tuple(str(each.get(name) or "") for name in ("save_dir", "name", "version")) for each in files]
    if len(set(places)) < len(places):
        raise ValueError(f"trainer.logger must name one logger for {places[0][0]}/metrics.csv: got {len(places)}")


def quiet_wandb(trainer: Trainer, verbose: bool) -> None:
    """Keep W&B from warning of how Lightning and we call it, unless asked to."""
    if not verbose:
        os.environ.setdefault("WANDB_SHOW_WARNINGS", "false")
    for logger in trainer.loggers:
        if isinstance(logger, WandbLogger):
            logger._wandb_init.pop("anonymous", None)  # Lightning gives it always; W&B warns before it knows settings


class Recorded(SaveConfigCallback):
    """Write ``config.yaml``, and give loggers every option and what identifies code, data and prior.

    At the end W&B gets the best and the last scores as its summary, the files of the run and, when asked, checkpoints.
    """

    def save_config(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Log every option by its full name; of the prior what it is, wherever that was said."""
        assert isinstance(pl_module, PriorModule)
        assert pl_module.prior is not None
        options = yaml.safe_load(self.parser.dump(self.config, skip_none=False, skip_link_targets=False))
        options["model"] |= options_of(pl_module.prior)
        self.facts = {
            "commit": written_by().get("commit", "unknown"),
            "prior_sha256": TrainingPhase.of(trainer).summary().get("sha256"),
            "data_sha256": manifest_of(trainer.datamodule),  # type: ignore[attr-defined]
        }
        for logger in trainer.loggers:
            logger.log_hyperparams({**dict(flat(options)), **self.facts})

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Finish the records in W&B."""
        for logger in trainer.loggers:
            if trainer.is_global_zero and isinstance(logger, WandbLogger):
                logger.experiment.summary.update(scores_of(trainer))
                for file in (Path(trainer.default_root_dir) / name for name in KEPT):
                    if file.is_file():
                        logger.experiment.save(str(file), base_path=str(file.parent), policy="now")
                if self.config["log_checkpoints"]:
                    self._log_checkpoints(trainer, pl_module, logger.experiment)

    def _log_checkpoints(self, trainer: Trainer, module: LightningModule, run: Any) -> None:
        """Log the best and the last checkpoint as versions of one artifact, with what they were made from."""
        assert isinstance(module, PriorModule)
        assert module.prior is not None
        # what waits for `wandb sync` stays in the run's folder
        os.environ.setdefault("WANDB_DATA_DIR", str(Path(trainer.default_root_dir, "wandb").absolute()))
        made_from = {**self.facts, "history": module.prior.card["history"]}
        (checkpoint,) = (each for each in trainer.checkpoint_callbacks if isinstance(each, Checkpoint))
        for alias, path in (("best", checkpoint.best_model_path), ("last", checkpoint.last_model_path)):
            if path:
                artifact = wandb.Artifact(name_of(self.config), "model", metadata=made_from)
                artifact.add_file(path)
                run.log_artifact(artifact, aliases=[alias])


def scores_of(trainer: Trainer) -> dict[str, float]:
    """Return the last scores, and the best of what the checkpoint is chosen by."""
    scores = {f"last/{name}": float(value) for name, value in trainer.callback_metrics.items()}
    for checkpoint in trainer.checkpoint_callbacks:
        if isinstance(checkpoint, Checkpoint) and checkpoint.best_model_score is not None:
            scores[f"best/{checkpoint.monitor}"] = float(checkpoint.best_model_score)
    return scores


def options_of(prior: NetworkPrior) -> dict[str, Any]:
    """Return what a prior is made of, by the names that `PriorModule`'s options have."""
    said = prior.describe()
    net, process = ({"class_path": each["class"], **each["arguments"]} for each in (said["network"], said["process"]))
    return {"net": net, "process": process, "labels": said["labels"], "scaling": said["scaling"]}


def flat(options: Mapping[str, Any], start: str = "") -> Iterator[tuple[str, Any]]:
    """Yield options by the names that they have on a command line."""
    for name, value in options.items():
        if isinstance(value, Mapping) and value:
            yield from flat(value, start if name == "init_args" else f"{start}{name}.")
        else:
            yield f"{start}{name}", value


def manifest_of(data: Any) -> str | None:
    """Return a text that changes with the scans of any side of the split and with their files; None if it has none."""
    sides = getattr(data, "scans", None)
    scans = [(side, each) for side, scans in sides.items() for each in scans] if isinstance(sides, dict) else []
    rows = [f"{side} {scan.name} {_mark(scan)}" for side, scan in scans]
    if not rows and isinstance(data, CachedScans):
        rows = [json.dumps(data.describe(), sort_keys=True, default=str)]
    return digest(*rows) if rows else None


def _mark(scan: Scan | CacheEntry) -> str:
    """Return a text that changes with a scan's files; a prepared one, whose file may be gone, has noted it."""
    if isinstance(scan, CacheEntry):
        return scan.content or scan.fingerprint
    return fingerprint_of(*files_of(scan.source))
