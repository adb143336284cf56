"""How sure an image is: a standard deviation from draws, and the component that its data do not determine."""

from dataclasses import dataclass

import torch
from jaxtyping import Complex, Float
from torch import Tensor

from lightning_mri.described import check_fields
from lightning_mri.physics import GaussianLikelihood, LinearOperator, conjugate_gradient
from lightning_mri.sampling import DDS, Sampler


@dataclass(frozen=True)
class Uncertainty:
    """What is computed beside an image: draws for its standard deviation, and its null-space component.

    The draws x_i are made where the image x is a point estimate, with the coil maps as it left them. Were they from
    the posterior, the mean of (abs(x_i) - abs(x))^2 would be the expected squared error of the magnitude. They are
    few and short, four know a variance to 70 %, and spread too little, see `DDS`. So the mean square is averaged over
    neighbours, the noise level is added, std^2 = smoothed mean square + (floor noise_std)^2, and what makes an error
    bar of it is a factor that was measured for prior and recipe together, see `Calibration`.

    Args:
        sampler: How to draw.
        n_samples: How often.
        smoothing: Standard deviation in pixels of the Gaussian that the mean square is averaged with; 0 for none.
        floor: Part of the noise level that an error has even where all draws agree.
        null_space: Whether to map the component that the data do not determine, see `null_space_component`.
    """

    sampler: Sampler = DDS(n_steps=8, refinement=None)  # noqa: RUF009
    n_samples: int = 4
    smoothing: float = 1.0
    floor: float = 1.0
    null_space: bool = True

    def __post_init__(self) -> None:
        if self.n_samples < 2:
            raise ValueError(f"uncertainty needs two samples or more, or none of it at all: got {self.n_samples}")
        if not (self.smoothing >= 0 and self.floor >= 0):
            raise ValueError(f"smoothing and floor must not be negative: got {self.smoothing} and {self.floor}")
        check_fields(self, bool)

    @property
    def description(self) -> str:
        """What the standard deviation is made from, before any factor."""
        return (
            f"{self.n_samples} samples of {self.sampler!r} about the image, smoothed over {self.smoothing:g} pixels, "
            f"and {self.floor:g} x the noise level"
        )

    def std(
        self, draws: Complex[Tensor, "sample ..."], x: Complex[Tensor, "..."], likelihood: GaussianLikelihood
    ) -> Float[Tensor, "..."]:
        """Return the standard deviation of the magnitude's error; zero where no coil sees the image.

        Args:
            draws: The x_i, [sample, *batch, (set,) y, x] in image units.
            x: The image.
            likelihood: The scan that they are made from.
        """
        support = likelihood.apply_support(torch.ones_like(x)).real
        square = (draws.abs() - x.abs()).square().mean(0) * support
        if self.smoothing:
            tiny = torch.finfo(square.dtype).tiny
            square = support * _smooth(square, self.smoothing) / _smooth(support, self.smoothing).clamp(min=tiny)
        least = (self.floor * likelihood.noise_std)[(...,) + (None,) * likelihood.A.image_ndim]
        return (square + support * least.square()).sqrt()


def null_space_component(
    A: LinearOperator,
    x: Complex[Tensor, "..."],
    weight: Float[Tensor, "*batch"] | float = 0.0,
    n_iterations: int = 300,
    tolerance: float = 1e-5,
) -> Complex[Tensor, "..."]:
    """Return (I - (A^H A + l)^-1 A^H A) x, what is lost of an image when its own noiseless data are inverted.

    With many coils no direction of the image is strictly unseen; many are seen by less than the noise. The weight
    l = noise variance / prior variance says where: of a direction of singular value s the share l / (s^2 + l) is
    returned, which is what the posterior mean under a white prior of that variance takes from the prior. Content
    weaker than that prior expects is determined less than this says. For l = 0 it is (I - A^+ A) x, the component in
    the null space. Directions that the iterations do not reach count as null space.

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
    determined = conjugate_gradient(
        lambda u: A.normal(u) + over_image * u, A.normal(x), None, n_iterations, tolerance, ndim=A.image_ndim
    )
    return x - determined


def _smooth(x: Tensor, width: float) -> Tensor:
    """Return images averaged with a Gaussian of a standard deviation in pixels; zero counts beyond their edges."""
    for axis in (-2, -1):
        n = x.shape[axis]
        place = torch.arange(n, dtype=x.dtype, device=x.device)
        kernel = torch.exp(-((place[:, None] - place) / width).square() / 2)
        x = torch.tensordot(x, kernel, dims=([axis], [0])).movedim(-1, axis)
    return x
