"""What the commands of Lightning have in common."""

import logging
import os
import re
import signal
import sys
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from inspect import signature
from typing import Any, ClassVar

import torch
from jsonargparse import Namespace
from pytorch_lightning import LightningDataModule, Trainer
from pytorch_lightning.cli import LightningArgumentParser, LightningCLI
from pytorch_lightning.plugins.environments import SLURMEnvironment
from pytorch_lightning.utilities import rank_zero_only
from pytorch_lightning.utilities.exceptions import MisconfigurationException, SIGTERMException
from torch import distributed

import lightning_mri.datasets.modules  # noqa: F401 - so that their names are known
from lightning_mri.cli.mistakes import rules_of_constructors
from lightning_mri.cli.options import parse
from lightning_mri.diffusion import fast_precision

LIBRARIES = ("pytorch_lightning", "lightning_fabric", "lightning", "torch", "wandb")
ACCELERATORS = ("auto", "cpu", "gpu", "cuda", "mps")
PRECISIONS = ("None", "32", "32-true", "16", "16-mixed", "bf16", "bf16-mixed")
TRAINER = ("accelerator", "devices", "precision", "strategy", "num_nodes")
LOST = re.compile("closed by peer|reset by peer|broken pipe|read error|write error|failed to recv|remote process", re.I)
"""What gloo, NCCL and torch's store say of a process that they cannot reach any longer."""


def all_but(*used: str) -> frozenset[str]:
    """Return the options of the trainer without those of devices and these."""
    return frozenset(signature(Trainer).parameters) - {*TRAINER, *used}


class OwnCLI(LightningCLI):
    """A command of Lightning: its options are those of a module, of its data and of the trainer that act on it."""

    shown: ClassVar[tuple[str, ...]] = ()
    """Beginnings of the options that ``--help`` lists."""
    unused: ClassVar[frozenset[str]] = frozenset()
    """Options of the trainer that would do nothing."""
    seeded: ClassVar[bool] = True
    """Whether the command draws from a seed of its own."""

    def __init__(
        self, command: str, model: Any, data: str | None, arguments: Sequence[str], about: str, **settings: Any
    ) -> None:
        self.data = data
        super().__init__(
            model,
            LightningDataModule,
            subclass_mode_data=True,
            parser_kwargs={"prog": f"lightning-mri {command}", "description": about, "exit_on_error": False},
            args=list(arguments),
            run=False,
            auto_configure_optimizers=False,
            load_from_checkpoint_support=False,
            **settings,
        )

    def add_core_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Add data, module and trainer; of the trainer what acts on this command."""
        parser.add_lightning_class_args(self._datamodule_class, "data", subclass_mode=True)
        if self.data is not None:
            parser.set_defaults({"data": {"class_path": f"lightning_mri.datasets.{self.data}"}})
        self.add_model(parser)
        parser.add_class_arguments(
            self.trainer_class, "trainer", skip=set(self.unused), instantiate=False, sub_configs=True
        )
        parser.set_defaults({f"trainer.{name}": value for name, value in self.trainer_defaults.items()})

    def add_model(self, parser: LightningArgumentParser) -> None:
        """Add the options of the module."""
        parser.add_lightning_class_args(self._model_class, "model")

    def parse_arguments(self, parser: LightningArgumentParser, args: Any) -> None:
        """Read the command line."""
        self.config = parse(parser, args, (*self.shown, *(f"--trainer.{name}" for name in TRAINER)))
        _check_accelerator(self.config["trainer"]["accelerator"])
        _join_launched(self.config["trainer"])
        _check_devices(self.config["trainer"]["accelerator"], self.config["trainer"]["devices"])
        _check_precision(self.config["trainer"]["precision"])
        _avoid_emulation(self.config["trainer"])

    def add_default_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Add the seed, if there is one, and what is said while it runs."""
        if self.seeded:
            super().add_default_arguments_to_parser(parser)
        parser.add_argument("-v", "--verbose", action="store_true", help="Let libraries say what they want to.")

    def instantiate_classes(self) -> None:
        """Build the parts."""
        with rules_of_constructors():
            super().instantiate_classes()
        environment = self.trainer._accelerator_connector.cluster_environment  # the user's plugin, too
        if isinstance(environment, SLURMEnvironment):
            environment.auto_requeue = False  # the job's file does it, when the run has ended with its own checkpoint

    def _set_seed(self) -> None:
        if self.seeded:
            super()._set_seed()


def _check_accelerator(name: Any) -> None:
    """Refuse a kind of device that is not known or not there."""
    if isinstance(name, str) and name not in ACCELERATORS:
        raise ValueError(f"trainer.accelerator must be one of {', '.join(ACCELERATORS)}: got {name}")
    if name in ("gpu", "cuda") and not torch.cuda.is_available() and not torch.backends.mps.is_available():
        raise ValueError(f"trainer.accelerator must be cpu or auto where torch finds no GPU: got {name}")


def _join_launched(trainer: Namespace) -> None:
    """Make one run of the processes that torchrun or srun has started, where their number is not given.

    Otherwise each of them would be a run of its own, all in one folder. Another number is an error.
    """
    launchers = (
        ("torchrun", "WORLD_SIZE", "GROUP_WORLD_SIZE"),
        ("srun", "SLURM_STEP_NUM_TASKS", "SLURM_STEP_NUM_NODES"),
    )
    launched = next((each for each in launchers if each[1] in os.environ and each[2] in os.environ), None)
    if launched is None or (launched[0] == "srun" and not SLURMEnvironment.detect()):
        return
    n, n_nodes = int(os.environ[launched[1]]), int(os.environ[launched[2]])
    if trainer["devices"] == "auto":
        trainer["devices"], trainer["num_nodes"] = n // n_nodes, n_nodes
    devices = str(trainer["devices"])
    if devices.isdecimal() and int(devices) * trainer["num_nodes"] != n:
        raise ValueError(
            f"trainer.devices x trainer.num_nodes must be the {n} processes that {launched[0]} started: got"
            f" {devices} x {trainer['num_nodes']}"
        )


def _check_devices(accelerator: Any, devices: Any) -> None:
    """Refuse a number of processes that a CPU cannot have, and more than cores; another launcher may know better."""
    launched = any(name in os.environ for name in ("LOCAL_RANK", "SLURM_NTASKS"))
    if not _on_cpu(accelerator) or launched or devices == "auto":
        return
    if not str(devices).isdecimal() or int(devices) < 1:
        raise ValueError(f"trainer.devices must be a positive whole number on a CPU: got {devices}")
    if int(devices) > (n_cores := os.cpu_count() or 1):
        raise ValueError(f"trainer.devices must not exceed the {n_cores} cores of this machine: got {devices}")


def _check_precision(precision: Any) -> None:
    """Refuse what would change the type of weights: images stay complex64."""
    if str(precision) not in PRECISIONS:
        raise ValueError(f"trainer.precision must be 32-true, bf16-mixed or 16-mixed: got {precision}")


def _on_cpu(accelerator: Any) -> bool:
    return accelerator == "cpu" or (accelerator == "auto" and not torch.cuda.is_available())


def _avoid_emulation(trainer: Namespace) -> None:
    """Compute in single precision, and say so, where the device would only emulate the half precision asked for."""
    asked, device = str(trainer["precision"]), torch.device("cpu" if _on_cpu(trainer["accelerator"]) else "cuda")
    known = device.type == "cpu" or torch.cuda.is_available()  # else it is of a kind whose speed nobody has measured
    if not asked.startswith("bf16") or not known or fast_precision(device) is not None:
        return
    trainer["precision"] = "32-true"
    told = f"this {'GPU' if device.type == 'cuda' else 'CPU'} only emulates {asked}, in several times the time"
    rank_zero_only(print)(f"trainer.precision: 32-true, as {told}", file=sys.stderr)


@contextmanager
def quiet(verbose: bool = False) -> Iterator[None]:
    """Keep adverts, hints and deprecations of libraries to themselves, unless asked for; our own warnings stay."""
    loggers = [logging.getLogger(name) for name in LIBRARIES]
    levels = [logger.level for logger in loggers]
    with warnings.catch_warnings():
        if not verbose:
            for logger in loggers:
                logger.setLevel(logging.ERROR)
            for name in LIBRARIES:
                warnings.filterwarnings("ignore", module=rf"{name}\b")
            warnings.simplefilter("ignore", DeprecationWarning)
            warnings.simplefilter("ignore", FutureWarning)
        try:
            yield
        finally:
            for logger, level in zip(loggers, levels, strict=True):
                logger.setLevel(level)


@contextmanager
def own_errors(arguments: Sequence[str]) -> Iterator[None]:
    """Turn errors of Lightning and of lost processes into what `run` tells, and signals, too; keep it quiet."""
    try:
        with quiet(bool({"-v", "--verbose"} & set(arguments))):
            yield
    except MisconfigurationException as error:
        raise ValueError(str(error)) from error
    except RuntimeError as error:
        if not _is_of_lost_process(error):
            raise
        raise ValueError(
            "another process of this run has ended: its message says why; one that was killed, most often for want of"
            " memory, has left none"
        ) from error
    except SystemExit as end:
        if not isinstance(end.__context__, KeyboardInterrupt):
            raise
        raise end.__context__ from None  # of which Lightning makes exit code 1, and says nothing
    except SIGTERMException:  # before the first batch, or after the last; Lightning would exit with 0
        sys.exit(128 + signal.SIGTERM)


def _is_of_lost_process(error: RuntimeError) -> bool:
    """Return whether processes that compute together have lost one of them."""
    is_of_several = isinstance(error, distributed.DistError) or "gloo/transport" in str(error)
    return is_of_several and LOST.search(str(error)) is not None
