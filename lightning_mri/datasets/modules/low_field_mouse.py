"""Mice at high field to train on, and as a low-field scanner would have measured them, to reconstruct."""

import hashlib
import zlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import partial
from importlib.resources import files
from pathlib import Path

import nibabel
import numpy as np
import torch
from jaxtyping import Complex
from nibabel.filebasedimages import ImageFileError
from nibabel.wrapstruct import WrapStructError
from torch import Tensor
from torch.utils.data import DataLoader

from lightning_mri.datasets.augmentation import Augmentation
from lightning_mri.datasets.cache import CacheEntry, ImageCache, cache_name, cache_root, fingerprint
from lightning_mri.datasets.datasets import scan_loader
from lightning_mri.datasets.low_field_dataset import LowFieldBatch, LowFieldDataset
from lightning_mri.datasets.modules.cached_images import CachedImages
from lightning_mri.datasets.parallel import run_jobs
from lightning_mri.datasets.splits import Split, SubjectSplit
from lightning_mri.phantoms.mice import Mouse
from lightning_mri.phantoms.mouse_atlas import BRAIN_RANGE_MM
from lightning_mri.physics.low_field import LowField, ModelMismatch
from lightning_mri.scaling import Scaling
from lightning_mri.tensors import derive_seed

GENERATOR = ("fields", "mice", "mouse_atlas", "mouse_canvas")
CONTRAST = "T2w"
ENDINGS = (".nii", ".nii.gz", ".npy")
PIXEL_TOLERANCE = 0.01


@dataclass(frozen=True)
class Colony:
    """What the slices of synthetic mice depend on.

    Args:
        seed: Identifies the colony.
        slices_per_subject: Slices of each mouse, spread over its brain.
        size: Pixels along y and x.
        pixel_size: Edge of a pixel in mm.
        scaling: How the slices are scaled.
    """

    seed: int
    slices_per_subject: int
    size: int
    pixel_size: float
    scaling: Scaling


class LowFieldMouse(CachedImages):
    """T2-weighted coronal mouse brains: synthetic mice by default, or a folder of high-field images.

    Training and validation yield high-field images; test and prediction yield `LowFieldBatch`, the same kind
    of images of other animals after ``degradation``. Synthetic mouse i depends on the seed and i alone: the
    first ones test, the next ones validate, so that a larger colony contains the smaller one.

    Args:
        root: Folder of high-field images, one file an animal: NIfTI volumes, or NumPy arrays [slice, y, x],
            real or complex; files whose name ends in ``_mask`` are left out. Synthetic mice if not given.
        degradation: The low-field scanner; its ``pixel_size`` is that of the images.
        n_subjects: Number of animals to train on; of a folder at most that many.
        n_val: Number of animals to validate on.
        n_test: Number of animals to test on; of a folder at least that many.
        slices_per_subject: Slices of each synthetic mouse.
        coronal_axis: Axis of a NIfTI volume across its coronal planes.
        size: Pixels of a synthetic slice along y and x.
        crop: Pixels (y, x) that are trained on and reconstructed.
        batch_size: Images in a training batch, and slices of one animal that are reconstructed together.
        n_workers: Processes that read and augment images.
        cache_dir: Folder for caches; the user's cache folder if not given.
        n_processes: Processes that draw or read animals; one for each core if not given.
        augmentation: Random changes of the training images.
        scaling: The scale contract of the prior to train.
        n_reconstructions: Number of slices for validation by reconstruction, and to tune baselines on.
        seed: Identifies the colony, or the split of a folder.
        misjudged: What reconstructions get wrong about the scanner; nothing if not given.

    Raises:
        ValueError: If a number is out of range.
    """

    def __init__(
        self,
        root: Path | None = None,
        degradation: LowField = LowField(),  # noqa: B008 - frozen
        n_subjects: int = 100,
        n_val: int = 4,
        n_test: int = 10,
        slices_per_subject: int = 12,
        coronal_axis: int = 1,
        size: int = 128,
        crop: tuple[int, int] = (128, 128),
        batch_size: int = 8,
        n_workers: int = 0,
        cache_dir: Path | None = None,
        n_processes: int | None = None,
        augmentation: Augmentation = Augmentation(transpose=0.0),  # noqa: B008 - frozen
        scaling: Scaling = Scaling(),  # noqa: B008 - frozen
        n_reconstructions: int = 4,
        seed: int = 0,
        misjudged: ModelMismatch | None = None,
    ) -> None:
        if min(n_subjects, n_val, n_test) < 1 or min(slices_per_subject, size, batch_size) < 1:
            raise ValueError(
                "n_subjects, n_val, n_test, slices_per_subject, size and batch_size must be positive: got"
                f" {n_subjects}, {n_val}, {n_test}, {slices_per_subject}, {size} and {batch_size}"
            )
        if coronal_axis not in (0, 1, 2):
            raise ValueError(f"coronal_axis must be 0, 1 or 2: got {coronal_axis}")
        self.root, self.degradation, self.coronal_axis = root, degradation, coronal_axis
        self.n_subjects, self.n_val, self.n_test, self.seed = n_subjects, n_val, n_test, seed
        self.n_processes, self.n_reconstructions, self.misjudged = n_processes, n_reconstructions, misjudged
        self.colony = Colony(seed, slices_per_subject, size, degradation.pixel_size, scaling)
        cache = ImageCache(cache_root(cache_dir), *self._cache_settings(scaling))
        super().__init__(cache, crop, batch_size, n_workers, augmentation, scaling)
        self.matrix = crop

    def prepare_data(self) -> None:
        """Draw the mice, or read the files, that the cache lacks.

        Raises:
            FileNotFoundError: If the folder holds no images.
            ValueError: If a file does not hold what it should.
        """
        done = self.cache.entries()
        if self.root is None:
            missing = [name for name in self._names() if name not in done]
            draw = partial(_draw_mouse, colony=self.colony, cache=self.cache)
            rows = run_jobs(draw, missing, self.n_processes, "synthetic mice")
        else:
            stale = [
                path
                for path in self._files()
                if cache_name(path) not in done or done[cache_name(path)].fingerprint != fingerprint(path)
            ]
            rows = run_jobs(self._read, stale, self.n_processes, "prepare")
        for row in rows:
            self.cache.record(row)

    def setup(self, stage: str | None = None) -> None:
        """Divide the animals.

        Raises:
            ValueError: If a folder holds too few animals.
        """
        entries, split = self.cache.entries(), self._split()
        self.train_entries, self.val_entries, self.test_entries = (
            [entries[name] for name in side] for side in (split.train, split.val, split.test)
        )
        super().setup(stage)

    def split_names(self) -> dict[str, list[str]]:
        """Return the animals of each side."""
        return self._split().names()

    def entries(self, side: str) -> list[CacheEntry]:
        """Return the cached animals of one side."""
        return {"train": self.train_entries, "val": self.val_entries}[side]

    def test_dataloader(self) -> DataLoader[LowFieldBatch]:
        """Return low-field scans of the test animals, with their high-field images."""
        return scan_loader(self._scans(self.test_entries, self.batch_size), self.n_workers)

    def predict_dataloader(self) -> DataLoader[LowFieldBatch]:
        """Return the same as for testing."""
        return self.test_dataloader()

    def reconstruction_batches(self) -> list[LowFieldBatch]:
        """Return low-field slices of the validation animals, spread evenly over them."""
        scans = self._scans(self.val_entries, 1)
        n = min(self.n_reconstructions, len(scans))
        return [scans[int((i + 0.5) * len(scans) / n)] for i in range(n)]

    def tuning_batches(self) -> list[LowFieldBatch]:
        """Return the same, to tune what the tests compare with."""
        return self.reconstruction_batches()

    def _scans(self, entries: Sequence[CacheEntry], batch_size: int) -> LowFieldDataset:
        return LowFieldDataset(self.cache, entries, self.matrix, self.degradation, batch_size, self.misjudged)

    def _cache_settings(self, scaling: Scaling) -> tuple[str, dict[str, object]]:
        if self.root is None:
            return "synthetic-mice", {"colony": asdict(self.colony), "generator": _generator_version()}
        settings = {"scaling": asdict(scaling), "coronal_axis": self.coronal_axis}
        return "high-field", {**settings, "pixel_size": self.degradation.pixel_size}

    def _names(self) -> list[str]:
        return [f"mouse-{i:05d}" for i in range(self.n_test + self.n_val + self.n_subjects)]

    def _split(self) -> Split:
        if self.root is None:
            names, first = self._names(), self.n_test + self.n_val
            return Split(tuple(names[first:]), tuple(names[self.n_test : first]), tuple(names[: self.n_test]))
        subject_of = {cache_name(path): subject_of_file(path) for path in self._files()}
        n_left = len(set(subject_of.values())) - self.n_val - self.n_test
        if n_left < 0:
            raise ValueError(
                f"{self.root}: n_val + n_test must not exceed the number of animals:"
                f" got {self.n_val} + {self.n_test} of {len(set(subject_of.values()))}"
            )
        return SubjectSplit(self.n_val, min(self.n_subjects, n_left), self.seed).divide(subject_of)

    def _files(self) -> list[Path]:
        assert self.root is not None
        return [path for path in find_images(self.root) if self.cache.folder not in path.parents]

    def _read(self, path: Path) -> CacheEntry:
        images = read_images(path, self.coronal_axis, self.degradation.pixel_size)
        return _store(
            images,
            self.scaling,
            self.cache,
            name=cache_name(path),
            subject=subject_of_file(path),
            source=str(path),
            fingerprint=fingerprint(path),
            problems=() if bool(images.imag.any()) else ("the images are magnitudes: their phase is not known",),
        )


def find_images(root: Path) -> list[Path]:
    """Return the files of high-field images in a folder, without masks.

    Raises:
        FileNotFoundError: If there are none.
    """
    paths = sorted(
        path for path in root.rglob("*") if path.name.endswith(ENDINGS) and not subject_of_file(path).endswith("_mask")
    )
    if not paths:
        raise FileNotFoundError(f"{root}: there must be at least one file ending in {', '.join(ENDINGS)}: got none")
    return paths


def subject_of_file(path: Path) -> str:
    """Return the animal that a file is named after."""
    return path.name.removesuffix(".gz").removesuffix(".nii").removesuffix(".npy")


def read_images(path: Path, coronal_axis: int, pixel_size: float) -> Complex[Tensor, "slice y x"]:
    """Return the coronal slices of a file of images; planes of a NIfTI volume are turned to stand upright.

    Args:
        path: NIfTI volume, or NumPy array [slice, y, x].
        coronal_axis: Axis of a NIfTI volume across its coronal planes.
        pixel_size: Edge of a pixel in mm that the file's header, if it has one, must agree with.

    Raises:
        ValueError: If the file does not hold one volume of finite values with that pixel size.
    """
    values, zooms = _load(path)
    if values.ndim != 3 or values.dtype.kind not in "fciu":
        raise ValueError(f"{path}: it must hold one volume of numbers: got shape {values.shape}, {values.dtype}")
    if not np.isfinite(values).all() or not values.any():
        raise ValueError(f"{path}: its values must be finite and not all zero")
    if zooms is not None:
        rows, columns = (zoom for axis, zoom in enumerate(zooms) if axis != coronal_axis)
        if max(abs(rows / pixel_size - 1), abs(columns / pixel_size - 1)) > PIXEL_TOLERANCE:
            raise ValueError(
                f"{path}: its pixels must be those of degradation.pixel_size, {pixel_size:g} mm:"
                f" got {rows:g} x {columns:g} mm"
            )
        values = np.rot90(np.moveaxis(values, coronal_axis, 0), axes=(1, 2))
    return torch.from_numpy(np.ascontiguousarray(values, dtype=np.complex64))


def _load(path: Path) -> tuple[np.ndarray, tuple[float, ...] | None]:
    """Return the values of a file, and the voxel's edges if it is NIfTI."""
    try:
        if path.suffix == ".npy":
            return np.load(path, allow_pickle=False), None
        image = nibabel.Nifti1Image.from_filename(path)
        return np.asanyarray(image.dataobj), tuple(map(float, image.header.get_zooms()[:3]))
    except (ImageFileError, WrapStructError, ValueError, EOFError, OSError, zlib.error) as error:
        raise ValueError(f"{path}: it must be a readable volume: {error}") from error


def mouse_of(name: str, colony: Colony) -> tuple[Mouse, list[float]]:
    """Return a synthetic animal of a colony, and the positions of its slices from bregma in mm."""
    seed = derive_seed(colony.seed, name)
    rng = np.random.default_rng(seed)
    low, high = BRAIN_RANGE_MM
    n = colony.slices_per_subject
    return Mouse(seed), (low + (high - low) * (np.arange(n) + rng.uniform(size=n)) / n).tolist()


def _draw_mouse(name: str, colony: Colony, cache: ImageCache) -> CacheEntry:
    mouse, offsets = mouse_of(name, colony)
    images = [mouse.slice(offset, (colony.size,) * 2, colony.pixel_size) for offset in offsets]
    source = f"synthetic {name} of seed {colony.seed}"
    return _store(torch.stack(images), colony.scaling, cache, name=name, subject=name, source=source)


def _store(
    images: Complex[Tensor, "slice y x"],
    scaling: Scaling,
    cache: ImageCache,
    name: str,
    subject: str,
    source: str,
    fingerprint: str = "",
    problems: tuple[str, ...] = (),
) -> CacheEntry:
    scales = scaling.of(images)
    # an empty slice stays empty; its scale says so
    cache.store(name, images / torch.where(scales > 0, scales, 1)[:, None, None])
    return CacheEntry(
        name=name,
        subject=subject,
        contrasts=(CONTRAST,) * len(images),
        shape=(images.shape[0], images.shape[1], images.shape[2]),
        scales=tuple(scales.tolist()),
        source=source,
        fingerprint=fingerprint,
        problems=problems,
    )


def _generator_version() -> str:
    """Return what changes with the code that draws mice, so that no cache outlives it."""
    package = files("lightning_mri.phantoms")
    code = "".join(package.joinpath(f"{module}.py").read_text() for module in GENERATOR)
    return hashlib.sha256(code.encode()).hexdigest()[:12]
