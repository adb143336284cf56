"""A finished scan as files: HDF5, NIfTI, DICOM and a preview, all saying where it came from and how it was made."""

import hashlib
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any, Literal

from torch import Tensor

import lightning_mri
from lightning_mri.datasets import Failed
from lightning_mri.datasets.scans import MeasuredScans
from lightning_mri.evaluation import REFERENCE, View, picture, slice_panels, white_of
from lightning_mri.evaluation.pictures import is_known
from lightning_mri.files import MAX_STEM_BYTES
from lightning_mri.io import Scan, write_nifti, write_result
from lightning_mri.io.failures import AllFailed
from lightning_mri.io.formats.dicom.study import DicomStudy
from lightning_mri.io.formats.dicom.writer import Series, check_place, write_dicom
from lightning_mri.io.formats.nifti.reader import STD
from lightning_mri.io.geometry import Place, about_centre, for_readers, place_of
from lightning_mri.io.subjects import NamedSubjects
from lightning_mri.lazy import MissingExtraError
from lightning_mri.messages import first_few
from lightning_mri.reconstruction import Reconstruction

Format = Literal["hdf5", "nifti", "dicom"]
BELONGING = ("_std", "_dicom", "_view")
PARTLY_UNCERTAIN = "the uncertainty of some slices is not known: it is in the HDF5 file alone, nan there"


class FinishedScan:
    """A reconstruction and the scan that it was made from, ready to be written."""

    def __init__(self, scan: Scan, result: Reconstruction, zero_filled: Tensor, run: dict[str, Any]) -> None:
        self.scan, self.result, self.zero_filled, self.run = scan, result, zero_filled, run
        self.place = place_in(scan, (result.image.shape[-2], result.image.shape[-1]))
        certain = result.std.isfinite().all((-2, -1))
        self.std = result.std if bool(certain.all()) else None
        self.partly_uncertain = self.std is None and is_known(result.std)

    def write(self, folder: Path, formats: Sequence[Format], study: DicomStudy) -> tuple[str, ...]:
        """Write the scan in every format asked for, and return all warnings about it."""
        stem = folder / short_name(self.scan.name)
        assumed = () if tuple(formats) == ("hdf5",) else self.place.warnings
        partly = (PARTLY_UNCERTAIN,) if self.partly_uncertain else ()
        given = (*self.scan.warnings, *assumed, *study.warnings(self.scan))
        warnings = tuple(dict.fromkeys((*given, *self.result.warnings, *partly)))
        if "hdf5" in formats:
            self._write_hdf5(path_of(stem, ".h5"), warnings)
        if "nifti" in formats:
            self._write_nifti(stem)
        if "dicom" in formats:
            subject, about = self.scan.subject or self.scan.name, (self.scan.n_volumes, self.scan.field_strength)
            series, readout = self._series(warnings), self.scan.readout
            write_dicom(path_of(stem, "_dicom"), series, self.place, study, subject, *about, readout=readout)
        self._write_preview(path_of(stem, ".png"), warnings)
        self._view(warnings).write(view_of(stem))
        return warnings

    def _write_preview(self, path: Path, warnings: Sequence[str]) -> None:
        """Draw a few slices as they are without any method, as reconstructed, and their uncertainty."""
        images, std, pixel_size, orientation = self._as_shown()
        drawn = {name: x for name, x in images.items() if name != REFERENCE}
        panels = slice_panels(drawn, std, warnings, n_volumes=self.scan.n_volumes)
        made = f"{self._method.replace(' R=', ', R = ')}, prior {self.run['prior']}"
        title = f"{self.scan.name}: {made}, {orientation}. Research use only"
        n_columns = len({panel.note for panel in panels})  # slices; a single one stands beside its uncertainty
        n_columns = n_columns if n_columns > 1 else len(panels)
        picture(path, panels, white_of(self.result.magnitude), n_columns, title, pixel_size, warnings)

    def _as_shown(self) -> tuple[dict[str, Tensor], Tensor, tuple[float, float] | None, str]:
        """Return images, uncertainty and size of pixels as readers see them, and how that is in words."""
        images = {"zero-filled": self.zero_filled, "reconstruction": self.result.magnitude}
        reference = self.scan.reference
        if reference is not None and reference.shape == self.result.image.shape:
            images[REFERENCE] = reference[:].abs()
        shown = partial(for_readers, affine=self.scan.affine, pixel_size=self.scan.pixel_size)
        return {name: shown(x)[0] for name, x in images.items()}, *shown(self.result.std)

    def _view(self, warnings: Sequence[str]) -> View:
        """Return the scan as the viewer shows it."""
        findings, scan = self.result.findings, self.scan
        images, std, pixel_size, orientation = self._as_shown()
        return View(
            name=scan.name,
            images=images,
            std=std,
            pixel_size=pixel_size,
            n_volumes=scan.n_volumes,
            burnt=(f"R = {findings.acceleration:.1f}", f"prior {self.run['prior']}", "research use only"),
            facts={"orientation": orientation, **findings.shown()},
            scores={
                **({"subject": scan.subject} if scan.subject_known else {}),  # else it has the scan's name
                "contrast": findings.contrast,
                "R": findings.acceleration,
                "residual / noise": float(findings.noise_ratio.nanmean()),
                "seconds a slice": float(findings.seconds.nanmean()),
            },
            warnings=warnings,
            run={name: str(value) for name, value in self.run.items()},
        )

    def _write_hdf5(self, path: Path, warnings: Sequence[str]) -> None:
        result = self.result
        attributes = {**self.run, **result.attributes, "warnings": list(warnings)}
        images = (result.magnitude, result.image, result.std, result.mask)
        write_result(path, *images, attributes, samples=result.samples, null_space=result.null_space, scan=self.scan)

    def _write_nifti(self, stem: Path) -> None:
        made = f"lightning_mri {lightning_mri.__version__}: {self._method}, research use only"
        write = partial(write_nifti, place=self.place, n_volumes=self.scan.n_volumes, readout=self.scan.readout)
        write(path_of(stem, ".nii.gz"), self.result.magnitude, description=made)
        if self.std is not None:
            about = f"{STD}{self.scan.name}, research use only"
            write(path_of(stem, "_std.nii.gz"), self.std, description=about)

    @property
    def _method(self) -> str:
        """Sampler and acceleration in a few words."""
        findings = self.result.findings
        return f"{findings.sampler.split('(')[0]} R={findings.acceleration:.1f}"

    def _series(self, warnings: Sequence[str]) -> tuple[Series, ...]:
        """Return the image as a DICOM series, and its uncertainty as a second one."""
        made = (
            f"{self._method} with the prior {self.run['prior']} ({self.run['weights_sha256'][:12]}),"
            f" lightning_mri {lightning_mri.__version__}."
        )
        contrast, findings = self.scan.contrast or "MR", self.result.findings
        description = f"{contrast} {self._method} RESEARCH USE ONLY"
        image = Series("reconstruction", self.result.magnitude, description, made, warnings)
        if self.std is None:
            return (image,)
        derivation = (
            f"Uncertainty: standard deviation of the magnitude over {findings.std_from}, times"
            f" {findings.shown()['multiplied by']}; calibration: {findings.std_calibration}. {made}"
        )
        description = f"{contrast} uncertainty RESEARCH USE ONLY"
        return image, Series("uncertainty", self.std, description, derivation, warnings, is_std=True)


def place_in(scan: Scan, size: tuple[int, int]) -> Place:
    """Return where the finished image of a scan lies."""
    shape = (scan.n_slices // scan.n_volumes, *size)
    affine = about_centre(scan.affine, scan.reconstruction_size, size)
    return place_of(affine, scan.pixel_size, scan.slice_spacing, shape)


def leave_out_unwritable(data: MeasuredScans) -> None:
    """Count the scans that cannot be written as DICOM among those that failed.

    Raises:
        AllFailed: If no scan is left.
        MissingExtraError: If the library that writes DICOM is not installed.
    """
    writable = list[Scan]()
    for scan in data.scans:
        try:
            check_place(place_in(scan, scan.reconstruction_size))
            writable.append(scan)
        except MissingExtraError:
            raise
        except ValueError as error:
            data.failures.append(Failed.by(error, scan.name, str(scan.source)))
    if not writable:
        raise AllFailed(data.failures)
    data.scans = writable


def study_of(source_dicom: Path | None, scans: Sequence[Scan]) -> DicomStudy:
    """Return whose the DICOM series of scans become, of new studies where no series is given.

    Raises:
        ValueError: If a scan does not fit the series, or is not the only subject's.
    """
    study = DicomStudy() if source_dicom is None else DicomStudy.of(source_dicom)
    for scan in scans:
        study.check(scan)
    if source_dicom is not None:
        named = NamedSubjects.found({scan.source: scan.subject if scan.subject_known else "" for scan in scans}).of
        if len(subjects := sorted(set(named.values()))) > 1:
            got = f"got scans of {len(subjects)} subjects: {first_few(subjects)}"
            raise ValueError(f"{source_dicom}: source_dicom must be of the one subject of all scans: {got}")
    return study


def path_of(stem: Path, ending: str) -> Path:
    """Return the path of one of a scan's files."""
    return stem.with_name(f"{stem.name}{ending}")


def view_of(stem: Path) -> Path:
    """Return the folder of a scan's slices for the viewer."""
    return path_of(stem, "_view")


def short_name(name: str) -> str:
    """Return a file's name that leaves room for endings: file systems take 255 bytes.

    A name or folder that is too long, or ends as what belongs to another scan's result (``a_std`` to that of ``a``),
    gets a ``~`` and a hash of it.
    """
    return "/".join(_short(part) for part in name.split("/"))


def _short(part: str) -> str:
    name = part.encode()
    if len(name) <= MAX_STEM_BYTES and not part.endswith(BELONGING):
        return part
    return f"{name[: MAX_STEM_BYTES - 9].decode(errors='ignore')}~{hashlib.sha256(name).hexdigest()[:8]}"


def all_planned(folder: Path, names: Sequence[str], formats: Sequence[Format]) -> list[Path]:
    """Return the files and folders that scans of these names may be written to.

    Raises:
        ValueError: If two scans would be written to the same.
    """
    first = dict[str, str]()
    for name in names:
        if (other := first.setdefault(short_name(name), name)) != name:
            got = f"got {other!r} and {name!r}, both {short_name(name)!r}"
            raise ValueError(f"{name}: scans must have names that stay apart as names of results, rename one: {got}")
    return [path for name in names for path in planned(folder, name, formats)]


def planned(folder: Path, name: str, formats: Sequence[Format]) -> list[Path]:
    """Return the files and folders that a scan of this name may be written to."""
    stem = folder / short_name(name)
    endings = {"hdf5": (".h5",), "nifti": (".nii.gz", "_std.nii.gz"), "dicom": ("_dicom",)}
    return [path_of(stem, ending) for name in formats for ending in endings[name]] + [
        path_of(stem, ".png"),
        view_of(stem),
    ]
