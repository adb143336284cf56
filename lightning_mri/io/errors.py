"""What libraries find wrong with a file, in one sentence that names it."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from lightning_mri.files import sentence


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
