"""Command lines in processes of their own, forked from this one, so that each does not take seconds to import torch."""

import os
import signal
import socket
import sys
import time
import traceback
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path

import matplotlib.pyplot  # noqa: F401 - this and the command once, and not in every process

import lightning_mri.cli.reconstruct  # noqa: F401
from lightning_mri.__main__ import main


class Group:
    """Processes that run one command line together, as torchrun would start them.

    Args:
        folder: Where they run; what rank r prints is in ``folder/rank-r.log``.
        arguments: The command line.
        n: Number of processes.
        act: What they do instead of a command line.
    """

    def __init__(self, folder: Path, *arguments: str, n: int = 1, act: Callable[[], object] | None = None) -> None:
        self.folder, self.codes = folder, dict[int, int]()
        self.act = act or partial(main, [str(argument) for argument in arguments])
        port = str(_free_port())
        self.pids = [self._fork(rank, n, port) for rank in range(n)]

    def _fork(self, rank: int, n: int, port: str) -> int:
        sys.stdout.flush()
        sys.stderr.flush()
        if (pid := os.fork()) > 0:
            return pid
        code = 1
        try:
            log = os.open(self.folder / f"rank-{rank}.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
            os.dup2(log, 1), os.dup2(log, 2)
            sys.stdout, sys.stderr = (open(i, "w", buffering=1, closefd=False) for i in (1, 2))  # noqa: SIM115
            for number in (signal.SIGTERM, signal.SIGUSR1):
                signal.signal(number, signal.SIG_DFL)
            signal.signal(signal.SIGINT, signal.default_int_handler)
            os.chdir(self.folder)
            for name in [name for name in os.environ if name.startswith(("SLURM_", "PL_", "LIGHTNING_MRI_"))]:
                del os.environ[name]
            if n > 1:
                os.environ |= {"TORCHELASTIC_RUN_ID": "test", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
                os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(n), "GROUP_RANK": "0"}
                os.environ |= {"GROUP_WORLD_SIZE": "1"}
            self.act()
            code = 0
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else 1
        except BaseException:
            traceback.print_exc()
        finally:
            with suppress(BaseException):
                sys.stdout.flush()
                sys.stderr.flush()
            os._exit(code)

    def poll(self) -> dict[int, int]:
        """Return the exit codes of the processes that have ended, by rank; minus the signal that ended one."""
        for rank, pid in enumerate(self.pids):
            if rank not in self.codes:
                ended, status = os.waitpid(pid, os.WNOHANG)
                if ended:
                    self.codes[rank] = os.waitstatus_to_exitcode(status)
        return self.codes

    def wait(self) -> list[int]:
        """Return the exit codes of all processes when they have ended."""
        while len(self.poll()) < len(self.pids):
            time.sleep(0.005)
        return [self.codes[rank] for rank in range(len(self.pids))]

    def kill(self, number: int = signal.SIGKILL) -> None:
        """Send a signal to every process."""
        for pid in self.pids:
            with suppress(ProcessLookupError):
                os.kill(pid, number)

    def printed(self) -> str:
        """Return what all of them have printed."""
        return "".join(path.read_text() for path in sorted(self.folder.glob("rank-*.log")))


def run(folder: Path, *arguments: str, n: int = 1) -> str:
    """Run a command line in processes that must succeed, and return what they printed."""
    folder.mkdir(parents=True, exist_ok=True)
    for log in folder.glob("rank-*.log"):
        log.unlink()
    group = Group(folder, *arguments, n=n)
    codes = group.wait()
    assert set(codes) <= {0, 4}, group.printed()  # 4: slices that should not be trusted
    return group.printed()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
