"""A study: cases by methods. Each row is kept as it comes, so that a run that was cut off repeats nothing."""

import hashlib
import json
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, fields
from functools import cache
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar, runtime_checkable

import safetensors.torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from lightning_mri.files import write_whole
from lightning_mri.origin import IMPORTED, own_code

PACKAGE = Path(__file__).parents[1]


@runtime_checkable
class Case(Protocol):
    """What is reconstructed: a frozen dataclass, whose ``repr`` tells all that its data depend on."""

    @property
    def name(self) -> str:
        """For tables and file names, one of a kind within its study."""


C = TypeVar("C", bound=Case)
C_in = TypeVar("C_in", bound=Case, contravariant=True)
R = TypeVar("R")
R_out = TypeVar("R_out", covariant=True)


@runtime_checkable
class Method(Protocol[C_in, R_out]):
    """One way to reconstruct."""

    @property
    def name(self) -> str:
        """For tables and file names, one of a kind within its study."""

    @property
    def key(self) -> str:
        """All that its results depend on beside the case, in words: settings, and fingerprint of the weights."""

    def run(self, case: C_in, /) -> R_out:
        """Reconstruct a case and score it."""


@dataclass(frozen=True)
class Study(Generic[R]):
    """A folder of rows, one file each; those that other code has made, see `code_version`, are made anew.

    Args:
        folder: Made when the first row is kept.
        kind: Dataclass of a row; its fields hold tensors or None, or what JSON can hold.
    """

    folder: Path
    kind: type[R]

    def rows(self, cases: Iterable[C], methods: Sequence[Method[C, R]]) -> Iterator[R]:
        """Yield the row of each method for each case, in this order; those that are kept are read."""
        for case in cases:
            for method in methods:
                yield self.row(case, method)

    def row(self, case: C, method: Method[C, R]) -> R:
        """Return one row."""
        return self.keep(f"{case.name}, {method.name}", f"{case!r}; {method.key}", lambda: method.run(case))

    def keep(self, name: str, key: str, work: Callable[[], R]) -> R:
        """Return what is kept under a name; what is missing, or has another key, is computed and kept.

        Args:
            name: For the file and the log.
            key: All that the result depends on, in words.
            work: Computes it.

        Raises:
            ValueError: If the file is there and cannot be read.
        """
        path, key = self.path(name), f"{key}; {code_version(*own_code(IMPORTED))}"
        found = self._read(path, key)
        if found is None:
            begun = time.perf_counter()
            found = work()
            _write(path, key, found)
            print(f"{name}: {time.perf_counter() - begun:.3g} s", flush=True)
        return found

    def path(self, name: str) -> Path:
        """Return the file of a row."""
        readable = "".join(letter if letter.isalnum() or letter in "._-" else "-" for letter in name)
        return self.folder / f"{readable[:100]}-{hashlib.sha256(name.encode()).hexdigest()[:8]}.safetensors"

    def _read(self, path: Path, key: str) -> R | None:
        if not path.exists():
            return None
        try:
            with safe_open(path, framework="pt") as file:
                findings = file.metadata()
                if findings["key"] != key:
                    return None
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - no dictionary
        except SafetensorError as error:
            raise ValueError(f"{path} must be a row of a study: {error}; delete it to compute it anew") from error
        return self.kind(**json.loads(findings["row"]), **tensors)


def _write(path: Path, key: str, row: Any) -> None:
    values = {field.name: getattr(row, field.name) for field in fields(row)}
    tensors = {name: value.contiguous() for name, value in values.items() if isinstance(value, Tensor)}
    plain = json.dumps({name: value for name, value in values.items() if name not in tensors})
    write_whole(path, safetensors.torch.save(tensors, {"key": key, "row": plain}))


@cache
def code_version(*own: Path) -> str:
    """Return a name for the code of this package and of files of the user's: a change of any of them changes it."""
    return version_of(PACKAGE, *own)


def version_of(package: Path, *own: Path) -> str:
    """Return a name for the Python files of a folder, and further ones."""
    files = (*sorted(package.rglob("*.py")), *own)
    return hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()[:12]
