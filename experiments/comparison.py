"""The honest comparison: a prior, an unrolled network and classical methods on synthetic heads that none has seen.

Every method gets the same data and maps. The weights of L1-wavelet, sigpy's and, where it is installed, BART's, are
chosen for each pattern and acceleration on validation subjects; nothing else is tuned. What is done is not done again,
unless the prior, a network or a setting has changed; so a run that was cut off goes on, and a new prior costs its own
column alone.

    python experiments/unrolled.py --output runs/varnet-20.safetensors --n_subjects 20
    python experiments/unrolled.py --output runs/varnet-all.safetensors --n_subjects 400
    python experiments/comparison.py --unrolled '[runs/varnet-20.safetensors, runs/varnet-all.safetensors]'
    python experiments/comparison.py --cohort.snr_db 30 --output_dir runs/30dB --table runs/30dB/numbers.md
"""

import hashlib
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import safetensors.torch
import torch
from jsonargparse import auto_cli
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from safetensors import safe_open
from torch import Tensor

from lightning_mri.baselines import DEFAULT_WEIGHTS, BartPICS, CGSense, L1Wavelet, Tunable, Unrolled, ZeroFilled, tune
from lightning_mri.evaluation import SLICE, nrmse, paired_ratio, ssim
from lightning_mri.files import atomic
from lightning_mri.phantoms import Geometry, Head, Scanner
from lightning_mri.reconstruction import PRESETS, Preset, Problem, label_of, seeds_of
from lightning_mri.scaling import Scaling
from lightning_mri.tensors import derive_seed
from lightning_mri.training import KINDS, pattern_of, scanned
from lightning_mri.weights import fingerprint, load_prior

HERE = Path(__file__).resolve().parent
CONTRASTS = ("T1w", "T2w", "FLAIR", "T1w-post", "PD")
COILS = (8, 4, 6)
COMPRESSED, BART, OURS = "L1-wavelet", "L1-wavelet (BART)", "prior"
TARGET = 0.45
ERROR_GAIN = 5.0
SHOWN = (0.22, 4.5)
COLORS = {"zero-filled": "#b0b0b0", "CG-SENSE": "#d09a4a", COMPRESSED: "#303030", BART: "#7a7a7a", OURS: "#0b5fa5"}
UNDERTRAINED = (
    "Their rate falls to 0, so that errors level off whatever more steps would bring. Published networks see many times"
    " as many scans: take these for what the time of a prior's fine-tuning buys, not for what unrolled networks can do."
)
NETWORK_COLORS = ("#d1495b", "#5f9e6e", "#8d6a9f")


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
        example: Test subject, pattern and acceleration of the picture.
    """

    n_test: int = 6
    n_validation: int = 2
    matrix: tuple[int, int] = (160, 128)
    pixel_mm: float = 1.6
    snr_db: float = 20.0
    accelerations: tuple[float, ...] = (2, 3, 4, 5, 6, 8)
    patterns: tuple[str, ...] = KINDS
    weights: tuple[float, ...] = DEFAULT_WEIGHTS
    example: tuple[int, str, float] = (2, "equispaced", 4)

    def cells(self) -> list["Cell"]:
        """Return every pattern at every acceleration."""
        return [Cell(pattern, acceleration) for pattern in self.patterns for acceleration in self.accelerations]


@dataclass(frozen=True)
class Cell:
    """One pattern at one acceleration."""

    pattern: str
    acceleration: float

    @property
    def name(self) -> str:
        """What its files are called."""
        return f"{self.pattern.replace(' ', '-')}-{self.acceleration:g}"


@dataclass(frozen=True, eq=False)
class Slice:
    """One slice as it was scanned; the truth is in the problem's image units."""

    subject: str
    contrast: str
    problem: Problem
    truth: Tensor


def slices(side: str, n: int, cell: Cell, cohort: Cohort) -> list[Slice]:
    """Scan the slices of one side, ``test`` or ``validation``; no prior and no network was trained on any of them."""
    scans = []
    for index in range(n):
        subject, contrast = f"numbers-{side}-{index}", CONTRASTS[index % len(CONTRASTS)]
        problem, truth = scanned(
            image_of(subject, contrast, cohort.matrix, cohort.pixel_mm)[None],
            Scanner(COILS[index % len(COILS)], cohort.snr_db, oversampling=1),
            pattern_of(cell.pattern, cell.acceleration, cohort.matrix),
            derive_seed(subject),
            (cohort.pixel_mm, cohort.pixel_mm),
            Scaling(),
        )
        scans.append(Slice(subject, contrast, problem, truth))
    return scans


@cache
def image_of(subject: str, contrast: str, matrix: tuple[int, int], pixel_mm: float) -> Tensor:
    """Return an axial slice between the cerebellum and the vertex, tilted a little."""
    rng = np.random.default_rng(derive_seed(subject, "geometry"))
    tilt, offset = rng.normal(0, 4, 3), rng.uniform(-20, 45)
    geometry = Geometry(matrix, (pixel_mm, pixel_mm), offset, tilt=(tilt[0], tilt[1], tilt[2]))
    return Head(subject).slice(contrast, geometry).image


@dataclass(frozen=True, eq=False)
class Method:
    """One way to reconstruct.

    Args:
        name: For tables.
        key: Changes when its results may.
        run: From a slice to an image in image units.
        settle: From a cell's validation slices to what the method is there, and a word about it; if it is tuned.
    """

    name: str
    key: str
    run: Callable[[Slice], Tensor] | None = None
    settle: Callable[[list[Slice]], tuple[Callable[[Slice], Tensor], str]] | None = None


def methods(prior: str, preset: Preset, unrolled: Sequence[Path], weights: Sequence[float]) -> list[Method]:
    """Return all methods, in the order of the tables."""
    classical = {COMPRESSED: L1Wavelet()} | ({BART: BartPICS()} if shutil.which("bart") else {})
    known = [
        Method("zero-filled", repr(ZeroFilled()), lambda one: ZeroFilled().reconstruct(one.problem.likelihood)),
        Method("CG-SENSE", repr(CGSense()), lambda one: CGSense().reconstruct(one.problem.likelihood)),
        *(
            Method(name, f"{choice!r} {tuple(weights)}", settle=partial(compressed_sensing, weights, choice))
            for name, choice in classical.items()
        ),
    ]
    return [*known, *map(network, unrolled), ours(prior, preset)]


def compressed_sensing(
    weights: Sequence[float], choice: Tunable, validation: list[Slice]
) -> tuple[Callable[[Slice], Tensor], str]:
    """Return an L1-wavelet with the weight that is best on validation slices."""
    truths = [one.truth.to(torch.complex64) for one in validation]
    tuned = tune([one.problem.likelihood for one in validation], truths, weights, choice)
    return lambda one: tuned.reconstruct(one.problem.likelihood), f"{tuned.weight:g}"


def network(path: Path) -> Method:
    """Return an unrolled network, named by the number of subjects that it was trained on."""
    baseline = Unrolled(path)
    name = f"VarNet, {baseline.card['subjects']} subjects"
    key = hashlib.sha256(path.read_bytes()).hexdigest()
    return Method(name, key, lambda one: baseline.reconstruct(one.problem.likelihood))


def ours(prior: str, preset: Preset) -> Method:
    """Return the prior with a preset's sampler."""
    loaded, sampler = load_prior(prior), PRESETS[preset]
    if loaded.scaling != Scaling():
        raise ValueError(f"prior must be scaled like the other methods' images: got {loaded.scaling}")
    key = f"{fingerprint(loaded)} {loaded.labels} {sampler!r}"

    def run(one: Slice) -> Tensor:
        label, _ = label_of(one.contrast, loaded)
        return sampler.sample(loaded, one.problem.likelihood, seeds_of(one.subject, [0], 1), label)[0]

    return Method(OURS, key, run)


@dataclass(frozen=True, eq=False)
class Row:
    """One method in one cell: magnitudes of all test slices, their truths, and a word about the method."""

    cell: Cell
    method: str
    images: Tensor
    truths: Tensor
    description: str
    seconds: float

    @property
    def errors(self) -> np.ndarray:
        """NRMSE of each slice."""
        return nrmse(self.images, self.truths, SLICE).numpy()

    @property
    def similarities(self) -> np.ndarray:
        """SSIM of each slice."""
        return ssim(self.images, self.truths, SLICE).numpy()


def numbers(
    unrolled: Sequence[Path] = (),
    output_dir: Path = Path("runs/comparison"),
    prior: str = "brain",
    preset: Preset = "standard",
    cohort: Cohort = Cohort(),
    table: Path = HERE / "results" / "numbers.md",
) -> None:
    """Run what is missing, and write a table, and beside it a picture.

    Args:
        unrolled: Networks that ``unrolled.py`` trained.
        output_dir: Folder of what is done.
        prior: Shipped prior or checkpoint.
        preset: Sampler of the prior; it runs without the guard, as in `test`.
        cohort: What is scanned, and how.
        table: File of the table; the picture's has another suffix.
    """
    torch.set_grad_enabled(False)
    compared = methods(prior, preset, unrolled, cohort.weights)
    rows = []
    for cell in cohort.cells():
        scans = slices("test", cohort.n_test, cell, cohort)
        rows += [row_of(method, cell, scans, output_dir, cohort) for method in compared]
    trained = [Unrolled(path).card for path in unrolled]
    write(rows, table, cohort, trained, prior, repr(PRESETS[preset]))


def row_of(method: Method, cell: Cell, scans: list[Slice], folder: Path, cohort: Cohort) -> Row:
    """Return a row that is there and still holds, or compute it."""
    path = folder / f"{cell.name}-{method.name.replace(', ', '-').replace(' ', '-')}.safetensors"
    measured = b"".join(one.problem.likelihood.y.numpy().tobytes() for one in scans)
    key = hashlib.sha256(measured + f"{method.key} {cohort.n_validation}".encode()).hexdigest()
    truths = torch.cat([one.truth for one in scans])
    found = read(path, key)
    if found is None:
        start = time.perf_counter()
        run, told = method.run, ""
        if method.settle is not None:
            run, told = method.settle(slices("validation", cohort.n_validation, cell, cohort))
        assert run is not None
        begun = time.perf_counter()
        images = torch.cat([run(one).abs() for one in scans])
        seconds = (time.perf_counter() - begun) / len(scans)
        findings = {"key": key, "told": told, "seconds": f"{seconds:.3f}"}
        with atomic(path) as part:
            part.write_bytes(safetensors.torch.save({"images": images.contiguous()}, findings))
        print(f"{cell.name}, {method.name}: {time.perf_counter() - start:.0f} s", flush=True)
        found = images, findings
    images, findings = found
    return Row(cell, method.name, images, truths, findings["told"], float(findings["seconds"]))


def read(path: Path, key: str) -> tuple[Tensor, dict[str, str]] | None:
    """Return the images of a row, and what is noted beside them; None where they are missing or out of date."""
    if not path.exists():
        return None
    with safe_open(path, framework="pt") as file:
        findings = file.metadata()
        return (file.get_tensor("images"), findings) if findings["key"] == key else None


def write(
    rows: Sequence[Row], file: Path, cohort: Cohort, trained: Sequence[dict[str, Any]], prior: str, sampler: str
) -> None:
    """Write tables and picture."""
    file.parent.mkdir(parents=True, exist_ok=True)
    names = list(dict.fromkeys(row.method for row in rows))
    lines = [
        "# Synthetic heads, multi-coil: a prior, unrolled networks and classical methods",
        "",
        f"{cohort.n_test} test subjects, one slice each ({', '.join(CONTRASTS)} in turn; {', '.join(map(str, COILS))}"
        f" coils in turn), {cohort.matrix[0]} x {cohort.matrix[1]} pixels of {cohort.pixel_mm:g} mm,"
        f" {cohort.snr_db:g} dB. All methods get the same data and ESPIRiT maps. The centre is at most 12 lines, or"
        f" 16 x 16 points, and at most half of the samples. The weights of L1-wavelet are chosen for each pattern and R"
        f" on {cohort.n_validation} other subjects. Prior: `{prior}`, `{sampler}`, without the guard. Convention"
        f" `slice`, whole image, noiseless truth; geometric means of NRMSE, means of SSIM, over subjects.",
        *map(training_told, trained),
        *([UNDERTRAINED] if trained else []),
        "",
        "Commands: at the top of `experiments/comparison.py`",
        "",
        *summary(rows, names),
        "",
        *metric_table(rows, names, "NRMSE", lambda row: f"{geometric_mean(row.errors):.4f}"),
        "",
        *metric_table(rows, names, "SSIM", lambda row: f"{row.similarities.mean():.4f}"),
    ]
    file.write_text("\n".join(lines) + "\n")
    print("\n".join(lines))
    draw(rows, names, cohort).savefig(file.with_suffix(".png"))


def training_told(card: dict[str, Any]) -> str:
    """Return in two sentences how a network was trained, and for how long."""
    values, steps = card["val_nrmse"], card["val_steps"]
    best, middle = min(range(len(values)), key=values.__getitem__), (len(values) - 1) // 2
    return (
        f"VarNet, {card['subjects']} subjects: {card['parameters'] / 1e6:.2f} M parameters, {card['steps']} steps of"
        f" one scan each, {card['steps'] / card['images']:.3g} passes over {card['images']} images. NRMSE of validation"
        f" subjects {values[middle]:.3f} at step {steps[middle]} and {values[best]:.3f} at step {steps[best]}, whose"
        " weights are used."
    )


def summary(rows: Sequence[Row], names: Sequence[str]) -> list[str]:
    """Return how the prior compares with every other method, by pattern and over all."""
    lines = [
        "Ratio of NRMSE, prior / other: geometric mean over subjects and R, with its 95 % interval over subjects"
        " (paired, t of the logarithm), and the slices where the prior is better.",
        "",
        "| pattern | other method | ratio | 95 % | prior better |",
        "| --- | --- | ---: | :---: | ---: |",
    ]
    patterns = list(dict.fromkeys(row.cell.pattern for row in rows))
    for pattern in [*patterns, "all"]:
        chosen = [row for row in rows if pattern in (row.cell.pattern, "all")]
        mine = np.stack([row.errors for row in chosen if row.method == OURS])
        for name in names:
            if name == OURS:
                continue
            logs = np.log(mine / np.stack([row.errors for row in chosen if row.method == name]))
            ratio, low, high = paired_ratio(logs.mean(0))
            target = f" (target {TARGET:g})" if name == COMPRESSED else ""
            lines.append(
                f"| {pattern} | {name}{target} | {ratio:.3f} | {low:.3f} - {high:.3f} |"
                f" {int((logs < 0).sum())} of {logs.size} |"
            )
    return lines


def metric_table(rows: Sequence[Row], names: Sequence[str], metric: str, value: Callable[[Row], str]) -> list[str]:
    """Return a table of all cells, with the ratio of the prior to L1-wavelet where the metric is an error."""
    ratio = metric == "NRMSE"
    lines = [
        f"| {metric}: pattern | R | L1 weight | {' | '.join(names)} |" + f" prior / {COMPRESSED} |" * ratio,
        f"| --- | ---: | ---: |{' ---: |' * (len(names) + ratio)}",
    ]
    for cell in dict.fromkeys(row.cell for row in rows):
        by_name = {row.method: row for row in rows if row.cell == cell}
        line = f"| {cell.pattern} | {cell.acceleration:g} | {by_name[COMPRESSED].description} |"
        line += "".join(f" {value(by_name[name])} |" for name in names)
        if ratio:
            mean, low, high = paired_ratio(np.log(by_name[OURS].errors / by_name[COMPRESSED].errors))
            line += f" {mean:.3f} ({low:.3f} - {high:.3f}) |"
        lines.append(line)
    if ratio:
        means = [geometric_mean(np.concatenate([row.errors for row in rows if row.method == name])) for name in names]
        lines.append(f"| geometric mean | | |{''.join(f' {mean:.4f} |' for mean in means)} |")
        times = [np.mean([row.seconds for row in rows if row.method == name]) for name in names]
        lines.append(f"| s a slice | | |{''.join(f' {seconds:.2f} |' for seconds in times)} |")
    return lines


def geometric_mean(values: np.ndarray) -> float:
    """Return the geometric mean."""
    return float(np.exp(np.log(values).mean()))


def draw(rows: Sequence[Row], names: Sequence[str], cohort: Cohort) -> Figure:
    """Draw NRMSE relative to L1-wavelet over R, and one slice by every method with its errors."""
    shown = [name for name in names if name != "zero-filled"]
    aspect = cohort.matrix[0] / cohort.matrix[1]
    width = 13.0
    panel = width / (len(shown) + 1)
    above, text = 3.6, 0.55
    height = above + 2 * panel * aspect + text
    with matplotlib.rc_context({"font.family": "DejaVu Sans", "font.size": 10}):
        figure = Figure(figsize=(width, height), dpi=150, facecolor="white")
        top, bottom = figure.subfigures(2, 1, height_ratios=(above, height - above))
        curves(top.subplots(1, len(cohort.patterns), sharey=True, squeeze=False)[0], rows, names)
        top.subplots_adjust(left=0.06, right=0.995, top=0.8, bottom=0.15, wspace=0.06)
        grid = bottom.subplots(2, len(shown) + 1, squeeze=False)
        bottom.subplots_adjust(left=0, right=1, bottom=0, top=1 - text / (height - above), wspace=0.02, hspace=0.02)
        example(grid, rows, shown, cohort)
        index, pattern, acceleration = cohort.example
        contrast, coils = CONTRASTS[index % len(CONTRASTS)], COILS[index % len(COILS)]
        scan = f"{contrast}\n{coils} coils, {cohort.snr_db:g} dB\n{pattern}, R = {acceleration:g}"
        told = f"{scan}\n\nerrors x {ERROR_GAIN:g}"
        grid[1, 0].text(0.5, 0.5, told, ha="center", va="center", fontsize=10, linespacing=1.5)
    return figure


def curves(axes: Sequence[Axes], rows: Sequence[Row], names: Sequence[str]) -> None:
    """Draw the ratio to L1-wavelet of each method, one panel a pattern; the prior's with its 95 % interval."""
    networks = iter(NETWORK_COLORS * len(names))
    colors = {name: COLORS.get(name) or next(networks) for name in names}
    patterns = list(dict.fromkeys(row.cell.pattern for row in rows))
    for panel, pattern in zip(axes, patterns, strict=True):
        for name in names:
            points = list(ratios(rows, pattern, name))
            x, means, lows, highs = map(np.array, zip(*points, strict=True))
            bold = name == OURS
            panel.plot(x, means, "o-", color=colors[name], lw=2.4 if bold else 1.4, ms=5 if bold else 3.5, label=name)
            if bold and np.isfinite(lows).all():
                panel.fill_between(x, lows, highs, color=colors[name], alpha=0.18, lw=0)
        panel.axhline(TARGET, color="#777777", lw=0.9, ls=":")
        panel.set(title=pattern, xlabel="R", yscale="log", xticks=x, ylim=SHOWN)
        panel.set_yticks([0.3, 0.45, 0.6, 0.8, 1, 1.5, 2, 3, 4])
        panel.yaxis.set_major_formatter("{x:g}")
        panel.yaxis.set_minor_formatter("")
        panel.minorticks_off()
        panel.spines[["top", "right"]].set_visible(False)
        panel.grid(axis="y", color="#eeeeee", lw=0.8)
        panel.set_axisbelow(True)
    axes[0].set_ylabel(f"NRMSE / {COMPRESSED}")
    handles, labels = axes[0].get_legend_handles_labels()
    axes[0].figure.legend(handles, labels, loc="upper center", ncols=len(labels), frameon=False, fontsize=9.5)


def ratios(rows: Sequence[Row], pattern: str, name: str) -> Iterator[tuple[float, float, float, float]]:
    """Yield R, and the ratio of a method's NRMSE to that of L1-wavelet with its 95 % interval."""
    for row in rows:
        if (row.cell.pattern, row.method) == (pattern, name):
            base = next(other for other in rows if (other.cell, other.method) == (row.cell, COMPRESSED))
            yield row.cell.acceleration, *paired_ratio(np.log(row.errors / base.errors))


def example(grid: np.ndarray, rows: Sequence[Row], shown: Sequence[str], cohort: Cohort) -> None:
    """Draw one slice: the truth and every method, and below the errors, all in one grey window."""
    index, *place = cohort.example
    chosen = {row.method: row for row in rows if row.cell == Cell(*place)}
    chosen = chosen or {row.method: row for row in rows if row.cell == rows[0].cell}
    index = min(index, cohort.n_test - 1)
    truth = chosen[OURS].truths[index]
    white = float(torch.quantile(truth, 0.995))
    for axes in grid.flat:
        axes.set_axis_off()
    panels = [("truth\nfully sampled, noiseless", truth, None)]
    for name in shown:
        image = chosen[name].images[index]
        note = f"NRMSE {chosen[name].errors[index]:.3f}, SSIM {chosen[name].similarities[index]:.3f}"
        panels.append((f"{name}\n{note}", image, ERROR_GAIN * (image - truth).abs()))
    window: dict[str, Any] = {"cmap": "gray", "vmin": 0, "vmax": white, "interpolation": "nearest", "aspect": "auto"}
    for column, (title, image, error) in enumerate(panels):
        grid[0, column].set_title(title, fontsize=8.5, pad=4)
        grid[0, column].imshow(image.numpy(), **window)
        if error is not None:
            grid[1, column].imshow(error.numpy(), **window)


if __name__ == "__main__":
    auto_cli(numbers, as_positional=False)
