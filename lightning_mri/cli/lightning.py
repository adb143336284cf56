"""What the commands of Lightning have in common."""

import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pytorch_lightning.cli import LightningCLI
from pytorch_lightning.plugins.environments import SLURMEnvironment
from pytorch_lightning.utilities.exceptions import MisconfigurationException, SIGTERMException


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


@contextmanager
def own_errors() -> Iterator[None]:
    """Turn Lightning's errors into those that `run` tells, and its end by SIGTERM into an exit code."""
    try:
        yield
    except MisconfigurationException as error:
        raise ValueError(str(error)) from error
    except SIGTERMException:  # before the first batch, or after the last; Lightning would exit with 0
        sys.exit(128 + signal.SIGTERM)
