"""One page about any set of runs: what was done, scores with intervals, curves, cases side by side."""

import os
import shutil
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from lightning_mri.evaluation import Table, interval_sections, read_tables, write_page
from lightning_mri.evaluation.page import read_page, subjects_differ
from lightning_mri.evaluation.sweep import HEAT_MAP, begun, is_sweep, read_sweep
from lightning_mri.messages import count, error_context
from lightning_mri.output import OutputFolder
from lightning_mri.training.curve import draw_curve, read_curve, verdict
from lightning_mri.weights import show
from lightning_mri.weights.files import checkpoint_of

OTHER_UNIT = 2.0
"""Factor between the whites of two images from which on they are in different units: methods differ by far less."""
OTHER_SUBJECTS = (
    "The runs were scored on different subjects, so that their scores do not compare: go by the paired differences, "
    "which are over the subjects that both methods have."
)
PAGE, TABLE, CURVE, VIEW = "index.html", "table.csv", "curve.csv", "view"


@dataclass
class Run:
    """What one run of fit, predict or test has left."""

    label: str  # short name, one of a kind in the report
    cases: list[dict[str, Any]] = field(default_factory=list)  # for the viewer, see `read_page`
    tables: list[Table] = field(default_factory=list)  # scores of a test, one a region
    trials: list[dict[str, Any]] = field(default_factory=list)  # the table of a sweep, see `read_sweep`
    figures: dict[str, Path] = field(default_factory=dict)  # PNG files by title
    facts: dict[str, str] = field(default_factory=dict)  # what was done
    summary: list[str] = field(default_factory=list)  # sentences about it
    warnings: list[str] = field(default_factory=list)  # scans that failed, slices not to be trusted, and the like


def report(runs: Sequence[Path], output_dir: Path) -> str:
    """Write one page about runs of fit, predict and test, with the slices of their cases beside it.

    Intervals are of 95 %, see `interval_sections`. Cases that several runs have are shown as one, so that their
    images can be flickered and seen side by side.

    Returns:
        Where the page is.
    """
    labels = _labels(runs)
    page = output_dir / PAGE
    with TemporaryDirectory() as scratch:
        found = [_read(run, label, Path(scratch)) for run, label in zip(runs, labels, strict=True)]
        with OutputFolder(output_dir).replacing("report", (PAGE, VIEW), [run / PAGE for run in runs]):
            shutil.rmtree(output_dir / VIEW, ignore_errors=True)
            _write(found, page)
    return f"Look at {page}"


def _write(found: Sequence[Run], page: Path) -> None:
    """Write the page and copy the slices of its cases."""
    cases = _joined([(run.label, case) for run in found for case in run.cases])
    for number, case in enumerate(cases):
        for place, source in enumerate(case["sources"]):
            source["path"] = _copied(Path(source["path"]), page.parent / VIEW / f"{number:04d}-{place}")
    tables = [(run.label, table) for run in found for table in run.tables]
    write_page(
        page,
        f"Report of {count(len(found), 'run')}: {', '.join(run.label for run in found)}",
        cases=cases,
        tables=[*interval_sections(tables), *(table for run in found for table in run.trials)],
        figures={f"{run.label}: {name}": path for run in found for name, path in run.figures.items()},
        facts={run.label: run.facts for run in found},
        intro=[f"{run.label}: {sentence}" for run in found for sentence in run.summary],
        warnings=[OTHER_SUBJECTS] * subjects_differ(tables)
        + [f"{run.label}: {warning}" for run in found for warning in run.warnings],
    )


def _labels(runs: Sequence[Path]) -> list[str]:
    """Return a short name for each run, with its folder's where two are alike."""
    names = [run.resolve().name for run in runs]
    return [n if names.count(n) == 1 else str(run) for n, run in zip(names, runs, strict=True)]


def _read(folder: Path, label: str, scratch: Path) -> Run:
    """Return what is found in a folder; curves are drawn into another one."""
    run = Run(label)
    if (folder / PAGE).is_file():
        page = read_page(folder / PAGE)
        run.cases = page["cases"]
        several = len(page["facts"]) > 1  # scans of a folder may be made by several commands
        facts = {f"{title}: {n}" if several else n: value for title, each in page["facts"] for n, value in each}
        run.facts = {"made": page["made"], **facts}
        run.warnings = page["warnings"]
    if (folder / TABLE).is_file():
        run.tables = read_tables(folder / TABLE)
    if is_sweep(folder):
        _add_sweep(run, folder, scratch)
    elif trials := begun(folder):
        told = "has no table yet, which the same command of `sweep` writes at the end of all"
        run.summary.append(f"this sweep of {count(len(trials), 'trial')} {told}")
    elif curves := _own(folder, CURVE):
        _add_fit(run, max(curves, key=os.path.getmtime).parent, scratch)
        if len(curves) > 1:
            run.facts["run"] = f"the newest of {len(curves)}: {max(curves, key=os.path.getmtime).parent}"
    if not run.facts and not run.figures and not run.summary:
        raise ValueError(
            f"{folder}: it must be the folder of a run of fit, predict or test: found no {PAGE} or {CURVE}"
        )
    return run


def _add_sweep(run: Run, folder: Path, scratch: Path) -> None:
    """Add the table of a sweep, its heat map, and its best trial."""
    table, notes = read_sweep(folder)
    run.trials = [{**table, "title": f"{run.label}: {table['title']}"}]
    run.summary += notes
    run.figures |= {"heat map": heat_map} if (heat_map := folder / HEAT_MAP).is_file() else {}
    best = folder / table["rows"][0][-1] if table["rows"] else None
    run.facts["run"] = "none: every trial failed" if best is None else f"the best trial: {best}"
    if best is not None and (best / CURVE).is_file():
        _add_fit(run, best, scratch)


def _add_fit(run: Run, folder: Path, scratch: Path) -> None:
    """Add what `fit` has left beside its checkpoints."""
    rows = read_curve(folder / CURVE)
    run.summary.append(verdict(rows))
    memorisation = folder / "memorisation.txt"
    run.summary += [_text(memorisation).strip()] if memorisation.is_file() else []
    run.figures["curve"] = scratch / f"{len(list(scratch.iterdir()))}.png"
    draw_curve(run.figures["curve"], rows, run.label)
    validation = folder / "validation.png"
    run.figures |= {"held-out slices of the last validation": validation} if validation.is_file() else {}
    checkpoint = checkpoint_of(folder)
    run.facts |= {} if checkpoint is None else {checkpoint.name: show(str(checkpoint))}
    run.facts |= {str(path.relative_to(folder)): _text(path) for path in _own(folder, "config.yaml")}


def _own(folder: Path, name: str) -> list[Path]:
    """Return the files of a name below a folder, without W&B's copies of them."""
    return sorted(path for path in folder.rglob(name) if "wandb" not in path.relative_to(folder).parts)


def _text(path: Path) -> str:
    """Return the text of a file."""
    with error_context(path, "it must be text in UTF-8"):
        return path.read_text(encoding="utf-8")


def _joined(cases: Sequence[tuple[str, dict[str, Any]]]) -> list[dict[str, Any]]:
    """Return cases; those of one name, subject and matrix are one, their layers named by run."""
    groups = defaultdict(list)
    for label, case in cases:
        what = [case.get(key) for key in ("name", "size", "pixel", "n_slices", "n_volumes")]
        groups[str([*what, case["scores"].get("subject")])].append((label, case))
    names = [group[0][1]["name"] for group in groups.values()]
    joined = []
    for name, group in zip(names, groups.values(), strict=True):
        case = _merge(group) if len(group) > 1 else group[0][1]
        runs = ", ".join(label for label, _ in group)
        joined.append({**case, "name": f"{name} ({runs})" if names.count(name) > 1 else name})
    return joined


def _merge(group: Sequence[tuple[str, dict[str, Any]]]) -> dict[str, Any]:
    """Return one case of several runs."""
    group = [(label, _in_unit_of(group[0][1], case)) for label, case in group]
    first, n_before = group[0][1], sum(len(source["layers"]) for source in group[0][1]["sources"])

    scores = [case["scores"].items() for _, case in group]
    alike = {name: value for name, value in scores[0] if all((name, value) in each for each in scores)}
    return {
        **first,
        "compared": n_before + group[1][1]["first"],
        "sources": [
            {
                **{key: case[key] for key in ("flagged", "warnings")},  # of these layers alone
                "burnt": [f"{label}: {line}" for line in case["burnt"][:1]] + case["burnt"][1:],
                **source,
                "layers": [(f"{label}: {name}", gain) for name, gain in source["layers"]],
            }
            for label, case in group
            for source in case["sources"]
        ],
        "burnt": [f"{label}: {', '.join(case['burnt'])}" for label, case in group],
        "facts": [(f"{label}: {name}", value) for label, case in group for name, value in case["facts"]],
        "scores": alike
        | {f"{label}: {k}": value for label, case in group for k, value in case["scores"].items() if k not in alike},
        "warnings": [f"{label}: {warning}" for label, case in group for warning in case["warnings"]],
        "flagged": sorted({index for _, case in group for index in case["flagged"]}),
    }


def _in_unit_of(first: Mapping[str, Any], case: dict[str, Any]) -> dict[str, Any]:
    """Return a case whose images are scaled to those of another one, where they are in different units, and say so."""
    unit = first["white"] / case["white"]
    if 1 / OTHER_UNIT < unit < OTHER_UNIT:
        return case
    sources = [{**source, "unit": unit * source.get("unit", 1)} for source in case["sources"]]
    first_line = ", ".join([*case["burnt"][:1], f"other unit: x {unit:.2g}"])
    return {**case, "sources": sources, "burnt": [first_line, *case["burnt"][1:]]}


def _copied(source: Path, target: Path) -> str:
    """Return a copy of a case's folder, of links to its files where the file system can."""

    def link(one: str, other: str) -> None:
        try:
            os.link(one, other)
        except OSError:
            shutil.copyfile(one, other)

    shutil.copytree(source, target, copy_function=link)
    return str(target)
