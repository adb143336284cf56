"""What `predict` says of a whole folder: the page of all scans, and the list of those that failed."""

import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from lightning_mri.datasets import Failed
from lightning_mri.evaluation import read_case, write_page
from lightning_mri.evaluation.viewer import CASE
from lightning_mri.files import count
from lightning_mri.io.failures import FAILED, LOG, failures_text, write_failures
from lightning_mri.output import OutputFolder
from lightning_mri.training.finished import short_name, view_of

PAGE = "index.html"


def write_overview(output: OutputFolder, run: Mapping[str, object]) -> None:
    """Write the page of all scans that have results in a folder, of this run and of earlier ones."""
    files = (file for record in output.records.values() for file in record.files)
    folders = sorted((output.path / file).parent for file in files if Path(file).name == CASE)
    if not folders:
        output.remove(PAGE)
        return
    with output.writing(PAGE, [output.path / PAGE]):
        cases = [read_case(folder) for folder in folders]
        facts = {"What was run": {name: str(value) for name, value in run.items()}}
        write_page(output.path / PAGE, f"Reconstructions of {count(len(folders), 'scan')}", cases=cases, facts=facts)


def marked_before(folder: Path, names: Iterable[str]) -> dict[str, list[int]]:
    """Return the slices that should not be trusted of scans that an earlier run has written, by name of the scan."""
    found = {name: read_case(view_of(folder / short_name(name))).get("flagged", []) for name in sorted(names)}
    return {name: slices for name, slices in found.items() if slices}


def report_failures(output: OutputFolder, failures: Sequence[Failed], nothing_else: bool) -> None:
    """Write and print the scans that failed, in place of those of an earlier run."""
    output.remove(FAILED)
    if not failures:
        return
    with output.writing(FAILED, [output.path / name for name in (FAILED, LOG)]):
        write_failures(output.path, failures)
    if nothing_else:
        raise ValueError("; ".join(failure.reason for failure in failures))
    print(failures_text(output.path, failures), file=sys.stderr)


def summarise(folder: Path, n_written: int, n_skipped: int, marked: Mapping[str, Sequence[int]]) -> None:
    """Print what was written where, what was skipped, and which slices should not be trusted."""
    skipped = f", {n_skipped} finished before" if n_skipped else ""
    print(f"{count(n_written, 'scan')} written to {folder}{skipped}; look at {folder / PAGE}", flush=True)
    for name, slices in marked.items():
        which = f"slice{'s' * (len(slices) != 1)} {', '.join(map(str, slices))}"
        print(f"{name}: do not trust {which} before reading the warnings", file=sys.stderr)
