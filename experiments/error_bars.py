"""Is the standard deviation an error bar? Fit its factor on some synthetic heads, and count on others what it holds.

Each head is scanned once, at one acceleration, with its own contrast, noise and coils. The factors are fitted on
validation heads and checked on test heads; ``--write`` puts them into the prior's file, whose weights stay as they are.

    python experiments/error_bars.py [--prior brain] [--output_dir experiments/results] [--write true]
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import NormalDist, fmean, stdev

import numpy as np
import torch
from jsonargparse import auto_cli
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from scipy import ndimage
from torch import Tensor

from lightning_mri.diffusion import NetworkPrior
from lightning_mri.files import atomic
from lightning_mri.phantoms import Geometry, Head, Scanner
from lightning_mri.physics import Equispaced
from lightning_mri.reconstruction import (
    Calibration,
    Guard,
    Reconstructor,
    Uncertainty,
    recipe_of,
    with_calibration,
)
from lightning_mri.reconstruction.calibration import LEVEL, Z
from lightning_mri.sampling import HQS, Sampler
from lightning_mri.tensors import derive_seed
from lightning_mri.weights import find_prior, fingerprint, load_prior, replace_card

NOMINAL = (0.5, 0.8, 0.9, 0.95)
LEVELS = tuple(i / 50 for i in range(1, 50))
AIR = 0.05
"""Part of the brightness below which a pixel outside of the head counts as air."""


@dataclass(frozen=True)
class Sizes:
    """What is scanned; the defaults take about 40 minutes on one core.

    Args:
        accelerations: Achieved R, calibration lines included.
        n_validation: Heads for each R to fit on.
        n_test: Other heads for each R to check on.
        matrix: Pixels (y, x) of a slice.
        plane_mm: Field of view (y, x).
        n_coils: Coils of the array.
        n_center: Calibration lines.
        snr_db: Range of the signal-to-noise ratio of fully sampled k-space.
        contrasts: What is scanned, in turn.
    """

    accelerations: tuple[float, ...] = (2.0, 3.0, 4.0, 6.0, 8.0)
    n_validation: int = 48
    n_test: int = 48
    matrix: tuple[int, int] = (144, 128)
    plane_mm: tuple[float, float] = (250.0, 222.0)
    n_coils: int = 8
    n_center: int = 12
    snr_db: tuple[float, float] = (15.0, 30.0)
    contrasts: tuple[str, ...] = ("T1w", "T2w", "FLAIR", "PD", "T1w-post")


@dataclass(frozen=True)
class Method:
    """What makes image and standard deviation."""

    sampler: Sampler
    n_samples: int
    uncertainty: Uncertainty


@dataclass(frozen=True, eq=False)
class Measured:
    """Foreground of one scan, in units of its 99th percentile: errors of the magnitude, and what std says of them.

    Args:
        acceleration: Achieved R.
        error: abs(magnitude - truth) of each pixel.
        std: Standard deviation of each pixel, not calibrated.
        recipe: What made it.
    """

    acceleration: float
    error: Tensor
    std: Tensor
    recipe: str

    @property
    def score(self) -> Tensor:
        """Error of each pixel / half width of its 90 % interval."""
        return self.error / (Z * self.std)

    def held(self, level: float, factor: float = 1.0) -> float:
        """Return the share of the pixels whose truth lies in the interval of that nominal level."""
        z = NormalDist().inv_cdf((1 + level) / 2)
        return float((self.error <= z * factor * self.std).float().mean())


def error_bars(
    output_dir: Path = Path("experiments/results"),
    prior: str = "brain",
    sampler: Sampler = HQS(),  # noqa: B008 - frozen
    n_samples: int = 1,
    uncertainty: Uncertainty = Uncertainty(),  # noqa: B008 - frozen
    sizes: Sizes = Sizes(),
    write: bool = False,
) -> None:
    """Calibrate, check, and write ``error_bars.md`` and ``error_bars.png``.

    Args:
        output_dir: Folder to write to.
        prior: Name of a shipped prior, or a ``.safetensors`` file.
        sampler: How to reconstruct.
        n_samples: Images drawn a slice.
        uncertainty: Draws for the standard deviation.
        sizes: What is scanned.
        write: Whether to put the calibration into the prior's file.
    """
    torch.set_num_threads(1)
    loaded, rates, begun = load_prior(prior), sizes.accelerations, time.process_time()

    def measured(side: str, n: int) -> list[Measured]:
        # a Latin square: each contrast comes equally often at each R
        plan = [(i, r, sizes.contrasts[(i + k) % len(sizes.contrasts)]) for i in range(n) for k, r in enumerate(rates)]
        return [
            tell(measure(f"coverage-{side}-{i}-{r:g}", contrast, r, loaded, method, sizes)) for i, r, contrast in plan
        ]

    method = Method(sampler, n_samples, uncertainty)
    fitted = measured("validation", sizes.n_validation)
    calibration = Calibration.fit(fitted[0].recipe, [(scan.acceleration, scan.score) for scan in fitted])
    test = measured("test", sizes.n_test)
    text = report(calibration, test, fingerprint(loaded), time.process_time() - begun, sizes)
    output_dir.mkdir(parents=True, exist_ok=True)
    with atomic(output_dir / "error_bars.md") as path:
        path.write_text(text)
    print(text)
    draw(calibration, test).savefig(output_dir / "error_bars.png")
    if write:
        replace_card(find_prior(prior), with_calibration(loaded.card, fingerprint(loaded), calibration))


def measure(
    subject: str, contrast: str, acceleration: float, prior: NetworkPrior, method: Method, sizes: Sizes
) -> Measured:
    """Scan a head, reconstruct it, and compare with the truth."""
    generator = torch.Generator().manual_seed(derive_seed(subject, "protocol"))
    share, place = torch.rand(2, generator=generator).tolist()
    snr_db = sizes.snr_db[0] + share * (sizes.snr_db[1] - sizes.snr_db[0])
    pixel = (sizes.plane_mm[0] / sizes.matrix[0], sizes.plane_mm[1] / sizes.matrix[1])
    image = Head(subject).slice(contrast, Geometry(sizes.matrix, pixel, offset_mm=30 * place - 5)).image
    scanner = Scanner(sizes.n_coils, snr_db, oversampling=1)
    mask = Equispaced(acceleration, sizes.n_center).draw(sizes.matrix, derive_seed(subject, "mask"))
    kspace = scanner.measure(image[None], derive_seed(subject), pixel) * mask
    uncertainty = replace(method.uncertainty, null_space=False)
    reconstructor = Reconstructor(prior, method.sampler, method.n_samples, uncertainty, Guard(fallbacks=()))
    result = reconstructor.solve(reconstructor.prepare(kspace, mask), subject, contrast=contrast)
    truth = image.abs()
    bright = float(truth.flatten().quantile(0.99))
    head = torch.from_numpy(ndimage.binary_fill_holes((truth > AIR * bright).numpy()))
    error, std = (result.magnitude[0] - truth).abs(), result.std[0] / result.findings.std_factor
    made = recipe_of(method.sampler, method.n_samples, result.findings.std_from)
    return Measured(result.findings.acceleration, error[head] / bright, std[head] / bright, made)


def tell(scan: Measured) -> Measured:
    """Print what a scan by itself would be calibrated with."""
    print(f"R = {scan.acceleration:.1f}: factor {float(scan.score.quantile(LEVEL)):.2f}", flush=True)
    return scan


def report(calibration: Calibration, scans: Sequence[Measured], weights: str, seconds: float, sizes: Sizes) -> str:
    """Return the table as Markdown."""
    n = len(sizes.accelerations)
    head = " | ".join(f"{100 * level:g} %" for level in NOMINAL)
    lines = [
        f"# Coverage of `std` on {len(scans)} synthetic test heads",
        "",
        "Share of the foreground whose true magnitude lies within magnitude +- z std, before -> after multiplication"
        f" with a factor that {calibration.n_subjects} validation heads gave for 90 %; mean over heads, at 90 % with"
        f" the standard deviation over heads. Each head is scanned once: {sizes.n_coils} coils, {sizes.n_center}"
        f" calibration lines, {sizes.snr_db[0]:g} to {sizes.snr_db[1]:g} dB, {sizes.matrix[0]} x {sizes.matrix[1]}"
        f" pixels, {', '.join(sizes.contrasts)}. {seconds / 60:.0f} minutes of one core.",
        "",
        f"Recipe: {calibration.recipe}. Weights: {weights[:12]}.",
        "",
        "Command: `python experiments/error_bars.py`",
        "",
        f"| R | heads | factor | {head} |",
        f"| ---: | ---: | ---: | {' | '.join(['---:'] * len(NOMINAL))} |",
    ]
    for r in sorted({scan.acceleration for scan in scans}):
        lines.append(_row(f"{r:.1f}", calibration, [scan for scan in scans if scan.acceleration == r]))
    if n > 1:
        lines.append(_row("all", calibration, scans))
    return "\n".join(lines) + "\n"


def _row(name: str, calibration: Calibration, scans: Sequence[Measured]) -> str:
    """Return one line of the table."""
    cells = []
    for level in NOMINAL:
        before = [100 * scan.held(level) for scan in scans]
        after = [100 * scan.held(level, calibration.factor(scan.acceleration)) for scan in scans]
        spread = f" +- {stdev(after):.1f}" if level == LEVEL and len(after) > 1 else ""
        cells.append(f"{fmean(before):.1f} -> {fmean(after):.1f}{spread}")
    factor = fmean(calibration.factor(scan.acceleration) for scan in scans)
    return f"| {name} | {len(scans)} | {factor:.2f} | {' | '.join(cells)} |"


def draw(calibration: Calibration, scans: Sequence[Measured]) -> Figure:
    """Draw coverage against its nominal level, errors against what std says of them, and every head's coverage."""
    figure = Figure(figsize=(12, 4), dpi=150, layout="constrained")
    left, middle, right = figure.subplots(1, 3)
    accelerations = sorted({scan.acceleration for scan in scans})
    for index, r in enumerate(accelerations):
        mine, color = [scan for scan in scans if scan.acceleration == r], f"C{index}"
        _draw_levels(left, mine, calibration.factor(r), color)
        _draw_errors(middle, mine, calibration.factor(r), color)
        held = [100 * scan.held(LEVEL, calibration.factor(r)) for scan in mine]
        right.plot(index + 0.35 * np.linspace(-1, 1, len(held) + 2)[1:-1], held, ".", color=color)
        right.plot([index - 0.35, index + 0.35], [fmean(held)] * 2, color=color)
    left.plot([0, 100], [0, 100], color="black", linewidth=0.8)
    left.plot([], [], color="grey", linestyle=":", label="before")
    left.legend(frameon=False, fontsize=8)
    left.set(xlabel="nominal coverage in %", ylabel="coverage in %", xlim=(0, 100), ylim=(0, 100))
    limits = (0.005, 0.3)
    middle.plot(limits, limits, color="black", linewidth=0.8)
    middle.set(xscale="log", yscale="log", xlim=limits, ylim=limits)
    middle.set(xlabel="calibrated std / 99th percentile of the head", ylabel="root mean square error of such pixels")
    right.axhspan(88, 92, color="0.92", zorder=0)
    right.axhline(90, color="black", linewidth=0.8)
    right.set(ylabel="coverage of the 90 % interval, each test head", xlabel="R", ylim=(60, 100))
    right.set_xticks(range(len(accelerations)), [f"{r:.1f}" for r in accelerations])
    for axes in (left, middle, right):
        axes.spines[["top", "right"]].set_visible(False)
    return figure


def _draw_levels(axes: Axes, scans: Sequence[Measured], factor: float, color: str) -> None:
    """Draw the coverage of all levels, before and after."""
    nominal = [100 * level for level in LEVELS]
    for c, style, name in ((1.0, ":", None), (factor, "-", f"R = {scans[0].acceleration:.1f}")):
        held = [100 * fmean(scan.held(level, c) for scan in scans) for level in LEVELS]
        axes.plot(nominal, held, style, color=color, label=name)


def _draw_errors(axes: Axes, scans: Sequence[Measured], factor: float, color: str) -> None:
    """Draw the error of pixels of like standard deviation, in ten groups."""
    std, error = (torch.cat(parts) for parts in zip(*((factor * s.std, s.error) for s in scans), strict=True))
    groups = [part for part in std.argsort().tensor_split(10) if len(part)]
    said = [float(std[part].square().mean().sqrt()) for part in groups]
    axes.plot(said, [float(error[part].square().mean().sqrt()) for part in groups], ".-", color=color)


if __name__ == "__main__":
    auto_cli(error_bars, as_positional=False)
