"""Files that appear whole or not at all, locks against a second writer, and errors as one printable line."""

import errno
import fcntl
import glob
import logging
import os
import shutil
import socket
import unicodedata
import uuid
import warnings
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

log = logging.getLogger(__name__)

PROGRAM = b"lightning_mri"
"""What pictures of this program name as their software."""

RECORDS = ".lightning_mri"
"""Name of the hidden folder by which a folder of results is known, see `OutputFolder`."""

MANIFEST, SETTINGS = "manifest.jsonl", "settings.json"
"""Names of the files by which a folder of images is known that `prepare` made to train on."""

UNFINISHED = f".*.{'[0-9a-f]' * 8}.part*"
"""Pattern of the hidden files that `atomic` writes to."""

MARK_BYTES = 2**16

HIDDEN_CATEGORIES = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})
"""Unicode categories that a terminal obeys or cannot show: control, format, surrogate, unassigned, separators."""


@contextmanager
def atomic(path: Path) -> Iterator[Path]:
    """Give a hidden path beside ``path`` to write to, which replaces ``path`` when all went well.

    Folders are made as needed. A killed run leaves ``path`` as it was, and at most a hidden file.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.stem}.{uuid.uuid4().hex[:8]}.part{path.suffix}")
    try:
        with _naming(path, part):
            yield part
            with part.open("rb+") as file:
                os.fsync(file.fileno())
            os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)


@contextmanager
def _naming(path: Path, part: Path) -> Iterator[None]:
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
        with _naming(path, part):
            yield part
            if path.exists():
                os.replace(path, old)
            os.replace(part, path)
    finally:
        shutil.rmtree(part, ignore_errors=True)
        shutil.rmtree(old, ignore_errors=True)


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


def count(n: int, noun: str) -> str:
    """Return a number of things in words, such as ``1 scan`` or ``2 scans``."""
    return f"{n:,} {noun}" if n == 1 else f"{n:,} {noun}s"


def first_few(names: Sequence[object], n: int) -> str:
    """Return the first names of a list, and how many more there are."""
    more = f" and {len(names) - n} more" if len(names) > n else ""
    return ", ".join(map(str, names[:n])) + more


def printable(text: str) -> str:
    r"""Return text in which characters that a terminal obeys or cannot show are escaped, as ``\x1b``."""
    if text.isprintable():
        return text
    hidden = {character for character in text if unicodedata.category(character) in HIDDEN_CATEGORIES}
    return text.translate({ord(character): ascii(character)[1:-1] for character in hidden})


def sentence(error: BaseException) -> str:
    """Return an error's message on one printable line; its type's name if it has none."""
    text = str(error)
    if isinstance(error, OSError) and error.filename is not None and error.strerror:
        text = f"{error.filename}: {error.strerror.lower()}"
    return printable(" ".join(text.split())) or type(error).__name__


@contextmanager
def error_context(path: Path, rule: str = "the file must be readable") -> Iterator[None]:
    """Turn whatever a library raises about a file into one sentence, ``path: rule: what it found``.

    Libraries' parsers raise anything at damaged content, from IndexError to MemoryError. Errors that name the file
    already pass through.

    Args:
        path: File that is read.
        rule: What must hold, for example "kspace must be a whole npy array".
    """
    try:
        yield
    except Exception as error:
        if str(error).startswith(f"{path}: "):
            raise
        raise OSError(f"{path}: {rule}: {sentence(error)}") from error


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """Begin the sentences of refusals with the file's name."""
    try:
        yield
    except ValueError as error:
        if str(error).startswith(f"{path}: "):
            raise
        raise ValueError(f"{path}: {error}") from error


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


def is_prepared(folder: Path) -> bool:
    """Return whether a folder holds images that `prepare` made: whether it has a manifest."""
    return (folder / MANIFEST).is_file()
