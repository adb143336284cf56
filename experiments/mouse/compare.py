"""Compare ways to reconstruct low-field mice: blind as published, or with the scanner's physics in the likelihood.

Trains the priors on synthetic mice, tunes the baselines on validation mice, and reconstructs test mice in the four
regimes of the published abstract. What is done is not done again: a training or a line of a table that was cut off
starts anew, the others are kept.

    python experiments/mouse/compare.py --output_dir mouse [--real FOLDER]
"""

import contextlib
import json
import math
import shutil
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from cases import BRAIN, REAL, SYNTHETIC, Herd, Sizes, real_herd, synthetic_herd
from jsonargparse import auto_cli
from methods import DRAWN, ESTIMATED, PAPER, PHYSICS, STRONG, WEAK, Classical, Method, diffusions, loaded
from tables import NO_PRIOR, Line, Section, error_scores, factors_of_others, read_line, save_line, write_tables
from unet import Supervised, train_unet

from lightning_mri.__main__ import main
from lightning_mri.baselines import Baseline, NonLocalMeans, TotalVariation, Tunable, Wiener, ZeroFilled, tune
from lightning_mri.evaluation import Panel, picture
from lightning_mri.files import atomic
from lightning_mri.physics import REGIMES
from lightning_mri.reconstruction import prepare_likelihood
from lightning_mri.scaling import Scaling
from lightning_mri.weights import fingerprint, load_prior

HERE = Path(__file__).resolve().parent
BASELINES: dict[str, Baseline] = {
    "degraded": ZeroFilled(),
    "non-local means": NonLocalMeans(),
    "Wiener": Wiener(),
    "total variation": TotalVariation(),
}
UNET = "U-Net"
REAL_LATER = 3
FINAL = 0.05
"""Share of the learning rate at the end of a training."""
URGENT = (PHYSICS, PAPER, ESTIMATED, STRONG, WEAK, DRAWN, UNET)
"""Methods to run first, should the time not suffice for all; baselines take none."""


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


def compare(
    output_dir: Path,
    prior: str = "brain",
    real: Path | None = None,
    sizes: Sizes = Sizes(),  # noqa: B008 - frozen
    regimes: Sequence[str] = tuple(REGIMES),
    priors: Sequence[str] = tuple(PRIORS),
    others: dict[str, str] | None = None,
    results: Path = HERE.parent / "results",
    max_minutes: float | None = None,
) -> None:
    """Run what is missing, and write ``mouse.md`` and ``mouse.png``.

    Args:
        output_dir: Folder of data, trainings and scores.
        prior: What fine-tuning starts from.
        real: Folder of real, brain-extracted mice to compare on, too; nothing is trained or tuned on them.
        sizes: How large the comparison is.
        regimes: Names of the degradations.
        priors: Names of the priors; with the first one all methods are tried, and it is drawn.
        others: Further priors, file by name, such as what `synthetic_finetune.yaml` trains.
        results: Folder of the table and the picture.
        max_minutes: No further line is begun after that time; lines that are missing are left out of the tables.
    """
    for argument, names, known in (("regimes", regimes, REGIMES), ("priors", priors, PRIORS)):
        if not names or not set(names) <= set(known):
            raise ValueError(f"{argument} must be among {', '.join(known)}: got {', '.join(names) or 'none'}")
    output_dir = output_dir.resolve()
    end = math.inf if max_minutes is None else time.monotonic() + 60 * max_minutes
    torch.set_num_threads(1)
    for name in priors:
        if (training := PRIORS[name]) is not None and not (done := _folder(output_dir, name) / "done").exists():
            _train(done.parent, training, output_dir / "data", prior, sizes)
            done.touch()
    sources = {name: prior if PRIORS[name] is None else _checkpoint(output_dir, name) for name in priors}
    sources |= others or {}
    herds = [synthetic_herd(output_dir / "data", regime, sizes) for regime in regimes]
    plans = [_Plan(output_dir, herd, _baselines(output_dir, herd, sizes), sources, sizes) for herd in herds]
    if real is not None:
        wild = [real_herd(output_dir / "data", real, regime, sizes) for regime in regimes]
        plans += [
            _Plan(output_dir, herd, plan.baselines, sources, sizes) for herd, plan in zip(wild, plans, strict=True)
        ]
    for plan, entry in sorted(_all(plans), key=lambda both: both[1].rank + REAL_LATER * (both[0].herd.name == REAL)):
        if time.monotonic() < end:
            plan.run(entry)
    sections = [Section(plan.herd.name, plan.herd.regime, plan.herd.cases, list(plan.done())) for plan in plans]
    told = _told(prior, real, sections, plans)
    write_tables(results / "mouse.md", sections, [plan.herd for plan in plans], sizes, priors[0], told)
    _illustrate(results / "mouse.png", sections[len(regimes) - 1], priors[0])


@dataclass(frozen=True)
class _Entry:
    """A line to come."""

    name: str
    method: Method
    prior: str

    @property
    def rank(self) -> int:
        """What is done first is that of a low one."""
        if isinstance(self.method, Classical):
            return 0
        late = URGENT.index(self.name) if self.name in URGENT else len(URGENT)
        tuned = self.prior in (NO_PRIOR, next(iter(PRIORS)))
        return 1 + late if tuned else 3 + 7 * late

    @property
    def stem(self) -> str:
        return self.name if self.prior == NO_PRIOR else f"{self.name} {self.prior}"


@dataclass(frozen=True)
class _Plan:
    """All lines of one regime."""

    output_dir: Path
    herd: Herd
    baselines: Mapping[str, Method]
    sources: Mapping[str, str]
    sizes: Sizes

    @property
    def entries(self) -> list[_Entry]:
        """What is to be done, in the order of the table."""
        tuned = next(iter(self.sources))
        entries = [_Entry(name, method, NO_PRIOR) for name, method in self.baselines.items()]
        for prior in self.sources:
            for name, method in diffusions(self.sizes, tuned).items():
                if method.priors is None or prior in method.priors:
                    entries.append(_Entry(name, method, prior))
        return entries

    def run(self, entry: _Entry) -> None:
        """Reconstruct all mice one way, unless that was done."""
        path, herd = self._path(entry), self.herd
        if self._read(path) is not None:
            return
        if isinstance(entry.method, Supervised):
            _train_unet(entry.method.folder, herd, self.sizes)
        source = self.sources.get(entry.prior, NO_PRIOR)
        if source != NO_PRIOR:
            loaded(source)
        cases = herd.cases
        start = time.process_time()
        images = [entry.method.reconstruct(case, herd, source) for case in cases]
        seconds = (time.process_time() - start) / len(cases)
        stds = [image.std for image in images if image.std is not None]
        magnitudes = torch.cat([image.magnitude for image in images])
        line = Line(entry.name, entry.prior, entry.method.nfe, seconds, magnitudes, torch.cat(stds) if stds else None)
        save_line(path, line)
        print(f"{herd.name}, {herd.regime}, {entry.stem}: {seconds:.1f} s a slice", flush=True)

    def done(self) -> Iterator[Line]:
        """Yield the lines that are there."""
        for entry in self.entries:
            if (line := self._read(self._path(entry))) is not None:
                yield line

    def _read(self, path: Path) -> Line | None:
        """Return a line if it is there, and of enough mice."""
        line = read_line(path, self.herd.n_cases) if path.exists() else None
        return None if line is None or len(line.images) < self.herd.n_cases else line

    def _path(self, entry: _Entry) -> Path:
        return self.output_dir / self.herd.name / self.herd.regime / f"{entry.stem}.json"


def _all(plans: Sequence[_Plan]) -> list[tuple[_Plan, _Entry]]:
    return [(plan, entry) for plan in plans for entry in plan.entries]


def _folder(output_dir: Path, prior: str) -> Path:
    return output_dir / prior.replace(", ", "-")


def _checkpoint(output_dir: Path, prior: str) -> str:
    return str(_folder(output_dir, prior) / "fit/last.ckpt")


def _train(folder: Path, training: Training, data: Path, prior: str, sizes: Sizes) -> None:
    """Run ``fit`` in a folder of its own."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    settings: dict[str, Any] = {"learning_rate": training.learning_rate, "steps": sizes.n_steps, "warm_up": 20}
    settings["final"] = FINAL
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


def _train_unet(folder: Path, herd: Herd, sizes: Sizes) -> None:
    """Train the supervised network on the mice and in the regimes of all others, unless that was done."""
    if not (folder / "done").exists():
        assert herd.name == SYNTHETIC, "lines of synthetic mice come first"
        train_unet(folder, herd.mice, list(REGIMES.values()), sizes.n_unet_steps)
        (folder / "done").touch()


def _baselines(output_dir: Path, herd: Herd, sizes: Sizes) -> dict[str, Method]:
    """Return what needs no prior, with the weights that are best on validation mice."""
    path = output_dir / "tuned" / f"{herd.regime}.json"
    if not path.exists():
        problems, references = [], []
        for batch in herd.mice.tuning_batches():
            problems.append(problem := prepare_likelihood(batch.likelihood, Scaling()))
            references.append(problem.to_image_units(batch.reference))
        likelihoods = [problem.likelihood for problem in problems]
        found = {
            name: tune(likelihoods, references, choice=baseline).weight
            for name, baseline in BASELINES.items()
            if isinstance(baseline, Tunable)
        }
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic(path) as part:
            part.write_text(json.dumps(found))
    weights = json.loads(path.read_text())
    chosen = {
        name: Classical(type(baseline)(weights[name]) if name in weights else baseline)
        for name, baseline in BASELINES.items()
    }
    return {**chosen, UNET: Supervised(output_dir / "unet")}


def _told(prior: str, real: Path | None, sections: Sequence[Section], plans: Sequence[_Plan]) -> str:
    """Return how the tables came about."""
    missing = Counter(
        f"{plan.herd.name} mice, {entry.stem}"
        for plan, section in zip(plans, sections, strict=True)
        for entry in plan.entries
        if section.line(entry.name, entry.prior) is None
    )
    named = "; ".join(name if n == len(REGIMES) else f"{name} ({n} regimes)" for name, n in sorted(missing.items()))
    left_out = f"Left out for want of time: {named}. The same command adds them.\n\n" if missing else ""
    return (
        f"{left_out}The shipped prior had the fingerprint `{fingerprint(load_prior(prior))}`. Command:"
        f" `python experiments/mouse/compare.py --output_dir mouse{' --real FOLDER' if real else ''}`"
    )


def _illustrate(path: Path, section: Section, prior: str) -> None:
    """Draw one mouse: as measured, as published, with physics, and what is wrong with it."""
    shown = min(1, len(section.cases) - 1)
    case, reference = section.cases[shown], section.cases[shown].batch.reference[0].abs()
    panels, ours = [], None
    for title, method, name in (
        ("degraded", "degraded", NO_PRIOR),
        ("paper", PAPER, prior),
        ("physics", PHYSICS, prior),
    ):
        if (line := section.line(method, name)) is not None:
            error = section.values(line, "nmse", BRAIN)[shown]
            panels.append(Panel(title, line.images[shown], f"NMSE {100 * error:.1f} % in the brain"))
            ours = line.images[shown]
    if (line := section.line(DRAWN, prior)) is not None and line.stds is not None:
        factor = factors_of_others(error_scores(section, line))[shown] if len(section.cases) > 1 else 1.0
        panels.append(Panel("uncertainty x 4", factor * line.stds[shown], "standard deviation, calibrated", 4.0))
    panels.append(Panel("high field", reference, "reference"))
    if ours is not None:
        panels.append(Panel("error x 4", ours - reference, "of physics", 4.0))
    white = float(reference[case.regions[BRAIN][0]].quantile(0.995))
    picture(path, panels, window=white, n_columns=3, title=f"synthetic mouse, {section.regime}")


if __name__ == "__main__":
    auto_cli(compare, as_positional=False)
