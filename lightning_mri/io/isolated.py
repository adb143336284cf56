"""Reading in a child process, for libraries that damaged files can crash or hang, as HDF5."""

import faulthandler
import os
import pickle
import select
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import torch

from lightning_mri.messages import sentence

T = TypeVar("T")
SECONDS, BYTES_PER_SECOND = 60, 4 * 2**20
"""A file may take a minute, and the time of a slow disk."""
PIPE_BYTES = 2**20


def isolated(path: Path, function: Callable[..., T], *arguments: Any) -> T:
    """Return what a function returns, called in a child process; its errors are raised here."""
    if not hasattr(os, "fork"):
        return function(*arguments)
    limit = SECONDS + (path.stat().st_size / BYTES_PER_SECOND if path.exists() else 0)
    receive, send = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(receive)
        signal.alarm(int(2 * limit))  # ends it even where the parent is gone
        _answer(send, function, arguments)
    os.close(send)
    try:
        message = _receive(receive, time.monotonic() + limit)
    finally:
        os.close(receive)
        os.kill(child, signal.SIGKILL)  # it has answered, is gone or hangs
        _, status = os.waitpid(child, 0)
    if message is None:
        raise OSError(f"{path}: the file must be readable: reading it took more than {limit:.0f} s")
    if not message:
        name = signal.strsignal(os.WTERMSIG(status)) if os.WIFSIGNALED(status) else f"exit {status}"
        raise OSError(f"{path}: the file must be readable: the library that reads it crashed ({name})")
    succeeded, value = pickle.loads(message)
    if not succeeded:
        raise value
    return value


def _answer(send: int, function: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
    """Send the result and end the process, without anything that the parent would do at its end."""
    try:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGALRM):
            signal.signal(number, signal.SIG_DFL)
        faulthandler.disable()
        torch.set_num_threads(1)  # threads do not survive a fork
        try:
            answer = (True, function(*arguments))
        except Exception as error:
            answer = (False, error)
        try:
            message = pickle.dumps(answer, protocol=5)
        except Exception as error:
            reason = answer[1] if isinstance(answer[1], Exception) else error
            message = pickle.dumps((False, RuntimeError(sentence(reason))))
        with os.fdopen(send, "wb") as pipe:
            pipe.write(message)
    finally:
        os._exit(0)


def _receive(pipe: int, deadline: float) -> bytes | None:
    """Return all that comes before the other end is closed; None if it is not by the deadline."""
    message = bytearray()
    while (left := deadline - time.monotonic()) > 0:
        ready, _, _ = select.select([pipe], [], [], left)
        if ready:
            part = os.read(pipe, PIPE_BYTES)
            if not part:
                return bytes(message)
            message += part
    return None
