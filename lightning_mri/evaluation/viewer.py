"""A case as the viewer shows it: a few slices in a file, which the page loads when they are looked at."""

import base64
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float
from PIL import Image
from torch import Tensor

from lightning_mri.evaluation.pictures import REFERENCE, UNCERTAINTY, flagged, gain_of, is_known, white_of
from lightning_mri.evaluation.tables import finite
from lightning_mri.files import atomic_folder

CASE = "case.json"
CHUNK = 16
"""Slices in a file."""


@dataclass(frozen=True, eq=False, kw_only=True)
class View:
    """One case to look at.

    Args:
        name: For readers, one of a kind on its page.
        images: Magnitude of each method by name, all in one unit; the last one is shown first.
        std: Uncertainty of the last method in the same unit; nan where it is not known.
        pixel_size: Size of a pixel (y, x) in mm, if known.
        n_volumes: How many volumes, such as time frames, follow each other along the slices.
        burnt: A few words each that are drawn into the image, R first.
        facts: What else is told beside the image.
        scores: Numbers and words of its row in the list of cases.
        warnings: One sentence each; that of a slice begins with ``slice 3:``.
        run: How it was made, which its page states once for all cases that share it.
    """

    name: str
    images: Mapping[str, Float[Tensor, "slice y x"]]
    std: Float[Tensor, "slice y x"] | None = None
    pixel_size: tuple[float, float] | None = None
    n_volumes: int = 1
    burnt: Sequence[str] = ()
    facts: Mapping[str, str] = field(default_factory=dict)
    scores: Mapping[str, float | str] = field(default_factory=dict)
    warnings: Sequence[str] = ()
    run: Mapping[str, str] = field(default_factory=dict)

    def write(self, folder: Path) -> None:
        """Write ``case.json`` and scripts of a few slices each, 8 bits a pixel; the folder is replaced as a whole."""
        layers: dict[str, Tensor] = dict(self.images)
        white = white_of(layers.get(REFERENCE, layers[list(layers)[-1]]))
        gains: dict[str, int] = {}
        if self.std is not None and is_known(self.std):
            layers[UNCERTAINTY], gains[UNCERTAINTY] = self.std, gain_of(self.std, white)
        with atomic_folder(folder) as part:
            for first in range(0, len(next(iter(layers.values()))), CHUNK):
                stacks = [layer[first : first + CHUNK].numpy(force=True) for layer in layers.values()]
                text = json.dumps([[_encoded(image) for image in images] for images in zip(*stacks, strict=True)])
                (part / f"{first // CHUNK:04d}.js").write_text(f"slices={text}\n")
            case = {**self._header(white), "layers": [(name, gains.get(name)) for name in layers]}
            (part / CASE).write_text(json.dumps(case))

    def _header(self, white: float) -> dict[str, Any]:
        """Return what the page needs to know before any slice is loaded."""
        names = [name for name in self.images if name != REFERENCE]
        n_slices, *size = self.images[names[-1]].shape
        compared = REFERENCE if REFERENCE in self.images else names[0]
        return {
            "name": self.name,
            "n_slices": n_slices,
            "n_volumes": self.n_volumes,
            "chunk": CHUNK,
            "size": size,
            "pixel": self.pixel_size,
            "white": white,
            "first": list(self.images).index(names[-1]),
            "compared": list(self.images).index(compared),
            "burnt": list(self.burnt),
            "facts": list(self.facts.items()),
            "scores": {name: finite(value) for name, value in self.scores.items()},
            "warnings": list(self.warnings),
            "flagged": flagged(self.warnings),
            "run": dict(self.run),
        }


def read_case(folder: Path) -> dict[str, Any]:
    """Return a case as a page holds it, with the path of its folder.

    Raises:
        OSError: If there is none.
        ValueError: If it is damaged.
    """
    path = folder / CASE
    try:
        case: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        source = {"path": str(folder), "layers": case.pop("layers")}
    except (ValueError, KeyError, AttributeError) as error:
        raise ValueError(f"{path}: it must be a case that predict or test has written: {error}") from error
    return {**case, "sources": [source]}


def _encoded(image: Float[np.ndarray, "y x"]) -> tuple[str, float] | None:
    """Return a PNG as base64 and the value of its 255; None for an image that is not known.

    Bytes are roots, value = top (byte / 255)^2: steps are finer where it is dark.
    """
    if not np.isfinite(image).any():
        return None
    image = np.nan_to_num(image)
    top = max(float(image.max()), float(np.finfo(np.float32).tiny))
    bits = (255 * np.sqrt(np.clip(image / top, 0, 1))).round().astype(np.uint8)
    content = io.BytesIO()
    Image.fromarray(bits).save(content, format="PNG")
    return base64.b64encode(content.getvalue()).decode("ascii"), top
