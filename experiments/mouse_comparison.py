"""Compare ways to reconstruct low-field mice: without the scanner, as published, or with its physics in the likelihood.

Trains the priors on synthetic mice, tunes the baselines on validation mice, and reconstructs test mice in the four
regimes of the published abstract. What is done is not done again, except a training that was cut off.

    python experiments/mouse_comparison.py --output_dir mouse [--real FOLDER]
"""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from fits import fit, network_of, phase
from jsonargparse import auto_cli
from mice import BRAIN, Cohort, Sizes, real_cohort, regimes, synthetic_cohort
from mouse_methods import DRAWN, NO_PRIOR, PAPER, PHYSICS, Classical, Method, Row, diffusions
from mouse_tables import Line, Section, error_scores, factors_of_others, write_tables
from mouse_unet import Supervised, train_unet

from lightning_mri.baselines import Baseline, NonLocalMeans, TotalVariation, Tunable, Wiener, ZeroFilled, tune
from lightning_mri.evaluation import Panel, Study, picture
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
FINAL = 0.05
"""Share of the learning rate at the end of a training."""


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
    only_regimes: Sequence[str] = tuple(regimes()),
    priors: Sequence[str] = tuple(PRIORS),
    others: dict[str, str] | None = None,
    results: Path = HERE / "results",
) -> None:
    """Run what is missing, and write ``mouse.md`` and ``mouse.png``.

    Args:
        output_dir: Folder of data, trainings and scores.
        prior: What fine-tuning starts from.
        real: Folder of real, brain-extracted mice to compare on, too; nothing is trained or tuned on them.
        sizes: How large the comparison is.
        only_regimes: Names of the degradations.
        priors: Names of the priors; with the first one all methods are tried, and it is drawn.
        others: Further priors, file by name, such as what `synthetic_finetune.yaml` trains.
        results: Folder of the table and the picture.
    """
    for argument, names, known in (("only_regimes", only_regimes, regimes()), ("priors", priors, PRIORS)):
        if not names or not set(names) <= set(known):
            raise ValueError(f"{argument} must be among {', '.join(known)}: got {', '.join(names) or 'none'}")
    output_dir, scanners = output_dir.resolve(), {name: regimes()[name] for name in only_regimes}
    data, study = output_dir / "data", Study(output_dir / "rows", Row)
    torch.set_num_threads(1)
    sources = {name: _prior(output_dir, name, prior, sizes) for name in priors} | (others or {})
    cohorts = [synthetic_cohort(data, name, scanner, sizes) for name, scanner in scanners.items()]
    _train_unet(output_dir / "unet", cohorts[0], sizes)
    methods = {cohort.regime: [*_baselines(output_dir, cohort), *diffusions(sizes, sources)] for cohort in cohorts}
    if real is not None:
        cohorts += [real_cohort(data, real, name, scanner, sizes) for name, scanner in scanners.items()]
    sections = []
    for cohort in cohorts:
        lines = [Line.of([study.row(case, one) for case in cohort.cases]) for one in methods[cohort.regime]]
        sections.append(Section(cohort.kind, cohort.regime, cohort.cases, lines))
    description = (
        f"The shipped prior had the fingerprint `{fingerprint(load_prior(prior))}`. Command:"
        f" `python experiments/mouse_comparison.py --output_dir mouse{' --real FOLDER' if real else ''}`"
    )
    write_tables(results / "mouse.md", sections, cohorts, sizes, priors[0], description)
    _illustrate(results / "mouse.png", sections[len(scanners) - 1], priors[0])


def _prior(output_dir: Path, name: str, prior: str, sizes: Sizes) -> str:
    """Return a prior by its name in `PRIORS`, trained unless that was done."""
    training, folder = PRIORS[name], output_dir / name.replace(", ", "-")
    if training is None:
        return prior
    if not (folder / "done").exists():
        settings = {"learning_rate": training.learning_rate, "steps": sizes.n_steps, "warm_up": 20, "final": FINAL}
        arguments = [
            f"--config={HERE / 'mouse/comparison.yaml'}",
            "--seed_everything=0",
            phase(settings, prior if training.starts else None),
            f"--data.cache_dir={output_dir / 'data'}",
            f"--data.n_subjects={sizes.n_subjects}",
            f"--data.n_val={sizes.n_val}",
            f"--data.n_test={sizes.n_test}",
            f"--data.slices_per_subject={sizes.slices_per_subject}",
            f"--data.crop={[sizes.matrix] * 2}",
            *([] if training.starts else network_of(prior)),
        ]
        if training.supervised:
            degradation = asdict(tuple(regimes().values())[-1])
            arguments.append(f"--model.reconstruction.degradation={json.dumps(degradation)}")
        fit(folder, *arguments)
        (folder / "done").touch()
    return str(folder / "fit/last.ckpt")


def _train_unet(folder: Path, cohort: Cohort, sizes: Sizes) -> None:
    """Train the supervised network on the mice and in the regimes of all others, unless that was done."""
    if not (folder / "done").exists():
        train_unet(folder, cohort.mice, list(regimes().values()), sizes.n_unet_steps)
        (folder / "done").touch()


@dataclass(frozen=True)
class Weights:
    """Weights of the baselines that are best on validation mice, by name."""

    of: dict[str, float]


def _baselines(output_dir: Path, cohort: Cohort) -> list[Method]:
    """Return what needs no prior, with the weights that are best on validation mice."""

    def tuned() -> Weights:
        batches = list(cohort.mice.tuning_batches())
        problems = [prepare_likelihood(batch.likelihood, Scaling()) for batch in batches]
        pairs = zip(problems, batches, strict=True)
        references = [problem.to_image_units(batch.reference) for problem, batch in pairs]
        likelihoods = [problem.likelihood for problem in problems]
        choices = {name: baseline for name, baseline in BASELINES.items() if isinstance(baseline, Tunable)}
        return Weights({name: tune(likelihoods, references, choice=each).weight for name, each in choices.items()})

    key = f"{cohort.mice.degradation!r} {cohort.mice.matrix} {cohort.mice.entries('val')} {BASELINES}"
    weights = Study(output_dir / "tuned", Weights).keep(cohort.regime, key, tuned).of
    chosen = {
        name: type(baseline)(weights[name]) if isinstance(baseline, Tunable) else baseline
        for name, baseline in BASELINES.items()
    }
    unet = Supervised("U-Net", folder=output_dir / "unet")
    return [*(Classical(name, baseline=baseline) for name, baseline in chosen.items()), unet]


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
