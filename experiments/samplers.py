"""Which sampler for which time: all of them on the same synthetic heads, with the same prior, maps and noise level.

The predictor-corrector of 1000 steps takes minutes a slice, so it is compared on small slices, the others on larger
ones, too. Nothing in the table was tuned on its heads. About a quarter of an hour on one core.

    python experiments/samplers.py [--prior brain] [--only NAME,NAME]
"""

import shutil
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from heads import Scenario, heads
from jsonargparse import auto_cli
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import LogLocator
from methods import Classical, Row, Sampled, write

from lightning_mri.baselines import BartPICS, L1Wavelet
from lightning_mri.diffusion import NetworkPrior
from lightning_mri.evaluation import Ratio, Study, markdown_table
from lightning_mri.physics import Equispaced
from lightning_mri.reconstruction import PRESETS
from lightning_mri.sampling import (
    DAPS,
    DDS,
    DPS,
    PULA,
    TUNED_DPS,
    PosteriorScore,
    PredictorCorrector,
    Projection,
    Relaxed,
    Sampler,
)
from lightning_mri.weights import load_prior

HERE = Path(__file__).resolve().parent
COLOURS = {"posterior": "tab:red", "approximate": "tab:orange", "point": "tab:blue", "no prior": "0.45"}
REFERENCE = "standard"
N_HEADS = 3
COMMON = {"plane_mm": (230.0, 230.0), "snr_db": 25.0, "contrasts": ("T2w", "FLAIR", "T1w")}


@dataclass(frozen=True)
class Setting:
    """One kind of scan, and the highest cost of what is tried on it: evaluations, those of a gradient counted twice."""

    scenario: Scenario
    highest_cost: int


SETTINGS = (
    Setting(Scenario("64 px, 4 coils, R = 4", 4, (64, 64), pattern=Equispaced(4, 8), **COMMON), 2000),
    Setting(Scenario("144 px, 6 coils, R = 4", 6, (144, 144), pattern=Equispaced(4, 16), **COMMON), 180),
    Setting(Scenario("144 px, 6 coils, R = 6", 6, (144, 144), pattern=Equispaced(6, 12), **COMMON), 80),
)


def methods(prior: NetworkPrior, folder: Path) -> list[Sampled | Classical]:
    """Return every method, the reference first."""
    rules = {"PosteriorScore": PosteriorScore(), "Projection": Projection(), "Relaxed(0.3)": Relaxed(0.3)}
    samplers: dict[str, Sampler] = {name: PRESETS[name] for name in ("standard", "preview", "quality")}
    samplers |= {"DDS": DDS(), "DDS, mean of 8": DDS(), "DAPS": DAPS(), "pULA": PULA()}
    samplers |= {"DPS-ODE, 100 steps": TUNED_DPS[4.0], "DPS-ODE, 500 steps": DPS(zeta=0.4)}
    samplers |= {f"PC 1000, {name}": PredictorCorrector(n_steps=1000, consistency=rule) for name, rule in rules.items()}
    baselines = {"L1-wavelet (sigpy)": L1Wavelet()}
    baselines |= {"L1-wavelet (BART pics)": BartPICS()} if shutil.which("bart") else {}
    return [
        *(Sampled(name, prior, each, 8 if "mean of 8" in name else 1) for name, each in samplers.items()),
        *(Classical(name, each, folder, scaling=prior.scaling) for name, each in baselines.items()),
    ]


def nfe(method: Sampled | Classical) -> int:
    """Return network evaluations a slice."""
    return method.n_samples * method.sampler.nfe if isinstance(method, Sampled) else 0


def cost(method: Sampled | Classical) -> int:
    """Return evaluations, those of a backward pass included."""
    return nfe(method) * (2 if isinstance(method, Sampled) and isinstance(method.sampler, DPS) else 1)


def kind(method: Sampled | Classical) -> str:
    """Return what the image may be taken for."""
    return method.sampler.estimate_type.name.lower() if isinstance(method, Sampled) else "no prior"


@dataclass(frozen=True)
class Score:
    """A method on a setting: means over heads, and the ratio to the reference, paired over heads."""

    nrmse: float
    seconds: float
    ratio: Ratio

    @classmethod
    def of(cls, rows: Sequence[Row], reference: Sequence[Row]) -> "Score":
        """Return the score of a method's rows beside those of the reference."""
        errors, theirs = ([row.nrmse for row in each] for each in (rows, reference))
        seconds = statistics.median(row.seconds for row in rows)
        return cls(statistics.fmean(errors), seconds, Ratio.of(errors, theirs))


def samplers(
    output_dir: Path = HERE / "results",
    work_dir: Path = Path("runs/samplers"),
    prior: str = "brain",
    only: str = "",
    n_heads: int = N_HEADS,
    settings: Sequence[Setting] = SETTINGS,
) -> None:
    """Reconstruct what is missing, and write ``samplers.md`` and ``samplers.png``.

    Args:
        output_dir: Folder to write to.
        work_dir: Folder of what is done.
        prior: Name of a shipped prior, or a checkpoint.
        only: Methods whose name contains one of these, separated by commas, beside `standard`; all if empty.
        n_heads: Heads of each setting, one slice each; as many others choose the weights of what has one.
        settings: Kinds of scans.
    """
    study, known = Study(work_dir, Row), methods(load_prior(prior), work_dir)
    chosen = [m for m in known if m.name == REFERENCE or any(part in m.name for part in only.split(","))]
    figure = Figure(figsize=(5.2 * len(settings), 4.2), layout="constrained")
    panels = figure.subplots(1, len(settings), squeeze=False)[0]
    parts = [
        f"Prior `{prior}`; synthetic heads that are in no training set, 25 dB; NRMSE of the magnitude against the\n"
        "true root of the sum of squares, per slice. Intervals are paired over heads (Student's t of the logarithm).\n"
        "The image of `approximate` and `posterior` rows is one draw, unless a mean is named: a draw has more error\n"
        "than a mean.\n"
        "Processor seconds do not include the preparation, which is the same for all (see bench.md). The weights of\n"
        f"L1-wavelet and zeta were chosen on other heads. {torch.get_num_threads()} thread(s). Command:\n"
        f"`python experiments/samplers.py --prior {prior}`\n"
    ]
    for setting, axes in zip(settings, panels, strict=True):
        tried = [method for method in chosen if cost(method) <= setting.highest_cost]
        rows = list(study.rows(heads("samplers", "test", setting.scenario, n_heads), tried))
        reference = [row for row in rows if row.method == REFERENCE]
        scores = {m: Score.of([row for row in rows if row.method == m.name], reference) for m in tried}
        ranked = dict(sorted(scores.items(), key=lambda item: item[1].nrmse))
        achieved = statistics.fmean(row.acceleration for row in reference)
        title = f"**{setting.scenario.name}** (achieved {achieved:.2f}), {n_heads} heads, one slice each\n\n"
        parts.append(title + _table(ranked))
        _draw(axes, setting.scenario.name, ranked)
    write(output_dir / "samplers.md", "\n".join(parts))
    kinds = [Line2D([], [], linestyle="", marker="o", color=colour, label=name) for name, colour in COLOURS.items()]
    figure.legend(handles=kinds, loc="outside lower center", ncols=len(kinds), fontsize=9, frameon=False)
    figure.savefig(output_dir / "samplers.png", dpi=130)


def _table(ranked: dict[Sampled | Classical, Score]) -> str:
    """Return a setting's table in Markdown."""
    own = next(score.seconds for method, score in ranked.items() if method.name == REFERENCE)
    header = ["method", "kind", "NFE", "NRMSE", "ratio to standard (95 %)", "CPU s a slice", "x standard's time"]
    lines = []
    for method, score in ranked.items():
        ratio = "1" if method.name == REFERENCE else f"{score.ratio:.3f}"
        times = [f"{score.seconds:.3g}", f"{score.seconds / own:.3g}"]
        lines.append([method.name, kind(method), nfe(method) or "", f"{score.nrmse:.4f}", ratio, *times])
    return markdown_table(header, lines, n_words=2)


def _draw(axes: Axes, title: str, ranked: dict[Sampled | Classical, Score]) -> None:
    """Draw the error of each method, the best on top, and write its time beside it."""
    place = {"xycoords": ("axes fraction", "data"), "va": "center", "fontsize": 8}
    for i, (method, score) in enumerate(reversed(ranked.items())):
        axes.plot(score.nrmse, i, "o", color=COLOURS[kind(method)], markersize=9 if method.name == REFERENCE else 6)
        axes.annotate(f"{score.seconds:.2g} s", (1.02, i), **place)
    axes.set_yticks(range(len(ranked)), [method.name for method in reversed(ranked)], fontsize=8)
    axes.set(xscale="log", xlabel="NRMSE, and processor seconds a slice", title=title)
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 1.5, 2, 3, 5, 7)))
    axes.xaxis.set_major_formatter("{x:g}")
    axes.xaxis.set_minor_formatter("")
    axes.margins(x=0.08)
    axes.grid(axis="y", color="0.92")
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)


if __name__ == "__main__":
    auto_cli(samplers, as_positional=False)
