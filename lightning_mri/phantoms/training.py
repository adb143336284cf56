"""Diverse slices of many heads, to train a prior on."""

from collections.abc import Iterator, Sequence

import numpy as np
import torch

from lightning_mri.phantoms.fields import field, length, log_uniform
from lightning_mri.phantoms.geometry import Geometry, draw_geometry
from lightning_mri.phantoms.heads import Head, SyntheticSlice
from lightning_mri.phantoms.protocol import Protocol
from lightning_mri.scaling import Scaling
from lightning_mri.tensors import complex_noise, derive_seed

SLICES_PER_SUBJECT = 8
TRAINING_SHARES = {"T1w": 0.2, "T1w-post": 0.13, "T2w": 0.2, "PD": 0.09, "FLAIR": 0.15, "other": 0.23}
LABELS = tuple(TRAINING_SHARES)
# what `other` stands for in training; None is no head. DWI, whose fluid is as dark as in FLAIR, is kept out of it
OTHERS = {"SWI": 0.35, "other": 0.35, None: 0.3}


def training_slices(
    seed: int, n: int, contrasts: Sequence[str] = LABELS, size: int = 144, first: int = 0
) -> Iterator[SyntheticSlice]:
    """Yield ``n`` diverse slices for training a prior, each scaled by `Scaling`, eight from one subject.

    Slice i depends on (seed, i) alone, so that cohorts can be drawn in parts: ``first`` is the first index.

    Args:
        seed: Identifies the cohort.
        n: Number of slices.
        contrasts: Contrasts that may appear, in the proportions of `TRAINING_SHARES`; ``other`` stands for
            susceptibility and diffusion weighting, for odd timings, arbitrary intensities and patches without
            anatomy.
        size: Pixels along y and x.
        first: Index of the first slice.
    """
    if set(contrasts) - set(LABELS) or not contrasts:
        raise ValueError(f"contrasts must be some of {', '.join(LABELS)}: got {', '.join(contrasts) or 'none'}")
    subject, head = -1, None
    for index in range(first, first + n):
        if head is None or subject != index // SLICES_PER_SUBJECT:
            subject = index // SLICES_PER_SUBJECT
            head = Head(derive_seed(seed, "training", subject))
        yield _training_slice(head, derive_seed(seed, "training-slice", index), contrasts, size)


def _training_slice(head: Head, seed: int, contrasts: Sequence[str], size: int) -> SyntheticSlice:
    """Return the first slice, in the order of the seed, that shows enough of a head."""
    rng = np.random.default_rng(seed)
    shares = np.array([TRAINING_SHARES[contrast] for contrast in contrasts])
    contrast = str(rng.choice(list(contrasts), p=shares / shares.sum()))
    while True:
        geometry, scan = draw_geometry(rng, size), int(rng.integers(2**62))
        shown = rng.choice(np.array(list(OTHERS)), p=list(OTHERS.values())) if contrast == "other" else contrast
        drawn = _abstract_slice(geometry, scan) if shown is None else head.slice(shown, geometry, scan)
        magnitude, scale = drawn.image.abs(), Scaling().of(drawn.image)
        if scale > 1e-3 and (magnitude > 0.15 * scale).float().mean() > 0.06:
            noise = complex_noise(drawn.image.shape, torch.Generator().manual_seed(derive_seed(scan, "noise")))
            floor = log_uniform(rng, 0.002, 0.02) * (rng.random() < 0.4)
            image = drawn.image + floor * scale * noise
            return drawn._replace(image=image / Scaling().of(image), contrast=contrast)


def _abstract_slice(geometry: Geometry, scan: int) -> SyntheticSlice:
    """Return random patches within an ellipse: structure without anatomy keeps a prior modest."""
    protocol, rng = Protocol("other", scan), np.random.default_rng(derive_seed(scan, "abstract"))
    plane = geometry.plane()
    coarse = field(scan, "patches", log_uniform(rng, 10, 50), 6).on(plane)
    patches = coarse + 0.6 * field(scan, "fragments", log_uniform(rng, 4, 24), 6).on(plane)
    radii = torch.tensor(rng.uniform(60, 110, 3), dtype=torch.float32)
    radius = length(plane.points / radii[:, None, None])
    inside = torch.sigmoid(40 * (rng.uniform(0.6, 1.3) - radius))
    values = torch.from_numpy(rng.random(6).astype(np.float32))
    magnitude = torch.einsum("c,cyx->yx", values, torch.softmax(12 * patches, 0)) * inside
    magnitude = magnitude * protocol.shading(plane, (1 - radius) * 60)
    image = protocol.measure(torch.polar(magnitude, protocol.phase(plane)), geometry.shape)
    return SyntheticSlice(image, "other", torch.zeros(geometry.shape, dtype=torch.uint8), geometry.pixel_size)
