"""Which sampler for which time: all of them on the same synthetic heads, with the same prior, maps and noise level.

The walk of 1000 steps takes minutes a slice, so it is compared on small slices, the others on larger ones, too. Nothing
in the table was tuned on its heads. What is done is kept in ``samplers.jsonl`` and not done again, unless the prior or
the sampler has changed: about a quarter of an hour on one core.

    python experiments/samplers.py [--output_dir experiments/results] [--prior brain] [--only NAME,NAME]
"""

import json
import math
import shutil
import statistics
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from jsonargparse import auto_cli
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import LogLocator
from torch import Tensor

from lightning_mri.baselines import BartPICS, Baseline, L1Wavelet, Tunable, tune
from lightning_mri.diffusion import NetworkPrior
from lightning_mri.evaluation import SLICE, nrmse, paired_ratio
from lightning_mri.phantoms import Geometry, Head, Scanner
from lightning_mri.physics import Equispaced, ifft2c
from lightning_mri.reconstruction import PRESETS, Problem, label_of, prepare, seeds_of
from lightning_mri.sampling import (
    DAPS,
    DDS,
    DPS,
    PULA,
    TUNED_DPS,
    EstimateType,
    PosteriorScore,
    PredictorCorrector,
    Projection,
    Relaxed,
    Sampler,
    posterior,
)
from lightning_mri.tensors import complex_noise, derive_seed
from lightning_mri.weights import fingerprint, load_prior

FIELD_MM = 230.0
CONTRASTS = ("T2w", "FLAIR", "T1w")
WORDS = {EstimateType.POSTERIOR: "posterior", EstimateType.APPROXIMATE: "approximate", EstimateType.POINT: "point"}
COLOURS = {"posterior": "tab:red", "approximate": "tab:orange", "point": "tab:blue", "no prior": "0.45"}
REFERENCE = "standard"


@dataclass(frozen=True)
class Setting:
    """One kind of scan.

    Args:
        name: For the table.
        matrix: Rows and columns of a slice.
        n_coils: Coils of the array.
        acceleration: Nominal R; the table quotes the achieved one.
        n_center: Calibration lines.
        n_heads: Heads, one slice each; as many others choose the weights of what has one.
        longest: Methods that cost more network evaluations than this are left out; a gradient counts as two.
    """

    name: str
    matrix: int = 144
    n_coils: int = 6
    acceleration: float = 4.0
    n_center: int = 16
    n_heads: int = 3
    longest: int = field(default=180, repr=False)  # what was done stays done when it changes

    def scan(self, subject: str, contrast: str) -> tuple[Tensor, Tensor, Tensor]:
        """Return k-space [1, coil, y, x], mask, and the true root of the sum of squares over coils."""
        size, pixel = (self.matrix, self.matrix), (FIELD_MM / self.matrix,) * 2
        image = Head(subject).slice(contrast, Geometry(size, pixel)).image
        kspace = Scanner(self.n_coils, oversampling=1).encode(image[None], derive_seed(subject), pixel)
        noise = complex_noise(kspace.shape, torch.Generator().manual_seed(derive_seed(subject, "noise")))
        noise_std = (kspace.abs().square().mean() / (2 * 10**2.5)).sqrt()  # 25 dB
        mask = Equispaced(self.acceleration, self.n_center).draw(size, derive_seed(subject, "mask"))
        return (kspace + noise_std * noise) * mask, mask, torch.linalg.vector_norm(ifft2c(kspace), dim=1)

    def problems(self, side: str, prior: NetworkPrior) -> Iterator[tuple[str, str, Problem, Tensor]]:
        """Yield subject, contrast, problem and truth of each head of one side."""
        for i in range(self.n_heads):
            subject, contrast = f"samplers-{side}-{i}", CONTRASTS[i % len(CONTRASTS)]
            kspace, mask, truth = self.scan(subject, contrast)
            yield subject, contrast, prepare(kspace, mask, prior.scaling), truth


@dataclass(frozen=True)
class Method:
    """A row of the table: a sampler, whose image is the mean of a few draws, or a baseline."""

    name: str
    choice: Sampler | Baseline
    n_samples: int = 1

    @property
    def nfe(self) -> int:
        """Network evaluations a slice."""
        return self.n_samples * self.choice.nfe if isinstance(self.choice, Sampler) else 0

    @property
    def cost(self) -> int:
        """Evaluations, those of a backward pass included."""
        return self.nfe * (2 if isinstance(self.choice, DPS) else 1)

    @property
    def kind(self) -> str:
        """What the image may be taken for."""
        if not isinstance(self.choice, Sampler):
            return "no prior"
        return WORDS[self.choice.estimate_type] + (f", mean of {self.n_samples}" if self.n_samples > 1 else "")

    def reconstruct(self, problem: Problem, prior: NetworkPrior, subject: str, contrast: str) -> Tensor:
        """Return the image, in image units."""
        if isinstance(self.choice, Baseline):
            return self.choice.reconstruct(problem.likelihood)
        label, _ = label_of(contrast, prior)
        seeds = seeds_of(subject, [0], self.n_samples)
        if self.n_samples == 1:
            return self.choice.sample(prior, problem.likelihood, seeds, label)[0]
        return posterior(self.choice, prior, problem.likelihood, seeds, label, n_parallel=1).mean


def methods() -> list[Method]:
    """Return every row, the reference first."""
    walk = {"PosteriorScore": PosteriorScore(), "Projection": Projection(), "Relaxed(0.3)": Relaxed(0.3)}
    return [
        *(Method(name, PRESETS[name]) for name in ("standard", "preview", "quality")),
        Method("DDS", DDS()),
        Method("DDS, mean of 8", DDS(), 8),
        Method("DAPS", DAPS()),
        Method("pULA", PULA()),
        Method("DPS-ODE, 100 steps", TUNED_DPS[4.0]),
        Method("DPS-ODE, 500 steps", DPS(zeta=0.4)),
        *(
            Method(f"PC 1000, {name}", PredictorCorrector(n_steps=1000, consistency=rule))
            for name, rule in walk.items()
        ),
        Method("L1-wavelet (sigpy)", L1Wavelet()),
        *([Method("L1-wavelet (BART pics)", BartPICS())] if shutil.which("bart") else []),
    ]


SETTINGS = (
    Setting("64 px, 4 coils, R = 4", matrix=64, n_coils=4, n_center=8, longest=2000),
    Setting("144 px, 6 coils, R = 4"),
    Setting("144 px, 6 coils, R = 6", acceleration=6.0, n_center=12, longest=80),
)


@dataclass(frozen=True)
class Outcome:
    """One reconstruction: its description, NRMSE, seconds, and the acceleration achieved."""

    setting: str
    method: str
    head: int
    key: str
    nrmse: float
    seconds: float
    acceleration: float


class Store:
    """Outcomes in a file, one a line, so that a run that was interrupted goes on."""

    def __init__(self, path: Path) -> None:
        self.path = path
        lines = path.read_text().splitlines() if path.exists() else []
        self.outcomes = {(o.setting, o.head, o.key): o for o in (Outcome(**json.loads(line)) for line in lines)}

    def add(self, outcome: Outcome) -> None:
        """Keep one outcome."""
        self.outcomes[outcome.setting, outcome.head, outcome.key] = outcome
        with self.path.open("a") as file:
            file.write(json.dumps(outcome.__dict__) + "\n")


def samplers(
    output_dir: Path = Path("experiments/results"),
    prior: str = "brain",
    only: str = "",
    settings: Sequence[Setting] = SETTINGS,
) -> None:
    """Reconstruct what is missing, and write ``samplers.md`` and ``samplers.png``.

    Args:
        output_dir: Folder to write to.
        prior: Name of a shipped prior, or a checkpoint.
        only: Methods whose name contains one of these, separated by commas, beside `standard`; all if empty.
        settings: Kinds of scans.
    """
    loaded = load_prior(prior)
    output_dir.mkdir(parents=True, exist_ok=True)
    store = Store(output_dir / "samplers.jsonl")
    chosen = [m for m in methods() if m.name == REFERENCE or any(part in m.name for part in only.split(","))]
    results = {}
    for setting in settings:
        results[setting] = compare(setting, chosen, loaded, store)
        print(table(setting, chosen, results[setting]), flush=True)
    write(results, chosen, prior, output_dir)


def compare(setting: Setting, chosen: Sequence[Method], prior: NetworkPrior, store: Store) -> dict[str, list[Outcome]]:
    """Return the outcomes of each method of a setting, one a head; method by method, so that rows end one by one."""
    heads: list[tuple[str, str, Problem, Tensor]] = []
    results = {}
    for method in (m for m in chosen if m.cost <= setting.longest):
        key = f"{fingerprint(prior)[:12]} {method.choice!r} x {method.n_samples} {setting!r}"
        places = [(setting.name, i, key) for i in range(setting.n_heads)]
        if any(place not in store.outcomes for place in places):
            heads = heads or list(setting.problems("test", prior))
            run_method(setting, method, key, heads, prior, store)
        results[method.name] = [store.outcomes[place] for place in places]
    return results


def run_method(
    setting: Setting,
    method: Method,
    key: str,
    heads: Sequence[tuple[str, str, Problem, Tensor]],
    prior: NetworkPrior,
    store: Store,
) -> None:
    """Reconstruct the heads that are missing; what has a weight gets the one that is best on other heads."""
    if isinstance(method.choice, Tunable):
        others = list(setting.problems("validation", prior))
        truths = [truth / problem.scale[:, None, None] for _, _, problem, truth in others]
        best = tune([problem.likelihood for _, _, problem, _ in others], truths, choice=method.choice)
        method = Method(method.name, best)
    for i, (subject, contrast, problem, truth) in enumerate(heads):
        if (setting.name, i, key) in store.outcomes:
            continue
        start = time.perf_counter()
        x = method.reconstruct(problem, prior, subject, contrast)
        seconds = time.perf_counter() - start
        error = float(nrmse(problem.finish(x), truth, SLICE))
        store.add(Outcome(setting.name, method.name, i, key, error, seconds, problem.acceleration))


@dataclass(frozen=True)
class Score:
    """A method on a setting: means over heads, and the ratio to the reference with its paired 95 % interval."""

    nrmse: float
    seconds: float
    ratio: float
    low: float
    high: float

    @classmethod
    def of(cls, ours: Sequence[Outcome], reference: Sequence[Outcome]) -> "Score":
        """Return the score of one method beside the reference, head by head."""
        logs = [math.log(a.nrmse / b.nrmse) for a, b in zip(ours, reference, strict=True)]
        return cls(
            statistics.fmean(outcome.nrmse for outcome in ours),
            statistics.median(outcome.seconds for outcome in ours),
            *paired_ratio(logs),
        )


def table(setting: Setting, chosen: Sequence[Method], results: dict[str, list[Outcome]]) -> str:
    """Return a setting's table in Markdown, the best first."""
    reference = results[REFERENCE]
    achieved = statistics.fmean(outcome.acceleration for outcome in reference)
    scores = {m: Score.of(results[m.name], reference) for m in chosen if m.name in results}
    own = scores[chosen[0]].seconds
    lines = [
        f"**{setting.name}** (achieved {achieved:.2f}), {setting.n_heads} heads, one slice each",
        "",
        "| method | kind | NFE | NRMSE | ratio to standard (95 %) | s a slice | x standard's time |",
        "| --- | --- | ---: | ---: | ---: | ---: | ---: |",
    ]
    for method, score in sorted(scores.items(), key=lambda item: item[1].nrmse):
        interval = "1" if method.name == REFERENCE else f"{score.ratio:.3f} ({score.low:.3f} ... {score.high:.3f})"
        lines.append(
            f"| {method.name} | {method.kind} | {method.nfe or ''} | {score.nrmse:.4f} | {interval} |"
            f" {score.seconds:.3g} | {score.seconds / own:.3g} |"
        )
    return "\n".join(lines) + "\n"


def write(
    results: dict[Setting, dict[str, list[Outcome]]], chosen: Sequence[Method], prior: str, output_dir: Path
) -> None:
    """Write the tables and the picture."""
    intro = (
        f"Prior `{prior}`; synthetic heads of no training set, 25 dB; NRMSE of the magnitude against the true root of\n"
        "the sum of squares, per slice; intervals are paired over heads (Student's t of the logarithm). The image of\n"
        "`approximate` and `posterior` rows is one draw, unless a mean is named: a draw has more error than a mean.\n"
        "Seconds without preparation, which all share (see bench.md); weights of L1-wavelet and zeta chosen on other\n"
        f"heads. {torch.get_num_threads()} threads. Command: `python experiments/samplers.py --prior {prior}`\n"
    )
    parts = [table(setting, chosen, outcomes) for setting, outcomes in results.items()]
    (output_dir / "samplers.md").write_text("\n".join([intro, *parts]))
    figure = Figure(figsize=(5.2 * len(results), 4.2), layout="constrained")
    panels = figure.subplots(1, len(results), squeeze=False)[0]
    for axes, (setting, outcomes) in zip(panels, results.items(), strict=True):
        draw(axes, setting, {m: Score.of(outcomes[m.name], outcomes[REFERENCE]) for m in chosen if m.name in outcomes})
    kinds = [Line2D([], [], linestyle="", marker="o", color=colour, label=kind) for kind, colour in COLOURS.items()]
    figure.legend(handles=kinds, loc="outside lower center", ncols=len(kinds), fontsize=9, frameon=False)
    figure.savefig(output_dir / "samplers.png", dpi=130)


def draw(axes: Axes, setting: Setting, scores: dict[Method, Score]) -> None:
    """Draw the error of each method, the best on top, and write its time beside it."""
    ranked = sorted(scores.items(), key=lambda item: item[1].nrmse, reverse=True)
    for row, (method, score) in enumerate(ranked):
        colour = COLOURS[method.kind.split(",")[0]]
        axes.plot(score.nrmse, row, "o", color=colour, markersize=9 if method.name == REFERENCE else 6)
        axes.annotate(
            f"{score.seconds:.2g} s", (1.02, row), xycoords=("axes fraction", "data"), va="center", fontsize=8
        )
    axes.set_yticks(range(len(ranked)), [method.name for method, _ in ranked], fontsize=8)
    axes.set(xscale="log", xlabel="NRMSE, and seconds a slice", title=setting.name)
    is_wide = ranked[0][1].nrmse > 3 * ranked[-1][1].nrmse
    ticks = (1, 1.5, 2, 3, 5) if is_wide else (1, 1.2, 1.5, 2, 3, 4, 5, 6, 7, 8, 9)
    axes.xaxis.set_major_locator(LogLocator(subs=ticks))
    axes.xaxis.set_major_formatter("{x:g}")
    axes.xaxis.set_minor_formatter("")
    axes.margins(x=0.08)
    axes.grid(axis="y", color="0.92")
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)


if __name__ == "__main__":
    auto_cli(samplers, as_positional=False)
