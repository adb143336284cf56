"""Whether a prior draws its training images: distances to the nearest one, against those of images never seen."""

from dataclasses import dataclass

import torch
from jaxtyping import Complex, Float
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d

PIXELS = 64
COPY = 0.5
SHARE = 0.05


@dataclass(frozen=True)
class Memorisation:
    """Distances of draws and of held-out images to their nearest training image (`nearest_distance`).

    A draw counts as a copy if its distance is below half of what all but 5 % of the held-out images keep: no new
    subject lies that near. A prior has memorised if more than 5 % of its draws are copies.

    Args:
        draws: Of images that the prior drew.
        held_out: Of images that it never saw.
    """

    draws: Float[Tensor, " draw"]
    held_out: Float[Tensor, " image"]

    @property
    def threshold(self) -> float:
        """Distance below which a draw is a copy."""
        return COPY * float(torch.quantile(self.held_out, SHARE))

    @property
    def n_copies(self) -> int:
        """Number of draws that are copies."""
        return int((self.draws < self.threshold).sum())

    @property
    def memorised(self) -> bool:
        """Whether the prior has memorised."""
        return self.n_copies > SHARE * len(self.draws)

    def text(self) -> str:
        """Return the verdict and its figures in one sentence."""
        verdict = "The prior has memorised training images" if self.memorised else "No memorisation found"
        return (
            f"{verdict}: {self.n_copies} of {len(self.draws)} draws are copies (nearest training image closer than "
            f"{self.threshold:.3f}); median distance {float(self.draws.median()):.3f} of draws, "
            f"{float(self.held_out.median()):.3f} of {len(self.held_out)} held-out images."
        )


def nearest_distance(
    images: Complex[Tensor, "image y x"], training: Complex[Tensor, "training v u"]
) -> Float[Tensor, " image"]:
    """Return each image's distance to the nearest training image, between 0 (a copy) and 1.

    The distance is sqrt(1 - r^2), r being the largest correlation of the magnitudes over all shifts, reflections
    and exchanges of the axes, at 64 pixels along the longer side. So phase, scale, brightness, place and
    orientation play no part, which is what augmentation changes.

    Args:
        images: In any unit.
        training: In any unit and of any size.

    Raises:
        ValueError: If there are no images.
    """
    if not len(images) or not len(training):
        raise ValueError(f"there must be images to compare: got {len(images)} and {len(training)} to train on")
    side = max(*images.shape[1:], *training.shape[1:])
    spectra = [torch.fft.rfft2(turned) for turned in _orientations(_normalised(training, side))]
    nearest = []
    for image in torch.fft.rfft2(_normalised(images, side)):
        products = (torch.fft.irfft2(image.conj() * spectrum, s=(PIXELS, PIXELS)) for spectrum in spectra)
        nearest.append(torch.stack([product.amax() for product in products]).amax())
    return (1 - torch.stack(nearest).clamp(0, 1).square()).sqrt()


def _normalised(images: Tensor, side: int) -> Float[Tensor, "image y x"]:
    """Return magnitudes on a square of 64 pixels, of zero mean and unit norm."""
    rows, columns = images.shape[1:]
    square = torch.nn.functional.pad(images.abs(), (0, side - columns, 0, side - rows))
    small = adaptive_avg_pool2d(square, PIXELS)
    centred = small - small.mean((1, 2), keepdim=True)
    return centred / centred.norm(dim=(1, 2), keepdim=True).clamp(min=torch.finfo(centred.dtype).tiny)


def _orientations(images: Tensor) -> list[Tensor]:
    """Return the eight ways to lay images on a square."""
    reflected = [images.flip(axes) for axes in ([], [1], [2], [1, 2])]
    return [*reflected, *(image.mT for image in reflected)]
