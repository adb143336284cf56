"""Compare ways to fine-tune a prior on 20 FLAIR subjects: what they gain on FLAIR, and what they forget of T2w.

Every run is a `fit` and a `test` of the package, on synthetic scans that are simulated first. What is done is not done
again: a run that was interrupted starts anew, the others are kept. All strategies take the same number of steps.

    python experiments/strategies.py --output_dir strategies --n_processes 2
"""

import contextlib
import csv
import json
import shutil
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from jsonargparse import auto_cli
from matplotlib.figure import Figure

from lightning_mri.__main__ import main
from lightning_mri.datasets import run_jobs, simulate
from lightning_mri.diffusion import SPARE
from lightning_mri.files import atomic
from lightning_mri.weights import load_prior

HERE = Path(__file__).resolve().parent
NEW, OLD = "FLAIR", "T2w"
SHARE = 0.5


@dataclass(frozen=True)
class Sizes:
    """How large the comparison is; the defaults take about a minute a run on one core.

    Args:
        n_steps: Optimiser steps of every run.
        n_subjects: Subjects to train on; three more choose the checkpoint.
        n_slices: Slices of a scan.
        matrix: Pixels (y, x) of a slice.
        n_source: Subjects of the source data, for joint training and replay.
        n_test: Subjects to test on.
        sampler_steps: Noise levels of a reconstruction.
    """

    n_steps: int = 102
    n_subjects: int = 17
    n_slices: int = 4
    matrix: tuple[int, int] = (96, 80)
    n_source: int = 40
    n_test: int = 3
    sampler_steps: int = 10


@dataclass(frozen=True)
class Recipe:
    """One way to get a prior for the new contrast.

    Args:
        learning_rate: After warm-up.
        strategy: Class in `lightning_mri.training`.
        arguments: Its arguments.
        starts: Whether it starts from the prior; otherwise from random weights.
        replays: Whether source data are part of each batch.
    """

    learning_rate: float
    strategy: str = "Full"
    arguments: tuple[tuple[str, float], ...] = ()
    starts: bool = True
    replays: bool = False


RECIPES: dict[str, Recipe | None] = {
    "source only": None,
    "scratch": Recipe(1e-3, starts=False),
    "joint": Recipe(1e-3, "Replay", (("share", SHARE),), starts=False, replays=True),
    "full": Recipe(5e-4),
    "L2-SP": Recipe(5e-4, "L2SP", (("weight", 0.01),)),
    "scale-shift": Recipe(5e-3, "ScaleShift"),
    "LoRA": Recipe(2e-3, "LoRA", (("rank", 8),)),
    "replay": Recipe(5e-4, "Replay", (("share", 0.25),), replays=True),
    "interpolate": Recipe(5e-4, "Interpolate", (("share", 0.5),)),
}


@dataclass(frozen=True)
class Run:
    """One strategy and one seed."""

    name: str
    seed: int
    folder: Path


def compare(
    output_dir: Path,
    prior: str = "brain-noflair",
    strategies: Sequence[str] = tuple(RECIPES),
    seeds: Sequence[int] = (0, 1, 2),
    n_processes: int = 1,
    sizes: Sizes = Sizes(),
    results: Path = HERE / "results",
) -> None:
    """Run what is missing, and write ``strategies.md``, ``strategies.csv`` and ``strategies.png``.

    Args:
        output_dir: Folder of data and runs.
        prior: What fine-tuning starts from.
        strategies: Names of the ways to compare.
        seeds: Each decides order, noise, and which subjects train.
        n_processes: Runs at a time, on one thread each.
        sizes: How large the comparison is.
        results: Folder of the table and the picture.
    """
    unknown = [name for name in strategies if name not in RECIPES]
    if unknown:
        raise ValueError(f"strategies must be among {', '.join(RECIPES)}: got {', '.join(unknown)}")
    output_dir = output_dir.resolve()
    _simulate(output_dir / "data", sizes)
    # without training there is nothing random
    runs = [
        Run(name, seed, output_dir / "runs" / f"{name.replace(' ', '-')}-{seed}")
        for seed in seeds
        for name in strategies
        if RECIPES[name] is not None or seed == seeds[0]
    ]
    missing = [run for run in runs if not (run.folder / "scores.json").exists()]
    work = partial(_run, data=output_dir / "data", prior=prior, sizes=sizes)
    for run, seconds in zip(missing, run_jobs(work, missing, n_processes, "runs"), strict=True):
        print(f"{run.name}, seed {run.seed}: {seconds:.0f} s of one core", flush=True)
    _write(runs, results, sizes)


def _simulate(folder: Path, sizes: Sizes) -> None:
    """Write the scans of the new contrast, and test scans of both."""
    rows, columns = sizes.matrix
    # the field of view of fast brain scans, 250 mm along y
    common: dict[str, Any] = {
        "n_slices": sizes.n_slices,
        "matrix": (rows, columns),
        "pixel_size": (250 / rows, 250 / rows),
        "spacing_mm": 40 / sizes.n_slices,
        "n_processes": 1,
    }
    jobs: list[tuple[str, dict[str, Any]]] = [
        ("new", {"n_train": sizes.n_subjects + 3, "n_test": 0, "contrasts": [NEW], "seed": 0}),
        ("test", {"n_train": 2, "n_test": sizes.n_test, "contrasts": [NEW, OLD], "seed": 1}),
    ]
    for name, settings in jobs:
        if not (folder / name).exists():
            shutil.rmtree(folder / f"{name}.part", ignore_errors=True)
            simulate(folder / f"{name}.part", **settings, **common)
            (folder / f"{name}.part").rename(folder / name)


def _run(run: Run, data: Path, prior: str, sizes: Sizes) -> float:
    """Fit and test; return the processor time it took."""
    torch.set_num_threads(1)
    begun = time.process_time()
    shutil.rmtree(run.folder, ignore_errors=True)
    run.folder.mkdir(parents=True)
    recipe = RECIPES[run.name]
    with contextlib.chdir(run.folder):
        if recipe is not None:
            main(_fit_arguments(recipe, run.seed, data, prior, sizes))
        checkpoint = prior if recipe is None else "fit/best.ckpt"
        scores: dict[str, Any] = {}
        for contrast in (NEW, OLD):
            main(_test_arguments(contrast, checkpoint, data, sizes))
            scores[contrast] = _scores(Path("results") / contrast / "table.csv")
    scores["seconds"] = time.process_time() - begun
    with atomic(run.folder / "scores.json") as path:
        path.write_text(json.dumps(scores))
    return scores["seconds"]


def _fit_arguments(recipe: Recipe, seed: int, data: Path, prior: str, sizes: Sizes) -> list[str]:
    strategy: dict[str, Any] = {"class_path": f"lightning_mri.training.{recipe.strategy}"}
    strategy["init_args"] = dict(recipe.arguments)
    crop = [min(sizes.matrix)] * 2
    if recipe.replays:
        source = {
            "n_subjects": sizes.n_source,
            "n_val": 1,
            "contrasts": [name for name in load_prior(prior).labels if not name.startswith(SPARE) and name != NEW],
            "size": max(sizes.matrix),
            "crop": crop,
            "cache_dir": str(data / "source"),
            "n_processes": 1,
        }
        strategy["init_args"]["data"] = {"class_path": "lightning_mri.datasets.SyntheticHeads", "init_args": source}
    settings: dict[str, Any] = {
        "learning_rate": recipe.learning_rate,
        "steps": sizes.n_steps,
        "warm_up": min(10, sizes.n_steps),
        "strategy": strategy,
    }
    settings |= {"checkpoint": prior, "contrast": NEW} if recipe.starts else {}
    phase = {"class_path": f"lightning_mri.training.{'FineTune' if recipe.starts else 'Pretrain'}"}
    return [
        "fit",
        f"--config={HERE / 'finetune/strategies.yaml'}",
        f"--seed_everything={seed}",
        f"--phase={json.dumps({**phase, 'init_args': settings})}",
        f"--data.root={data / 'new/multicoil_train'}",
        f"--data.cache_dir={data}",
        f"--data.n_subjects={sizes.n_subjects}",
        f"--data.seed={seed}",
        f"--data.crop={crop}",
        *_pattern(sizes),
        *([] if recipe.starts else _network_arguments(prior)),
    ]


def _pattern(sizes: Sizes) -> list[str]:
    """Return every fourth line, and a seventh of all in the centre."""
    n_center = sizes.matrix[1] // 7
    return ["--data.pattern=Equispaced", "--data.pattern.acceleration=4", f"--data.pattern.n_center={n_center}"]


def _network_arguments(prior: str) -> list[str]:
    """Return the network and the noise process of a prior, for training from random weights."""
    described = load_prior(prior).describe()
    arguments = []
    for name, room, key in (("net", "models", "network"), ("process", "diffusion", "process")):
        kind = {"class_path": f"lightning_mri.{room}.{described[key]['class']}"}
        arguments.append(f"--model.{name}={json.dumps({**kind, 'init_args': described[key]['arguments']})}")
    labels = list(described["labels"])
    labels[next(index for index, label in enumerate(labels) if label.startswith(SPARE))] = NEW
    return [*arguments, f"--model.labels={json.dumps(labels)}"]


def _test_arguments(contrast: str, checkpoint: str, data: Path, sizes: Sizes) -> list[str]:
    return [
        "test",
        f"--config={HERE / 'test.yaml'}",
        f"--data.root={data / 'test/multicoil_train'}",
        f"--data.test_root={data / 'test/multicoil_test'}",
        f"--data.contrast={contrast}",
        "--data.n_subjects=1",
        "--data.n_val=1",
        f"--data.cache_dir={data}",
        *_pattern(sizes),
        f"--model.priors={json.dumps({'prior': checkpoint})}",
        "--model.baselines={}",
        "--model.uncertainty=null",
        "--model.sampler=HQS",
        f"--model.sampler.n_steps={sizes.sampler_steps}",
        f"--output_dir=results/{contrast}",
    ]


def _scores(path: Path) -> dict[str, float]:
    """Return the mean scores of a table over its subjects."""
    with path.open() as file:
        rows = list(csv.DictReader(file))
    return {metric: statistics.fmean(float(row[metric]) for row in rows) for metric in ("nrmse", "ssim")}


def _write(runs: Sequence[Run], folder: Path, sizes: Sizes) -> None:
    """Write table and curve of the runs."""
    folder.mkdir(parents=True, exist_ok=True)
    scores = {run: json.loads((run.folder / "scores.json").read_text()) for run in runs}
    columns = [(contrast, metric) for contrast in (NEW, OLD) for metric in ("nrmse", "ssim")]
    lines = [
        f"# Fine-tuning on {sizes.n_subjects + 3} synthetic FLAIR subjects, R = 4",
        "",
        f"{sizes.n_steps} steps each, the checkpoint chosen by reconstruction of 3 of the subjects; HQS with"
        f" {sizes.sampler_steps} evaluations, {sizes.n_test} other subjects, mean +- standard deviation over seeds."
        f" T2w was in the source data: its error tells what was forgotten. Scratch and joint start from random"
        f" weights. NRMSE and SSIM by the convention `fastmri`.",
        "",
        "Command: `python experiments/strategies.py --output_dir strategies`",
        "",
        f"| strategy | seeds | {' | '.join(f'{name} {metric.upper()}' for name, metric in columns)} | s of a core |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    table = []
    for name in dict.fromkeys(run.name for run in runs):
        mine = [scores[run] for run in runs if run.name == name]
        values = [[one[contrast][metric] for one in mine] for contrast, metric in columns]
        seconds = statistics.fmean(one["seconds"] for one in mine)
        lines.append(f"| {name} | {len(mine)} | {' | '.join(map(_spread, values))} | {seconds:.0f} |")
        table += [
            {"strategy": name, "seed": run.seed, **{f"{c} {m}": scores[run][c][m] for c, m in columns}}
            for run in runs
            if run.name == name
        ]
    (folder / "strategies.md").write_text("\n".join(lines) + "\n")
    with (folder / "strategies.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, list(table[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(table)
    print("\n".join(lines[6:]))
    _draw(runs, scores).savefig(folder / "strategies.png")


def _spread(values: Sequence[float]) -> str:
    """Return mean and standard deviation."""
    mean = f"{statistics.fmean(values):.4f}"
    return mean if len(values) == 1 else f"{mean} +- {statistics.stdev(values):.4f}"


def _draw(runs: Sequence[Run], scores: dict[Run, dict[str, Any]]) -> Figure:
    """Draw the way of each strategy, and where it ends on both contrasts; those from random weights are in words."""
    figure = Figure(figsize=(11, 4.4), dpi=150, layout="constrained")
    left, right = figure.subplots(1, 2)
    outside = []
    for index, name in enumerate(dict.fromkeys(run.name for run in runs)):
        color, mine, recipe = f"C{index}", [run for run in runs if run.name == name], RECIPES[name]
        ends = [[scores[run][contrast]["nrmse"] for run in mine] for contrast in (OLD, NEW)]
        if recipe is not None and not recipe.starts:
            outside.append(f"{name} {statistics.fmean(ends[1]):.3f}")
            continue
        if recipe is not None:
            curves = [_curve(run) for run in mine]
            steps = [step for step, _ in curves[0]]
            left.plot(
                steps, [statistics.fmean(curve[k][1] for curve in curves) for k in range(len(steps))], color=color
            )
        right.plot(*ends, ".", color=color, markersize=4)
        right.plot(*map(statistics.fmean, ends), "o", color=color, label=name)
    left.set(xlabel="optimiser steps", ylabel=f"NRMSE of {NEW}, validation subjects")
    right.set(xlabel=f"NRMSE of {OLD}, test subjects (forgetting)", ylabel=f"NRMSE of {NEW}, test subjects")
    if outside:
        right.set_title(f"not shown, from random weights: {', '.join(outside)}", fontsize=9)
    if right.lines:
        right.legend(frameon=False, fontsize=8, loc="center left", bbox_to_anchor=(1, 0.5))
    for axes in (left, right):
        axes.spines[["top", "right"]].set_visible(False)
    return figure


def _curve(run: Run) -> list[tuple[float, float]]:
    """Return steps and validation errors of a run."""
    with (run.folder / "fit/curve.csv").open() as file:
        return [(float(row["step"]), float(row["val/nrmse"])) for row in csv.DictReader(file)]


if __name__ == "__main__":
    auto_cli(compare, as_positional=False)
