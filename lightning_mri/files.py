"""Files that appear whole or not at all, and locks against a second writer."""

import errno
import fcntl
import glob
import logging
import os
import shutil
import socket
import uuid
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from lightning_mri.messages import printable, sentence

log = logging.getLogger(__name__)

PROGRAM = b"lightning_mri"
"""What pictures of this program name as their software."""

UNFINISHED = f".*.{'[0-9a-f]' * 8}.part*"
"""Pattern of the hidden files that `atomic` writes to."""

MARK_BYTES = 2**16

MAX_STEM_BYTES = 200
"""Of a name that gets a hash, an ending and the mark of a part, up to 40 bytes: file systems take 255."""


@contextmanager
def atomic(path: Path) -> Iterator[Path]:
    """Give a hidden path beside ``path`` to write to, which replaces ``path`` when all went well.

    Folders are made as needed. A killed run leaves ``path`` as it was, and at most a hidden file.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.stem}.{uuid.uuid4().hex[:8]}.part{path.suffix}")
    try:
        with _errors_name(path, part):
            yield part
            with part.open("rb+") as file:
                os.fsync(file.fileno())
            os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)


@contextmanager
def _errors_name(path: Path, part: Path) -> Iterator[None]:
    """Let errors name ``path`` instead of ``part``, which nobody knows, or of nothing, as a full disk does."""
    try:
        yield
    except OSError as error:
        if error.errno is None:
            raise
        hidden = error.filename is None or str(error.filename).startswith(str(part))
        raise OSError(error.errno, os.strerror(error.errno), str(path) if hidden else error.filename) from error


def write_whole(path: Path, content: str | bytes | memoryview) -> None:
    """Write a file, text as UTF-8, by `atomic`."""
    with atomic(path) as part:
        part.write_bytes(content.encode() if isinstance(content, str) else content)


@contextmanager
def atomic_folder(path: Path) -> Iterator[Path]:
    """Give a hidden folder beside ``path`` to fill, which replaces ``path`` and all in it when all went well.

    A killed run leaves ``path`` as it was, or for a moment without it, and at most hidden folders.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    part, old = (path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.{kind}") for kind in ("part", "old"))
    part.mkdir()
    try:
        with _errors_name(path, part):
            yield part
            if path.exists():
                os.replace(path, old)
            os.replace(part, path)
    finally:
        shutil.rmtree(part, ignore_errors=True)
        shutil.rmtree(old, ignore_errors=True)


@contextmanager
def for_results(path: Path, option: str = "output_dir") -> Iterator[None]:
    """Make a folder for results, and let errors, of what else keeps it, name the option that it was given by.

    Raises:
        OSError: If it cannot be made, as where a file is.
        BlockingIOError: As it is, if another run keeps it.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
        yield
    except BlockingIOError:
        raise
    except OSError as error:
        raise OSError(f"{path}: {option} must be a folder that can be written: {sentence(error)}") from error


def check_replaceable(path: Path, inputs: Iterable[Path], mark: bytes) -> None:
    """Make sure that nothing is lost where a file is going to be written.

    Args:
        path: The file; one of another program is known by the lack of ``mark`` in its first 64 KiB.
        inputs: Files that are read.
        mark: What files of this kind have that this program writes.
    """
    if not path.exists():
        return
    if any(file.exists() and path.samefile(file) for file in inputs):
        raise FileExistsError(f"{path}: the output must be elsewhere, since this file is read")
    head = b""
    if path.is_file():
        with path.open("rb") as file:
            head = file.read(MARK_BYTES)
    if mark not in head:
        raise FileExistsError(f"{path}: the output must be elsewhere, since another program wrote this file")


def remove_unfinished(folder: Path) -> None:
    """Remove the files of a folder that killed runs were writing; nobody else may be writing there."""
    for left in folder.glob(UNFINISHED):
        left.unlink(missing_ok=True)


def remove_leavings(path: Path) -> None:
    """Remove what killed runs left beside a file or folder that they were writing; nobody else may be writing it."""
    stem, name = glob.escape(path.stem), glob.escape(path.name)
    for left in path.parent.glob(f".{stem}.????????.part{path.suffix}"):
        if left.is_file():
            left.unlink()
    for left in (*path.parent.glob(f".{name}.????????.part"), *path.parent.glob(f".{name}.????????.old")):
        if left.is_dir():
            shutil.rmtree(left)


@contextmanager
def locked(path: Path, wait: bool = False) -> Iterator[None]:
    """Keep a folder or file for this process alone, by ``flock`` of a hidden file in the folder or beside the file.

    The lock ends with its process, however that ends, so that a killed run blocks nobody. What such a run left is
    taken over; with a warning where it ran on another machine, since not every file system shows the locks of others.

    Args:
        path: A folder that exists, or a file that need not.
        wait: Whether to wait for another process to finish instead of refusing.
    """
    lock = path / ".lock" if path.is_dir() else path.with_name(f".{path.name}.lock")
    descriptor = _lock(path, lock, wait)
    try:
        left = os.pread(descriptor, 200, 0).decode(errors="replace")
        if left and f" on {socket.gethostname()} since " not in left:
            log.warning("%s: %s ended without release, or its lock is not seen here: taken over", path, printable(left))
        os.ftruncate(descriptor, 0)
        now = datetime.now(UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
        os.pwrite(descriptor, f"process {os.getpid()} on {socket.gethostname()} since {now}".encode(), 0)
        yield
    finally:
        lock.unlink(missing_ok=True)
        os.close(descriptor)


def _is_at(path: Path, descriptor: int) -> bool:
    """Return whether an open file is the one at a path, where there may be another one or none at any time."""
    try:
        return os.path.samestat(os.fstat(descriptor), os.stat(path))
    except FileNotFoundError:
        return False


def _lock(path: Path, lock: Path, wait: bool) -> int:
    """Return the descriptor of the locked file ``lock``."""
    while True:
        descriptor = os.open(lock, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
            current = _is_at(lock, descriptor)
        except BlockingIOError:
            holder = os.pread(descriptor, 200, 0).decode(errors="replace") or "it has just started"
            os.close(descriptor)
            raise BlockingIOError(f"{path}: another run writes here ({printable(holder)})") from None
        except OSError as error:
            if error.errno not in (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP):
                os.close(descriptor)
                raise
            warnings.warn(f"{path}: the file system has no locks; let no second run write here", stacklevel=2)
            return descriptor
        if current:
            return descriptor
        os.close(descriptor)  # its last holder removed the file after this process opened it


def read_yaml(path: Path) -> Any:
    """Return what a YAML file holds.

    Raises:
        ValueError: If it is not YAML.
    """
    import yaml  # type: ignore[import-untyped] # here, as most commands read none

    try:
        return yaml.safe_load(path.read_bytes())  # bytes: text of another encoding is an error of YAML, too
    except yaml.YAMLError as error:
        raise ValueError(f"{path} must be YAML: {error}") from error
