"""A reader study of what two methods made of the same patients: create, analyze, and how many patients it takes."""

import logging
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from lightning_mri.evaluation.reader_study import Design, Key, analyze, pair, read_scores, write_pages, write_sheet
from lightning_mri.evaluation.reader_study.statistics import sample_size
from lightning_mri.files import count
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
from lightning_mri.physics import combine

log = logging.getLogger(__name__)


def create_reader_study(
    reference: Path,
    test: Path,
    output_dir: Path,
    key: Path,
    design: Design = Design(),  # noqa: B008 - frozen
    dicom: bool = False,
) -> str:
    """Write what blinded readers get, and the key; return what to publish before the first image is read.

    Files of both folders belong together by their path in it, without its ending. Scans of one subject, as the
    reference's files name it, count as one patient.

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
    if key.resolve().is_relative_to(output_dir.resolve()):
        raise ValueError(f"{key}: key must not lie in the package, which the readers get")
    if reference.resolve() == test.resolve():
        raise ValueError(f"{test}: test must be another folder than reference")
    files = _matched(reference, test)
    drawn = design.draw({name: _subject(files[name][0]) for name in sorted(files)})
    sides = {drawn.reference: 0, drawn.test: 1}

    @lru_cache(maxsize=4)
    def image(scan: str, method: str) -> FinishedImage:
        return _read(files[scan][sides[method]])

    def shown(scan: str, method: str) -> Float[Tensor, "slice y x"]:
        found = image(scan, method)
        return as_shown(found.magnitude, found.place)[0].contiguous()

    drawn.save(key)
    try:
        write_pages(output_dir, drawn, shown)
        for reader in range(1, drawn.n_readers + 1) if dicom else ():
            folder = output_dir / f"reader-{reader}"
            write_sheet(folder / "scores.csv", drawn, reader)
            for reading in drawn.of_reader(reader):
                scaled = pair(drawn, reading.scan, lambda scan, method: image(scan, method).magnitude)
                named = {"left": scaled[reading.left], "right": scaled[reading.right]}
                place = image(reading.scan, drawn.reference).place
                write_blinded(folder / "dicom" / reading.code, reading.code, named, place)
    except BaseException:
        key.unlink()
        raise
    found = ((len(drawn.readings), "reading"), (len(files), "scan"), (len(set(drawn.patients.values())), "patient"))
    what = " of ".join(count(*each) for each in found)
    return f"{output_dir}: {what} by {count(drawn.n_readers, 'reader')}; key: sha256 {drawn.sha256}"


def analyze_reader_study(key: Path, scores: Sequence[Path], output_dir: Path) -> str:
    """Open a study: write ``table.csv``, ``table.md`` and ``forest.png``; return the table.

    Args:
        key: What `create_reader_study` wrote.
        scores: CSV files that the readers exported or filled in.
        output_dir: Folder for the results.
    """
    opened = Key.load(key)
    found = analyze(opened, read_scores(scores, opened))
    found.write(output_dir, (key, *scores))
    return found.markdown()


def plan_reader_study(
    standard_deviation: float, margin: float = 0.5, true_difference: float = 0.0, power: float = 0.8
) -> str:
    """Return how many patients it takes to show non-inferiority; see `sample_size`.

    Args:
        standard_deviation: Of the patients' differences, averaged over readers, in points of the scale.
        margin: Greatest loss that counts as not worse.
        true_difference: Test less reference, as expected.
        power: Chance to show it.
    """
    return f"{sample_size(standard_deviation, margin, true_difference, power)} patients"


def _matched(reference: Path, test: Path) -> dict[str, tuple[Path, Path]]:
    """Return the files of both folders by their common names."""
    by_name = [{str(_stem(path.relative_to(folder))): path for path in _files(folder)} for folder in (reference, test)]
    common = by_name[0].keys() & by_name[1].keys()
    if not common:
        raise ValueError(f"{reference} and {test} must hold images of the same scans, by name: they share none")
    for folder, names in zip((reference, test), by_name, strict=True):
        for name in sorted(names.keys() - common):
            log.warning("%s: left out, since the other folder has no %s", folder, name)
    return {name: (by_name[0][name], by_name[1][name]) for name in sorted(common)}


def _files(folder: Path) -> list[Path]:
    results = sorted(path for path in folder.rglob("[!.]*.h5") if is_result(path))
    return results or find_scans(folder)


def _stem(path: Path) -> Path:
    return path.with_name(path.name.removesuffix(".gz")).with_suffix("")


def _read(path: Path) -> FinishedImage:
    """Return the images of a result, or of a scan with all of its k-space."""
    if is_result(path):
        return read_result(path)
    scan = read_scan(path)
    images = [
        combine(scan.kspace[index : index + 1], scan.reconstruction_size, noise_covariance=scan.noise_covariance)
        for index in range(scan.n_slices)
    ]
    shape = (scan.n_slices // scan.n_volumes, *scan.reconstruction_size)
    place = place_of(scan.affine, scan.pixel_size, scan.slice_spacing, shape)
    return FinishedImage(torch.cat(images).abs(), place, scan.subject)


def _subject(path: Path) -> str:
    """Return who was scanned."""
    return read_subject(path) if is_result(path) else read_scan(path).subject
