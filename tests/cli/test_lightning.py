"""What the commands of Lightning make of errors that are not the user's."""

import signal
from pathlib import Path
from typing import Any

import pytest
from pytorch_lightning import Callback, LightningModule, Trainer
from pytorch_lightning.demos.boring_classes import BoringModel
from torch import distributed

from lightning_mri.cli.lightning import own_errors

from ..processes import Group


class Interrupted(Callback):
    """A Ctrl-C after the last step."""

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        raise KeyboardInterrupt


@pytest.mark.filterwarnings("ignore")
def test_an_interrupt_stays_one_where_lightning_exits(tmp_path: Path) -> None:
    """Regression: exit code 1, and not a word."""
    before = signal.getsignal(signal.SIGINT)
    quiet: dict[str, Any] = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False}
    trainer = Trainer("cpu", max_steps=1, callbacks=[Interrupted()], default_root_dir=tmp_path, **quiet)
    try:
        with pytest.raises(KeyboardInterrupt), own_errors([]):
            trainer.fit(BoringModel())
        with pytest.raises(SystemExit, match="4"), own_errors([]):
            raise SystemExit(4)
    finally:
        signal.signal(signal.SIGINT, before)  # Lightning ignores it from then on


GLOO = "[third_party/gloo/gloo/transport/tcp/pair.cc:553]"
ENDED = "another process of this run has ended"


@pytest.mark.parametrize(
    ("error", "is_lost"),
    [
        (RuntimeError(f"{GLOO} Connection closed by peer [127.0.0.1]:58042."), True),
        (RuntimeError(f"{GLOO} Read error [127.0.0.1]:19639: Connection reset by peer."), True),
        (distributed.DistBackendError("ncclRemoteError: network error or a remote process exiting prematurely."), True),
        (distributed.DistNetworkError("failed to recv, got 0 bytes"), True),
        (distributed.DistNetworkError("The server socket has failed to listen: EADDRINUSE"), False),
        (distributed.DistBackendError("ncclUnhandledCudaError: Call to CUDA function failed."), False),
        (RuntimeError("Connection reset by peer"), False),  # whose, is not known
    ],
)
def test_errors_of_lost_processes_are_told_from_others(error: RuntimeError, is_lost: bool) -> None:
    with pytest.raises(ValueError if is_lost else type(error), match=ENDED if is_lost else None), own_errors([]):
        raise error


def test_a_process_that_has_lost_another_says_so(tmp_path: Path) -> None:
    """Regression: a hundred lines of traceback hid what the other one had said."""

    def wait_for_other() -> None:
        distributed.init_process_group("gloo")
        if distributed.get_rank() == 1:
            raise SystemExit(7)
        try:
            with own_errors([]):
                distributed.barrier()
        except ValueError as error:
            raise SystemExit(2 if str(error).startswith(ENDED) else 1) from error

    assert Group(tmp_path, n=2, act=wait_for_other).wait() == [2, 7]
