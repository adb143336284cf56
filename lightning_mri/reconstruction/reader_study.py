"""A reader study of what two methods made of the same patients: create, analyze, and how many patients it takes."""

import logging
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cache, lru_cache
from pathlib import Path

from jaxtyping import Float
from torch import Tensor

from lightning_mri.evaluation.reader_study import (
    PRIMARY,
    Design,
    Key,
    analyze,
    pair,
    read_scores,
    write_pages,
    write_sheet,
)
from lightning_mri.evaluation.reader_study.package import Images, scale_of
from lightning_mri.evaluation.reader_study.statistics import FEW_PATIENTS, sample_size
from lightning_mri.files import atomic_folder, remove_leavings
from lightning_mri.io import (
    FinishedImage,
    as_shown,
    find_scans,
    is_result,
    place_of,
    read_result,
    read_scan,
    read_subject,
)
from lightning_mri.io.formats.dicom.blinded import write_blinded
from lightning_mri.io.geometry import misplacement
from lightning_mri.io.subjects import NamedSubjects, stem_of
from lightning_mri.messages import count, first_few

log = logging.getLogger(__name__)


def create_reader_study(
    reference: Path,
    test: Path,
    output_dir: Path,
    key: Path,
    design: Design = Design(),  # noqa: B008 - frozen
    dicom: bool = False,
) -> str:
    """Write what blinded readers get, and the key, and say what to publish before the first image is read.

    Scans of both folders belong together by their folders in it and their names, after which `predict` names results;
    if they share none, by their files' names. The test's images are scaled to the reference's brightness (`scale_of`).
    Scans of one subject count as one patient: as the reference's files name it, else their folders, else their names,
    see `NamedSubjects`.

    Args:
        reference: Folder of results of `predict`, or of fully sampled or finished images (DICOM, NIfTI, ...).
        test: Folder of the other method's results for the same scans.
        output_dir: New folder for the package: ``reader-1`` and on.
        key: New file that tells which image is which; not within the package.
        design: Names of the methods, readers, repeats, items, margin.
        dicom: Whether to write anonymous DICOM series and a score sheet, too, for readers who use a PACS.
    """
    if output_dir.exists():
        raise FileExistsError(f"{output_dir}: output_dir must be a new folder: it exists")
    Key.check_new(key)
    if key.resolve().is_relative_to(output_dir.resolve()):
        raise ValueError(f"{key}: key must not lie in the package, which the readers get")
    if reference.resolve() == test.resolve():
        raise ValueError(f"{test}: test must be another folder than reference")
    files = _matched(reference, test)
    subjects = NamedSubjects.found({path: _subject(path) for path, _ in files.values()})
    log.info("%s: %s", reference, subjects.rule)
    drawn = design.draw({name: subjects.of[path] for name, (path, _) in files.items()})
    if (n_patients := len(set(drawn.patients.values()))) < FEW_PATIENTS:
        log.warning(
            "%s: fewer than %d patients can show nothing: got %d (%s); if there are more, give each a folder directly "
            "in it, or name NIfTI files sub-01_FLAIR and so on",
            *(reference, FEW_PATIENTS, n_patients, subjects.rule),
        )
    sides = {drawn.reference: 0, drawn.test: 1}
    tell = cache(log.warning)  # once: each reader's images are read anew

    @lru_cache(maxsize=2)
    def shown(scan: str) -> tuple[FinishedImage, FinishedImage]:
        return _alike(files[scan], tell)

    def images(scan: str, method: str) -> Float[Tensor, "slice y x"]:
        return shown(scan)[sides[method]].magnitude

    def shape(scan: str) -> tuple[tuple[float, float], int]:
        found = max(shown(scan), key=lambda each: each.place.is_known)
        dx, dy, _ = found.place.affine[:3, :3].norm(dim=0).tolist()
        return (dy, dx), found.n_volumes

    drawn = _with_scales(drawn, images)
    remove_leavings(output_dir)  # the images of a run that was killed
    with atomic_folder(output_dir) as part:
        write_pages(part, drawn, images, shape)
        if dicom:
            _write_dicom(part, drawn, images, lambda scan: shown(scan)[0])
        drawn.save(key)  # last, so that a run that is killed leaves no key without its study
    found = ((len(drawn.readings), "reading"), (len(files), "scan"), (n_patients, "patient"))
    what = " of ".join(count(*each) for each in found)
    return f"{output_dir}: {what} by {count(drawn.n_readers, 'reader')}; key: sha256 {drawn.sha256}"


def analyze_reader_study(key: Path, scores: Sequence[Path], output_dir: Path) -> str:
    """Open a study: write ``table.csv``, ``table.md`` and ``forest.png``.

    Args:
        key: File that tells which image is which, from when the study was created.
        scores: CSV files that the readers exported or filled in.
        output_dir: Folder for the results.
    """
    opened = Key.load(key)
    found = analyze(opened, read_scores(scores, opened))
    found.write(output_dir, (key, *scores))
    return found.markdown()


def plan_reader_study(
    standard_deviation: float,
    margin: float = 0.5,
    true_difference: float = 0.0,
    power: float = 0.8,
    n_primary: int = len(PRIMARY),
) -> str:
    """Say how many patients it takes to show non-inferiority, see `sample_size`.

    Args:
        standard_deviation: Of the patients' differences, averaged over readers, in points of the scale.
        margin: Greatest loss that counts as not worse.
        true_difference: Test less reference, as expected.
        power: Chance to show it of every primary item.
        n_primary: Items that the claim rests on.
    """
    return f"{sample_size(standard_deviation, margin, true_difference, power, n_primary)} patients"


def _with_scales(key: Key, images: Images) -> Key:
    """Return a key with the brightness of its scans; warn where the methods' differ much."""
    scaled = replace(key, scales={scan: scale_of(key, scan, images) for scan in key.patients})
    if scaled.scaling:
        log.warning("%s", scaled.scaling)
    return scaled


def _write_dicom(package: Path, key: Key, images: Images, shown: Callable[[str], FinishedImage]) -> None:
    """Write each reader's score sheet, and of each pair two series in one place and one grey window."""
    for reader in range(1, key.n_readers + 1):
        folder = package / f"reader-{reader}"
        write_sheet(folder / "scores.csv", key, reader)
        for reading in key.of_reader(reader):
            scaled = pair(key, reading.scan, images)
            named = {"left": scaled[reading.left], "right": scaled[reading.right]}
            first, target = shown(reading.scan), folder / "dicom" / reading.code
            try:
                write_blinded(target, reading.code, named, first.place, white=1, n_volumes=first.n_volumes)
            except ValueError as error:
                raise ValueError(f"{reading.scan}: {error}") from error


def _matched(reference: Path, test: Path) -> dict[str, tuple[Path, Path]]:
    """Return the files of both folders by their common names."""
    by_name = [_by_name(folder, _scan_name) for folder in (reference, test)]
    if by_name[0].keys().isdisjoint(by_name[1]):
        ours, theirs = (first_few(sorted(names), 3) for names in by_name)
        by_name = [_by_name(folder, stem_of) for folder in (reference, test)]  # series lie in folders of other names
        if by_name[0].keys().isdisjoint(by_name[1]):
            raise ValueError(f"{test}: test must hold images of the scans in {reference}, {ours}: got {theirs}")
    common = by_name[0].keys() & by_name[1].keys()
    for folder, names in zip((reference, test), by_name, strict=True):
        for name in sorted(names.keys() - common):
            log.warning("%s: left out, since the other folder has no %s", folder, name)
    return {name: (by_name[0][name], by_name[1][name]) for name in sorted(common)}


def _by_name(folder: Path, rule: Callable[[Path], str]) -> dict[str, Path]:
    """Return a folder's files by their folders in it and their names by a rule."""
    named = dict[str, Path]()
    results = sorted(path for path in folder.rglob("[!.]*.h5") if is_result(path))
    for path in results or find_scans(folder):
        earlier = named.setdefault(str(path.relative_to(folder).with_name(rule(path))), path)
        if earlier != path:
            both = f"{earlier.relative_to(folder)} and {path.relative_to(folder)}"
            raise ValueError(f"{folder}: files must differ in more than their endings: got {both}")
    return named


def _scan_name(path: Path) -> str:
    """Return a scan's name, by which `predict` names its result."""
    try:
        return stem_of(path) if is_result(path) else read_scan(path).name
    except (ValueError, OSError):  # told only where it is needed: if the other folder has one of its name
        return stem_of(path)


def _alike(files: tuple[Path, Path], tell: Callable[[str], None]) -> tuple[FinishedImage, FinishedImage]:
    """Return both images as viewers show them, slices in one order; tell where they may not show the same."""
    reference, test = (_shown(_read(path)) for path in files)
    if reference.place.is_known != test.place.is_known:
        known, other = files if reference.place.is_known else files[::-1]
        tell(f"{other}: shown as stored, since it does not tell how its images lie, as {known} does")
    if reference.magnitude.shape != test.magnitude.shape or not (reference.place.is_known and test.place.is_known):
        return reference, test
    if reference.place.affine[:3, 2] @ test.place.affine[:3, 2] < 0:
        test = _reversed(test)
    n, *matrix = reference.magnitude.shape
    shape = (n // reference.n_volumes, *matrix)
    if (distance := misplacement(reference.place.affine, test.place.affine, shape)) is not None:
        tell(f"{files[1]}: the images lie {distance:.3g} mm from those of {files[0]}")
    return reference, test


def _shown(found: FinishedImage) -> FinishedImage:
    images, place = as_shown(found.magnitude, found.place)
    return replace(found, magnitude=images.contiguous(), place=place)


def _reversed(found: FinishedImage) -> FinishedImage:
    """Return images with each volume's slices in the opposite order, every voxel where it was."""
    volumes = found.magnitude.unflatten(0, (found.n_volumes, -1))
    affine = found.place.affine.clone()
    affine[:3, 3] += (volumes.shape[1] - 1) * affine[:3, 2]
    affine[:3, 2] *= -1
    return replace(found, magnitude=volumes.flip(1).flatten(0, 1), place=replace(found.place, affine=affine))


def _read(path: Path) -> FinishedImage:
    """Return the images of a result, or of a scan with all of its k-space."""
    if is_result(path):
        return read_result(path)
    scan = read_scan(path)
    shape = (scan.n_slices // scan.n_volumes, *scan.reconstruction_size)
    place = place_of(scan.affine, scan.pixel_size, scan.slice_spacing, shape)
    return FinishedImage(scan.combined().abs(), place, scan.subject, scan.n_volumes)


def _subject(path: Path) -> str:
    """Return who was scanned, as far as the file tells."""
    if is_result(path):
        return read_subject(path)
    scan = read_scan(path)
    return scan.subject if scan.subject_known else ""
