"""A picture of a reconstruction that any viewer opens: a few slices, with the uncertainty below."""

from pathlib import Path

import numpy as np
from jaxtyping import Float
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from torch import Tensor

from lightning_mri.files import atomic

PERCENTILE = 99.7
GAP = 4
GAINS = (10, 5, 2)
"""How many times as bright a standard deviation is drawn: the first one that leaves it below white."""


def write_preview(
    path: Path,
    reconstruction: Float[Tensor, "slice y x"],
    std: Float[Tensor, "slice y x"] | None = None,
    n_slices: int = 4,
) -> None:
    """Draw evenly spaced slices in a row, grey, one window for all; below each its std.

    The std is drawn ten times as bright or, where that would be too bright, 5, 2 or 1 times; the file's description
    tells which.

    Args:
        path: PNG file to write, replaced as a whole.
        reconstruction: Magnitude images.
        std: Standard deviation in the same units.
        n_slices: How many slices are drawn at most.

    Raises:
        OSError: If the file cannot be written.
    """
    chosen = spread(reconstruction.shape[0], n_slices)
    images = reconstruction[chosen].numpy(force=True)
    white = max(float(np.percentile(images, PERCENTILE)), float(np.finfo(np.float32).tiny))
    rows = [_row(images / white)]
    described = PngInfo()
    if std is not None:
        spreads = np.nan_to_num(std[chosen].numpy(force=True) / white)  # nan: a slice without one
        gain = next((gain for gain in GAINS if np.percentile(gain * spreads, PERCENTILE) <= 1), 1)
        rows.append(_row(gain * spreads))
        described.add_text("Description", f"below: standard deviation x {gain}")
    gap = np.full((GAP, rows[0].shape[1]), 64, np.uint8)
    picture = rows[0] if len(rows) == 1 else np.concatenate([rows[0], gap, rows[1]])
    with atomic(path) as part:
        Image.fromarray(picture).save(part, format="PNG", pnginfo=described)


def spread(n: int, wanted: int) -> list[int]:
    """Return at most ``wanted`` evenly spaced slices of ``n``, the middle one if only one is wanted."""
    count = min(n, wanted)
    return [int((i + 0.5) * n / count) for i in range(count)]


def _row(images: Float[np.ndarray, "slice y x"]) -> np.ndarray:
    grey = (255 * np.clip(images, 0, 1)).astype(np.uint8)
    gap = np.full((grey.shape[1], GAP), 64, np.uint8)
    parts = [part for image in grey for part in (image, gap)]
    return np.concatenate(parts[:-1], axis=1)
