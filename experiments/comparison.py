"""The honest comparison: a prior, an unrolled network and classical methods on synthetic heads that none has seen.

Every method gets the same data and maps. The weights of L1-wavelet, sigpy's and, where it is installed, BART's, are
chosen for each pattern and acceleration on validation subjects; nothing else is tuned.

    python experiments/unrolled.py --output runs/varnet-20.safetensors --n_subjects 20
    python experiments/unrolled.py --output runs/varnet-100.safetensors --n_subjects 100 --n_steps 1800
    python experiments/comparison.py --unrolled '[runs/varnet-20.safetensors, runs/varnet-100.safetensors]'
    python experiments/comparison.py --cohort.snr_db 30 --output_dir runs/30dB --table runs/30dB/numbers.md
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from statistics import geometric_mean
from typing import Any

import numpy as np
import torch
from jsonargparse import auto_cli
from matplotlib.figure import Figure
from methods import BART, L1, Classical, Row, Sampled, Slice, classical, write
from torch import Tensor

from lightning_mri.baselines import DEFAULT_WEIGHTS, Unrolled
from lightning_mri.evaluation import Ratio, Study, markdown_table
from lightning_mri.phantoms import Geometry, Head, Scanner
from lightning_mri.reconstruction import PRESETS, Preset, Problem
from lightning_mri.scaling import Scaling
from lightning_mri.tensors import derive_seed
from lightning_mri.training import KINDS, pattern_of, scanned
from lightning_mri.weights import load_prior

HERE = Path(__file__).resolve().parent
CONTRASTS = ("T1w", "T2w", "FLAIR", "T1w-post", "PD")
COILS = (8, 4, 6)
OURS = "prior"
Cell = tuple[str, float]
"""Pattern and acceleration."""
TARGET = 0.45
COLORS = {"zero-filled": "#b0b0b0", "CG-SENSE": "#d09a4a", L1: "#303030", BART: "#7a7a7a", OURS: "#0b5fa5"}
NETWORK_COLORS = ("#d1495b", "#5f9e6e", "#8d6a9f")
UNDERTRAINED = (
    "Their learning rate falls to 0, so that errors level off in any case. Published networks see many times as many"
    " scans. These networks show what is possible in the time of a prior's fine-tuning, not what unrolled networks can"
    " do."
)


@dataclass(frozen=True)
class Cohort:
    """What is scanned, and how.

    Args:
        n_test: Subjects to compare on, one slice each; contrasts and numbers of coils take turns.
        n_validation: Other subjects, to choose the weight of L1-wavelet on.
        matrix: Pixels (y, x).
        pixel_mm: Their size.
        snr_db: Signal-to-noise ratio of fully sampled k-space.
        accelerations: Nominal ones.
        patterns: Names of patterns.
        weights: What the weight of L1-wavelet is chosen among.
    """

    n_test: int = 6
    n_validation: int = 2
    matrix: tuple[int, int] = (160, 128)
    pixel_mm: float = 1.6
    snr_db: float = 20.0
    accelerations: tuple[float, ...] = (2, 3, 4, 5, 6, 8)
    patterns: tuple[str, ...] = KINDS
    weights: tuple[float, ...] = DEFAULT_WEIGHTS

    def slices(self, side: str, pattern: str, acceleration: float) -> "list[Case]":
        """Return the slices of one side, ``test`` or ``validation``; none was trained on."""
        n = self.n_test if side == "test" else self.n_validation
        return [Case(side, index, pattern, acceleration, self) for index in range(n)]


@dataclass(frozen=True)
class Case(Slice):
    """One slice of a subject: axial, between the cerebellum and the vertex, tilted a little."""

    side: str
    index: int
    pattern: str
    acceleration: float
    cohort: Cohort

    @property
    def group(self) -> str:
        """Pattern and acceleration."""
        return f"{self.pattern}, R = {self.acceleration:g}"

    @property
    def subject(self) -> str:
        """Name of the head."""
        return f"numbers-{self.side}-{self.index}"

    @property
    def contrast(self) -> str:
        """What is scanned."""
        return CONTRASTS[self.index % len(CONTRASTS)]

    @property
    def truth(self) -> Tensor:
        """True magnitude [1, y, x]."""
        return _image(self).abs()

    @property
    def tuning(self) -> "Sequence[Case]":
        """The validation subjects."""
        return self.cohort.slices("validation", self.pattern, self.acceleration)

    def problem(self, scaling: Scaling) -> Problem:
        """Return the slice as prepared."""
        return _scanned(self, scaling)


@lru_cache(maxsize=16)
def _image(case: Case) -> Tensor:
    rng = np.random.default_rng(derive_seed(case.subject, "geometry"))
    tilt, offset = rng.normal(0, 4, 3), rng.uniform(-20, 45)
    pixel = (case.cohort.pixel_mm, case.cohort.pixel_mm)
    geometry = Geometry(case.cohort.matrix, pixel, offset, tilt=(tilt[0], tilt[1], tilt[2]))
    return Head(case.subject).slice(case.contrast, geometry).image[None]


@lru_cache(maxsize=16)
def _scanned(case: Case, scaling: Scaling) -> Problem:
    cohort, pixel = case.cohort, (case.cohort.pixel_mm, case.cohort.pixel_mm)
    scanner = Scanner(COILS[case.index % len(COILS)], cohort.snr_db, oversampling=1)
    pattern = pattern_of(case.pattern, case.acceleration, cohort.matrix)
    return scanned(_image(case), scanner, pattern, derive_seed(case.subject), pixel, scaling)[0]


def numbers(
    unrolled: Sequence[Path] = (),
    output_dir: Path = Path("runs/comparison"),
    prior: str = "brain",
    preset: Preset = "standard",
    cohort: Cohort = Cohort(),
    table: Path = HERE / "results" / "numbers.md",
) -> None:
    """Run what is missing, and write a table and curves.

    Args:
        unrolled: Networks that ``unrolled.py`` trained.
        output_dir: Folder of what is done.
        prior: Shipped prior or checkpoint.
        preset: Sampler of the prior; it runs without the guard, as in `test`.
        cohort: What is scanned, and how.
        table: File of the table; that of the curves has another suffix.
    """
    loaded, networks = load_prior(prior), [Unrolled(path) for path in unrolled]
    if loaded.scaling != Scaling():
        raise ValueError(f"prior must be scaled like the other methods' images: got {loaded.scaling}")
    methods: list[Classical | Sampled] = [*classical(output_dir, cohort.weights)]
    for path, network in zip(unrolled, networks, strict=True):
        name, version = f"VarNet, {network.card['subjects']} subjects", hashlib.sha256(path.read_bytes()).hexdigest()
        methods.append(Classical(name, network, output_dir, version=version))
    methods.append(Sampled(OURS, loaded, PRESETS[preset]))
    cells = [(pattern, rate) for pattern in cohort.patterns for rate in cohort.accelerations]
    cases = [case for cell in cells for case in cohort.slices("test", *cell)]
    with torch.no_grad():
        rows = list(Study(output_dir, Row).rows(cases, methods))
    done = Rows(rows, cells, [method.name for method in methods])
    intro = introduction(cohort, [network.card for network in networks], f"`{prior}`, `{PRESETS[preset]!r}`")
    write(table, "\n".join([intro, done.summary(), done.errors_table(), done.similarity_table()]))
    draw(done, cohort).savefig(table.with_suffix(".png"), dpi=150)


def introduction(cohort: Cohort, trained: Sequence[dict[str, Any]], prior: str) -> str:
    """Return what a reader must know."""
    (rows, columns), coils, contrasts = cohort.matrix, ", ".join(map(str, COILS)), ", ".join(CONTRASTS)
    networks = [training_described(card) for card in trained] + ([UNDERTRAINED] if trained else [])
    methods = "a prior, unrolled networks" if trained else "a prior"
    return f"""# Synthetic heads, multi-coil: {methods} and classical methods

{cohort.n_test} test subjects, one slice each ({contrasts} in turn; {coils} coils in turn), {rows} x {columns}
pixels of {cohort.pixel_mm:g} mm, {cohort.snr_db:g} dB. All methods get the same data and coil maps. The centre has at
most 12 lines, or 16 x 16 points, and at most half of the samples. The weights of L1-wavelet are chosen for each pattern
and R on {cohort.n_validation} other subjects. Prior: {prior}, without the guard. Convention `slice`, whole image,
noiseless truth; geometric means of NRMSE, means of SSIM, over subjects.
{"".join(f"{text}{chr(10)}" for text in networks)}
Commands: at the top of `experiments/comparison.py`
"""


def training_described(card: dict[str, Any]) -> str:
    """Return in two sentences how a network was trained, and for how long."""
    values, steps = card["val_nrmse"], card["val_steps"]
    best, middle = min(range(len(values)), key=values.__getitem__), (len(values) - 1) // 2
    return (
        f"VarNet, {card['subjects']} subjects: {card['parameters'] / 1e6:.2f} M parameters, {card['steps']} steps of"
        f" one scan each, {card['steps'] / card['images']:.3g} passes over {card['images']} images. NRMSE of validation"
        f" subjects {values[middle]:.3f} at step {steps[middle]} and {values[best]:.3f} at step {steps[best]}, whose"
        " weights are used."
    )


@dataclass(frozen=True)
class Rows:
    """All rows, by pattern, acceleration and method."""

    rows: Sequence[Row]
    cells: Sequence[Cell]
    names: Sequence[str]

    def of(self, cell: Cell, name: str) -> list[Row]:
        """Return the rows of a method at a pattern and acceleration, one a subject."""
        return [row for row in self.rows if (row.group, row.method) == (f"{cell[0]}, R = {cell[1]:g}", name)]

    def errors(self, name: str, cells: Sequence[Cell]) -> np.ndarray:
        """Return NRMSE [cell, subject] of a method."""
        return np.array([[row.nrmse for row in self.of(cell, name)] for cell in cells])

    def summary(self) -> str:
        """Return how the prior compares with every other method, by pattern and over all."""
        lines = []
        for pattern in [*dict.fromkeys(pattern for pattern, _ in self.cells), "all"]:
            cells = [cell for cell in self.cells if pattern in (cell[0], "all")]
            for name in self.names[:-1]:
                logs = np.log(self.errors(OURS, cells) / self.errors(name, cells))
                target = f" (target {TARGET:g})" if name == L1 else ""
                better = f"{int((logs < 0).sum())} of {logs.size}"
                lines.append([pattern, f"{name}{target}", f"{Ratio.of_logs(logs.mean(0)):.3f}", better])
        intro = (
            "Ratio of NRMSE, prior / other: geometric mean over subjects and R, with its 95 % interval over subjects"
            " (paired, t of the logarithm), and the slices where the prior is better.\n\n"
        )
        return intro + markdown_table(["pattern", "other method", "ratio (95 %)", "prior better"], lines, n_words=2)

    def errors_table(self) -> str:
        """Return NRMSE of all cells, with the ratio of the prior to L1-wavelet and the times."""
        lines = []
        for cell in self.cells:
            means = [geometric_mean(self.errors(name, [cell])[0]) for name in self.names]
            ratio = Ratio.of(self.errors(OURS, [cell])[0], self.errors(L1, [cell])[0])
            lines.append([*self._start(cell), *(f"{mean:.4f}" for mean in means), f"{ratio:.3f}"])
        means = [geometric_mean(self.errors(name, self.cells).flat) for name in self.names]
        times = [np.mean([row.seconds for row in self.rows if row.method == name]) for name in self.names]
        lines.append(["geometric mean", "", "", *(f"{mean:.4f}" for mean in means), ""])
        lines.append(["CPU s a slice", "", "", *(f"{seconds:.2f}" for seconds in times), ""])
        return markdown_table(["NRMSE: pattern", "R", "L1 weight", *self.names, f"prior / {L1}"], lines)

    def similarity_table(self) -> str:
        """Return SSIM of all cells."""
        lines = [
            [*self._start(cell), *(f"{np.mean([row.ssim for row in self.of(cell, name)]):.4f}" for name in self.names)]
            for cell in self.cells
        ]
        return markdown_table(["SSIM: pattern", "R", "L1 weight", *self.names], lines)

    def _start(self, cell: Cell) -> list[str]:
        return [cell[0], f"{cell[1]:g}", self.of(cell, L1)[0].remarks[0]]


def draw(done: Rows, cohort: Cohort) -> Figure:
    """Draw NRMSE relative to L1-wavelet over R, one panel a pattern; the prior's with its 95 % interval."""
    figure = Figure(figsize=(13, 3.6), facecolor="white", layout="constrained")
    panels = figure.subplots(1, len(cohort.patterns), sharey=True, squeeze=False)[0]
    networks = iter(NETWORK_COLORS * len(done.names))
    colors = {name: COLORS.get(name) or next(networks) for name in done.names}
    for axes, pattern in zip(panels, cohort.patterns, strict=True):
        cells = [(pattern, rate) for rate in cohort.accelerations]
        for name in done.names:
            ratios = [Ratio.of(a, b) for a, b in zip(done.errors(name, cells), done.errors(L1, cells), strict=True)]
            width = 2.4 if name == OURS else 1.4
            values = [ratio.value for ratio in ratios]
            axes.plot(cohort.accelerations, values, "o-", color=colors[name], label=name, lw=width, ms=2 * width)
        band = ([ratio.low for ratio in ratios], [ratio.high for ratio in ratios])  # of the prior, which is the last
        axes.fill_between(cohort.accelerations, *band, color=colors[OURS], alpha=0.18, lw=0)
        axes.axhline(TARGET, color="#777777", lw=0.9, ls=":")
        axes.set(title=pattern, xlabel="R", yscale="log", xticks=cohort.accelerations, ylim=(0.22, 4.5))
        axes.set_yticks([0.3, 0.45, 0.6, 0.8, 1, 1.5, 2, 3, 4])
        axes.yaxis.set_major_formatter("{x:g}")
        axes.minorticks_off()
        axes.grid(axis="y", color="#eeeeee")
    panels[0].set_ylabel(f"NRMSE / {L1}")
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=len(labels), frameon=False)
    return figure


if __name__ == "__main__":
    auto_cli(numbers, as_positional=False)
