"""Numbers that many tests need."""

import numpy as np


def draw_complex(*shape: int, seed: int = 0) -> np.ndarray:
    """Return complex noise in single precision."""
    rng = np.random.default_rng(seed)
    return (rng.standard_normal(shape) + 1j * rng.standard_normal(shape)).astype(np.complex64)


def draw_kspace(*shape: int, seed: int = 0) -> np.ndarray:
    """Return noise that is the stronger the nearer to the centre of the last two axes, as measured k-space is."""
    y, x = (np.arange(n) - n // 2 for n in shape[-2:])
    return (draw_complex(*shape, seed=seed) / (1 + y[:, None] ** 2 + x**2)).astype(np.complex64)
