"""What `predict` says of a whole folder: the page of all scans, and the list of those that failed."""

import sys
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from pytorch_lightning.utilities.rank_zero import rank_zero_only

from lightning_mri.datasets import Failed
from lightning_mri.evaluation import read_case, write_page
from lightning_mri.evaluation.viewer import CASE
from lightning_mri.io.failures import FAILED, LOG, AllFailed, failures_text, write_failures
from lightning_mri.messages import count, first_few, sentence
from lightning_mri.output import OutputFolder
from lightning_mri.training.finished import short_name, view_of

PAGE = "index.html"
N_LISTED = 4


def write_overview(output: OutputFolder, failures: Sequence[Failed] = ()) -> None:
    """Write the page of all scans that have results in a folder: what was run to make each, and what to be wary of."""
    files = (file for record in output.records.values() for file in record.files)
    cases = []
    for folder in sorted((output.path / file).parent for file in files if Path(file).name == CASE):
        try:
            cases.append(read_case(folder))
        except (OSError, ValueError) as error:  # others may remove results, or copy a part of them
            print(f"WARNING: {output.path / PAGE} leaves out a scan: {sentence(error)}", file=sys.stderr)
    if not cases:
        output.remove(PAGE)
        return
    names = defaultdict(list)
    for case in cases:
        names[tuple(case.pop("run", {}).items())].append(case["name"])
    run = "What was run"
    facts = {f"{run} for {first_few(of)}" if len(names) > 1 else run: dict(how) for how, of in names.items()}
    with output.writing(PAGE, [output.path / PAGE]):
        title = f"Reconstructions of {count(len(cases), 'scan')}"
        warnings = [*failed_scans(failures), *_not_trusted(cases)]
        write_page(output.path / PAGE, title, cases=cases, facts=facts, warnings=warnings)


def failed_scans(failures: Sequence[Failed]) -> list[str]:
    """Return what a page says of scans that it cannot show: one sentence, or none."""
    return _listed(f"{count(len(failures), 'scan')} failed, see {FAILED}", [failure.scan for failure in failures])


def _not_trusted(cases: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return what a page says of slices that should not be trusted: one sentence, or none."""
    marked = [f"{case['name']} ({_numbers(case['flagged'])})" for case in cases if case.get("flagged")]
    of_all = f"{len(marked)} of {count(len(cases), 'scan')}"
    return _listed(f"Do not trust slices of {of_all}, framed below, before reading the warnings", marked)


def _listed(about: str, names: Sequence[str]) -> list[str]:
    """Return a sentence with the first few names, the others behind a line break, which a page folds; none of none."""
    others = f"\n{', '.join(names[N_LISTED:])}" * (len(names) > N_LISTED)
    return [f"{about}: {first_few(names, N_LISTED)}{others}"] * bool(names)


def _numbers(slices: Sequence[int]) -> str:
    """Return numbers of slices in words, such as ``slices 3, 4``."""
    return f"slice{'s' * (len(slices) != 1)} {', '.join(map(str, slices))}"


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
        raise AllFailed(failures)
    print(failures_text(output.path, failures), file=sys.stderr)


@rank_zero_only
def list_failed(output: OutputFolder, error: BaseException) -> None:
    """Write the scans of a run that ended since all of several failed; of a single one the error says it."""
    failures = error.failures if isinstance(error, AllFailed) else ()
    if len(failures) < 2:
        return
    with suppress(OSError), output.replacing(FAILED, (FAILED, LOG), [Path(each.source) for each in failures]):
        write_failures(output.path, failures)


def summarise(folder: Path, n_written: int, n_skipped: int, marked: Mapping[str, Sequence[int]]) -> None:
    """Print what was written where, what was skipped, and which slices should not be trusted."""
    skipped = f", {n_skipped} finished before" if n_skipped else ""
    print(f"{count(n_written, 'scan')} written to {folder}{skipped}; look at {folder / PAGE}", flush=True)
    for name, slices in marked.items():
        print(f"{name}: do not trust {_numbers(slices)} before reading the warnings", file=sys.stderr)
