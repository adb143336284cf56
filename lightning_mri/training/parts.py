"""Reconstructed slices that wait for the rest of their scan: what a run that ends early leaves to the next one."""

import hashlib
import io
import os
import pickle
import shutil
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import torch

from lightning_mri.datasets import Failed
from lightning_mri.files import atomic, remove_unfinished
from lightning_mri.reconstruction import Reconstruction, ReconstructionFindings
from lightning_mri.training.reconstruction_module import Predicted
from lightning_mri.training.scores import ScoredScan

STORED: list[Any] = [ScoredScan, Failed, Predicted, Reconstruction, ReconstructionFindings]
RUN = "run-"


class Parts:
    """A hidden folder of parts, and within it what the processes of one run tell each other by files.

    By files and not by messages, since processes have different numbers of batches and cannot meet after each.
    """

    def __init__(self, folder: Path, run: str) -> None:
        self.folder, self.run = folder, folder / f"{RUN}{run}"

    def open(self, wanted: Iterable[str] = ()) -> None:
        """Begin a run, and remove the parts that it cannot use: not wanted, damaged, of other code, or of a failure.

        Those that stay count as claimed, so that none is made again after its scan was finished and its parts removed.
        """
        usable = {self._path(name) for name in wanted}
        for folder in self.folder.glob(f"{RUN}*"):
            shutil.rmtree(folder, ignore_errors=True)
        remove_unfinished(self.folder)
        for path in map(self._path, self.names()):
            if path not in usable or not _can_be_used(path):
                path.unlink(missing_ok=True)
        self.run.mkdir(parents=True)
        for name in self.names():
            self.claim(name)

    def close(self, keep: bool) -> None:
        """End a run; parts stay only where they are to be kept."""
        shutil.rmtree(self.run, ignore_errors=True)
        for name in () if keep else self.names():
            self.remove(name)
        if self.folder.exists() and not any(self.folder.iterdir()):
            self.folder.rmdir()

    def claim(self, name: str) -> bool:
        """Return whether this process is the first one of the run to ask for something, whatever it is."""
        try:
            os.close(os.open(self.run / name, os.O_CREAT | os.O_EXCL))
        except FileExistsError:
            return False
        return True

    def is_claimed(self, name: str) -> bool:
        """Return whether something has been asked for."""
        return (self.run / name).exists()

    def claimed(self) -> set[str]:
        """Return what has been asked for."""
        return set(os.listdir(self.run))

    def store(self, name: str, value: Any) -> None:
        """Keep a part."""
        content = io.BytesIO()  # torch's own writing says of a full disk what nobody understands
        torch.save(value, content)
        with atomic(self._path(name)) as part, part.open("wb") as file:
            file.write(hashlib.sha256(content.getbuffer()).digest())
            file.write(content.getbuffer())

    def has(self, name: str) -> bool:
        """Return whether a part is there."""
        return self._path(name).exists()

    def load(self, name: str) -> Any:
        """Return a part."""
        return _load(self._path(name))

    def remove(self, name: str) -> None:
        """Remove a part."""
        self._path(name).unlink()

    def names(self) -> set[str]:
        """Return the parts that are there."""
        return {path.stem for path in self.folder.glob("[!.]*.pt")}

    def _path(self, name: str) -> Path:
        return self.folder / f"{name}.pt"


def part_name(key: str, slices: Sequence[int]) -> str:
    """Return the name of a part of a scan: ``key`` stands for its file, weights and settings."""
    return f"{key}-{slices[0]}-{slices[-1]}"


def n_slices_of(part: str) -> int:
    """Return how many slices a part holds, by its name."""
    _, first, last = part.rsplit("-", 2)
    return int(last) - int(first) + 1


def _can_be_used(path: Path) -> bool:
    """Return whether a part is whole, of classes that this version has, and of no failure."""
    content = path.read_bytes()
    if hashlib.sha256(content[32:]).digest() != content[:32]:
        return False
    try:
        return not isinstance(_load(path), Failed)
    except pickle.UnpicklingError:
        return False


def _load(path: Path) -> Any:
    with torch.serialization.safe_globals(STORED):
        return torch.load(io.BytesIO(path.read_bytes()[32:]), weights_only=True)
