"""The tables of the mouse comparison."""

import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from mice import BRAIN, REAL, STRUCTURES, Case, Cohort, Sizes
from mouse_methods import DRAWN, NO_PRIOR, PAPER, PHYSICS, Row, estimated
from torch import Tensor

from lightning_mri.evaluation import SLICE, Ratio, nmse, psnr, ssim
from lightning_mri.reconstruction.calibration import LEVEL, Z, pooled_quantile

PRINTED = {  # AAPM 2026 abstract: SSIM, PSNR in dB, NMSE in %
    "noise": "0.758 +- 0.050 | 32.72 +- 1.53 | 2.42 +- 0.77",
    "noise + blur": "0.676 +- 0.049 | 27.73 +- 2.60 | -",
    "noise + blur + T2*": "0.626 +- 0.054 | 25.37 +- 2.58 | -",
    "noise + blur + T2* + B0": "0.657 +- 0.078 | 24.43 +- 2.31 | 19.25 +- 1.56",
}


@dataclass(frozen=True)
class Line:
    """A line of a table.

    Args:
        method: How the images were made.
        prior: With which prior.
        nfe: Network evaluations a slice.
        seconds: Time a slice, on one core.
        images: Magnitudes [mouse, y, x].
        stds: The spread of draws, where there were several.
    """

    method: str
    prior: str
    nfe: int
    seconds: float
    images: Tensor
    stds: Tensor | None = None

    @classmethod
    def of(cls, rows: Sequence[Row]) -> "Line":
        """Return the line of the rows of all mice by one method."""
        first, stds = rows[0], [row.std for row in rows if row.std is not None]
        seconds = statistics.fmean(row.seconds for row in rows)
        images, spread = torch.stack([row.image for row in rows]), torch.stack(stds) if stds else None
        return cls(first.method, first.prior, first.nfe, seconds, images, spread)


@dataclass(frozen=True)
class Section:
    """The lines of one regime.

    Args:
        kind: What kind of mice.
        regime: Name of the degradation.
        cases: The mice.
        lines: What was made of them.
    """

    kind: str
    regime: str
    cases: Sequence[Case]
    lines: Sequence[Line]

    def line(self, method: str, prior: str) -> Line | None:
        """Return a line, if it is there."""
        return next((line for line in self.lines if (line.method, line.prior) == (method, prior)), None)

    def values(self, line: Line, metric: str, region: str | None = None) -> list[float]:
        """Return a metric of each mouse, over the slice or of a region of it; mice without the region are left out."""
        return [
            float(
                METRICS[metric](
                    image[None], case.batch.reference, SLICE, None if region is None else case.regions[region]
                )
            )
            for image, case in zip(line.images, self.cases, strict=True)
            if region is None or region in case.regions
        ]

    def ratio(self, line: Line, other: Line) -> Ratio:
        """Return the ratio of two lines' NMSE in the brain."""
        pairs = zip(self.values(line, "nmse", BRAIN), self.values(other, "nmse", BRAIN), strict=True)
        return Ratio.of(*zip(*pairs, strict=True))


METRICS = {"nmse": nmse, "psnr": psnr, "ssim": ssim}


def write_tables(
    path: Path, sections: Sequence[Section], cohorts: Sequence[Cohort], sizes: Sizes, tuned: str, description: str
) -> None:
    """Write all tables into one page.

    Args:
        path: The page.
        sections: Regimes of each kind of mice.
        cohorts: The mice of each.
        sizes: How large the comparison was.
        tuned: Name of the prior that is compared with the others.
        description: What else a reader should know.
    """
    lines = [*_introduction(sizes, description)]
    for section in sections:
        lines += [
            "",
            f"## {section.regime}{', real mice' if section.kind == 'real' else ''}",
            "",
            _context(section),
            "",
        ]
        lines += _scores(section)
    for title, rows in (
        ("Where physics does not win", _not_won(sections, tuned)),
        ("What pre-training and fine-tuning bring", _origins(sections, tuned)),
        ("Uncertainty", coverage(sections, tuned)),
        ("What a scan tells of its scanner", _estimates(cohorts)),
    ):
        lines += ["", f"## {title}", "", *rows]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines) + "\n")


def _introduction(sizes: Sizes, description: str) -> list[str]:
    return [
        "# Low-field mice: as published, without the scanner, or with it in the likelihood",
        "",
        f"Synthetic mice, one slice each, {sizes.matrix} x {sizes.matrix} pixels of 0.15 mm. SNR 2 to 7 dB in k-space,"
        " blur of 0.4 mm, T2* of 8 ms at a readout of 12.8 ms, B0 offsets up to 40 Hz at an echo time of 10 ms."
        " Convention `slice`: magnitudes, mean +- standard deviation over mice; *whole* is the slice, *brain* its brain"
        " and ventricles; SSIM of a structure is that of the 7 x 7 windows centred in it. Each prior was trained for"
        f" {sizes.n_steps} steps of 8 images of {sizes.n_subjects} other synthetic mice; *un-tuned* is the shipped"
        " prior of heads, *scratch* the same network from random weights. Baselines got the weight, and samplers the"
        f" settings, that were best on {sizes.n_val} further mice.",
        "",
        f"*paper*: predictor-corrector, {sizes.paper_levels} levels, consistency relaxed with weight 0.3, blind to the"
        f" degradation. *physics*: HQS, {sizes.physics_levels} levels; damping, phase and noise level are in the"
        " likelihood; *25 % too strong* and *too weak*: with all of them misjudged by that much; *estimated*: with"
        " blur, decay and noise level found in slices of the scan itself and in the spectrum of other mice at high"
        f" field, and no phase; *mean of draws*: DDS, {sizes.n_draws} draws. *U-Net*: fastMRI's, supervised, trained on"
        f" the same mice in all regimes, {sizes.n_unet_steps} steps of 8 images. *NMSE, paper = 1*: geometric mean over"
        " mice of the ratio to *paper* with the same prior (to *paper, fine-tuned* where there is no prior), in the"
        " brain, and its paired 95 % interval.",
        "",
        description,
    ]


def _context(section: Section) -> str:
    if section.kind == REAL:
        return f"{len(section.cases)} brain-extracted mice in vivo, middle slice; nothing was trained or tuned on them."
    printed = PRINTED[section.regime].replace(" | ", ", ")
    return (
        f"{len(section.cases)} mice. Printed by the paper, for orientation only (its mice, scale and region are"
        f" others): SSIM, PSNR in dB, NMSE in % = {printed}."
    )


def _scores(section: Section) -> list[str]:
    """Return the table of one regime."""
    structures = [name for name in STRUCTURES if any(name in case.regions for case in section.cases)]
    titles = ["method", "prior", "NMSE % brain", "PSNR brain", "SSIM brain", *(f"SSIM {name}" for name in structures)]
    titles += ["NMSE % whole", "PSNR whole", "SSIM whole", "NMSE, paper = 1", "NFE", "s a slice"]
    rows = [_row(titles), _row(["---", "---", *["---:"] * (len(titles) - 2)])]
    for line in section.lines:
        cells = [line.method, line.prior, *_metrics(section, line, BRAIN)]
        cells += [_spread(section.values(line, "ssim", name), 3) for name in structures]
        cells += _metrics(section, line, None)
        paper = section.line(PAPER, line.prior) or section.line(PAPER, "fine-tuned")
        cells.append(f"{section.ratio(line, paper):.2f}" if paper is not None and paper is not line else "-")
        rows.append(_row([*cells, str(line.nfe or "-"), f"{line.seconds:.2f}"]))
    return rows


def _metrics(section: Section, line: Line, region: str | None) -> list[str]:
    return [
        _spread([100 * value for value in section.values(line, "nmse", region)], 2),
        _spread(section.values(line, "psnr", region), 1),
        _spread(section.values(line, "ssim", region), 3),
    ]


def _not_won(sections: Sequence[Section], tuned: str) -> list[str]:
    """Return what is as good as physics, or cannot be told to be worse."""
    rows = [
        f"Methods other than physics: NMSE in the brain, *{PHYSICS}, {tuned}* = 1. Shown are those whose interval"
        " reaches 1 or below, and, with the mean SSIM over mice, those that are better in a structure.",
        "",
        _row(["regime", "NMSE not surely worse", "SSIM better"]),
        _row(["---", "---", "---"]),
    ]
    for section in sections:
        if (ours := section.line(PHYSICS, tuned)) is None:
            continue
        others = [line for line in section.lines if not line.method.startswith(PHYSICS)]
        ratios = [(_name(line), section.ratio(line, ours)) for line in others]
        level = [f"{name} {ratio:.2f}" for name, ratio in ratios if ratio.low <= 1]
        better = [f"{_name(line)}: {region}" for line in others for region in _regions_won(section, line, ours)]
        told = ["; ".join(level) or "none", "; ".join(better) or "none"]
        rows.append(_row([f"{section.regime}, {section.kind}", *told]))
    return rows


def _name(line: Line) -> str:
    return line.method if line.prior == NO_PRIOR else f"{line.method}, {line.prior}"


def _regions_won(section: Section, line: Line, ours: Line) -> Iterator[str]:
    """Yield the regions in which the mean SSIM is higher than ours, with both."""
    for region in (BRAIN, *STRUCTURES):
        theirs, own = (section.values(one, "ssim", region) for one in (line, ours))
        if own and statistics.fmean(theirs) > statistics.fmean(own):
            yield f"{region} {statistics.fmean(theirs):.3f} against {statistics.fmean(own):.3f}"


def _origins(sections: Sequence[Section], tuned: str) -> list[str]:
    """Return the ratios of a prior's error to those of the other ones."""
    others = sorted({line.prior for section in sections for line in section.lines} - {tuned, NO_PRIOR})
    rows = [
        f"NMSE in the brain with the prior *{tuned}*, those with other priors = 1, paired as above.",
        "",
        _row(["regime", "method", *others]),
        _row(["---", "---", *["---:"] * len(others)]),
    ]
    for section in sections:
        for method in (PAPER, PHYSICS):
            ours = section.line(method, tuned)
            theirs = [section.line(method, prior) for prior in others]
            if ours is not None and any(theirs):
                cells = ["not run" if line is None else f"{section.ratio(ours, line):.2f}" for line in theirs]
                rows.append(_row([f"{section.regime}, {section.kind}", method, *cells]))
    return rows


def coverage(sections: Sequence[Section], tuned: str) -> list[str]:
    """Return how many pixels the interval of the draws holds, before and after a conformal correction."""
    rows = [
        f"*{DRAWN}*: share of the brain's pixels whose true magnitude lies within {Z:.3f} standard deviations of the"
        f" draws, which should be {LEVEL:.0%}; mean, and lowest and highest mouse. *Corrected*: standard deviations"
        " times a conformal factor, the 90 % quantile of error by half width over the pixels of the other mice, leaving"
        " out each mouse in turn.",
        "",
        _row(["regime", "as drawn", "factor", "corrected"]),
        _row(["---", "---:", "---:", "---:"]),
    ]
    for section in sections:
        line = section.line(DRAWN, tuned)
        if line is None or line.stds is None:
            continue
        scores = error_scores(section, line)
        if len(scores) < 2:
            rows.append(_row([f"{section.regime}, {section.kind}", _shares(scores, [1.0] * len(scores)), "-", "-"]))
            continue
        factors = factors_of_others(scores)
        told = [_shares(scores, [1.0] * len(scores)), f"{statistics.fmean(factors):.2f}", _shares(scores, factors)]
        rows.append(_row([f"{section.regime}, {section.kind}", *told]))
    return rows


def _estimates(cohorts: Sequence[Cohort]) -> list[str]:
    """Return what was estimated, and what is true."""
    rows = [
        "`estimate_scanner` on slices of each mouse (eight at most), with the spectrum of other mice at high field:"
        " true value; mean +- standard deviation of the estimates over mice, and (in brackets) the mean of the standard"
        " errors that they came with. Noise: estimated by true.",
        "",
        _row(["regime", "blur in mm", "1 / T2* in 1/s", "noise"]),
        _row(["---", "---:", "---:", "---:"]),
    ]
    for cohort in cohorts:
        scanner, found = cohort.mice.degradation, [estimated(case) for case in cohort.cases]
        decay = 0.0 if scanner.t2star_s is None else 1 / scanner.t2star_s
        cells = [
            f"{true:g}: {_spread([one.value for one in values], digits)}"
            f" ({statistics.fmean(one.standard_error for one in values):.{digits}f})"
            if (values := [one for one in each if one is not None])
            else "not found"
            for true, each, digits in (
                (scanner.fwhm_mm, [one.fwhm_mm for one in found], 2),
                (decay, [one.r2star_hz for one in found], 0),
            )
        ]
        ratios = [
            float(one.noise_std.mean() / case.scan.likelihood.noise_std.mean())
            for one, case in zip(found, cohort.cases, strict=True)
        ]
        error = statistics.fmean(one.noise_error for one in found)
        rows.append(_row([f"{cohort.regime}, {cohort.kind}", *cells, f"1: {_spread(ratios, 3)} ({error:.3f})"]))
    return rows


def factors_of_others(scores: Sequence[Tensor]) -> list[float]:
    """Return what each mouse's standard deviations are to be multiplied with, found on the others."""
    return [pooled_quantile([*scores[:i], *scores[i + 1 :]]) for i in range(len(scores))]


def error_scores(section: Section, line: Line) -> list[Tensor]:
    """Return the error of each pixel of each brain by half the width of its 90 % interval."""
    assert line.stds is not None
    return [
        ((image - case.batch.reference[0].abs()).abs() / (Z * std))[case.regions[BRAIN][0]]
        for image, std, case in zip(line.images, line.stds, section.cases, strict=True)
    ]


def _shares(scores: Sequence[Tensor], factors: Sequence[float]) -> str:
    shares = [100 * float((one <= factor).float().mean()) for one, factor in zip(scores, factors, strict=True)]
    return f"{statistics.fmean(shares):.0f} % ({min(shares):.0f} to {max(shares):.0f})"


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _spread(values: Sequence[float], digits: int) -> str:
    std = f" +- {statistics.stdev(values):.{digits}f}" if len(values) > 1 else ""
    return f"{statistics.fmean(values):.{digits}f}{std}" if values else "-"
