"""The part of an image that its data do not determine: what only the prior says."""

import torch
from jaxtyping import Complex, Float
from torch import Tensor

from lightning_mri.physics import LinearOperator, conjugate_gradient

N_ITERATIONS = 60
TOLERANCE = 1e-5


def null_space(
    A: LinearOperator,
    x: Complex[Tensor, "..."],
    weight: Float[Tensor, "*batch"] | float = 0.0,
    n_iterations: int = N_ITERATIONS,
    tolerance: float = TOLERANCE,
) -> Complex[Tensor, "..."]:
    """Return (I - (A^H A + l)^-1 A^H A) x, what is lost of an image when its own noiseless data are inverted.

    With many coils no direction of the image is strictly unseen; many are seen by less than the noise. The weight
    l = noise variance / prior variance says where: a direction of singular value s is null_space by the share
    l / (s^2 + l), which is what the posterior mean under a white prior of that variance takes from the prior.
    Content weaker than that prior expects is determined less than this tells. For l = 0 it is (I - A^+ A) x, the
    part in the null space. Directions that the iterations do not reach count as null_space.

    Args:
        A: Any operator from image to data.
        x: Images [*batch, (set,) y, x].
        weight: The l, one value for all or one an image.
        n_iterations: Largest number of conjugate-gradient steps.
        tolerance: Residual relative to A^H A x at which an image has converged.

    Raises:
        ValueError: If a weight is negative.
    """
    over_image = torch.as_tensor(weight, dtype=torch.float32, device=x.device)[(...,) + (None,) * A.image_ndim]
    if bool((over_image < 0).any()):
        raise ValueError(f"weight must not be negative: got {float(over_image.min())}")
    # from zero the iterations stay in the row space of A: of all solutions they find the smallest
    seen = conjugate_gradient(
        lambda u: A.normal(u) + over_image * u, A.normal(x), None, n_iterations, tolerance, ndim=A.image_ndim
    )
    return x - seen
