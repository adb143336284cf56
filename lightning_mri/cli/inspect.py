"""``inspect``: say what is in scans."""

import json
import sys
from dataclasses import replace
from pathlib import Path

from jsonargparse import Namespace
from tqdm import tqdm

from lightning_mri.cli.options import command_parser, parse
from lightning_mri.files import PROGRAM, check_replaceable
from lightning_mri.io import find_scans, read_scan
from lightning_mri.io.failures import naming_guesses, none_of
from lightning_mri.messages import error_context, sentence
from lightning_mri.physics import Spectrum
from lightning_mri.reconstruction import Inspection, preview, reference_spectrum, with_scanner
from lightning_mri.reconstruction import inspect as find


def inspect(arguments: list[str]) -> int:
    """Print what is in scans; return 3 if some could not be read."""
    parser = command_parser("inspect", "Say what is in scans, and what to be wary of.")
    parser.add_argument("paths", nargs="+", type=Path, help="Scans, or folders of scans.")
    parser.add_argument("--preview", type=Path, help="PNG to draw slices, mask and coil maps into.")
    parser.add_argument("--json", action="store_true", help="Print JSON, one object a scan.")
    parser.add_argument("--like", type=Path, help="High-field images of such objects, to find the blur by.")
    parser.add_argument("--readout_s", type=float, help="Duration of the readout in s, with --like.")
    axis = "Axis of the image along which the readout ran, where the file does not tell, with --like."
    parser.add_argument("--readout", choices=("y", "x"), help=axis)
    parser.add_function_arguments(read_scan, skip={"path"})
    options = parse(parser, arguments)
    like, readout_s = options.like, options.readout_s
    if (like is None) != (readout_s is None):
        raise ValueError(f"like and readout_s must be given together: got {like} and {readout_s}")
    files = [(file, path) for path in options.paths for file in find_scans(path)]
    pictures = [_picture_of(file, path, options.preview, len(files)) for file, path in files if options.preview]
    for picture in pictures:
        check_replaceable(picture, [file for file, _ in files], PROGRAM)
    reference = None if like is None else reference_spectrum(like)
    failures = []
    bar = tqdm(files, "scans", disable=True if len(files) == 1 else None, leave=False)  # in a terminal, while it lasts
    for index, (file, path) in enumerate(bar):
        try:
            found = _read(file, options, reference)
        except (ValueError, OSError) as error:
            if not path.is_dir():
                raise
            failures.append(sentence(error))
            continue
        tqdm.write(json.dumps(found.plain()) if options.json else found.text())
        if pictures:
            preview(found.scan, pictures[index])
    if len(failures) == len(files):
        raise ValueError(none_of(failures, "read"))
    for failure in failures:
        print(f"failed: {failure}", file=sys.stderr)
    return 3 if failures else 0


def _read(file: Path, options: Namespace, reference: Spectrum | None) -> Inspection:
    """Return what is in a scan; with the blur of its scanner, where a reference to find that by is given."""
    reading = {name: options[name] for name in ("axes", "measurement", "pixel_size", "slice_spacing", "contrast")}
    with error_context(file, "the scan must hold what an image is made of"):
        scan = read_scan(file, **reading)
        scan = replace(scan, readout=options.readout or scan.readout)
        with naming_guesses(scan.warnings):
            found = find(scan)
            return found if reference is None else with_scanner(found, options.readout_s, reference)


def _picture_of(file: Path, path: Path, picture: Path, n_files: int) -> Path:
    """Return what a scan is drawn into: of several, a file with its folders below ``path`` in the name."""
    below = file.relative_to(path).parts if path in file.parents else (file.name,)
    return picture if n_files == 1 else picture.with_stem("-".join((picture.stem, *below)))
