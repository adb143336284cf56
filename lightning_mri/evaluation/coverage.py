"""Coverage of a standard deviation: how many pixels its intervals hold, as a table and as a figure."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import NormalDist, fmean, stdev

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from lightning_mri.evaluation.tables import markdown_table
from lightning_mri.lazy import lazy

figures = lazy("matplotlib.figure")

NOMINAL = (0.5, 0.8, 0.9, 0.95)
LEVELS = tuple(i / 50 for i in range(1, 50))
LEVEL = 0.9
"""Nominal coverage that a standard deviation is calibrated for."""

Factor = Callable[[float], float]
"""From an achieved acceleration to what the standard deviation is multiplied with."""


@dataclass(frozen=True, eq=False)
class ScanErrors:
    """Foreground of one scan, in units of its 99th percentile: errors of the magnitude, and what std says of them.

    Args:
        acceleration: Achieved R.
        error: abs(magnitude - truth) of each pixel.
        std: Standard deviation of each pixel, not calibrated.
        recipe: What made it.
        seconds: Processor time that it took.
    """

    acceleration: float
    error: Float[Tensor, " pixel"]
    std: Float[Tensor, " pixel"]
    recipe: str
    seconds: float = 0.0

    def coverage(self, level: float, factor: float = 1.0) -> float:
        """Return the share of the pixels whose truth lies in the interval of that nominal level."""
        z = NormalDist().inv_cdf((1 + level) / 2)
        return float((self.error <= z * factor * self.std).float().mean())


def coverage_table(scans: Sequence[ScanErrors], factor: Factor) -> str:
    """Return coverage in % before and after calibration at each R, in Markdown; at 90 % with its std over scans."""
    rates = sorted({scan.acceleration for scan in scans})
    groups = {f"{rate:.1f}": [scan for scan in scans if scan.acceleration == rate] for rate in rates}
    if len(rates) > 1:
        groups["all"] = list(scans)
    rows = [
        [name, len(group), f"{fmean(factor(scan.acceleration) for scan in group):.2f}", *_cells(group, factor)]
        for name, group in groups.items()
    ]
    return markdown_table(["R", "heads", "factor", *(f"{100 * level:g} %" for level in NOMINAL)], rows, n_words=0)


def _cells(scans: Sequence[ScanErrors], factor: Factor) -> list[str]:
    cells = []
    for level in NOMINAL:
        before = [100 * scan.coverage(level) for scan in scans]
        after = [100 * scan.coverage(level, factor(scan.acceleration)) for scan in scans]
        spread = f" +- {stdev(after):.1f}" if level == LEVEL and len(after) > 1 else ""
        cells.append(f"{fmean(before):.1f} -> {fmean(after):.1f}{spread}")
    return cells


def draw_coverage(scans: Sequence[ScanErrors], factor: Factor) -> "figures.Figure":
    """Draw coverage against its nominal level, errors against what std says of them, and the coverage of every scan."""
    figure = figures.Figure(figsize=(12, 4), dpi=150, layout="constrained")
    left, middle, right = figure.subplots(1, 3)
    rates = sorted({scan.acceleration for scan in scans})
    for index, rate in enumerate(rates):
        group, color = [scan for scan in scans if scan.acceleration == rate], f"C{index}"
        _draw_levels(left, group, factor(rate), color)
        _draw_errors(middle, group, factor(rate), color)
        shares = [100 * scan.coverage(LEVEL, factor(rate)) for scan in group]
        right.plot(index + 0.35 * np.linspace(-1, 1, len(shares) + 2)[1:-1], shares, ".", color=color)
        right.plot([index - 0.35, index + 0.35], [fmean(shares)] * 2, color=color)
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
    right.set_xticks(range(len(rates)), [f"{rate:.1f}" for rate in rates])
    for axes in (left, middle, right):
        axes.spines[["top", "right"]].set_visible(False)
    return figure


def _draw_levels(axes: "figures.Axes", scans: Sequence[ScanErrors], factor: float, color: str) -> None:
    """Draw the coverage of all levels, before and after."""
    nominal = [100 * level for level in LEVELS]
    for c, style, name in ((1.0, ":", None), (factor, "-", f"R = {scans[0].acceleration:.1f}")):
        shares = [100 * fmean(scan.coverage(level, c) for scan in scans) for level in LEVELS]
        axes.plot(nominal, shares, style, color=color, label=name)


def _draw_errors(axes: "figures.Axes", scans: Sequence[ScanErrors], factor: float, color: str) -> None:
    """Draw the error of pixels of like standard deviation, in ten groups."""
    std, error = (torch.cat(parts) for parts in zip(*((factor * s.std, s.error) for s in scans), strict=True))
    groups = [part for part in std.argsort().tensor_split(10) if len(part)]
    stated = [float(std[part].square().mean().sqrt()) for part in groups]
    axes.plot(stated, [float(error[part].square().mean().sqrt()) for part in groups], ".-", color=color)
