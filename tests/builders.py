"""Numbers, arrays and objects that many tests need."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import jaxtyping
import numpy as np
import pytest
import torch

from lightning_mri.diffusion import EDM
from lightning_mri.io import StoredArray, read_scan
from lightning_mri.io.arrays import ImageArray
from lightning_mri.physics import fft2c
from lightning_mri.tensors import complex_noise

RNG = np.random.default_rng(5)


def draw(*shape: int) -> np.ndarray:
    """Return complex noise in single precision, each time another."""
    return (RNG.standard_normal(shape) + 1j * RNG.standard_normal(shape)).astype(np.complex64)


def draw_complex(*shape: int, seed: int = 0) -> np.ndarray:
    """Return complex noise in single precision."""
    rng = np.random.default_rng(seed)
    return (rng.standard_normal(shape) + 1j * rng.standard_normal(shape)).astype(np.complex64)


def draw_kspace(*shape: int, seed: int = 0) -> np.ndarray:
    """Return noise that is the stronger the nearer to the centre of the last two axes, as measured k-space is."""
    y, x = (np.arange(n) - n // 2 for n in shape[-2:])
    return (draw_complex(*shape, seed=seed) / (1 + y[:, None] ** 2 + x**2)).astype(np.complex64)


class InMemory(StoredArray):
    """Numbers that are in no file, under the name of one."""

    def __init__(self, values: np.ndarray, name: str = "head.h5", field: str = "kspace") -> None:
        super().__init__(Path(name), field, values.shape)
        self.values = values

    def read(self, start: int, stop: int) -> np.ndarray:
        return self.values[start:stop]


def images_of(path: Path) -> np.ndarray:
    """Return the images of a file that holds images, as they are read."""
    stored = read_scan(path).kspace
    assert isinstance(stored, ImageArray)
    return stored.images[:].numpy()


@contextmanager
def as_released() -> Iterator[None]:
    """Call functions as users do, without the checks of shapes and types that only the tests have."""
    jaxtyping.config.update("jaxtyping_disable", True)
    try:
        yield
    finally:
        jaxtyping.config.update("jaxtyping_disable", False)


class Payload:
    """What a pickle would run on being read."""

    def __init__(self, call: Callable[..., Any], *arguments: Any) -> None:
        self.call, self.arguments = call, arguments

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return self.call, self.arguments


def hostile(trap: Path) -> dict[str, Any]:
    """Return objects whose pickles would make the file ``trap`` on being read, and one that is only foreign."""
    return {
        "system": Payload(os.system, f"touch {trap}"),
        "eval": Payload(eval, f"open({str(trap)!r}, 'w').close()"),
        "path": Payload(Path.touch, trap),
        "object": EDM(),
    }


def wrong(make: Callable[..., Any], words: str, **values: Any) -> list[tuple[Callable[[], Any], str]]:
    """Return rows of a table of refusals: each value by itself is one that ``make`` must refuse with these words."""
    return [(partial(make, **{name: value}), words) for name, value in values.items()]


def refusals(*rows: tuple[Callable[[], Any], str]) -> Callable[[Callable[[], Any], str], None]:
    """Return the test of a table of refusals: each call ends in a ValueError with these words."""

    @pytest.mark.parametrize(("call", "words"), rows)
    def test(call: Callable[[], Any], words: str) -> None:
        with pytest.raises(ValueError, match=words), as_released():
            call()

    return test


def noise(*shape: int, seed: int = 0) -> torch.Tensor:
    """Return complex noise of standard deviation 1 in each real channel."""
    return complex_noise(shape, torch.Generator().manual_seed(seed))


def array_with_a_vortex() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return coils [coil, y, x], an object without phase, and its k-space [1, coil, y, x] with little noise.

    The strongest virtual coil is 0 in the middle of the object, where its phase turns once.
    """
    y, x = torch.meshgrid(torch.linspace(-1, 1, 46), torch.linspace(-1, 1, 41), indexing="ij")
    coils = torch.stack([torch.complex(y, x), 0.4 * torch.ones_like(y) + 0j, 0.2 * y + 0j])
    disc = torch.sigmoid(20 * (0.8 - torch.hypot(y, x)))
    return coils, disc, fft2c(coils * disc)[None] + 1e-3 * noise(1, *coils.shape)
