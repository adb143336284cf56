"""What readers get: a folder each, with a page of its own and images that tell nothing about who, how or when."""

import json
import math
import shutil
from collections.abc import Callable
from importlib.resources import as_file, files
from itertools import product
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from PIL import Image
from torch import Tensor

from lightning_mri.evaluation.reader_study.design import HALLUCINATION, SIDES, Key
from lightning_mri.evaluation.reader_study.scores import COLUMNS
from lightning_mri.evaluation.table_files import csv_text
from lightning_mri.files import atomic_folder

Images = Callable[[str, str], Float[Tensor, "slice y x"]]
"""Magnitude images of a scan by a method, as they are to be seen: front on top, left on the right."""

Shape = Callable[[str], tuple[tuple[float, float], int]]
"""Size (y, x) of a scan's pixels, and how many volumes follow each other along its slices."""

WHITE_PERCENTILE = 99.8


def write_pages(folder: Path, key: Key, images: Images, shape: Shape = lambda scan: ((1.0, 1.0), 1)) -> None:
    """Write ``<folder>/reader-1`` and on, each a page to open in a browser; no network is needed.

    Both images of a pair are equally bright (`scale_of`) and share one grey window, white at the higher of their
    99.8th percentiles.

    Args:
        folder: Made; replaced as a whole.
        key: Of the study.
        images: Returns the images of a scan (first) by a method (second).
        shape: Returns in which shape those of a scan are shown; square pixels and one volume if not given.

    Raises:
        ValueError: If two methods' images of a scan differ in shape.
    """
    with atomic_folder(folder) as part:
        for reader in range(1, key.n_readers + 1):
            page = part / f"reader-{reader}"
            with as_file(files(__package__) / "page") as template:
                shutil.copytree(template, page, ignore=shutil.ignore_patterns("__pycache__"))
            hands = (files("lightning_mri.evaluation") / "web/hands.js").read_text(encoding="utf-8")
            (page / "hands.js").write_text(hands, encoding="utf-8")
            (page / "images").mkdir()
            study = _study(page / "images", key, reader, images, shape)
            (page / "study.js").write_text(f"const STUDY = {json.dumps(study)};\n", encoding="utf-8")


def write_sheet(path: Path, key: Key, reader: int) -> None:
    """Write an empty score sheet, for readers who look at the images elsewhere."""
    asked = product(key.of_reader(reader), key.items, SIDES)
    rows = [[key.sha256[:16], reader, reading.code, side, item, "", "", "", ""] for reading, item, side in asked]
    path.write_text(csv_text([COLUMNS, *rows]), encoding="utf-8")


def scale_of(key: Key, scan: str, images: Images) -> float:
    """Return by how much a scan's test image t is to be multiplied to be as bright as the reference r.

    The least-squares factor <r, t> / <t, t> of all slices: units and gain of files are no difference between methods.

    Raises:
        ValueError: If the images differ in shape, or one is dark everywhere.
    """
    reference, test = (images(scan, method) for method in (key.reference, key.test))
    if reference.shape != test.shape:
        shapes = {key.reference: tuple(reference.shape), key.test: tuple(test.shape)}
        raise ValueError(f"{scan}: images of both methods must have one shape: got {shapes}")
    scale = float(torch.sum(reference.double() * test) / test.double().square().sum())
    if not 0 < scale < math.inf:
        raise ValueError(f"{scan}: images of both methods must be finite and not dark everywhere: got a ratio {scale}")
    return scale


def pair(key: Key, scan: str, images: Images) -> dict[str, Float[Tensor, "slice y x"]]:
    """Return a scan's images by method, equally bright by the key's scale or `scale_of`, in units of the shared white.

    Raises:
        ValueError: If they differ in shape, or one is dark everywhere.
    """
    scales = {key.reference: 1.0, key.test: key.scales.get(scan) or scale_of(key, scan, images)}
    found = {method: scale * images(scan, method) for method, scale in scales.items()}
    # one percentile of one method alone would tell which it is
    white = max(float(np.percentile(image.numpy(), WHITE_PERCENTILE)) for image in found.values())
    if not 0 < white < float("inf"):
        raise ValueError(f"{scan}: images must be finite and not dark everywhere")
    return {method: image / white for method, image in found.items()}


def _study(folder: Path, key: Key, reader: int, images: Images, shape: Shape) -> dict[str, object]:
    """Write a reader's images; return what the page has to know, without methods and patients."""
    readings = []
    for reading in key.of_reader(reader):
        scaled = pair(key, reading.scan, images)
        (dy, dx), n_volumes = shape(reading.scan)
        *_, rows, columns = scaled[reading.left].shape
        aspect = columns * dx / (rows * dy)
        named: dict[str, object] = {"code": reading.code, "aspect": aspect, "n_volumes": n_volumes}
        for side, method in zip(SIDES, (reading.left, reading.right), strict=True):
            named[side] = [
                _write_png(folder / f"{reading.code}-{side}-{number:03d}.png", image)
                for number, image in enumerate(scaled[method], 1)
            ]
        readings.append(named)
    known = {"study": key.sha256[:16], "title": key.study, "reader": reader, "items": key.items}
    return {**known, "hallucination": HALLUCINATION, "readings": readings}


def _write_png(path: Path, image: Float[Tensor, "y x"]) -> str:
    grey = (255 * image.clamp(0, 1)).round().to(torch.uint8)
    Image.fromarray(grey.numpy()).save(path)
    return path.name
