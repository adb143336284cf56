"""``inspect``: say what is in scans."""

import json
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

from tqdm import tqdm

from lightning_mri.cli.options import command_parser, parse
from lightning_mri.files import PROGRAM, check_replaceable, error_context, sentence
from lightning_mri.io import find_scans, read_scan
from lightning_mri.io.failures import naming_guesses
from lightning_mri.reconstruction import inspect as find
from lightning_mri.reconstruction import preview, reference_spectrum, with_scanner


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
    reading = {name: options[name] for name in ("axes", "measurement", "pixel_size", "slice_spacing", "contrast")}
    like = (options.like, options.readout_s, options.readout)
    return inspect_all(options.paths, options.preview, options.json, *like, **reading)


def inspect_all(
    paths: Sequence[Path],
    picture: Path | None = None,
    as_json: bool = False,
    like: Path | None = None,
    readout_s: float | None = None,
    readout: Literal["y", "x"] | None = None,
    **reading: Any,
) -> int:
    """Print what is in each scan and warnings about it; return 3 if some of a folder could not be read."""
    files = [(file, path) for path in paths for file in find_scans(path)]
    pictures = [] if picture is None else [_picture_of(file, path, picture, len(files)) for file, path in files]
    for drawn in pictures:
        check_replaceable(drawn, [file for file, _ in files], PROGRAM)
    failures = []
    if (like is None) != (readout_s is None):
        raise ValueError(f"like and readout_s must be given together: got {like} and {readout_s}")
    reference = None if like is None else reference_spectrum(like)
    bar = tqdm(files, "scans", disable=True if len(files) == 1 else None, leave=False)  # in a terminal, while it lasts
    for index, (file, path) in enumerate(bar):
        try:
            with error_context(file, "the scan must hold what an image is made of"):
                scan = read_scan(file, **reading)
                scan = replace(scan, readout=readout or scan.readout)
                with naming_guesses(scan.warnings):
                    found = find(scan)
                    if reference is not None and readout_s is not None:
                        found = with_scanner(found, readout_s, reference)
        except (ValueError, OSError) as error:
            if not path.is_dir():
                raise
            failures.append(sentence(error))
            continue
        tqdm.write(json.dumps(found.plain()) if as_json else found.text())
        if pictures:
            preview(scan, pictures[index])
    if len(failures) == len(files):
        raise ValueError(f"no scan could be read: {'; '.join(failures)}")
    for failure in failures:
        print(f"failed: {failure}", file=sys.stderr)
    return 3 if failures else 0


def _picture_of(file: Path, path: Path, picture: Path, n_files: int) -> Path:
    """Return what a scan is drawn into: of several, a file with its folders below ``path`` in the name."""
    below = file.relative_to(path).parts if path in file.parents else (file.name,)
    return picture if n_files == 1 else picture.with_stem("-".join((picture.stem, *below)))
