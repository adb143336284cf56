"""What the commands of Lightning have in common."""

import logging
import os
import signal
import sys
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, ClassVar

import torch
from pytorch_lightning import LightningDataModule
from pytorch_lightning.cli import LightningArgumentParser, LightningCLI
from pytorch_lightning.utilities.exceptions import MisconfigurationException, SIGTERMException

from lightning_mri.cli.options import parse

LIBRARIES = ("pytorch_lightning", "lightning_fabric", "lightning", "torch", "wandb")
TRAINER = ("accelerator", "devices", "precision", "strategy", "num_nodes")


class OwnCLI(LightningCLI):
    """A command of Lightning: its options are those of a module, of its data and of the trainer that act on it.

    Args:
        command: Its name.
        model: The module, or a function that makes it.
        data: DataModule that is taken where none is named.
        arguments: What stands behind the command's name.
        settings: Arguments of `LightningCLI`.
    """

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
        _check_devices(self.config["trainer"]["accelerator"], self.config["trainer"]["devices"])

    def add_default_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Add the seed, if there is one, and what is said while it runs."""
        if self.seeded:
            super().add_default_arguments_to_parser(parser)
        parser.add_argument("-v", "--verbose", action="store_true", help="Let libraries say what they want to.")

    def _set_seed(self) -> None:
        if self.seeded:
            super()._set_seed()


def _check_devices(accelerator: Any, devices: Any) -> None:
    """Refuse a number of processes that a CPU cannot have, and more than cores; another launcher may know better."""
    on_cpu = accelerator == "cpu" or (accelerator == "auto" and not torch.cuda.is_available())
    launched = any(name in os.environ for name in ("LOCAL_RANK", "SLURM_NTASKS"))
    if not on_cpu or launched or devices == "auto":
        return
    if not str(devices).isdecimal() or int(devices) < 1:
        raise ValueError(f"trainer.devices must be a positive whole number on a CPU: got {devices}")
    if int(devices) > (n_cores := os.cpu_count() or 1):
        raise ValueError(f"trainer.devices must not exceed the {n_cores} cores of this machine: got {devices}")


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
    """Turn Lightning's errors into those that `run` tells, and its end by SIGTERM into an exit code; keep it quiet."""
    try:
        with quiet(bool({"-v", "--verbose"} & set(arguments))):
            yield
    except MisconfigurationException as error:
        raise ValueError(str(error)) from error
    except SIGTERMException:  # before the first batch, or after the last; Lightning would exit with 0
        sys.exit(128 + signal.SIGTERM)
