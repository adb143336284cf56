"""The scale contract: how an image was brought to the units in which a prior was trained."""

from dataclasses import asdict, dataclass
from typing import Any

import torch
from jaxtyping import Complex, Float
from torch import Tensor


@dataclass(frozen=True)
class Scaling:
    """Percentile of the magnitude; image in file units = scale * x.

    A prior's checkpoint carries this object, and a reconstruction applies it to the coil-combined,
    Hamming-windowed image of the calibration lines, which is available when a scan is made.

    Args:
        percentile: Percentile of abs(image) that becomes 1.
        fft_norm: Norm of the Fourier transform that the images came from.
    """

    percentile: float = 99.0
    fft_norm: str = "ortho"

    def __post_init__(self) -> None:
        if not 0 < self.percentile <= 100:
            raise ValueError(f"percentile must be in (0, 100]: got {self.percentile}")
        if self.fft_norm != "ortho":
            raise ValueError(f"fft_norm must be 'ortho', the norm of this package: got {self.fft_norm!r}")

    def of(self, image: Complex[Tensor, "*batch y x"]) -> Float[Tensor, "*batch"]:
        """Return the scale of each image, in the image's units."""
        magnitude = image.abs().flatten(-2)
        # `torch.quantile` refuses more than 2^24 values; kthvalue does not, and needs no sort
        rank = max(1, round(self.percentile / 100 * magnitude.shape[-1]))
        return torch.kthvalue(magnitude, rank, dim=-1).values

    def describe(self) -> dict[str, Any]:
        """Return the contract as plain values, for checkpoints."""
        return asdict(self)
