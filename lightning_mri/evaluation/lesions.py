"""Whether a reconstruction keeps lesions and invents none, where a mask says where they are."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Complex, Float
from torch import Tensor

from lightning_mri.lazy import lazy

ndimage = lazy("scipy.ndimage")

Volume = Float[Tensor, "slice y x"] | Complex[Tensor, "slice y x"]

GAP, RING = 1, 3
"""Pixels from a lesion at which the tissue begins and ends that it is compared with."""
FOUND = 0.5
"""Share of a lesion that must be segmented for it to count as there."""
WITHIN = np.pad([[[0, 1, 0], [1, 1, 1], [0, 1, 0]]], ((1, 1), (0, 0), (0, 0)))
"""Neighbours of a pixel within its slice."""
SMALLEST = 4
"""Pixels from which a spot counts as an invented lesion."""


@dataclass(frozen=True)
class LesionScores:
    """How the lesions of one scan came out.

    Args:
        contrast_to_noise: (mean in the lesions - mean around them) / standard deviation around them, negative for
            dark ones.
        dice: 2 abs(A and B) / (abs(A) + abs(B)) of the segmentation A, in and around the lesions, and their mask B.
        n_lesions: Lesions that the reference shows.
        n_missed: Those of them that the reconstruction does not show.
        n_invented: Spots like lesions where the reference has none.
    """

    contrast_to_noise: float
    dice: float
    n_lesions: int
    n_missed: int
    n_invented: int


def lesion_scores(x_hat: Volume, reference: Volume, lesions: Bool[Tensor, "_slice _y _x"]) -> LesionScores | None:
    """Compare lesions in a reconstruction with those in the reference; None where there is no lesion.

    The segmentation is one threshold for all reconstructions of a scan, half-way between the reference's mean in the
    lesions and around them. Lesions are connected pixels of the mask, of which half must be segmented.

    Args:
        x_hat: Reconstruction, complex or magnitude.
        reference: Reference in the same units.
        lesions: True within lesions.

    Raises:
        ValueError: If the shapes disagree.
    """
    if not x_hat.shape == reference.shape == lesions.shape:
        got = [tuple(each.shape) for each in (x_hat, reference, lesions)]
        raise ValueError(f"x_hat, reference and lesions must have the same shape: got {got}")
    image, truth = (each.abs().double().numpy(force=True) for each in (x_hat, reference))
    mask = lesions.numpy(force=True)
    region = _grown(mask, RING)
    around = region & ~_grown(mask, GAP)
    if not mask.any() or not around.any():
        return None
    inside, outside = truth[mask].mean(), truth[around].mean()
    sign, threshold = np.sign(inside - outside), (inside + outside) / 2
    shown, known = (sign * (each - threshold) > 0 for each in (image, truth))
    parts, n = ndimage.label(mask, np.ones((3, 3, 3)))
    pixels = [parts == k for k in range(1, n + 1)]
    visible = [part for part in pixels if known[part].mean() >= FOUND]
    return LesionScores(
        contrast_to_noise=float((image[mask].mean() - image[around].mean()) / max(image[around].std(), 1e-12)),
        dice=float(2 * (shown & mask).sum() / ((shown & region).sum() + mask.sum())),
        n_lesions=len(visible),
        n_missed=sum(bool(shown[part & known].mean() < FOUND) for part in visible),
        n_invented=_count(shown, _grown(known | mask, GAP)),
    )


def _grown(mask: Bool[np.ndarray, "slice y x"], n: int) -> Bool[np.ndarray, "slice y x"]:
    """Return the mask with n pixels around it, within each slice."""
    return ndimage.binary_dilation(mask, WITHIN, iterations=n)


def _count(shown: Bool[np.ndarray, "slice y x"], known: Bool[np.ndarray, "slice y x"]) -> int:
    """Return the number of spots that touch nothing known."""
    parts, _ = ndimage.label(shown, WITHIN)
    sizes, touched = np.bincount(parts.ravel()), np.unique(parts[known])
    sizes[[0, *touched]] = 0
    return int((sizes >= SMALLEST).sum())
