"""Four metrics under two named conventions; every number in this package comes from here.

All of them compare magnitudes: a complex image is taken by abs, never by its real part or its squares.
"""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Complex, Float
from torch import Tensor

from lightning_mri.lazy import lazy

ndimage = lazy("scipy.ndimage")

# shapes are checked by hand, with a message for users, hence the underscores
Image = Float[Tensor, "*_batch _y _x"] | Complex[Tensor, "*_batch _y _x"]
Region = Bool[Tensor, "*region"]

WINDOW = 7  # side of the square window of SSIM, as in scikit-image and fastMRI


@dataclass(frozen=True)
class Convention:
    """What counts as one image: the extent over which errors are summed and the peak is taken.

    Args:
        name: How tables call it.
        ndim: Number of trailing axes that make one image: 3 for a volume, 2 for a slice.
    """

    name: str
    ndim: int

    @property
    def extent(self) -> str:
        """What one image is, in a word."""
        return "volume" if self.ndim == 3 else "slice"

    @property
    def axes(self) -> tuple[int, ...]:
        """The axes that a metric sums over."""
        return tuple(range(-self.ndim, 0))


FASTMRI = Convention("fastmri", 3)
"""Per volume, peak = maximum of the reference volume: the numbers of `fastmri.evaluate`."""
SLICE = Convention("slice", 2)
"""Per slice, peak = maximum of the reference slice."""


def nmse(
    x_hat: Image, reference: Image, convention: Convention = FASTMRI, region: Region | None = None
) -> Float[Tensor, "..."]:
    """Return the normalised mean squared error, sum (x^ - x)^2 / sum x^2 of magnitudes.

    Args:
        x_hat: Reconstruction, complex or magnitude.
        reference: Reference in the same units.
        convention: Volume or slice.
        region: Pixels that count, broadcast to the images; all of them if none is given.

    Returns:
        One value for each volume, ``[*batch]``, or for each slice, ``[*batch, slice]``.

    Raises:
        ValueError: If the shapes disagree, a region is empty, or the reference is zero throughout a region.
    """
    x_hat, reference, inside = _magnitudes(x_hat, reference, convention, region)
    energy = (reference**2 * inside).sum(convention.axes)
    return ((x_hat - reference) ** 2 * inside).sum(convention.axes) / energy


def nrmse(
    x_hat: Image, reference: Image, convention: Convention = FASTMRI, region: Region | None = None
) -> Float[Tensor, "..."]:
    """Return the normalised root mean squared error, the square root of `nmse`; arguments as there."""
    return nmse(x_hat, reference, convention, region).sqrt()


def psnr(
    x_hat: Image, reference: Image, convention: Convention = FASTMRI, region: Region | None = None
) -> Float[Tensor, "..."]:
    """Return the peak signal-to-noise ratio in dB, 10 log10(peak^2 / mean (x^ - x)^2) of magnitudes.

    The peak is the maximum of the whole reference, also where a region is given; nothing is rescaled first.
    Arguments and errors as in `nmse`.
    """
    x_hat, reference, inside = _magnitudes(x_hat, reference, convention, region)
    error = ((x_hat - reference) ** 2 * inside).sum(convention.axes) / inside.sum(convention.axes)
    return 10 * torch.log10(reference.amax(convention.axes) ** 2 / error)


def ssim(
    x_hat: Image, reference: Image, convention: Convention = FASTMRI, region: Region | None = None
) -> Float[Tensor, "..."]:
    """Return the structural similarity of magnitudes (Wang et al. 2004), the mean over window positions.

    Square windows of 7 pixels that lie inside the slice, unbiased variances, K = (0.01, 0.03), in two
    dimensions also for volumes, whose value is the mean over slices: what scikit-image and `fastmri.evaluate`
    compute.
    A window counts where its centre lies in the region. Arguments and errors as in `nmse`.

    Raises:
        ValueError: If a slice is smaller than the window.
    """
    if min(reference.shape[-2:]) < WINDOW:
        raise ValueError(f"ssim needs slices of at least {WINDOW} x {WINDOW} pixels: got {tuple(reference.shape[-2:])}")
    x_hat, reference, inside = _magnitudes(x_hat, reference, convention, region)
    similarity = _similarity(x_hat, reference, reference.amax(convention.axes, keepdim=True))
    edge = WINDOW // 2
    inside = inside[..., edge:-edge, edge:-edge]
    if not bool((inside.sum(convention.axes) > 0).all()):
        raise ValueError(f"region must reach further than {edge} pixels from the edge, where no ssim window is centred")
    counts = inside.sum((-2, -1))
    values = (similarity * inside).sum((-2, -1)) / counts.clamp(min=1)
    # a volume's value is the mean over its slices; slices that a region leaves out do not count
    return values if convention.ndim == 2 else values.sum(-1) / (counts > 0).sum(-1)


def head_of(reference: Float[Tensor, "*batch y x"]) -> Bool[Tensor, "*batch y x"]:
    """Return the pixels of the object in each slice's magnitude: the largest bright region, without holes.

    Bright is above a tenth of the slice's 99th percentile. A slice without any has no such pixels.
    """
    slices = reference.reshape(-1, *reference.shape[-2:])
    # torch.quantile refuses more than 2^24 pixels
    levels = [0.1 * float(np.quantile(each.numpy(force=True), 0.99)) for each in slices]
    heads = [_largest(each > level) for each, level in zip(slices, levels, strict=True)]
    return torch.stack(heads).reshape(reference.shape)


def _largest(bright: Bool[Tensor, "y x"]) -> Bool[Tensor, "y x"]:
    filled = ndimage.binary_fill_holes(
        ndimage.binary_opening(ndimage.binary_closing(bright.numpy(force=True), iterations=2))
    )
    labels, _ = ndimage.label(filled)
    sizes = np.bincount(labels.ravel(), minlength=2)
    return torch.from_numpy(filled & (labels == 1 + int(sizes[1:].argmax())))


@dataclass(frozen=True)
class Scores:
    """The four metrics of one image; psnr in dB, the others without unit."""

    nrmse: float
    psnr: float
    ssim: float
    nmse: float


def score(x_hat: Image, reference: Image, convention: Convention = FASTMRI, region: Region | None = None) -> Scores:
    """Return all four metrics, averaged over whatever volumes or slices come; arguments as in `nmse`."""
    arguments = (x_hat, reference, convention, region)
    return Scores(*(float(metric(*arguments).mean()) for metric in (nrmse, psnr, ssim, nmse)))


def _magnitudes(
    x_hat: Tensor, reference: Tensor, convention: Convention, region: Tensor | None
) -> tuple[Tensor, Tensor, Tensor]:
    """Check a metric's arguments and return both magnitudes and the region in double precision, all of one shape."""
    if x_hat.shape != reference.shape:
        raise ValueError(
            f"x_hat and reference must have the same shape: got {tuple(x_hat.shape)} and {tuple(reference.shape)}"
        )
    if x_hat.ndim < convention.ndim:
        raise ValueError(f"a {convention.extent} has {convention.ndim} axes: got the shape {tuple(x_hat.shape)}")
    magnitudes = [image.abs().double() if image.is_complex() else image.double() for image in (x_hat, reference)]
    region = torch.ones((), dtype=torch.bool, device=x_hat.device) if region is None else region
    try:
        inside = region.expand(reference.shape).double()
    except RuntimeError:
        raise ValueError(
            f"region must broadcast to the images: got {tuple(region.shape)} and {tuple(reference.shape)}"
        ) from None
    if not bool((inside.sum(convention.axes) > 0).all()):
        raise ValueError(f"region must not be empty: in at least one {convention.extent} no pixel is inside")
    if not bool(((magnitudes[1] ** 2 * inside).sum(convention.axes) > 0).all()):
        raise ValueError(f"reference must not be zero throughout a {convention.extent}: no error is relative to it")
    return magnitudes[0], magnitudes[1], inside


def _similarity(a: Tensor, b: Tensor, peak: Tensor) -> Tensor:
    """Return the SSIM of each window that fits into the slices, (y - 6, x - 6) of them."""

    def mean(image: Tensor) -> Tensor:
        flat = image.reshape(-1, 1, *image.shape[-2:])
        pooled = torch.nn.functional.avg_pool2d(flat, WINDOW, stride=1)
        return pooled.reshape(*image.shape[:-2], *pooled.shape[-2:])

    unbiased = WINDOW**2 / (WINDOW**2 - 1)
    mean_a, mean_b = mean(a), mean(b)
    variance_a, variance_b = unbiased * (mean(a * a) - mean_a**2), unbiased * (mean(b * b) - mean_b**2)
    covariance = unbiased * (mean(a * b) - mean_a * mean_b)
    c1, c2 = (0.01 * peak) ** 2, (0.03 * peak) ** 2
    luminance = (2 * mean_a * mean_b + c1) / (mean_a**2 + mean_b**2 + c1)
    return luminance * (2 * covariance + c2) / (variance_a + variance_b + c2)
