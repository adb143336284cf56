"""Denoising under a random orientation and global phase, which a prior should not depend on."""

import math
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from lightning_mri.sampling.sampler import Target

N_ORIENTATIONS = 8  # of the square: two flips and a transposition, one bit each
MARGIN = 4  # pixels kept around the support of the coil maps, so that its edge is not the image's
STEP = 16  # sides are rounded up to multiples, so that images of one shape share a call of the network
Box = tuple[slice, slice]


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
    Use it with priors trained on flipped, transposed and phase-rotated images. Of each image the network gets the
    box that coils see; around it the result is zero, as is the image of a sampler that takes it to the data.
    """

    def denoiser(self, target: Target) -> Callable[[Tensor, float], Tensor]:
        """Return the function (x, sigma) -> T^-1 D(T x, sigma), T drawn for each image at each call."""
        boxes = _boxes(target)

        def denoise(x: Tensor, sigma: float) -> Tensor:
            orientations, phases = (
                target.noise.integers(N_ORIENTATIONS),
                2 * torch.pi * target.noise.uniform(),
            )
            rotation = torch.polar(torch.ones_like(phases), phases).to(x.device)
            rotation = rotation[(...,) + (None,) * target.image_ndim]
            return _denoise_oriented(target, x * rotation, sigma, orientations, boxes) * rotation.conj()

        return denoise


def _denoise_oriented(target: Target, x: Tensor, sigma: float, orientations: Tensor, boxes: list[Box]) -> Tensor:
    """Denoise the box of each image in its orientation, all of equal shape in one call."""
    n_sets = x[(0,) * orientations.ndim].shape[:-2].numel()
    images = x.reshape(-1, *x.shape[-2:])
    each = orientations.flatten().repeat_interleave(n_sets).tolist()
    labels = None if target.label is None else target.label.flatten()
    groups: dict[torch.Size, list[int]] = defaultdict(list)
    oriented = [orient(image[box], way) for image, box, way in zip(images, boxes, each, strict=True)]
    for i, image in enumerate(oriented):
        groups[image.shape].append(i)
    denoised = torch.zeros_like(images)
    for members in groups.values():
        stack = torch.stack([oriented[i] for i in members])
        result = target.estimate(stack, sigma, None if labels is None else labels[members])
        for i, image in zip(members, result, strict=True):
            denoised[i][boxes[i]] = restore(image, each[i])
    return denoised.reshape(x.shape)


def _boxes(target: Target) -> list[Box]:
    """Return for each image of [sample, *batch, (set)] the box that some coil sees, the whole without a scan."""
    shape = target.noise.image_shape
    ones = torch.ones((*target.noise.batch_shape[1:], *shape), dtype=torch.complex64)
    support = (
        ones if target.likelihood is None else target.likelihood.apply_support(ones.to(target.likelihood.y.device))
    )
    images = support.reshape(-1, *shape[-2:]).cpu() != 0
    return [(_span(image.any(1)), _span(image.any(0))) for image in images] * target.n_samples


def _span(inside: Tensor) -> slice:
    """Return where along one axis a coil is sensitive, with a margin and a rounded length; all if none is."""
    where, n = inside.nonzero().flatten().tolist(), len(inside)
    if not where:
        return slice(0, n)
    length = where[-1] + 1 - where[0]
    rounded = min(n, STEP * math.ceil((length + 2 * MARGIN) / STEP))
    start = min(max(where[0] - (rounded - length) // 2, 0), n - rounded)
    return slice(start, start + rounded)


def denoiser(target: Target, symmetry: RandomSymmetry | None) -> Callable[[Tensor, float], Tensor]:
    """Return the denoiser of a target, under random symmetries unless there are none."""
    if symmetry is None:
        return target.denoise
    denoise = symmetry.denoiser(target)
    return lambda x, sigma: target.apply_support(denoise(x, sigma))
