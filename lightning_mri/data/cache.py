"""A folder of prepared images for training, and the way from fully sampled scans to it."""

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Complex
from torch import Tensor

from lightning_mri.data.combine import combine
from lightning_mri.data.parallel import run_jobs
from lightning_mri.data.readers import read_scan
from lightning_mri.data.scan import Scan, acquired, is_fully_sampled
from lightning_mri.data.writers import atomic
from lightning_mri.scaling import Scaling
from lightning_mri.tensors import derive_seed

MANIFEST = "manifest.jsonl"
FORMAT = 1


@dataclass(frozen=True)
class CacheEntry:
    """A row of the manifest: one scan, or the slices of one synthetic subject.

    Args:
        name: Name of its array in the cache.
        subject: Who was scanned.
        contrasts: Contrast of each slice, None where it is not known.
        shape: Shape [slice, y, x] of the array.
        scales: Scale of each slice: image in the source's units = scale * stored image.
        source: Where the images come from.
        fingerprint: Changes when the source does.
        problems: What is doubtful about it, one sentence each.
    """

    name: str
    subject: str
    contrasts: tuple[str | None, ...]
    shape: tuple[int, int, int]
    scales: tuple[float, ...]
    source: str
    fingerprint: str = ""
    problems: tuple[str, ...] = ()

    @classmethod
    def parse(cls, row: str) -> "CacheEntry":
        """Read a row of the manifest."""
        values = json.loads(row)
        for name in ("contrasts", "shape", "scales", "problems"):
            values[name] = tuple(values[name])
        return cls(**values)


class ImageCache:
    """Images of many scans, one array a scan, in a folder that names what they were made with.

    An array appears whole or not at all, and its row is written after it: a run that was killed goes on where
    it stopped.

    Args:
        root: Folder of all caches; each combination of settings has its own below it.
        kind: What makes the images, first part of the folder's name.
        settings: Everything that the images depend on beside their sources.
    """

    def __init__(self, root: Path, kind: str, settings: Mapping[str, Any]) -> None:
        self.settings = {"kind": kind, "format": FORMAT, **settings}
        text = json.dumps(self.settings, sort_keys=True, default=str)
        self.folder = root / f"{kind}-{hashlib.sha256(text.encode()).hexdigest()[:12]}"

    def entries(self) -> dict[str, CacheEntry]:
        """Return the rows of finished scans by name."""
        try:
            text = (self.folder / MANIFEST).read_text()
        except FileNotFoundError:
            return {}
        # a row without its line end was being written when the run was killed
        rows = [CacheEntry.parse(line) for line in text.splitlines(keepends=True) if line.endswith("\n")]
        return {row.name: row for row in rows}

    def store(self, name: str, images: Complex[Tensor, "slice y x"]) -> None:
        """Write the array of one scan; its row is written by `record`."""
        with atomic(self.folder / f"{name}.npy") as part, part.open("wb") as file:
            np.save(file, images.numpy(force=True).astype(np.complex64))

    def record(self, entry: CacheEntry) -> None:
        """Add the row of a scan whose array is stored; one process at a time."""
        self.folder.mkdir(parents=True, exist_ok=True)
        manifest = self.folder / MANIFEST
        if not manifest.exists():
            with atomic(self.folder / "settings.json") as part:
                part.write_text(json.dumps(self.settings, indent=1, sort_keys=True, default=str))
        with manifest.open("a+b") as file:
            if file.tell() and _last_byte(manifest) != b"\n":
                file.truncate(_whole_lines(manifest))
            file.write(json.dumps(asdict(entry)).encode() + b"\n")

    def read(self, entry: CacheEntry, index: int) -> Complex[Tensor, "y x"]:
        """Return one image, reading no other."""
        images = np.load(self.folder / f"{entry.name}.npy", mmap_mode="r", allow_pickle=False)
        return torch.from_numpy(np.array(images[index]))


def cache_root(root: Path | None = None) -> Path:
    """Return the folder for caches: the one given, else the user's cache folder."""
    if root is not None:
        return root
    home = os.environ.get("XDG_CACHE_HOME")
    return (Path(home) if home else Path.home() / ".cache") / "lightning_mri"


def build_cache(
    scans: Sequence[Path], cache: ImageCache, scaling: Scaling, n_processes: int | None = None
) -> list[CacheEntry]:
    """Make images of fully sampled scans, each slice scaled by itself; scans that are done are not redone.

    Args:
        scans: Files to prepare.
        cache: Where the images go.
        scaling: The scale contract of the prior to train.
        n_processes: Number of processes; one for each core if not given.

    Returns:
        The rows of these scans, in their order.

    Raises:
        ValueError: If a scan is not fully sampled.
    """
    done = cache.entries()
    names = {path: cache_name(path) for path in scans}
    missing = [path for path, name in names.items() if name not in done or done[name].fingerprint != fingerprint(path)]
    for entry in run_jobs(partial(_prepare, cache=cache, scaling=scaling), missing, n_processes, "prepare"):
        cache.record(entry)
        done[entry.name] = entry
    return [done[name] for name in names.values()]


def cache_name(path: Path) -> str:
    """Return the name of a scan's array: the stem for people, the whole path for uniqueness."""
    return f"{path.stem}-{derive_seed(str(path.resolve())):016x}"


def fingerprint(path: Path) -> str:
    """Return what changes with a file: its size and time."""
    status = path.stat()
    return f"{status.st_size}-{status.st_mtime_ns}"


def _prepare(path: Path, cache: ImageCache, scaling: Scaling) -> CacheEntry:
    scan = read_scan(path)
    images, scales = _images(scan, scaling)
    entry = CacheEntry(
        name=cache_name(path),
        subject=scan.subject,
        contrasts=(scan.contrast,) * len(images),
        shape=(images.shape[0], images.shape[1], images.shape[2]),
        scales=tuple(scales.tolist()),
        source=str(path),
        fingerprint=fingerprint(path),
        problems=scan.doubts,
    )
    cache.store(entry.name, images)
    return entry


def _images(scan: Scan, scaling: Scaling) -> tuple[Tensor, Tensor]:
    found, images = torch.zeros(1, *scan.matrix, dtype=torch.bool), []
    for k in range(scan.n_slices):
        kspace = scan.kspace[k : k + 1]
        found |= acquired(kspace)
        images.append(combine(kspace, scan.reconstruction_size))
    mask = found if scan.stored_mask is None else found & scan.stored_mask
    if not is_fully_sampled(mask):
        raise ValueError(
            f"{scan.source}: kspace must be fully sampled to train on: got {int(mask.sum())} of {mask.numel()} samples"
        )
    stack = torch.cat(images)
    scales = scaling.of(stack)
    # an empty slice stays empty; how little is worth training on is for the dataset to say
    scales = torch.where(scales > 0, scales, torch.ones_like(scales))
    return stack / scales[:, None, None], scales


def _last_byte(path: Path) -> bytes:
    with path.open("rb") as file:
        file.seek(-1, os.SEEK_END)
        return file.read(1)


def _whole_lines(path: Path) -> int:
    return path.read_bytes().rfind(b"\n") + 1
