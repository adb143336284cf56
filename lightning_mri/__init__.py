"""Accelerated and low-field MRI with diffusion priors: posterior proportional to likelihood times prior.

The rooms (`physics`, `models`, `diffusion`, `weights`, `io`, `phantoms`, `sampling`, `baselines`, `evaluation`,
`datasets`, `reconstruction`, `training`) are imported when they are first used: ``import lightning_mri as lm``, then
``lm.io.read_scan(...)``.
"""

import importlib
from types import ModuleType

__version__ = "0.1.0"
__all__ = [
    "baselines",
    "datasets",
    "diffusion",
    "evaluation",
    "io",
    "models",
    "phantoms",
    "physics",
    "reconstruction",
    "sampling",
    "training",
    "weights",
]


def __getattr__(name: str) -> ModuleType:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return importlib.import_module(f"{__name__}.{name}")
