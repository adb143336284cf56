"""Denoising under a random symmetry: free, since a prior does not know the orientation or global phase."""

from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from lightning_mri.sampling.sampler import Target

N_ORIENTATIONS = 8  # of the square: two flips and a transposition, one bit each


def orient(image: Tensor, orientation: int) -> Tensor:
    """Flip x (bit 1), then y (bit 2), then transpose (bit 4) the last two axes."""
    flips = [axis for bit, axis in ((1, -1), (2, -2)) if orientation & bit]
    image = image.flip(flips) if flips else image
    return image.transpose(-1, -2) if orientation & 4 else image


def restore(image: Tensor, orientation: int) -> Tensor:
    """Undo `orient`."""
    image = image.transpose(-1, -2) if orientation & 4 else image
    flips = [axis for bit, axis in ((1, -1), (2, -2)) if orientation & bit]
    return image.flip(flips) if flips else image


@dataclass(frozen=True)
class RandomSymmetry:
    """Denoise each image under an orientation and a global phase drawn from its own random stream.

    The errors of a network that is not exactly equivariant then differ from step to step and partly cancel.
    Use it with priors trained on flipped, transposed and phase-rotated images.
    """

    def denoiser(self, target: Target) -> Callable[[Tensor, float], Tensor]:
        """Return the function (x, sigma) -> T^-1 D(T x, sigma), T drawn for each image at each call."""

        def denoise(x: Tensor, sigma: float) -> Tensor:
            orientations, phases = (
                target.noise.integers(N_ORIENTATIONS),
                2 * torch.pi * target.noise.uniform(),
            )
            turn = torch.polar(torch.ones_like(phases), phases).to(x.device)
            turn = turn[(...,) + (None,) * target.image_ndim]
            return _denoise_oriented(target, x * turn, sigma, orientations) * turn.conj()

        return denoise


def _denoise_oriented(target: Target, x: Tensor, sigma: float, orientations: Tensor) -> Tensor:
    """Denoise each image in its orientation, all of equal shape in one call."""
    n_sets = x[(0,) * orientations.ndim].shape[:-2].numel()
    images = x.reshape(-1, *x.shape[-2:])
    each = orientations.flatten().repeat_interleave(n_sets).tolist()
    labels = None if target.label is None else target.label.flatten()
    groups: dict[torch.Size, list[int]] = defaultdict(list)
    oriented = [orient(image, orientation) for image, orientation in zip(images, each, strict=True)]
    for i, image in enumerate(oriented):
        groups[image.shape].append(i)
    denoised = torch.empty_like(images)
    for members in groups.values():
        stack = torch.stack([oriented[i] for i in members])
        result = target.prior.denoise(stack, sigma, None if labels is None else labels[members])
        for i, image in zip(members, result, strict=True):
            denoised[i] = restore(image, each[i])
    return denoised.reshape(x.shape)
