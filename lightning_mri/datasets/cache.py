"""A folder of prepared images for training: one array a scan, and a manifest that says what each of them is."""

import hashlib
import json
import logging
import math
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from importlib.resources import files
from io import BytesIO
from pathlib import Path
from typing import Any, TypeGuard

import numpy as np
import torch
from jaxtyping import Complex
from torch import Tensor

from lightning_mri.datasets.parallel import finish_jobs
from lightning_mri.files import MAX_STEM_BYTES, atomic, for_results, locked, remove_unfinished, write_whole
from lightning_mri.io import files_of
from lightning_mri.io.failures import Failure, write_failures
from lightning_mri.io.prepared import MANIFEST, SETTINGS, is_prepared
from lightning_mri.io.subjects import stem_of
from lightning_mri.messages import printable
from lightning_mri.output import fingerprint_of
from lightning_mri.tensors import derive_seed

FORMAT = 1

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class CacheEntry:
    """A row of the manifest: one scan, or the slices of one synthetic subject.

    Args:
        name: Name of its array in the cache.
        subject: Who was scanned, empty if the source does not say.
        contrasts: Contrast of each slice, None where it is not known.
        shape: Shape [slice, y, x] of the array.
        scales: Scale of each slice: image in the source's units = scale * stored image; 0 for an empty slice.
        source: Where the images come from.
        fingerprint: Changes when a file of the source does.
        problems: What had to be guessed, one sentence each.
        content: SHA-256 of the source's files.
        noise_stds: Noise of each slice, per real channel, in the source's units.
        pixel_size: Size of a pixel (y, x) in mm, if known.
        path: Path of the source below the folder that was prepared.
    """

    name: str
    subject: str
    contrasts: tuple[str | None, ...]
    shape: tuple[int, int, int]
    scales: tuple[float, ...]
    source: str
    fingerprint: str = ""
    problems: tuple[str, ...] = ()
    content: str = ""
    noise_stds: tuple[float, ...] = ()
    pixel_size: tuple[float, float] | None = None
    path: str = ""

    @classmethod
    def parse(cls, row: str) -> "CacheEntry":
        """Read a row of the manifest."""
        try:
            values: dict[str, Any] = {
                key: tuple(value) if isinstance(value, list) else value for key, value in json.loads(row).items()
            }
            entry = cls(**values)
            n_slices, _, _ = entry.shape
            if not len(entry.scales) == len(entry.contrasts) == n_slices or Path(entry.name).name != entry.name:
                raise ValueError("its name must be a file's, and its slices agree")
        except (AttributeError, TypeError, ValueError) as error:
            raise ValueError(f"a row must describe one scan: got {row.strip()[:80]!r}: {error}") from error
        return entry

    @property
    def n_slices(self) -> int:
        """Number of slices."""
        return self.shape[0]

    @property
    def contrast(self) -> str | None:
        """The contrast of all slices, None if it is not known or not one."""
        return self.contrasts[0] if len(set(self.contrasts)) == 1 else None


class ImageCache:
    """Images of many scans, one array a scan, in a folder that names what they were made with.

    An array appears whole or not at all, and its row is written after it: a run that was killed goes on where
    it stopped.

    Args:
        root: Folder of all caches; each combination of settings has its own below it.
        kind: What makes the images, first part of the folder's name.
        settings: Everything that the images depend on beside their sources.
        name: Name of the folder below ``root``, where the user chose it; made from kind and settings if not given.
    """

    def __init__(self, root: Path, kind: str, settings: Mapping[str, Any], name: str | None = None) -> None:
        self.settings = {"kind": kind, "format": FORMAT, **settings}
        self.option = "output_dir" if name else "data.cache_dir"
        text = json.dumps(self.settings, sort_keys=True, default=str)
        self.folder = root / (name or f"{kind}-{hashlib.sha256(text.encode()).hexdigest()[:12]}")

    def entries(self) -> dict[str, CacheEntry]:
        """Return the rows of finished scans by name."""
        manifest = self.folder / MANIFEST
        try:
            text = manifest.read_text()
        except FileNotFoundError:
            return {}
        # a row without its line end was being written when the run was killed
        lines = [line for line in text.splitlines(keepends=True) if line.endswith("\n")]
        try:
            rows = [CacheEntry.parse(line) for line in lines]
        except ValueError as error:
            raise ValueError(f"{manifest}: {error}") from error
        return {row.name: row for row in rows}

    def store(self, name: str, images: Complex[Tensor, "slice y x"]) -> None:
        """Write the array of one scan; its row is written by `record`."""
        self.store_slices(name, (images.shape[0], images.shape[1], images.shape[2]), images)

    def store_slices(self, name: str, shape: tuple[int, int, int], images: Iterable[Complex[Tensor, "y x"]]) -> None:
        """Write the array of one scan as its slices come, none of which is kept in memory."""
        with atomic(self._path(name)) as part, part.open("wb") as file:
            file.write(_npy_header(shape))
            for image in images:
                file.write(np.ascontiguousarray(image.numpy(force=True), dtype=np.complex64).data)

    def record(self, entry: CacheEntry) -> None:
        """Add the row of a scan whose array is stored; within `filling`, where several processes may write."""
        self._sign()
        manifest = self.folder / MANIFEST
        with manifest.open("a+b") as file:
            n_bytes = file.tell()
            file.seek(max(0, n_bytes - 1))
            if n_bytes and file.read() != b"\n":
                file.truncate(manifest.read_bytes().rfind(b"\n") + 1)
            file.write(_row(entry))

    def forget(self, name: str) -> None:
        """Remove the array and the row of a scan whose source has changed and cannot be prepared any more."""
        rows = self.entries()
        if rows.pop(name, None) is not None:
            write_whole(self.folder / MANIFEST, b"".join(map(_row, rows.values())))
        self._path(name).unlink(missing_ok=True)

    def is_current(self, entry: CacheEntry | None, source: Path) -> TypeGuard[CacheEntry]:
        """Return whether there is a row and its array, whole, and its source has not changed since."""
        return self.holds(entry) and entry.fingerprint == fingerprint_of(*files_of(source))

    def holds(self, entry: CacheEntry | None) -> TypeGuard[CacheEntry]:
        """Return whether there is a row and its array, whole."""
        if entry is None:
            return False
        path, n_bytes = self._path(entry.name), np.dtype(np.complex64).itemsize * math.prod(entry.shape)
        return path.is_file() and path.stat().st_size == len(_npy_header(entry.shape)) + n_bytes

    @contextmanager
    def filling(self) -> Iterator[dict[str, CacheEntry]]:
        """Keep the cache for this process, give its rows, and remove what killed runs left half written.

        Another process that fills it, on this or another machine, is waited for: what it made need not be made again.
        """
        with ExitStack() as stack:
            with for_results(self.folder, self.option):
                try:
                    stack.enter_context(locked(self.folder))
                except BlockingIOError as error:
                    log.warning("%s: waiting for it", error)
                    stack.enter_context(locked(self.folder, wait=True))
            remove_unfinished(self.folder)
            self._sign()
            yield self.entries()

    def fill(
        self, jobs: Mapping[str, Any], work: Callable[[Any], CacheEntry], n_processes: int | None, title: str
    ) -> list[Failure]:
        """Prepare scans in parallel, within `filling`; return those that failed, which are listed in the folder, too.

        Args:
            jobs: What ``work`` is called with, by the scan's name here; its text is the scan's path.
            work: Stores the images of one scan and returns their row.
            n_processes: Number of processes; one for each core if not given.
            title: Shown at the progress bar.
        """
        names, failures = list(jobs), []
        for index, result in finish_jobs(work, list(jobs.values()), n_processes, title):
            if isinstance(result, CacheEntry):
                self.record(result)
            else:
                self.forget(names[index])
                failures.append(Failure.of(str(jobs[names[index]]), result))
        failures.sort(key=lambda failure: failure.source)
        write_failures(self.folder, failures)
        return failures

    def read(self, entry: CacheEntry, index: int) -> Complex[Tensor, "y x"]:
        """Return one image, reading no other; no file stays open, and no page is mapped.

        Raises:
            OSError: If the array is not there or not whole.
        """
        n_slices, rows, columns = entry.shape
        image = torch.empty(rows, columns, dtype=torch.complex64)
        with self._path(entry.name).open("rb", buffering=0) as file:
            start = file.seek(0, os.SEEK_END) - (n_slices - index) * image.nbytes
            file.seek(max(0, start))
            if start < 0 or file.readinto(image.numpy().data.cast("B")) != image.nbytes:
                raise OSError(f"{file.name}: the array must have the shape that the manifest says: got less")
        return image

    def _sign(self) -> None:
        """Write what the images are made with, before the first of them."""
        if not is_prepared(self.folder):
            write_whole(self.folder / SETTINGS, json.dumps(self.settings, indent=1, sort_keys=True, default=str))

    def _path(self, name: str) -> Path:
        return self.folder / f"{name}.npy"


def cache_root(root: Path | None = None) -> Path:
    """Return the folder for caches: the one given, else the user's cache folder."""
    if root is not None:
        return root
    home = os.environ.get("XDG_CACHE_HOME")
    return (Path(home) if home else Path.home() / ".cache") / "lightning_mri"


def cache_name(path: Path, root: Path | None = None) -> str:
    """Return the name of a scan's array: the stem for people, cut to what a file's name may hold, and the path's hash.

    The path counts from ``root``, so that it can be moved, or as a whole.
    """
    place = path.resolve() if root is None else path.relative_to(root)
    stem = printable(stem_of(path)).encode()[:MAX_STEM_BYTES].decode(errors="ignore")
    return f"{stem}-{derive_seed(place.as_posix()):016x}"


def source_version(*modules: str) -> str:
    """Return what changes with the code of modules of `phantoms`, so that no cache of their images outlives it."""
    package = files("lightning_mri.phantoms")
    code = "".join(package.joinpath(f"{module}.py").read_text() for module in modules)
    return hashlib.sha256(code.encode()).hexdigest()[:12]


def content_of(*paths: Path) -> str:
    """Return the SHA-256 of files, those of a folder in the order of their names."""
    digest = hashlib.sha256()
    for path in dict.fromkeys(paths):
        parts = [path] if path.is_file() else sorted(file for file in path.rglob("*") if file.is_file())
        for part in parts:
            with part.open("rb") as file:
                while block := file.read(2**20):
                    digest.update(block)
    return digest.hexdigest()


def _row(entry: CacheEntry) -> bytes:
    return json.dumps(asdict(entry)).encode() + b"\n"


def _npy_header(shape: tuple[int, int, int]) -> bytes:
    file = BytesIO()
    header = {"descr": np.dtype(np.complex64).str, "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(file, header)
    return file.getvalue()
