"""Objects whose k-space is Gaussian and falls off as a known power of the frequency."""

import torch

from lightning_mri.tensors import complex_noise

SHAPE, PIXEL = (72, 60), (0.2, 0.25)


def objects(n: int, seed: int, exponent: float = 3.0, shape=SHAPE, pixel=PIXEL, aspect: float = 1.0) -> torch.Tensor:
    """Draw k-space of Gaussian objects whose power is abs(k)^-exponent, wider along one axis by ``aspect``."""
    y, x = ((torch.arange(n) - n // 2) / (n * edge) for n, edge in zip(shape, pixel, strict=True))
    power = (y[:, None].square() * aspect**2 + x.square()).clamp(min=1e-3) ** (-exponent / 2)
    return power.sqrt() * complex_noise((n, 1, *shape), torch.Generator().manual_seed(seed))
