"""What `test` scores: the images of every method put together from parts; their table, picture and page."""

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

import lightning_mri
from lightning_mri.evaluation import Row, Table, comparison, html_page, picture, score
from lightning_mri.training.reconstruction_module import Compared, ReconstructionModule


def part_of(compared: Compared) -> dict[str, Any]:
    """Return what is kept of a batch until all slices are there, as plain values and tensors."""
    case = compared.batch
    assert case.reference is not None
    return {
        "scan": case.scan,
        "subject": case.subject,
        "contrast": case.contrast or "unknown",
        "acceleration": case.acceleration,
        "achieved": compared.achieved,
        "n_slices": case.n_slices,
        "slices": list(case.slices),
        "reference": case.reference.abs(),
        "images": compared.images,
        "seconds": compared.seconds,
        "std": compared.std,
    }


def write_scores(folder: Path, parts: Sequence[dict[str, Any]], module: ReconstructionModule, command: str) -> None:
    """Write and print the table of every case and method, and write a picture and a page.

    Args:
        folder: Where to.
        parts: All that `part_of` returned, in any order.
        module: What reconstructed.
        command: The command line, for the page.

    Raises:
        RuntimeError: If a slice is missing.
    """
    cases = join_cases(parts)
    table = Table(tuple(row for case in cases for row in _rows(case)))
    print(table.text(), flush=True)
    table.write(folder)
    _illustrate(folder, cases, table, module, command)


def join_cases(parts: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the parts of each scan and acceleration as one.

    Raises:
        RuntimeError: If a slice is missing.
    """
    groups: dict[tuple[str, float], list[dict[str, Any]]] = defaultdict(list)
    for part in sorted(parts, key=lambda part: part["slices"]):
        groups[part["scan"], part["acceleration"]].append(part)
    cases = []
    for (scan, acceleration), group in groups.items():
        slices = [index for part in group for index in part["slices"]]
        if slices != list(range(group[0]["n_slices"])):
            raise RuntimeError(f"{scan}: of its {group[0]['n_slices']} slices only {slices} were reconstructed")
        n = len(slices)
        case = dict(group[0])
        case["reference"] = torch.cat([part["reference"] for part in group])
        case["images"] = {name: torch.cat([part["images"][name] for part in group]) for name in group[0]["images"]}
        case["seconds"] = {
            name: sum(part["seconds"][name] * len(part["slices"]) for part in group) / n for name in group[0]["seconds"]
        }
        case["std"] = _std_of(group, case["reference"])
        case["acceleration"] = acceleration
        cases.append(case)
    return cases


def _illustrate(
    folder: Path, cases: Sequence[dict[str, Any]], table: Table, module: ReconstructionModule, command: str
) -> None:
    """Write picture and page of the middle slice of one case, which has an uncertainty if any has."""
    case = next((case for case in cases if case["std"] is not None), cases[0])
    index = case["n_slices"] // 2
    *others, last = case["images"]
    panels = comparison(
        case["images"][last][index],
        None if case["std"] is None else case["std"][index],
        case["reference"][index],
        {name: case["images"][name][index] for name in others},
        name=last,
        acceleration=case["achieved"],
    )
    picture(folder / "picture.png", panels, n_columns=4)
    run = {
        "command": command,
        "priors": "\n".join(f"{name}: {source}" for name, source in module.sources.items()),
        "sampler": repr(module.reconstructor.sampler),
        "baselines": "\n".join(f"{name}: {baseline!r}" for name, baseline in module.baselines.items()),
        "tuned on validation subjects": "\n".join(
            f"R = {acceleration}: {baseline!r}" for (_, acceleration), baseline in module.tuned.items()
        ),
        "versions": f"lightning_mri {lightning_mri.__version__}, torch {torch.__version__}",
    }
    title = f"{case['contrast']} at R = {case['achieved']:.1f}: {last}"
    intro = [f"Scan {case['scan']}, slice {index}. Research use only."]
    html_page(folder / "index.html", title, folder / "picture.png", table, run, intro)


def _std_of(group: Sequence[dict[str, Any]], like: torch.Tensor) -> torch.Tensor | None:
    """Return the uncertainty where a part has it, zero elsewhere; None if no part does."""
    if all(part["std"] is None for part in group):
        return None
    std = torch.zeros_like(like)
    for part in group:
        if part["std"] is not None:
            std[part["slices"]] = part["std"]
    return std


def _rows(case: dict[str, Any]) -> list[Row]:
    return [
        Row(
            case["scan"],
            case["subject"],
            case["contrast"],
            case["acceleration"],
            case["achieved"],
            method,
            score(image, case["reference"]),
            case["seconds"][method],
        )
        for method, image in case["images"].items()
    ]
