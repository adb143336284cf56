"""Libraries that are imported when they are first used: start-up stays short, and extras may be left out."""

import importlib
from collections.abc import Callable, Collection
from types import ModuleType
from typing import Any

EXTRAS = {
    "brukerapi": "bruker",
    "fastmri": "unrolled",
    "optuna": "sweep",
    "pandas": "reader-study",
    "pingouin": "reader-study",
    "pydicom": "dicom",
    "statsmodels": "reader-study",
    "tensorboard": "tensorboard",
}
"""Libraries that only some need, and the extra of this package that installs each."""


class MissingExtraError(ValueError):
    """A library that only some need is not installed; the message says how to install it."""

    @classmethod
    def of(cls, error: ModuleNotFoundError) -> "MissingExtraError | None":
        """Return the sentence for a library that is missing; None if it belongs to no extra."""
        library = (error.name or "").partition(".")[0]
        if library not in EXTRAS:
            return None
        return cls(f"{library} is not installed: pip install 'lightning-mri[{EXTRAS[library]}]'")


class _Lazy(ModuleType):
    """Stands for a module until something in it is asked for."""

    def __getattr__(self, name: str) -> Any:
        try:
            module = importlib.import_module(self.__name__)
        except ModuleNotFoundError as error:
            raise MissingExtraError.of(error) or error from error
        return getattr(module, name)


def lazy(name: str) -> Any:
    """Return a module, by its full name, that is imported when an attribute of it is first read.

    Reading it raises a `MissingExtraError` where it belongs to an extra that is not installed.
    """
    return _Lazy(name)


def late(name: str, names: Collection[str]) -> Callable[[str], Any]:
    """Return a ``__getattr__`` for the package of a module, which imports the module when one of ``names`` is read."""

    def get(wanted: str) -> Any:
        if wanted not in names:
            raise AttributeError(f"module {name.rpartition('.')[0]!r} has no attribute {wanted!r}")
        return getattr(importlib.import_module(name), wanted)

    return get
