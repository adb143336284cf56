"""Files of tensors and plain values, read without running anything that they hold."""

import pickle
import pickletools
import re
import warnings
import zipfile
from pathlib import Path
from typing import Any

import torch

MOST_SCANNED = 2**24  # bytes, in search of a name


def read_plain(path: Path) -> Any:
    """Return what torch saved, if that is tensors and plain values only.

    Raises:
        ValueError: If the file asks for anything else, which is named, or is damaged.
    """
    try:
        _check_sums(path)
        with path.open("rb") as file:
            return _load(file)
    except pickle.UnpicklingError as error:
        asked = re.search(r"(?:GLOBAL |set of safe globals: |Unsupported (?:global|class|type) )(\S+)", str(error))
        name = asked[1] if asked else _first_name(path)
        reason = f"it asks for {name}" if name else "it is something else"
        raise ValueError(f"{path} was refused, as it must hold plain data only: {reason}") from error
    except (RuntimeError, EOFError, LookupError, AttributeError, UnicodeDecodeError, zipfile.BadZipFile) as error:
        raise ValueError(f"{path} must be a checkpoint that torch can read: it is damaged") from error


def _check_sums(path: Path) -> None:
    """Compare every part of a zip archive with its checksum, which torch does not look at."""
    if not zipfile.is_zipfile(path):
        return  # a pickle of old
    with zipfile.ZipFile(path) as archive:
        if any(part.compress_type != zipfile.ZIP_STORED for part in archive.infolist()):
            raise ValueError(f"{path} must be a checkpoint that torch.save wrote: it is another zip archive")
        if broken := archive.testzip():
            raise ValueError(f"{path} must be a checkpoint that torch can read: it is damaged in {broken}")


def _first_name(path: Path) -> str | None:
    """Return the first class or function, other than torch's, that a pickle asks for; its instructions are not run."""
    strings: list[str] = []
    try:
        with path.open("rb") as file:
            head = file.read(MOST_SCANNED)
        for instruction, argument, _ in pickletools.genops(head):
            if instruction.name == "STACK_GLOBAL" and strings[-2].partition(".")[0] != "torch":
                return ".".join(strings[-2:])
            if isinstance(argument, str):
                strings.append(argument)
    except (ValueError, LookupError, UnicodeDecodeError):
        pass  # no pickle after all
    return None


def _load(file: Any) -> Any:
    """Return the content of an open file."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch's warnings about a foreign pickle, which it then refuses
        try:
            return torch.load(file, map_location="cpu", weights_only=True)
        except OSError as error:  # the file is open: torch was sent to a place that is not in it
            raise EOFError(str(error)) from error
