"""Power iteration: how much an operator can enlarge an image, which bounds the steps of gradient methods."""

from collections.abc import Callable, Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from lightning_mri.tensors import complex_noise, derive_seed, norm


def largest_eigenvalue(
    normal_op: Callable[[Tensor], Tensor],
    image_shape: Sequence[int],
    ndim: int = 2,
    n_iterations: int = 30,
    device: torch.device | str = "cpu",
) -> Float[Tensor, "..."]:
    """Return the largest eigenvalue of a Hermitian positive operator for each image, axes of the image kept.

    The power iteration (von Mises 1929) approaches it from below. All images of a batch start from the same
    noise, so that no image's value depends on its neighbours.

    Args:
        normal_op: The operator, such as ``A.normal``.
        image_shape: Shape [*batch, (set,) y, x] that it acts on.
        ndim: Number of last axes that make up one image.
        n_iterations: Applications of the operator.
        device: Where to compute.

    Raises:
        ValueError: If ``n_iterations`` is not positive.
    """
    if n_iterations < 1:
        raise ValueError(f"n_iterations must be at least 1: got {n_iterations}")
    generator = torch.Generator().manual_seed(derive_seed("largest eigenvalue"))
    x = complex_noise(image_shape[-ndim:], generator, device).expand(*image_shape)
    for _ in range(n_iterations):
        x = normal_op(x / norm(x, ndim).clamp(min=torch.finfo(torch.float32).tiny))
    return norm(x, ndim)
