"""Iterations with a Hermitian operator, each sample of a batch on its own: conjugate gradient, power iteration."""

from collections.abc import Callable, Sequence

import torch
from jaxtyping import Complex, Float
from torch import Tensor

from lightning_mri.tensors import complex_noise, derive_seed, inner, norm, squared_norm


def conjugate_gradient(
    normal_op: Callable[[Tensor], Tensor],
    b: Complex[Tensor, "..."],
    x0: Complex[Tensor, "..."] | None = None,
    n_iterations: int = 10,
    tolerance: Float[Tensor, "..."] | float = 1e-5,
    ndim: int = 2,
) -> Complex[Tensor, "..."]:
    """Solve N x = b (Hestenes and Stiefel 1952), with conjugated inner products taken sample by sample.

    A sample stays as it is once abs(b - N x) <= tolerance abs(b), so that its result does not depend on the
    other samples of the batch.

    Args:
        normal_op: The Hermitian positive definite N, such as ``A.normal`` plus a multiple of the image.
        b: Right-hand side.
        x0: Starting point; zero if none is given.
        n_iterations: Largest number of iterations.
        tolerance: Residual relative to ``b`` at which a sample has converged, one value or one a sample, [..., 1, 1].
            At the precision of ``b`` it has in any case: what follows would be quotients of rounding errors.
        ndim: Number of last axes that make up one sample.

    Raises:
        ValueError: If ``n_iterations`` is negative.
    """
    if n_iterations < 0:
        raise ValueError(f"n_iterations must be >= 0: got {n_iterations}")
    x = torch.zeros_like(b) if x0 is None else x0
    r = b - normal_op(x) if x0 is not None else b
    p = r
    rho = squared_norm(r, ndim)
    square = squared_norm(b, ndim)
    goal = (tolerance**2 * square).maximum(torch.finfo(b.dtype).eps ** 2 * square)
    for _ in range(n_iterations):
        active = rho > goal
        if not active.any():
            break
        q = normal_op(p)
        step = _ratio(rho, inner(p, q, ndim).real, active)
        x = x + step * p
        r = r - step * q
        rho, rho_last = squared_norm(r, ndim), rho
        p = r + _ratio(rho, rho_last, active) * p
    return x


def _ratio(a: Tensor, b: Tensor, active: Tensor) -> Tensor:
    """Return a / b in samples that iterate, and 0 in those that have converged or where b vanishes."""
    active = active & (b > 0)
    return torch.where(active, a / torch.where(active, b, 1), 0)


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
