"""Synthetic subjects in a synthetic scanner, written as files that the real reader reads."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch

from lightning_mri.datasets.parallel import run_jobs
from lightning_mri.files import for_results, remove_leavings
from lightning_mri.io import read_scan, write_fastmri
from lightning_mri.io.contrasts import acquisition_of
from lightning_mri.phantoms import Geometry, Head, LesionKind, Scanner, wrapped
from lightning_mri.tensors import derive_seed


@dataclass(frozen=True)
class Cohort:
    """What the scans of simulated subjects have in common; arguments are those of `simulate`."""

    n_slices: int
    matrix: tuple[int, int]
    pixel_size: tuple[float, float]
    spacing_mm: float
    thickness_mm: float
    lesions: bool | None
    field_strength: float
    seed: int
    scanner: Scanner

    def subject(self, index: int) -> str:
        """Return the identity of a subject."""
        return f"synthetic-{self.seed}-{index:04d}"

    def geometry(self, index: int) -> Geometry:
        """Return how a subject lies in the scanner: a little tilted and off the centre."""
        rng = np.random.default_rng(derive_seed(self.subject(index), "geometry"))
        tilt, shift = rng.normal(0, 4, 3), rng.normal(0, 3, 2)
        return Geometry(
            shape=self.matrix,
            pixel_size=self.pixel_size,
            offset_mm=10 + rng.normal(0, 4),
            tilt=(tilt[0], tilt[1], tilt[2]),
            shift_mm=(shift[0], shift[1]),
            thickness_mm=self.thickness_mm,
        )


def simulate(
    output_dir: Path,
    n_train: int = 20,
    n_val: int = 0,
    n_test: int = 3,
    contrasts: Sequence[str] = ("FLAIR",),
    n_slices: int = 8,
    matrix: tuple[int, int] = (192, 160),
    pixel_size: tuple[float, float] = (1.3, 1.3),
    spacing_mm: float = 5.0,
    thickness_mm: float = 0.0,
    lesions: bool | None = None,
    field_strength: float = 3.0,
    scanner: Scanner = Scanner(),  # noqa: B008 - frozen
    seed: int = 0,
    n_processes: int | None = None,
) -> list[Path]:
    """Write a cohort of synthetic subjects as fully sampled multi-coil scans in fastMRI's layout.

    No subject is in two of the folders `multicoil_train`, `multicoil_val` and `multicoil_test`. A file
    depends on the seed, its subject and its contrast alone.

    Beside what fastMRI's files hold, each has the dataset `lesion_mask` [slice, y, x] uint8 at the matrix of the
    images: 1 where there is an acute ischaemic lesion, 2 old damage of white matter by small vessels, 0 neither, and
    3 where both come to lie on each other in a field of view that wraps.

    References are as noisy as the scan: `scanner.snr_db` of 15 gives those of a poor one, and `scanner.field_of_view`
    of 0.7 heads that fill or overfill the field.

    Args:
        output_dir: Folder to write to.
        n_train: Number of training subjects.
        n_val: Number of validation subjects.
        n_test: Number of test subjects.
        contrasts: Contrasts that each subject is scanned with, one file each.
        n_slices: Slices of a scan.
        matrix: Pixels (y, x) of an image.
        pixel_size: Their size (y, x), in mm.
        spacing_mm: Distance between slices, in mm.
        thickness_mm: Thickness over which a slice averages, in mm; three times the time where it is more than thin.
        lesions: Whether subjects have lesions; one in four has if not given.
        field_strength: In tesla; tissues relax and shift accordingly.
        scanner: Receive array and noise.
        seed: Identifies the cohort.
        n_processes: Number of processes; one for each core if not given.

    Returns:
        The files.

    Raises:
        ValueError: If there is nothing to write.
        FileExistsError: If a subject is in another folder of the split already, or a file is no scan of its subject.
    """
    sides = [("train", n_train), ("val", n_val), ("test", n_test)]
    if min(n for _, n in sides) < 0 or sum(n for _, n in sides) < 1 or not contrasts or n_slices < 1:
        raise ValueError(
            "there must be at least one subject, contrast and slice:"
            f" got n_train={n_train}, n_val={n_val}, n_test={n_test}, contrasts={tuple(contrasts)},"
            f" n_slices={n_slices}"
        )
    cohort = Cohort(n_slices, matrix, pixel_size, spacing_mm, thickness_mm, lesions, field_strength, seed, scanner)
    folders = [f"multicoil_{side}" for side, n in sides for _ in range(n)]
    jobs = [
        (Path(output_dir) / folder / f"{cohort.subject(index)}_{acquisition_of(contrast)}.h5", index, contrast)
        for index, folder in enumerate(folders)
        for contrast in contrasts
    ]
    for path, index, _ in jobs:
        _check_free(path, cohort.subject(index))
    with for_results(Path(output_dir)):
        for folder in dict.fromkeys(folders):
            (Path(output_dir) / folder).mkdir(exist_ok=True)
    return list(run_jobs(partial(_write_scan, cohort), jobs, n_processes, "simulate"))


def _check_free(path: Path, subject: str) -> None:
    """Refuse to replace what is no scan of the subject, and a subject that is in another folder of the split."""
    for folder in path.parent.parent.glob("multicoil_*"):
        if folder.name != path.parent.name and any(folder.glob(f"{subject}_*.h5")):
            raise FileExistsError(
                f"{folder}: no subject may be in two folders, and {subject} is here: n_train, n_val and n_test must be"
                " those of before, or seed or output_dir others"
            )
    if not path.exists():
        return
    try:
        ours = read_scan(path).subject == subject
    except (OSError, ValueError):
        ours = False
    if not ours:
        raise FileExistsError(f"{path}: output_dir must be elsewhere, since another program wrote this file")


def _write_scan(cohort: Cohort, job: tuple[Path, int, str]) -> Path:
    path, index, contrast = job
    subject = cohort.subject(index)
    head = Head(subject, cohort.lesions, cohort.field_strength)
    slices = list(head.slices(contrast, cohort.n_slices, cohort.spacing_mm, cohort.geometry(index)))
    images = torch.stack([one.image for one in slices])
    seed = derive_seed(subject, contrast)
    kspace = cohort.scanner.measure(images, seed, cohort.pixel_size, cohort.spacing_mm)
    remove_leavings(path)
    write_fastmri(
        path,
        kspace,
        contrast=contrast,
        subject=subject,
        pixel_size=cohort.pixel_size,
        reconstruction_size=(cohort.matrix[0], kspace.shape[-1]),
        field_strength=cohort.field_strength,
        slice_thickness=cohort.spacing_mm,
        noise_covariance=cohort.scanner.noise_scan(seed, kspace),
        lesion_mask=wrapped(torch.stack([one.lesions for one in slices]), cohort.scanner.field_of_view),
        lesion_kinds={kind.name.lower(): kind.value for kind in LesionKind},
    )
    return path
