"""Measured, fully sampled scans, undersampled here: the shipped default beside what a user would pick instead.

Scores are of the magnitude against the root of the sum of squares over coils, in the head and of the whole image.
Where data are many and clean (R = 2, 3) such a reference favours methods that keep its noise, which is in the data,
too. Fair there is *unacquired*: the relative error of the samples that were left out, as the image predicts them with
coil maps fitted to it, after the energy of the noise is taken off. L1-wavelet gets, score by score, the best of ten
weights.

    python experiments/measured.py [--root ../shared/data/real]
    python experiments/measured.py --config experiments/measured.yaml
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from statistics import geometric_mean
from typing import Any, Literal

import torch
from jsonargparse import auto_cli
from methods import BART, L1, Classical, Guarded, Row, Sampled, Slice, classical, write
from scipy import ndimage
from torch import Tensor

from lightning_mri.baselines import Tunable
from lightning_mri.evaluation import SLICE, Panel, Study, head_of, markdown_table, nrmse, picture
from lightning_mri.io import read_scan
from lightning_mri.physics import Equispaced, PoissonDisc, RandomUniform, estimate_noise_std, fft2c, ifft2c
from lightning_mri.reconstruction import Problem, prepare
from lightning_mri.sampling import HQS, Sampler
from lightning_mri.scaling import Scaling
from lightning_mri.tensors import complex_noise, derive_seed
from lightning_mri.weights import load_prior

HERE = Path(__file__).resolve().parent


class Centred(Equispaced):
    """Lines at equal distance that start half a distance from the edge."""

    def _choose(self, offsets: Tensor, n: int, generator: torch.Generator) -> Tensor:
        return ((torch.arange(n) + 0.5) * (len(offsets) / max(n, 1))).long()


PATTERNS = {"equispaced": Equispaced, "centred": Centred, "random": RandomUniform, "Poisson": PoissonDisc}
Pattern = Literal["equispaced", "centred", "random", "Poisson"]
WEIGHTS = tuple(0.00025 * 2**k for k in range(10))
OURS = "prior"
SMALL = 128
"""Matrix up to which a scan has 16 central lines instead of 24 in the comparisons of old."""
WINDOW = 2.5
"""Standard deviation in pixels of the Gaussian window in which coil maps are fitted to an image."""


@dataclass(frozen=True)
class Case(Slice):
    """One scan at one pattern."""

    path: Path  # file of fully sampled k-space of one slice
    version: int  # changes with the file
    pattern: Pattern  # name of the pattern
    acceleration: float  # nominal R, central lines included
    n_center: int  # central lines; for Poisson discs the edge of the central square
    noise_factor: float = 1.0  # noise level relative to that of the scan; more than 1 adds noise

    @property
    def group(self) -> str:
        """Pattern, acceleration, central lines and noise."""
        noise = "" if self.noise_factor == 1 else f", noise x {self.noise_factor:g}"
        return f"{self.pattern}, R = {self.acceleration:g}, {self.n_center} lines{noise}"

    @property
    def subject(self) -> str:
        """Name of the scan."""
        return self.path.stem

    @property
    def kspace(self) -> Tensor:
        """Fully sampled k-space [1, coil, y, x] as measured."""
        return _kspace(self.path)

    @property
    def noise_std(self) -> float:
        """Noise of each real channel of the scan as measured."""
        return float(estimate_noise_std(self.kspace, torch.ones(1, *self.kspace.shape[-2:], dtype=torch.bool)))

    @property
    def mask(self) -> Tensor:
        """True = acquired, [1, y, x]."""
        shape = (self.kspace.shape[-2], self.kspace.shape[-1])
        return PATTERNS[self.pattern](self.acceleration, self.n_center).draw(shape, derive_seed(self.subject, "mask"))

    @property
    def truth(self) -> Tensor:
        """Root of the sum of squares over coils, [1, y, x]."""
        return torch.linalg.vector_norm(ifft2c(self.kspace), dim=1)

    @property
    def head(self) -> Tensor:
        """Pixels of the object, [1, y, x]."""
        return head_of(self.truth)

    def problem(self, scaling: Scaling) -> Problem:
        """Return the undersampled scan as prepared."""
        kspace, mask = self.kspace, self.mask
        if self.noise_factor > 1:
            generator = torch.Generator().manual_seed(derive_seed(self.subject, "noise"))
            level = self.noise_std * math.sqrt(self.noise_factor**2 - 1)
            kspace = kspace + level * complex_noise(kspace.shape, generator)
        return prepare(torch.where(mask, kspace, 0), mask, scaling)


@lru_cache(maxsize=2)
def _kspace(path: Path) -> Tensor:
    return read_scan(path).kspace[:1]


def unacquired_error(image: Tensor, kspace: Tensor, mask: Tensor, noise_std: float) -> float:
    """Return the relative error of samples that were left out, as an image predicts them, without their noise.

    The image is multiplied with coil maps that are fitted to it in a Gaussian window around each pixel, S = sum w c x*
    / sum w |x|^2, so that its phase and the maps it was made with play no part.

    Args:
        image: Complex image [y, x].
        kspace: Fully sampled k-space [1, coil, y, x] in the same units.
        mask: True = acquired, [1, y, x].
        noise_std: Noise of each real channel of k-space.
    """

    def smooth(values: Tensor) -> Tensor:
        sigma = (0,) * (values.ndim - 2) + (WINDOW, WINDOW)
        return torch.from_numpy(ndimage.gaussian_filter(values.numpy(), sigma))

    coils = ifft2c(kspace)[0]
    energy = smooth(image.abs().square())
    maps = smooth(coils * image.conj()) / (energy + 1e-6 * energy.max()).clamp(min=1e-30)
    left_out = (~mask).expand(kspace.shape[1:])
    differences = (fft2c(maps * image) - kspace[0], kspace[0])
    residual, signal = (values[left_out].abs().square().sum() for values in differences)
    noise = 2 * noise_std**2 * int(left_out.sum())
    return math.sqrt(max(float(residual) - noise, 0.0) / (float(signal) - noise))


@dataclass(frozen=True, eq=False)
class Score:
    """One scan by one method: the three errors, each with the method's best weight for it, and the image."""

    scan: str  # name of the scan
    group: str  # pattern, acceleration, central lines and noise
    method: str  # name of the method
    head: float  # NRMSE in the head
    whole: float  # NRMSE of the whole image
    unacquired: float  # see `unacquired_error`
    seconds: float  # time of one reconstruction without preparation
    acceleration: float  # achieved R
    remarks: list[str]  # weight that is best in the head, or warnings
    image: Tensor  # magnitude [y, x], with that weight


@dataclass(frozen=True, eq=False)
class Scored:
    """A method with the scores of measured scans; of what has a weight, the best for each score."""

    method: Classical | Sampled
    weights: tuple[float, ...]

    @property
    def name(self) -> str:
        """That of the method."""
        return self.method.name

    @property
    def key(self) -> str:
        """What its results depend on."""
        return f"{self.method.key}, best of {self.weights}"

    def run(self, case: Case) -> Score:
        """Return the scores of a scan."""
        tried = [self._score(case, method) for method in self._variants()]
        best = min(tried, key=lambda score: score.head)
        return replace(best, **{name: min(getattr(s, name) for s in tried) for name in ("whole", "unacquired")})

    def _variants(self) -> list[Classical | Sampled]:
        method = self.method
        if isinstance(method, Sampled) or not isinstance(method.choice, Tunable):
            return [method]
        choice: Any = method.choice  # every baseline is a dataclass, which its abstract class cannot say
        return [replace(method, choice=replace(choice, weight=weight), weights=()) for weight in self.weights]

    def _score(self, case: Case, method: Classical | Sampled) -> Score:
        row: Row = method.run(case)
        head = float(nrmse(row.magnitude[None], case.truth, SLICE, case.head))
        unacquired = unacquired_error(row.image, case.kspace, case.mask, case.noise_std)
        about = (row.seconds, row.acceleration, row.remarks, row.magnitude)
        return Score(case.subject, case.group, self.name, head, row.nrmse, unacquired, *about)


def measured(
    root: Path = Path("../shared/data/real"),
    scans: Sequence[str] = ("brain16", "ucb8"),
    patterns: Sequence[Pattern] = ("equispaced", "centred"),
    accelerations: Sequence[float] = (2, 3, 4, 6, 8),
    lines: Sequence[int] = (),
    noise_factors: Sequence[float] = (1.0,),
    weights: tuple[float, ...] = WEIGHTS,
    without: Sequence[str] = (),
    prior: str = "brain",
    sampler: Sampler = HQS(),  # noqa: B008 - frozen
    work_dir: Path = Path("runs/measured"),
    output_dir: Path = HERE / "results",
) -> None:
    """Run what is missing, and write ``measured.md``; pictures, which show the scans, stay in the working folder.

    Args:
        root: Folder of fully sampled k-space, one slice a file, [coil, y, x].
        scans: Names of its files without ``.npy``.
        patterns: Names of patterns.
        accelerations: Nominal R.
        lines: Numbers of central lines; if not given, 24 up to R = 4 and 12 above, on small scans 16 and 8.
        noise_factors: Noise levels relative to that of the scan.
        weights: What the weight of L1-wavelet is chosen among.
        without: Names of methods to leave out.
        prior: Shipped prior or checkpoint.
        sampler: Its sampler.
        work_dir: Folder of what is done.
        output_dir: Folder to write to.
    """
    if {BART, L1} <= {*without}:
        raise ValueError(f"without must leave one L1-wavelet, which ratios are to: got {', '.join(without)}")
    missing = [name for name in scans if not (root / f"{name}.npy").is_file()]
    if missing:
        print(f"Skipped: {root} does not hold {', '.join(missing)}.")
        return
    cases = [
        Case(path, path.stat().st_mtime_ns, pattern, float(rate), n, float(factor))
        for path in (root / f"{name}.npy" for name in scans)
        for pattern in patterns
        for rate in accelerations
        for n in lines or [usual_lines(path, rate)]
        for factor in noise_factors
        if _fits(path, pattern, rate, n)
    ]
    loaded = load_prior(prior)
    others = [method for method in classical(work_dir) if method.name not in without]
    known: list[Classical | Sampled] = [*others, Sampled("prior, no guard", loaded, sampler)]
    methods = [Scored(method, weights) for method in [*known, Guarded(OURS, loaded, sampler)]]
    scores = list(Study(work_dir, Score).rows(cases, methods))
    intro = (
        f"Prior `{prior}`, `{sampler!r}`. NRMSE of the magnitude, convention `slice`, against the fully sampled scan,"
        " in the head and of the whole image; *unacquired*: relative error of the samples left out, without their"
        f" noise. L1-wavelet with the best of {len(weights)} weights for each score. Data and maps are equal.\n\n"
        "Command: `python experiments/measured.py`\n"
    )
    tables = [_table(cases, scores, name) for name in ("head", "whole", "unacquired")]
    warnings = [f"- {s.scan}, {s.group}: {'; '.join(s.remarks)}" for s in scores if s.method == OURS and s.remarks]
    write(output_dir / "measured.md", "\n".join([intro, *tables, "Warnings of the guard:\n", *warnings]) + "\n")
    for name in scans:
        shown = [case for case in cases if case.subject == name][-1]
        own = [score for score in scores if (score.scan, score.group) == (name, shown.group)]
        _illustrate(work_dir / f"{name}.png", shown, own)


def usual_lines(path: Path, rate: float) -> int:
    """Return the central lines of the comparisons of old: 24 up to R = 4 and 12 above, on small scans 16 and 8."""
    n = 16 if min(_kspace(path).shape[-2:]) <= SMALL else 24
    return n if rate <= 4 else n // 2


def _fits(path: Path, pattern: Pattern, rate: float, n: int) -> bool:
    """Return whether the centre leaves samples outside of it."""
    rows, columns = _kspace(path).shape[-2:]
    return n * n * rate < rows * columns if pattern == "Poisson" else n * rate < columns


def _table(cases: Sequence[Case], scores: Sequence[Score], metric: str) -> str:
    """Return the table of one score, with ratios to the better L1-wavelet."""
    names, lines, ratios = list(dict.fromkeys(score.method for score in scores)), [], []
    for case in cases:
        values = {s.method: getattr(s, metric) for s in scores if (s.scan, s.group) == (case.subject, case.group)}
        ratios.append(values[OURS] / (values[BART] if BART in values else values[L1]))
        lines.append([case.subject, case.group, *(f"{values[name]:.4f}" for name in names), f"{ratios[-1]:.3f}"])
    against = BART if BART in names else L1
    rates = [case.acceleration for case in cases]
    for title, low, high in (("R below 4", 0, 4), ("R from 4", 4, math.inf)):
        chosen = [ratio for ratio, rate in zip(ratios, rates, strict=True) if low <= rate < high]
        if chosen:
            means = [f"{geometric_mean(chosen):.3f}, worst {max(chosen):.3f}"]
            lines.append([f"geometric mean, {title}", "", *[""] * len(names), *means])
    return markdown_table([f"{metric}: scan", "pattern", *names, f"{OURS} / {against}"], lines, n_words=2)


def _illustrate(path: Path, case: Case, scores: Sequence[Score]) -> None:
    """Draw the reference and every method, and below the errors in the same window."""
    truth = case.truth[0]
    panels = [Panel("reference", truth, "fully sampled")]
    panels += [Panel(score.method, score.image, f"NRMSE in the head {score.head:.3f}") for score in scores]
    errors = [Panel("head", truth.max() * case.head[0], "where errors count")]
    errors += [Panel("error x 5", score.image - truth, gain=5.0) for score in scores]
    picture(path, [*panels, *errors], n_columns=len(panels), title=case.name)


if __name__ == "__main__":
    auto_cli(measured, as_positional=False)
