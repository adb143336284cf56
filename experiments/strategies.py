"""Compare ways to fine-tune a prior on 20 FLAIR subjects: what they gain on FLAIR, and what they forget of T2w.

Every run is a `fit` and a `test` of the package, on synthetic scans that are simulated first. A run that was cut off
starts anew, the others are kept. All strategies take the same number of steps, at the rate that the grid of
``stroke_transfer.py`` found best for this prior.

    python experiments/strategies.py --output_dir strategies --n_processes 2
"""

import contextlib
import json
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from fits import fit, phase, simulate_once
from jsonargparse import auto_cli
from matplotlib.figure import Figure
from methods import write

from lightning_mri.__main__ import main
from lightning_mri.datasets import run_jobs
from lightning_mri.diffusion import SPARE
from lightning_mri.evaluation import Ratio, Study, markdown_table
from lightning_mri.evaluation.table_files import csv_text, read_csv
from lightning_mri.tensors import derive_seed
from lightning_mri.weights import fingerprint, load_prior

HERE = Path(__file__).resolve().parent
NEW, OLD = "FLAIR", "T2w"
UNTOUCHED = "source only"
RATE = 3e-4
"""Best rate of the grid of stroke_transfer.py; fewer weights take larger ones, see `RECIPES`."""
N_VALIDATIONS = 12
METRICS = ("NRMSE", "SSIM")


@dataclass(frozen=True)
class Sizes:
    """How large the comparison is; the defaults take about 20 minutes a run on one core.

    Args:
        n_steps: Optimiser steps of every run.
        n_subjects: Subjects to train on; three more choose the checkpoint.
        n_slices: Slices of a scan.
        matrix: Pixels (y, x) of a slice.
        n_source: Subjects of the source data, for replay.
        n_test: Subjects to test on.
        sampler_steps: Noise levels of a reconstruction.
    """

    n_steps: int = 2400
    n_subjects: int = 17
    n_slices: int = 4
    matrix: tuple[int, int] = (96, 80)
    n_source: int = 40
    n_test: int = 6
    sampler_steps: int = 10


@dataclass(frozen=True)
class Recipe:
    """One way to fine-tune a prior for the new contrast."""

    strategy: str  # class in `lightning_mri.training`
    arguments: tuple[tuple[str, float], ...] = ()  # its arguments
    learning_rate: float = RATE  # after warm-up
    replays: bool = False  # whether source data are part of each batch


# where few weights are free the rate is ten and four times as high, as it was in shorter runs; it was not tuned again
RECIPES: dict[str, Recipe | None] = {
    UNTOUCHED: None,
    "full": Recipe("Full"),
    "L2-SP": Recipe("L2SP", (("weight", 0.01),)),
    "scale-shift": Recipe("ScaleShift", learning_rate=10 * RATE),
    "LoRA": Recipe("LoRA", (("rank", 8),), learning_rate=4 * RATE),
    "replay": Recipe("Replay", (("share", 0.25),), replays=True),
    "interpolate": Recipe("Interpolate", (("share", 0.5),)),
}


@dataclass(frozen=True)
class Row:
    """What came of a run: by contrast and metric the score of each test subject, and the validation curve."""

    strategy: str
    seed: int
    scores: dict[str, list[float]]
    curve: list[tuple[float, float]]


def compare(
    output_dir: Path,
    prior: str = "brain-noflair",
    strategies: Sequence[str] = tuple(RECIPES),
    seeds: Sequence[int] = (0,),
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
    data = output_dir / f"data-{derive_seed(str(sizes)):x}"
    _simulate(data, sizes)
    # without training there is nothing random
    runs = [(name, seed) for seed in seeds for name in strategies if RECIPES[name] is not None or seed == seeds[0]]
    work = partial(_kept, folder=output_dir, data=data, prior=prior, sizes=sizes)
    rows = list(run_jobs(work, runs, n_processes, "runs"))
    _write(rows, results, sizes, fingerprint(load_prior(prior)))


def _kept(run: tuple[str, int], folder: Path, data: Path, prior: str, sizes: Sizes) -> Row:
    """Return the row of a strategy and a seed, done unless it was."""
    strategy, seed = run
    name = f"{strategy.replace(' ', '-')}-{seed}"
    key = f"{RECIPES[strategy]} {fingerprint(load_prior(prior))} {sizes}"
    work = partial(_run, strategy, seed, folder / "runs" / name, data, prior, sizes)
    return Study(folder / "rows", Row).keep(name, key, work)


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
        simulate_once(folder / name, **settings, **common)


def _run(strategy: str, seed: int, folder: Path, data: Path, prior: str, sizes: Sizes) -> Row:
    """Fit and test."""
    torch.set_num_threads(1)
    recipe, scores = RECIPES[strategy], dict[str, list[float]]()
    folder.mkdir(parents=True, exist_ok=True)
    if recipe is not None:
        fit(folder, *_fit_arguments(recipe, seed, data, prior, sizes))
    with contextlib.chdir(folder):
        checkpoint = prior if recipe is None else "fit/best.ckpt"
        for contrast in (NEW, OLD):
            main(_test_arguments(contrast, checkpoint, data, sizes))
            rows = read_csv(Path("results") / contrast / "table.csv")
            scores |= {f"{contrast} {name}": [float(row[name.lower()]) for row in rows] for name in METRICS}
        validated = [] if recipe is None else read_csv(Path("fit/curve.csv"))
    curve = [(float(row["step"]), float(row["val/nrmse"])) for row in validated]
    return Row(strategy, seed, scores, curve)


def _fit_arguments(recipe: Recipe, seed: int, data: Path, prior: str, sizes: Sizes) -> list[str]:
    crop, arguments = [min(sizes.matrix)] * 2, dict[str, Any](recipe.arguments)
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
        arguments["data"] = {"class_path": "lightning_mri.datasets.SyntheticHeads", "init_args": source}
    strategy = {"class_path": f"lightning_mri.training.{recipe.strategy}", "init_args": arguments}
    length = {"steps": sizes.n_steps, "warm_up": min(10, sizes.n_steps)}
    settings = {"learning_rate": recipe.learning_rate, **length, "strategy": strategy}
    return [
        f"--config={HERE / 'finetune/strategies.yaml'}",
        f"--seed_everything={seed}",
        phase(settings, prior, NEW),
        f"--data.root={data / 'new/multicoil_train'}",
        f"--data.cache_dir={data}",
        f"--data.n_subjects={sizes.n_subjects}",
        f"--data.seed={seed}",
        f"--data.crop={crop}",
        # in steps and not in epochs, which are short
        "--trainer.check_val_every_n_epoch=null",
        f"--trainer.val_check_interval={max(1, sizes.n_steps // N_VALIDATIONS)}",
        *_pattern(sizes),
    ]


def _pattern(sizes: Sizes) -> list[str]:
    """Return every fourth line, and a seventh of all in the centre."""
    n_center = sizes.matrix[1] // 7
    return ["--data.pattern=Equispaced", "--data.pattern.acceleration=4", f"--data.pattern.n_center={n_center}"]


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


def _write(rows: Sequence[Row], folder: Path, sizes: Sizes, weights: str) -> None:
    """Write table, CSV and curves."""
    intro = f"""# Fine-tuning on {sizes.n_subjects + 3} synthetic FLAIR subjects, R = 4

{sizes.n_steps} steps each at a constant rate of {RATE:g} (scale-shift {10 * RATE:g}, LoRA {4 * RATE:g}). The checkpoint
was chosen by reconstruction of 3 of the subjects. HQS with {sizes.sampler_steps} evaluations, {sizes.n_test} other
subjects. T2w was in the source data: its error shows what was forgotten. NRMSE and SSIM by the convention `fastmri`,
means over subjects and seeds. Ratios are geometric means, with 95 % intervals over test subjects and not over seeds.
Training from random weights, alone and jointly, is in [stroke.md](stroke.md). The prior's fingerprint is {weights[:8]}.

Command: `python experiments/strategies.py --output_dir strategies`

"""
    lines, before = [], [row for row in rows if row.strategy == UNTOUCHED]
    for name in dict.fromkeys(row.strategy for row in rows):
        own = [row for row in rows if row.strategy == name]
        line: list[Any] = [name, len(own)]
        for contrast in (NEW, OLD):
            errors, similarity = (_of_each(own, f"{contrast} {metric}") for metric in METRICS)
            untouched = _of_each(before, f"{contrast} NRMSE")
            ratio = f"{Ratio.of(errors, untouched):.3f}" if untouched and own != before else "-"
            line += [f"{statistics.fmean(errors):.4f}", ratio, f"{statistics.fmean(similarity):.4f}"]
        lines.append(line)
    scored = [
        f"{contrast} {column}" for contrast in (NEW, OLD) for column in ("NRMSE", f"NRMSE, {UNTOUCHED} = 1", "SSIM")
    ]
    write(folder / "strategies.md", intro + markdown_table(["strategy", "seeds", *scored], lines))
    cells: list[list[Any]] = [["strategy", "seed", "subject", *rows[0].scores]]
    for row in rows:
        of_each = enumerate(zip(*row.scores.values(), strict=True))
        cells += [[row.strategy, row.seed, subject, *scores] for subject, scores in of_each]
    (folder / "strategies.csv").write_text(csv_text(cells))
    _draw(rows).savefig(folder / "strategies.png")


def _of_each(rows: Sequence[Row], score: str) -> list[float]:
    """Return a score of each test subject, the mean over seeds."""
    return [statistics.fmean(values) for values in zip(*(row.scores[score] for row in rows), strict=True)]


def _draw(rows: Sequence[Row]) -> Figure:
    """Draw the curve of each strategy, and where it ends on both contrasts."""
    figure = Figure(figsize=(11, 4.4), dpi=150, layout="constrained")
    left, right = figure.subplots(1, 2)
    for index, name in enumerate(dict.fromkeys(row.strategy for row in rows)):
        color, own = f"C{index}", [row for row in rows if row.strategy == name]
        new, old = ([statistics.fmean(row.scores[f"{contrast} NRMSE"]) for row in own] for contrast in (NEW, OLD))
        curve = [
            (points[0][0], statistics.fmean(value for _, value in points))
            for points in zip(*(row.curve for row in own), strict=True)
        ]
        if curve:
            left.plot(*zip(*curve, strict=True), ".-", color=color)
        right.plot(old, new, ".", color=color, markersize=4)
        right.plot(statistics.fmean(old), statistics.fmean(new), "o", color=color, label=name)
    left.set(xlabel="optimiser steps", ylabel=f"NRMSE of {NEW}, validation subjects")
    right.set(xlabel=f"NRMSE of {OLD}, test subjects (forgetting)", ylabel=f"NRMSE of {NEW}, test subjects")
    right.legend(frameon=False, fontsize=8, loc="center left", bbox_to_anchor=(1, 0.5))
    for axes in (left, right):
        axes.spines[["top", "right"]].set_visible(False)
        axes.locator_params("x", nbins=5)
    return figure


if __name__ == "__main__":
    auto_cli(compare, as_positional=False)
