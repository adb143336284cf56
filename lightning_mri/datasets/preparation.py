"""Prepare fully sampled scans: a folder of images to train on, made in parallel; a broken file stops no other."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import torch
from jaxtyping import Complex
from torch import Tensor

from lightning_mri.datasets.cache import CacheEntry, ImageCache, cache_name, content_of
from lightning_mri.io import files_of, find_scans, read_scan
from lightning_mri.io.failures import Failure, failures_text
from lightning_mri.io.prepared import SETTINGS, is_prepared
from lightning_mri.io.scan import MAGNITUDE_ONLY, REAL_ONLY, Scan, is_fully_sampled
from lightning_mri.io.subjects import NamedSubjects
from lightning_mri.messages import count, first_few
from lightning_mri.output import fingerprint_of
from lightning_mri.physics import estimate_noise_std
from lightning_mri.physics.combination import N_CENTER, combine_coils
from lightning_mri.scaling import Scaling

KIND = "scans"


@dataclass(frozen=True)
class Preparation:
    """How a fully sampled scan becomes images: cut, whitened, compressed, combined, scaled slice by slice.

    Args:
        scaling: The scale contract of the prior to train.
        n_coils: Virtual coils that an array is compressed to; no compression if not given.
        n_center: Calibration lines, for the virtual coils and the maps.
        axes: Names of the axes of NumPy, MATLAB and HDF5 files, for example "coil z y x".
        measurement: Name of the measurement to read, of ISMRMRD files that hold several.
        pixel_size: Size of a pixel (y, x) in mm, of files that name none.
        contrast: Name of the contrast, instead of that which the files name.
    """

    scaling: Scaling = Scaling()  # noqa: RUF009 - frozen
    n_coils: int | None = 12
    n_center: int = N_CENTER
    axes: str | None = None
    measurement: str | None = None
    pixel_size: tuple[float, float] | None = None
    contrast: str | None = None

    def __post_init__(self) -> None:
        if self.n_center < 1 or (self.n_coils is not None and self.n_coils < 1):
            raise ValueError(f"n_coils and n_center must be positive: got {self.n_coils} and {self.n_center}")

    def cache(self, root: Path, name: str | None = None) -> ImageCache:
        """Return the cache of images that are made this way."""
        return ImageCache(root, KIND, json.loads(json.dumps(asdict(self))), name)  # as a file has them, to compare

    def read(self, path: Path) -> Scan:
        """Open a scan, with what was said about it."""
        return read_scan(
            path, axes=self.axes, measurement=self.measurement, pixel_size=self.pixel_size, contrast=self.contrast
        )

    def image(self, scan: Scan, index: int) -> "SliceImage":
        """Return one slice's image; zeros for an empty slice, and for one with NaN or infinity."""
        kspace, size = scan.kspace.with_gaps([index]), scan.reconstruction_size
        broken = not bool(kspace.isfinite().all())
        if broken or not kspace.any():
            reason = (f"slice {index} is left out: it holds NaN or infinity",) if broken else ()
            return SliceImage(torch.zeros(size, dtype=torch.complex64), 0.0, 0.0, reason)
        found = combine_coils(kspace, size, self.n_center, scan.noise_covariance, self.n_coils)
        noise = float(estimate_noise_std(found.kspace, torch.ones(1, *size, dtype=torch.bool)))
        image, scale = found.image[0], float(self.scaling.of(found.image))
        warnings = tuple(f"slice {index}: {text}" for text in found.warnings[0])
        return SliceImage(image / scale if scale > 0 else image, scale, noise, warnings)


class SliceImage(NamedTuple):
    """One slice's image in image units, its scale, its noise in the scan's units, and what was found wrong with it."""

    image: Complex[Tensor, "y x"]
    scale: float
    noise_std: float
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True)
class Prepared:
    """What became of a folder.

    Args:
        folder: Where the images are.
        entries: Scans that are ready.
        failures: Scans that are not.
        n_new: Number of scans that were not ready before.
        subjects: How it was found who was scanned, in one sentence.
        gone: Paths of scans that are ready, too, from an earlier run, but are no longer where they were.
    """

    folder: Path
    entries: tuple[CacheEntry, ...]
    failures: tuple[Failure, ...]
    n_new: int
    subjects: str = ""
    gone: tuple[str, ...] = ()

    def __str__(self) -> str:
        n_slices = sum(entry.n_slices for entry in self.entries)
        n_subjects = len({entry.subject for entry in self.entries})
        found = ((len(self.entries), "scan"), (n_slices, "slice"), (n_subjects, "subject"))
        done = f"{self.folder}: {', '.join(count(*each) for each in found)}; {count(self.n_new, 'scan')} new"
        gone = f"images are kept whose scans are gone: {first_few(self.gone, 3)}: a new folder leaves them out"
        failed = failures_text(self.folder, self.failures)
        return "\n".join(filter(None, (done, self.subjects, gone if self.gone else "", failed)))


def prepare_folder(root: Path, output_dir: Path, n_processes: int | None = None, **preparation: Any) -> Prepared:
    """Make a folder of images to train on from all scans below another.

    Scans that are ready are not made again: a run that was killed goes on where it stopped. A scan that is
    broken or not fully sampled stops no other; it is listed, with the reason, in `failed.jsonl`.

    Args:
        root: Folder of fully sampled scans, or one scan, of any format.
        output_dir: Folder to write to.
        n_processes: Number of processes; one for each core if not given.
        preparation: Arguments of `Preparation`.

    Raises:
        FileNotFoundError: If there is no scan.
        FileExistsError: If ``output_dir`` holds something else, such as the scans.
        ValueError: If no scan could be prepared, or ``output_dir`` was prepared in another way.
    """
    how = Preparation(**preparation)
    output_dir = output_dir.resolve()
    cache = how.cache(output_dir.parent, output_dir.name)
    check_settings(cache)
    paths = find_scans(root)
    prepared = build_cache(paths, cache, how, n_processes, root if root.is_dir() else root.parent)
    if not prepared.entries:
        raise ValueError(
            f"{root}: there must be a scan to train on: none of {len(paths)} could be prepared,"
            f" the first because {prepared.failures[0].reason}"
        )
    return prepared


def build_cache(
    scans: Sequence[Path],
    cache: ImageCache,
    preparation: Preparation = Preparation(),
    n_processes: int | None = None,
    root: Path | None = None,
) -> Prepared:
    """Make images of fully sampled scans; those that are ready are not made again.

    Args:
        scans: Files to prepare.
        cache: Where the images go.
        preparation: How they are made.
        n_processes: Number of processes; one for each core if not given.
        root: Folder from which names count; whole paths count if not given.
    """
    with cache.filling() as done:
        jobs = [
            Job(path, name := cache_name(path, root), str(path.relative_to(root or path.anchor)), done.get(name))
            for path in scans
        ]
        missing = {job.name: job for job in jobs if not cache.is_current(job.known, job.path)}
        for job in missing.values():
            _check_source(job)
        work = partial(_prepare, cache=cache, preparation=preparation)
        failures = cache.fill(missing, work, n_processes, "prepare")
        done = cache.entries()
    rows = [done.pop(job.name) for job in jobs if job.name in done]
    entries, rule = with_subjects(rows)
    gone = tuple(sorted(row.source for row in done.values() if not Path(row.source).exists()))
    return Prepared(cache.folder, entries, tuple(failures), len(missing) - len(failures), rule, gone)


def with_subjects(rows: Sequence[CacheEntry]) -> tuple[tuple[CacheEntry, ...], str]:
    """Return rows whose subjects are all known, copies of one scan under one subject, and the rule that named them."""
    subjects = NamedSubjects.found({Path(row.path or row.source): row.subject for row in rows})
    first: dict[str, str] = {}
    for row in rows:
        first.setdefault(row.content or row.name, subjects.of[Path(row.path or row.source)])
    return tuple(replace(row, subject=first[row.content or row.name]) for row in rows), subjects.rule


def ready_entries(scans: Sequence[Path], cache: ImageCache) -> dict[Path, CacheEntry]:
    """Return the rows of those of these scans that are ready, making none."""
    done = cache.entries()
    rows = {path: done.get(cache_name(path)) for path in scans}
    return {path: row for path, row in rows.items() if cache.is_current(row, path)}


def check_settings(cache: ImageCache) -> None:
    """Check that a folder is new, empty, or was prepared in the same way."""
    found = sorted(path.name for path in cache.folder.glob("[!.]*"))
    if found and SETTINGS not in found:
        raise FileExistsError(f"{cache.folder}: output_dir must be new, empty or prepared before: it holds {found[0]}")
    settings = read_settings(cache.folder) if found else {}
    for name, value in cache.settings.items() if is_prepared(cache.folder) else ():
        if settings.get(name) != value:
            raise ValueError(
                f"{cache.folder}: {name} must be the one it was prepared with, {settings.get(name)}: got {value}"
            )


def read_settings(folder: Path) -> dict[str, Any]:
    """Return what a prepared folder says that its images were made with."""
    try:
        settings = json.loads((folder / SETTINGS).read_text())
        if not isinstance(settings, dict) or "kind" not in settings:
            raise ValueError("got no settings")
    except (OSError, ValueError) as error:
        raise ValueError(f"{folder / SETTINGS}: a prepared folder must say how it was prepared: {error}") from error
    return settings


@dataclass(frozen=True)
class Job:
    """One scan to prepare, and its row from an earlier run, if any."""

    path: Path
    name: str
    below: str
    known: CacheEntry | None

    def __str__(self) -> str:
        return str(self.path)


def _check_source(job: Job) -> None:
    """Refuse to replace the images of another scan of the same name, which is still there."""
    known = job.known
    if known is None or known.source in ("", str(job.path)) or not Path(known.source).exists():
        return
    if not job.path.samefile(known.source) and known.content != content_of(*files_of(job.path)):
        raise FileExistsError(
            f"{job.path}: output_dir must be elsewhere, since it holds the images of {known.source}, which has the same"
            " name"
        )


def _prepare(job: Job, cache: ImageCache, preparation: Preparation) -> CacheEntry:
    scan = preparation.read(job.path)
    files = files_of(job.path)
    content, mark = content_of(*files), fingerprint_of(*files)
    shape = (scan.n_slices, *scan.reconstruction_size)
    if job.known is not None and (job.known.content, job.known.shape) == (content, shape) and cache.holds(job.known):
        return replace(job.known, fingerprint=mark, source=str(job.path), path=job.below)
    mask = scan.mask if len(scan.mask) == 1 else scan.mask[_finite_slices(scan)]
    if not is_fully_sampled(mask):
        raise ValueError(
            f"{scan.source}: kspace must be fully sampled to train on: got {int(mask.sum())} of {mask.numel()} samples"
        )
    found: list[tuple[float, float, tuple[str, ...]]] = []  # scale, noise and warnings of each slice

    def images() -> Iterator[Tensor]:
        for k in range(scan.n_slices):
            one = preparation.image(scan, k)
            found.append(one[1:])
            yield one.image

    cache.store_slices(job.name, shape, images())
    scales = tuple(scale for scale, _, _ in found)
    return CacheEntry(
        name=job.name,
        subject=scan.subject if scan.subject_known else "",
        contrasts=(scan.contrast,) * scan.n_slices,
        shape=shape,
        scales=scales,
        source=str(job.path),
        fingerprint=mark,
        problems=(*_problems(scan, scales), *(text for _, _, warnings in found for text in warnings)),
        content=content,
        noise_stds=tuple(noise_std for _, noise_std, _ in found),
        pixel_size=scan.pixel_size,
        path=job.below,
    )


def _finite_slices(scan: Scan) -> list[int]:
    """Return the slices without NaN and infinity, which say how a scan was sampled; all if there are none."""
    finite = torch.cat([kspace.isfinite().flatten(1).all(1) for kspace in scan.kspace.chunks(gaps=True)])
    return finite.nonzero().flatten().tolist() or list(range(scan.n_slices))


def _problems(scan: Scan, scales: Sequence[float]) -> tuple[str, ...]:
    magnitude = (MAGNITUDE_ONLY,) if scan.magnitude_only and not {MAGNITUDE_ONLY, REAL_ONLY} & {*scan.warnings} else ()
    n_empty = sum(scale == 0 for scale in scales)
    empty = (f"{n_empty} of {len(scales)} slices are empty",) if n_empty else ()
    return (*scan.warnings, *magnitude, *empty)
