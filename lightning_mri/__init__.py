"""Accelerated and low-field MRI with diffusion priors: posterior proportional to likelihood times prior.

Subpackages are imported when they are first used: ``import lightning_mri as lm``, then ``lm.io.read_scan(...)``.
"""

import importlib
from types import ModuleType
from typing import TYPE_CHECKING

from lightning_mri.caches import use_writable_caches

if TYPE_CHECKING:
    from lightning_mri import baselines as baselines
    from lightning_mri import datasets as datasets
    from lightning_mri import diffusion as diffusion
    from lightning_mri import evaluation as evaluation
    from lightning_mri import io as io
    from lightning_mri import models as models
    from lightning_mri import phantoms as phantoms
    from lightning_mri import physics as physics
    from lightning_mri import reconstruction as reconstruction
    from lightning_mri import sampling as sampling
    from lightning_mri import training as training
    from lightning_mri import weights as weights

use_writable_caches()  # before a library that looks for its cache is imported

__version__ = "0.1.0"
__all__ = [
    "baselines", "datasets", "diffusion", "evaluation", "io", "models", "phantoms", "physics", "reconstruction",
    "sampling", "training", "weights",
]  # fmt: skip


def __getattr__(name: str) -> ModuleType:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return importlib.import_module(f"{__name__}.{name}")


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
