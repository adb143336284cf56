"""Compare ways to reconstruct low-field mice: without the scanner, as published, or with its physics in the likelihood.

Trains the priors on synthetic mice, tunes the baselines on validation mice, and reconstructs test mice in the four
regimes of the published abstract. What is done is not done again, except a training that was cut off.

    python experiments/mouse_comparison.py [--real FOLDER]
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path

import torch
from fits import fit, network_of, phase
from jsonargparse import auto_cli
from methods import Classical, Row, Sampled
from mice import INSIDE, Case, Knowing, estimated, real_cohort, regimes, synthetic_cohort
from mouse_readings import PUBLISHED, READINGS
from torch import Tensor

from lightning_mri.baselines import NonLocalMeans, TotalVariation, Wiener, ZeroFilled
from lightning_mri.evaluation import SLICE, Panel, Ratio, Study, markdown_table, mean_std, nmse, picture, psnr, ssim
from lightning_mri.files import write_whole
from lightning_mri.sampling import DDS, HQS, Sampler
from lightning_mri.sampling.adaptation import KNOWN_NOISE
from lightning_mri.weights import fingerprint, load_prior

HERE = Path(__file__).resolve().parent
PRIORS = ("fine-tuned", "fine-tuned, supervised", "scratch", "un-tuned")
OURS, PEAK, TV = "physics", "physics, most probable image", "total variation"
PHYSICS, N_DRAWS = DDS(n_steps=12, noise=KNOWN_NOISE), 8
PEAKED = HQS(noise=KNOWN_NOISE, likelihood_weights=(4.0, 3.0))


def compare(
    output_dir: Path = Path("runs/mice"),
    prior: str = "brain",
    real: Path | None = None,
    priors: Sequence[str] = ("fine-tuned", "un-tuned"),
    only_regimes: Sequence[str] = tuple(regimes()),
    n_steps: int = 500,
    n_train: int = 60,
    n_scored: int = 10,
    results: Path = HERE / "results",
) -> None:
    """Run what is missing, and write ``mouse.md`` and ``mouse.png``.

    Args:
        output_dir: Folder of data, trainings and scores.
        prior: What fine-tuning starts from.
        real: Folder of eight real, brain-extracted mice: six to compare on, two tell what mice are like.
        priors: Some of `PRIORS`; with the first one all methods are tried, and it is drawn.
        only_regimes: Names of the degradations.
        n_steps: Optimiser steps of every training, eight images each.
        n_train: Synthetic mice to train on.
        n_scored: Synthetic mice to compare on, one slice of each.
        results: Folder of the tables and the picture.
    """
    for argument, names, known in (("only_regimes", only_regimes, regimes()), ("priors", priors, PRIORS)):
        if not names or not set(names) <= set(known):
            raise ValueError(f"{argument} must be among {', '.join(known)}: got {', '.join(names) or 'none'}")
    output_dir, data = output_dir.resolve(), output_dir.resolve() / "data"
    torch.set_num_threads(1)
    cohorts = [synthetic_cohort(data, name, regimes()[name], n_train, n_scored) for name in only_regimes]
    cohorts += [] if real is None else [real_cohort(data, real, like) for like in cohorts]
    sources = {name: train(output_dir, name, prior, n_steps, n_train, n_scored) for name in priors}
    chosen, study = methods(output_dir, sources), Study(output_dir / "rows", Row)
    weights = ", ".join(f"{name} `{fingerprint(load_prior(source))[:12]}`" for name, source in sources.items())
    trained = f"Priors: {weights}."
    if set(priors) != {"un-tuned"}:
        trained += f" The tuned ones were trained for {n_steps} steps of 8 images of {n_train} synthetic mice."
    page = f"{(HERE / 'mouse/results.md').read_text()}\n{trained}\n"
    for cohort in cohorts:
        cases = cohort.cases("test")
        rows = {method.name: [study.row(case, method) for case in cases] for method in chosen}
        title = f"{cohort.regime}, {len(cases)} {'real' if cohort.is_real else 'synthetic'} mice"
        page += f"\n## {title}\n\n{table(cases, rows)}\n{estimates(cases)}\n"
        if cohort.regime == only_regimes[-1]:
            illustrate(output_dir / "real.png" if cohort.is_real else results / "mouse.png", cases[-1], rows, priors[0])
    write_whole(results / "mouse.md", page)


def train(output_dir: Path, name: str, prior: str, n_steps: int, n_train: int, n_test: int) -> str:
    """Return a prior by its name among `PRIORS`, trained unless that was done."""
    if name == "un-tuned":
        return prior
    folder, scratch = output_dir / name.replace(", ", "-"), name == "scratch"
    if not (folder / "done").exists():
        settings = {"learning_rate": 1e-3 if scratch else 5e-4, "steps": n_steps, "warm_up": 20, "final": 0.05}
        arguments = [
            f"--config={HERE / 'mouse/comparison.yaml'}",
            phase(settings, None if scratch else prior),
            f"--data.cache_dir={output_dir / 'data'}",
            f"--data.n_subjects={n_train}",
            f"--data.n_test={n_test}",
            *(network_of(prior) if scratch else []),
        ]
        if name == "fine-tuned, supervised":
            scanner = asdict(tuple(regimes().values())[-1])
            arguments.append(f"--model.reconstruction.degradation={json.dumps(scanner)}")
        fit(folder, *arguments)
        (folder / "done").touch()
    return str(folder / "fit/last.ckpt")


def methods(output_dir: Path, sources: dict[str, str]) -> list[Knowing]:
    """Return baselines and the ways to use each prior, all of them for the first one."""
    baselines = {"degraded": ZeroFilled(), "non-local means": NonLocalMeans(), "Wiener": Wiener(), TV: TotalVariation()}
    found = [Knowing(Classical(name, baseline, output_dir)) for name, baseline in baselines.items()]
    for name, source in sources.items():
        network = load_prior(source)
        ways: dict[str, tuple[Sampler, str, int]] = {
            PUBLISHED: (READINGS[PUBLISHED], "none", 1),
            OURS: (PHYSICS, "true", N_DRAWS),
            PEAK: (PEAKED, "true", 1),
        }
        if len(found) == len(baselines):
            known = ("25 % too strong", "25 % too weak", "estimated")
            ways |= {f"{OURS}, {scanner}": (PHYSICS, scanner, N_DRAWS) for scanner in known}
        contrast = None if name == "un-tuned" else "T2w"
        for way, (sampler, scanner, n) in ways.items():
            found.append(Knowing(Sampled(f"{way}, {name}", network, sampler, n), scanner, contrast))
    return found


def table(cases: Sequence[Case], rows: dict[str, list[Row]]) -> str:
    """Return the scores of each method, mean +- standard deviation over mice, and paired ratios of NMSE."""
    regions = list(dict.fromkeys(name for case in cases for name in case.regions))
    measured = ["brain", *(name for name in regions if name == INSIDE)]
    error = {name: {where: _values(cases, of, nmse, where) for where in (*measured, None)} for name, of in rows.items()}
    published, ours = (next(name for name in rows if name.startswith(stem)) for stem in (PUBLISHED, f"{OURS},"))
    compared = [(published, "brain"), *((ours, where) for where in measured)]
    lines = []
    for name, of in rows.items():
        percent = [mean_std([100 * v for v in values], 2) for values in error[name].values()]
        ratios = [
            "-" if name == other else f"{Ratio.of(error[name][where], error[other][where]):.2f}"
            for other, where in compared
        ]
        similar = [mean_std(_values(cases, of, ssim, where), 3) for where in (*regions, None)]
        peaks = [mean_std(_values(cases, of, psnr, where), 1) for where in ("brain", None)]
        seconds = sum(row.seconds for row in of) / len(of)
        lines.append([name, *percent, *ratios, *peaks, *similar, f"{seconds:.2f}"])
    header = ["method", *(f"NMSE % {where}" for where in (*measured, "whole"))]
    header += [f"NMSE {where}, {PUBLISHED if other == published else OURS} = 1" for other, where in compared]
    header += ["PSNR brain", "PSNR whole", *(f"SSIM {name}" for name in (*regions, "whole")), "s"]
    return markdown_table(header, lines)


def _values(
    cases: Sequence[Case], rows: Sequence[Row], metric: Callable[..., Tensor], where: str | None
) -> list[float]:
    """Return a metric of each mouse, of the whole slice or of a region; mice without the region are left out."""
    return [
        float(metric(row.magnitude[None], case.truth, SLICE, None if where is None else case.regions[where]))
        for case, row in zip(cases, rows, strict=True)
        if where is None or where in case.regions
    ]


def estimates(cases: Sequence[Case]) -> str:
    """Return what scans tell of their scanner, and what is true."""
    true, found = cases[0].cohort.mice.degradation, [estimated(case) for case in cases]
    decay = 0.0 if true.t2star_s is None else 1 / true.t2star_s
    blurs = mean_std([one.fwhm_mm.value for one in found if one.fwhm_mm is not None], 2)
    rates = mean_std([one.r2star_hz.value for one in found if one.r2star_hz is not None], 0)
    pairs = zip(found, cases, strict=True)
    noises = [float(one.noise_std.mean() / case.scan.likelihood.noise_std.mean()) for one, case in pairs]
    return (
        f"Estimated from the scan: blur {blurs} mm (true: {true.fwhm_mm:g}), 1 / T2* {rates} 1/s (true: {decay:g}),"
        f" noise {mean_std(noises, 3)} of the true one."
    )


def illustrate(path: Path, case: Case, rows: dict[str, list[Row]], prior: str) -> None:
    """Draw the last mouse: high field, several methods, and below what is wrong with them."""
    truth, brain = case.truth[0], case.regions["brain"]
    white = float(truth[brain[0]].quantile(0.995))
    top, below = [Panel("high field", truth, "reference")], [Panel("brain", white * brain[0], "where errors count")]
    for name in ("degraded", TV, f"{PUBLISHED}, {prior}", f"{OURS}, {prior}"):
        image = rows[name][-1].magnitude
        error = 100 * float(nmse(image[None], case.truth, SLICE, brain))
        top.append(Panel(name.removesuffix(f", {prior}"), image, f"NMSE {error:.1f} % in the brain"))
        below.append(Panel("error x 4", image - truth, gain=4.0))
    path.parent.mkdir(parents=True, exist_ok=True)
    picture(path, [*top, *below], window=white, n_columns=len(top), title=case.name)


if __name__ == "__main__":
    auto_cli(compare, as_positional=False)
