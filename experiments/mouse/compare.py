"""Compare ways to reconstruct low-field mice: blind as published, or with the scanner's physics in the likelihood.

Trains the priors on synthetic mice, tunes the baselines on validation mice, and reconstructs test mice in the four
regimes of the published abstract. What is done is not done again: a training or a row of a table that was cut off
starts anew, the others are kept.

    python experiments/mouse/compare.py --output_dir mouse [--real FOLDER]
"""

import contextlib
import json
import math
import shutil
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cache, partial
from pathlib import Path
from typing import Any

import torch
from jsonargparse import auto_cli
from scipy.ndimage import binary_fill_holes
from scipy.stats import t as student
from torch import Tensor
from torch.nn.functional import avg_pool2d

from lightning_mri.__main__ import main
from lightning_mri.baselines import Baseline, Degraded, NonLocalMeans, TotalVariation, Tunable, Wiener, tune
from lightning_mri.data import REGIMES, LowFieldBatch, LowFieldDataset, LowFieldMouse, Misjudged, atomic
from lightning_mri.data.modules.low_field_mouse import mouse_of
from lightning_mri.data.synthetic.mouse_atlas import Tissue
from lightning_mri.diffusion import NetworkPrior
from lightning_mri.evaluation import SLICE, Panel, picture, score
from lightning_mri.reconstruction import label_of, prepare_low_field, seeds_of
from lightning_mri.sampling import (
    DDS,
    HQS,
    LinearBeta,
    PredictorCorrector,
    Relaxed,
    ReverseDiffusionVP,
    Sampler,
    posterior,
)
from lightning_mri.sampling.adaptation import KNOWN_NOISE
from lightning_mri.scaling import Scaling
from lightning_mri.tensors import centre_crop
from lightning_mri.weights import load_prior

HERE = Path(__file__).resolve().parent
CONTRAST = "T2w"
REGIONS = ("whole", "brain")
REAL_MATRIX = (80, 112)
# chosen on validation mice among 1, 4, 8, 16 and among 0.01, 0.03, 0.1, 0.3
LIKELIHOOD_WEIGHT, TUNED_WEIGHT = 4.0, 0.1
BASELINES: dict[str, Baseline] = {
    "degraded": Degraded(),
    "non-local means": NonLocalMeans(),
    "Wiener": Wiener(),
    "total variation": TotalVariation(),
}
PRINTED = {  # AAPM 2026 abstract: SSIM, PSNR in dB, NMSE in %
    "noise": "0.758 +- 0.050 | 32.72 +- 1.53 | 2.42 +- 0.77",
    "noise + blur": "0.676 +- 0.049 | 27.73 +- 2.60 | -",
    "noise + blur + T2*": "0.626 +- 0.054 | 25.37 +- 2.58 | -",
    "noise + blur + T2* + B0": "0.657 +- 0.078 | 24.43 +- 2.31 | 19.25 +- 1.56",
}


@dataclass(frozen=True)
class Sizes:
    """How large the comparison is.

    Args:
        n_steps: Optimiser steps of every training, eight images each.
        n_subjects: Mice to train on.
        n_val: Mice to tune on.
        n_test: Mice kept for the comparison.
        n_scored: How many of them are compared on, one slice of each.
        slices_per_subject: Slices of each mouse; the one behind the middle is compared on.
        matrix: Pixels along y and x that are trained on and reconstructed.
        paper_levels: Noise levels of the published sampler, two evaluations each.
        physics_levels: Noise levels of ours, one evaluation each.
        n_real: Real mice, where there are any.
    """

    n_steps: int = 360
    n_subjects: int = 60
    n_val: int = 4
    n_test: int = 10
    n_scored: int = 6
    slices_per_subject: int = 4
    matrix: int = 96
    paper_levels: int = 50
    physics_levels: int = 20
    n_real: int = 3


@dataclass(frozen=True)
class Training:
    """How a prior comes about.

    Args:
        learning_rate: After warm-up.
        starts: Whether from the shipped prior; otherwise from random weights.
        supervised: Whether the supervised reconstruction loss, in the last regime, is added.
    """

    learning_rate: float
    starts: bool = True
    supervised: bool = False


PRIORS: dict[str, Training | None] = {
    "fine-tuned": Training(5e-4),
    "fine-tuned, supervised": Training(5e-4, supervised=True),
    "scratch": Training(1e-3, starts=False),
    "un-tuned": None,
}


@dataclass(frozen=True)
class Method:
    """One way to use a prior.

    Args:
        sampler: How prior and data are brought together.
        knows: Whether the likelihood holds damping and phase.
        misjudged: What it gets wrong about them.
        priors: What it is tried with.
    """

    sampler: Sampler
    knows: bool
    misjudged: Misjudged | None = None
    priors: tuple[str, ...] = tuple(PRIORS)


def methods(sizes: Sizes) -> dict[str, Method]:
    """Return the ways to use a prior; their settings were chosen on validation mice."""

    def published(weight: float) -> Sampler:
        return PredictorCorrector(
            n_steps=sizes.paper_levels,
            predictor=ReverseDiffusionVP(),
            schedule=LinearBeta(),
            consistency=Relaxed(weight),
        )

    physics = HQS(n_steps=sizes.physics_levels, noise=KNOWN_NOISE, likelihood_weight=LIKELIHOOD_WEIGHT)
    return {
        "paper": Method(published(0.3), knows=False),
        f"paper, weight {TUNED_WEIGHT:g}": Method(published(TUNED_WEIGHT), knows=False, priors=("fine-tuned",)),
        "physics": Method(physics, knows=True),
        "physics, 25 % too strong": Method(physics, True, Misjudged(1.25), ("fine-tuned",)),
        "physics, 25 % too weak": Method(physics, True, Misjudged(0.75), ("fine-tuned",)),
    }


@dataclass(frozen=True)
class Case:
    """One slice of a test mouse as measured, and where its brain is."""

    batch: LowFieldBatch
    brain: Tensor


def compare(
    output_dir: Path,
    prior: str = "brain",
    real: Path | None = None,
    sizes: Sizes = Sizes(),
    regimes: Sequence[str] = tuple(REGIMES),
    priors: Sequence[str] = ("fine-tuned", "un-tuned", "scratch"),
    results: Path = HERE.parent / "results",
) -> None:
    """Run what is missing, and write ``mouse.md`` and ``mouse.png``.

    Args:
        output_dir: Folder of data, trainings and scores.
        prior: What fine-tuning starts from.
        real: Folder of real, brain-extracted mice to compare on, too; nothing is trained or tuned on them.
        sizes: How large the comparison is.
        regimes: Names of the degradations.
        priors: Names of the priors; the first one is drawn.
        results: Folder of the table and the picture.
    """
    for argument, names, known in (("regimes", regimes, REGIMES), ("priors", priors, PRIORS)):
        if not names or not set(names) <= set(known):
            raise ValueError(f"{argument} must be among {', '.join(known)}: got {', '.join(names) or 'none'}")
    output_dir = output_dir.resolve()
    torch.set_num_threads(1)
    for name in priors:
        if (training := PRIORS[name]) is not None and not (done := _folder(output_dir, name) / "done").exists():
            _train(done.parent, training, output_dir / "data", prior, sizes)
            done.touch()
    sources = {name: prior if PRIORS[name] is None else _checkpoint(output_dir, name) for name in priors}
    sections = []
    for regime in regimes:
        mice = _mice(output_dir / "data", regime, sizes)
        baselines = _tuned(output_dir, regime, mice)
        sections.append(_section(output_dir / "synthetic", regime, mice, baselines, sources, sizes, _synthetic_cases))
        if real is not None:
            wild = _real_mice(output_dir / "data", real, regime, sizes)
            sections.append(_section(output_dir / "real", regime, wild, baselines, sources, sizes, _real_cases))
    _write(results, sections, sizes)
    _illustrate(results / "mouse.png", output_dir, regimes[-1], *next(iter(sources.items())), sizes)


def _folder(output_dir: Path, prior: str) -> Path:
    return output_dir / prior.replace(", ", "-")


def _train(folder: Path, training: Training, data: Path, prior: str, sizes: Sizes) -> None:
    """Run ``fit`` in a folder of its own."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    settings: dict[str, Any] = {"learning_rate": training.learning_rate, "steps": sizes.n_steps, "warm_up": 20}
    settings |= {"checkpoint": prior} if training.starts else {}
    phase = {"class_path": f"lightning_mri.training.{'FineTune' if training.starts else 'Pretrain'}"}
    arguments = [
        "fit",
        f"--config={HERE / 'compare.yaml'}",
        "--seed_everything=0",
        f"--phase={json.dumps({**phase, 'init_args': settings})}",
        f"--data.cache_dir={data}",
        f"--data.n_subjects={sizes.n_subjects}",
        f"--data.n_val={sizes.n_val}",
        f"--data.n_test={sizes.n_test}",
        f"--data.slices_per_subject={sizes.slices_per_subject}",
        f"--data.crop={[sizes.matrix] * 2}",
    ]
    if training.supervised:
        degradation = asdict(tuple(REGIMES.values())[-1])
        arguments.append(f"--model.reconstruction.degradation={json.dumps(degradation)}")
    if not training.starts:
        described = load_prior(prior).describe()
        for name, room, key in (("net", "models", "network"), ("process", "diffusion", "process")):
            kind = {"class_path": f"lightning_mri.{room}.{described[key]['class']}"}
            arguments.append(f"--model.{name}={json.dumps({**kind, 'init_args': described[key]['arguments']})}")
        arguments.append(f"--model.labels={json.dumps(list(described['labels']))}")
    with contextlib.chdir(folder):
        main(arguments)


def _mice(data: Path, regime: str, sizes: Sizes) -> LowFieldMouse:
    """Return the synthetic mice in one regime."""
    mice = LowFieldMouse(
        degradation=REGIMES[regime],
        n_subjects=sizes.n_subjects,
        n_val=sizes.n_val,
        n_test=sizes.n_test,
        slices_per_subject=sizes.slices_per_subject,
        crop=(sizes.matrix, sizes.matrix),
        n_reconstructions=sizes.n_val * 2,
        cache_dir=data,
        n_processes=1,
    )
    mice.prepare_data()
    mice.setup()
    return mice


def _real_mice(data: Path, root: Path, regime: str, sizes: Sizes) -> LowFieldMouse:
    """Return real mice in one regime."""
    numbers = {"n_subjects": 1, "n_val": 1, "n_test": sizes.n_real, "n_processes": 1}
    mice = LowFieldMouse(root, REGIMES[regime], crop=REAL_MATRIX, cache_dir=data, **numbers)
    mice.prepare_data()
    mice.setup()
    return mice


def _synthetic_cases(mice: LowFieldMouse, misjudged: Misjudged | None, sizes: Sizes) -> list[Case]:
    """Return one slice of each test mouse, and the pixels that are mostly brain or its fluid."""
    index = sizes.slices_per_subject // 2
    cases = []
    for batch in _slices(mice, misjudged, lambda n: index)[: sizes.n_scored]:
        mouse, offsets = mouse_of(batch.subject, mice.colony)
        fine = mouse.fractions(offsets[index], (mice.colony.size,) * 2, mice.colony.pixel_size)
        inside = avg_pool2d(fine[: Tissue.FLUID + 1].sum(0)[None], 2)[0] > 0.5
        filled = torch.from_numpy(binary_fill_holes(inside.numpy()))
        cases.append(Case(batch, centre_crop(filled, mice.matrix)[None]))
    return cases


def _real_cases(mice: LowFieldMouse, misjudged: Misjudged | None, sizes: Sizes) -> list[Case]:
    """Return the middle slice of a few mice, whose images are zero outside of the brain."""
    batches = _slices(mice, misjudged, lambda n: n // 2)[: sizes.n_real]
    return [Case(batch, batch.reference.abs() > 0) for batch in batches]


def _slices(mice: LowFieldMouse, misjudged: Misjudged | None, which: Callable[[int], int]) -> list[LowFieldBatch]:
    """Return one slice of each test mouse."""
    scans = LowFieldDataset(mice.cache, mice.test_entries, mice.matrix, mice.degradation, 1, misjudged)
    wanted = [i for i, (images, part) in enumerate(scans.items) if part == (which(len(images)),)]
    return [scans[i] for i in wanted]


def _tuned(output_dir: Path, regime: str, mice: LowFieldMouse) -> dict[str, Baseline]:
    """Return the baselines with the weights that are best on validation mice."""
    path = output_dir / "tuned" / f"{regime}.json"
    if not path.exists():
        problems, references = [], []
        for batch in mice.tuning_batches():
            problems.append(problem := prepare_low_field(batch.likelihood, Scaling()))
            references.append(problem.to_image_units(batch.reference))
        likelihoods = [problem.likelihood for problem in problems]
        found = {
            name: tune(likelihoods, references, choice=baseline).weight
            for name, baseline in BASELINES.items()
            if isinstance(baseline, Tunable)
        }
        _save(path, found)
    weights = json.loads(path.read_text())
    return {
        name: type(baseline)(weights[name]) if name in weights else baseline for name, baseline in BASELINES.items()
    }


@dataclass(frozen=True)
class Line:
    """A line of a table.

    Args:
        method: How the images were made.
        prior: With which prior; none for baselines.
        nfe: Network evaluations a slice.
        seconds: Time a slice, on one core.
        scores: Region -> metric -> one value a mouse.
    """

    method: str
    prior: str = "-"
    nfe: int = 0
    seconds: float = 0.0
    scores: dict[str, dict[str, list[float]]] = field(default_factory=dict)


@dataclass(frozen=True)
class Section:
    """The lines of one regime."""

    kind: str
    regime: str
    lines: list[Line]


Cases = Callable[..., list[Case]]
Reconstruct = Callable[[LowFieldBatch], Tensor]


def _section(
    folder: Path,
    regime: str,
    mice: LowFieldMouse,
    baselines: dict[str, Baseline],
    sources: Mapping[str, str],
    sizes: Sizes,
    cases: Cases,
) -> Section:
    """Reconstruct what is missing in one regime."""
    drawn = cache(partial(cases, mice, sizes=sizes))
    lines = [
        _line(folder / regime / f"{name}.json", Line(name), _by(baseline), drawn)
        for name, baseline in baselines.items()
    ]
    for prior, source in sources.items():
        for name, method in methods(sizes).items():
            if prior in method.priors:
                path = folder / regime / f"{name} {prior}.json"
                run = _with(method, source)
                line = Line(name, prior, method.sampler.nfe)
                lines.append(_line(path, line, run, partial(drawn, method.misjudged)))
    return Section(folder.name, regime, lines)


def _by(baseline: Baseline) -> Reconstruct:
    def run(batch: LowFieldBatch) -> Tensor:
        problem = prepare_low_field(batch.likelihood, Scaling())
        return problem.finish(baseline.reconstruct(problem.likelihood)).abs()

    return run


def _with(method: Method, source: str) -> Reconstruct:
    def run(batch: LowFieldBatch) -> Tensor:
        prior = _prior(source)
        problem = prepare_low_field(batch.likelihood, prior.scaling, method.knows)
        label, _ = label_of(CONTRAST, prior)
        seeds = seeds_of(batch.scan, batch.slices, 1)
        return problem.finish(method.sampler.sample(prior, problem.likelihood, seeds, label)[0]).abs()

    return run


@cache
def _prior(source: str) -> NetworkPrior:
    return load_prior(source)


def _checkpoint(output_dir: Path, prior: str) -> str:
    return str(_folder(output_dir, prior) / "fit/last.ckpt")


def _line(path: Path, line: Line, run: Reconstruct, cases: Callable[..., list[Case]]) -> Line:
    """Reconstruct and score all cases, unless that was done; keep the image of the first one."""
    if not path.exists():
        chosen = cases() if line.prior != "-" else cases(None)
        start = time.process_time()
        images = [run(case.batch) for case in chosen]
        seconds = (time.process_time() - start) / len(chosen)
        scores = {region: _scores(images, chosen, region) for region in REGIONS}
        path.parent.mkdir(parents=True, exist_ok=True)
        torch.save(images[0], path.with_suffix(".pt"))
        _save(path, {"seconds": seconds, "scores": scores})
        print(f"{path.parent.parent.name}, {path.parent.name}, {path.stem}: {seconds:.1f} s a slice", flush=True)
    return replace(line, **json.loads(path.read_text()))


def _scores(images: Sequence[Tensor], cases: Sequence[Case], region: str) -> dict[str, list[float]]:
    """Return each metric of each case."""
    scored = [
        score(image, case.batch.reference, SLICE, case.brain if region == "brain" else None)
        for case, image in zip(cases, images, strict=True)
    ]
    return {metric: [getattr(one, metric) for one in scored] for metric in ("ssim", "psnr", "nmse")}


def _save(path: Path, values: dict[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic(path) as part:
        part.write_text(json.dumps(values))


def _write(folder: Path, sections: Sequence[Section], sizes: Sizes) -> None:
    """Write the tables."""
    real = any(section.kind == "real" for section in sections)
    lines = [
        "# Low-field mice: blind as published, or with the scanner in the likelihood",
        "",
        f"Synthetic mice, {sizes.n_scored} of them with one slice each, {sizes.matrix} x {sizes.matrix} pixels of 0.15"
        " mm. SNR 2 to 7 dB in k-space, blur of 0.4 mm, T2* of 8 ms at a readout of 12.8 ms, B0 offsets up to 40 Hz"
        " at an echo time of 10 ms. Convention `slice`: magnitudes, mean +- standard deviation over mice; *whole* is"
        " the slice, *brain* its brain and ventricles. Each prior was trained for"
        f" {sizes.n_steps} steps of 8 images of {sizes.n_subjects} other synthetic mice; *un-tuned* is the shipped"
        " prior of heads. Baselines got the weight, and samplers the settings, that were best on"
        f" {sizes.n_val} further mice.",
        "",
        f"*paper*: predictor-corrector, {sizes.paper_levels} levels, consistency relaxed with weight 0.3, blind to the"
        f" degradation. *physics*: HQS, {sizes.physics_levels} levels; damping, phase and noise level are in the"
        " likelihood; *25 % too strong* and *too weak*: with all of them misjudged by that much. *NMSE, paper = 1*:"
        " geometric mean over mice of the ratio to *paper* with the same prior, in the brain, and its paired 95 %"
        " interval.",
        "",
        f"Command: `python experiments/mouse/compare.py --output_dir mouse{' --real FOLDER' if real else ''}`",
    ]
    for section in sections:
        lines += ["", f"## {section.regime}{', real mice' if section.kind == 'real' else ''}", ""]
        if section.kind == "real":
            lines += [
                f"{len(section.lines[0].scores['brain']['nmse'])} brain-extracted mice in vivo, middle slice.",
                "",
            ]
        else:
            lines += [
                f"Printed by the paper, for orientation only (its mice, scale and region are others): SSIM, PSNR in dB,"
                f" NMSE in % = {PRINTED[section.regime].replace(' | ', ', ')}.",
                "",
            ]
        lines += [
            "| method | prior | NMSE % brain | PSNR brain | SSIM brain | NMSE % whole | PSNR whole | SSIM whole"
            " | NMSE, paper = 1 | NFE | s a slice |",
            "| --- | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
            *(_row(line, section) for line in section.lines),
        ]
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "mouse.md").write_text("\n".join(lines) + "\n")


def _row(line: Line, section: Section) -> str:
    """Return a line of the table."""
    cells = [line.method, line.prior]
    for region in ("brain", "whole"):
        scores = line.scores[region]
        cells += [_spread([100 * v for v in scores["nmse"]], 2), _spread(scores["psnr"], 1), _spread(scores["ssim"], 3)]
    paper = [other for other in section.lines if (other.method, other.prior) == ("paper", line.prior)]
    cells.append(_ratio(line, paper[0]) if paper and paper[0] is not line else "-")
    return f"| {' | '.join([*cells, str(line.nfe or '-'), f'{line.seconds:.2f}'])} |"


def _spread(values: Sequence[float], digits: int) -> str:
    std = f" +- {statistics.stdev(values):.{digits}f}" if len(values) > 1 else ""
    return f"{statistics.fmean(values):.{digits}f}{std}"


def _ratio(line: Line, other: Line) -> str:
    """Return the geometric mean of the ratio of two methods' errors over mice, and its paired 95 % interval."""
    pairs = zip(line.scores["brain"]["nmse"], other.scores["brain"]["nmse"], strict=True)
    logs = [math.log(ours / theirs) for ours, theirs in pairs]
    mean, n = statistics.fmean(logs), len(logs)
    if n < 2:
        return f"{math.exp(mean):.2f}"
    half = float(student.ppf(0.975, n - 1)) * statistics.stdev(logs) / math.sqrt(n)
    return f"{math.exp(mean):.2f} ({math.exp(mean - half):.2f} to {math.exp(mean + half):.2f})"


def _illustrate(path: Path, output_dir: Path, regime: str, name: str, source: str, sizes: Sizes) -> None:
    """Draw the first test mouse in one regime, with one prior."""
    folder = output_dir / "synthetic" / regime
    case = _synthetic_cases(_mice(output_dir / "data", regime, sizes), None, sizes)[0]
    prior = _prior(source)
    problem = prepare_low_field(case.batch.likelihood, prior.scaling)
    sampler = DDS(n_steps=sizes.physics_levels, noise=KNOWN_NOISE)
    draws = posterior(sampler, prior, problem.likelihood, range(8), label_of(CONTRAST, prior)[0])
    panels = []
    for title, stem in (
        ("degraded", "degraded"),
        ("total variation", "total variation"),
        ("paper", f"paper {name}"),
        ("physics", f"physics {name}"),
    ):
        image = torch.load(folder / f"{stem}.pt", weights_only=True)[0]
        error = score(image[None], case.batch.reference, SLICE, case.brain).nmse
        panels.append(Panel(title, image, f"NMSE {100 * error:.1f} % in the brain"))
    panels.append(Panel("uncertainty x 5", problem.finish(draws.std)[0], "standard deviation of 8 draws", 5.0))
    panels.append(Panel("high field", case.batch.reference[0], "reference"))
    white = float(case.batch.reference[case.brain].abs().quantile(0.995))
    picture(path, panels, window=white, n_columns=3, title=f"synthetic mouse, {regime}")


if __name__ == "__main__":
    auto_cli(compare, as_positional=False)
