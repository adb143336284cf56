"""Where a prior fails: reconstructions of synthetic heads, one circumstance changed at a time, against L1-wavelet.

Both get the same data and maps; the weight of L1-wavelet is chosen for each case on other heads, measured alike. A case
that is done is not done again, unless the prior, the sampler or the code that reconstructs has changed.

    python experiments/robustness.py [--work_dir runs/robustness] [--prior brain] [--only NAME]
"""

import hashlib
import json
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import safetensors.torch
import torch
from jsonargparse import auto_cli
from safetensors import safe_open
from torch import Tensor

import lightning_mri
from lightning_mri.baselines import DEFAULT_WEIGHTS, L1Wavelet
from lightning_mri.diffusion import NetworkPrior
from lightning_mri.evaluation import Panel, picture
from lightning_mri.files import atomic
from lightning_mri.phantoms import Geometry, Head, Scanner
from lightning_mri.physics import (
    Equispaced,
    Gaussian1D,
    PoissonDisc,
    RandomUniform,
    SamplingPattern,
    fft2c,
    find_acs,
    ifft2c,
)
from lightning_mri.reconstruction import Problem, Reconstructor, prepare
from lightning_mri.sampling import HQS, Sampler
from lightning_mri.tensors import complex_noise, derive_seed
from lightning_mri.weights import fingerprint, load_prior

Change = Callable[[Tensor], Tensor]
HERE = Path(__file__).resolve().parent
PLANE_MM = (250.0, 208.0)
ROOMS = ("physics", "models", "diffusion", "data/synthetic", "sampling", "baselines", "reconstruction")


def unchanged(images: Tensor) -> Tensor:
    """Return the images."""
    return images


def wrapped(part: float) -> Change:
    """Return what makes the field of view along x this part of what it was, so that its edges fold over."""

    def fold(images: Tensor) -> Tensor:
        n = images.shape[-1]
        width = round(part * n)
        columns = (torch.arange(n) - n // 2 + width // 2) % width
        return images.new_zeros(*images.shape[:-1], width).index_add(-1, columns, images)

    return fold


def ramp(cycles: float) -> Change:
    """Return what adds a phase that turns so many times over the field of view, along both axes."""

    def turn(images: Tensor) -> Tensor:
        y, x = (torch.linspace(-0.5, 0.5, n) for n in images.shape[-2:])
        return images * torch.polar(torch.ones(1), 2 * math.pi * cycles * (y[:, None] + x))

    return turn


def implant(images: Tensor) -> Tensor:
    """Put in what no head has: a bright ring, a dark block and a row of dots, in all coils alike."""
    y, x = torch.meshgrid(*(torch.linspace(-1, 1, n) for n in images.shape[-2:]), indexing="ij")
    radius = torch.hypot(y + 0.2, x - 0.25)
    ring = ((radius > 0.08) & (radius < 0.12)).float()
    block = ((y - 0.25).abs() < 0.05) & ((x + 0.25).abs() < 0.09)
    dots = ((y - 0.05).abs() < 0.02) & ((x * 16).remainder(1) < 0.35) & (x.abs() < 0.35)
    return images * (1 + 1.5 * ring + dots) * (1 - 0.9 * block.float())


@dataclass(frozen=True)
class Case:
    """One circumstance.

    Args:
        name: For the table.
        n_coils: Coils of the array.
        matrix: Pixels (y, x) before ``change``.
        plane_mm: Field of view (y, x) before ``change``.
        pattern: Which samples are acquired.
        snr_db: Signal-to-noise ratio of fully sampled k-space.
        change: What happens to the coil images.
        partial_fourier: Part of the phase-encode lines that partial Fourier leaves.
        contrast: What is scanned.
        turned: Degrees that the head turned by half-way through the scan, just before the centre of k-space.
        breaks_maps: Whether the first coil has the wrong sign in the calibration lines, and nowhere else.
        noise_factor: What the noise level is multiplied with that reconstructions are given.
    """

    name: str
    n_coils: int = 8
    matrix: tuple[int, int] = (192, 160)
    plane_mm: tuple[float, float] = PLANE_MM
    pattern: SamplingPattern = Equispaced(4, 16)  # noqa: RUF009
    snr_db: float = 20.0
    change: Change = unchanged
    partial_fourier: float = 1.0
    contrast: str = "T2w"
    turned: float = 0.0
    breaks_maps: bool = False
    noise_factor: float = 1.0

    def scan(self, subject: str) -> tuple[Tensor, Tensor, Tensor]:
        """Return k-space [1, coil, y, x], mask and the true root of the sum of squares over coils."""
        images = self.change(self.coil_images(subject))
        kspace = fft2c(images)
        if self.turned:
            before = fft2c(self.change(self.coil_images(subject, self.turned)))
            half = kspace.shape[-1] // 2
            kspace[..., :half] = before[..., :half]
        matrix = (kspace.shape[-2], kspace.shape[-1])
        generator = torch.Generator().manual_seed(derive_seed(subject, "noise"))
        noise_std = (kspace.abs().square().mean() / (2 * 10 ** (self.snr_db / 10))).sqrt()
        mask = self.pattern.draw(matrix, derive_seed(subject, "mask"))
        mask[..., round(self.partial_fourier * matrix[1]) :] = False
        measured = (kspace + noise_std * complex_noise(kspace.shape, generator)) * mask
        if self.breaks_maps:
            measured[:, 0, :, find_acs(mask).x] *= -1
        return measured, mask, torch.linalg.vector_norm(images, dim=1)

    def prepare(self, kspace: Tensor, mask: Tensor, prior: NetworkPrior) -> Problem:
        """Return the problem with one set of maps, as both methods see it."""
        problem = prepare(kspace, mask, prior.scaling)
        if self.noise_factor == 1:
            return problem
        return prepare(kspace, mask, prior.scaling, noise_std=self.noise_factor * problem.noise_std)

    def coil_images(self, subject: str, turned: float = 0.0) -> Tensor:
        """Return the noiseless images [1, coil, y, x] of a head, turned by an angle in degrees."""
        pixel = (self.plane_mm[0] / self.matrix[0], self.plane_mm[1] / self.matrix[1])
        image = Head(subject).slice(self.contrast, Geometry(self.matrix, pixel, tilt=(0.0, 0.0, turned))).image
        return ifft2c(Scanner(self.n_coils, oversampling=1).encode(image[None], derive_seed(subject), pixel))


def cases() -> list[Case]:
    """Return every circumstance, each beside the same ordinary one."""
    ordinary = Case("ordinary: 8 coils, R = 4, 16 lines, 20 dB")

    def at(n: int, m: int) -> Case:
        return replace(ordinary, name=f"{n} x {m} pixels", matrix=(n, m))

    return [
        ordinary,
        *(replace(ordinary, name=f"{n} coils", n_coils=n) for n in (1, 2, 4, 16, 32)),
        *(at(*size) for size in ((64, 64), (96, 81), (127, 111), (256, 256), (320, 240), (512, 400))),
        *(replace(ordinary, name=f"R = {r:g}", pattern=Equispaced(r, 16)) for r in (1, 2, 3, 5, 6, 8)),
        replace(ordinary, name="R = 12, 10 lines", pattern=Equispaced(12, 10)),
        *(replace(ordinary, name=f"{n} lines", pattern=Equispaced(4, n)) for n in (6, 8, 12, 24, 32)),
        *(replace(ordinary, name=f"{snr} dB", snr_db=float(snr)) for snr in (5, 10, 30, 40, 60)),
        replace(ordinary, name="random lines", pattern=RandomUniform(4, 16)),
        replace(ordinary, name="Gaussian lines", pattern=Gaussian1D(4, 16)),
        replace(ordinary, name="Poisson disc, R = 8", pattern=PoissonDisc(8, 24)),
        replace(ordinary, name="head cut along y", matrix=(108, 160), plane_mm=(140.0, 208.0)),
        replace(ordinary, name="edges fold over", change=wrapped(0.7)),
        replace(ordinary, name="two-fold wrap", change=wrapped(0.5), pattern=Equispaced(3, 16)),
        replace(ordinary, name="partial Fourier 6/8", partial_fourier=0.75),
        replace(ordinary, name="phase ramp, 2 turns", change=ramp(2)),
        replace(ordinary, name="phase ramp, 10 turns", change=ramp(10)),
        replace(ordinary, name="implants no head has", change=implant),
        replace(ordinary, name="FLAIR", contrast="FLAIR"),
        replace(ordinary, name="head turned by 3 degrees", turned=3.0),
        replace(ordinary, name="broken maps", breaks_maps=True),
        replace(ordinary, name="noise level x 0.1", noise_factor=0.1),
        replace(ordinary, name="noise level x 10", noise_factor=10.0),
    ]


@dataclass(frozen=True, eq=False)
class Outcome:
    """What came of one case: geometric means over heads, pictures of the first."""

    case: Case
    ours: float
    theirs: float
    seconds: float
    description: str
    panels: tuple[Panel, ...]

    @property
    def ratio(self) -> float:
        """NRMSE of the prior / that of L1-wavelet."""
        return self.ours / self.theirs


def robustness(
    work_dir: Path = Path("runs/robustness"),
    output_dir: Path = HERE / "results",
    prior: str = "brain",
    sampler: Sampler = HQS(),  # noqa: B008 - frozen
    n_heads: int = 1,
    only: str = "",
) -> None:
    """Reconstruct every case that is not done; write ``robustness.md`` and pictures of the three worst.

    Args:
        work_dir: Folder of the cases that are done.
        output_dir: Folder to write to.
        prior: Name of a shipped prior, or a checkpoint.
        sampler: How to reconstruct.
        n_heads: Heads for each case, and as many others to choose the weight of L1-wavelet on.
        only: Cases whose name contains one of these, separated by commas; all if empty.
    """
    loaded = load_prior(prior)
    key = f"{fingerprint(loaded)} {sampler!r} {n_heads} {code()}"
    outcomes = []
    for case in cases():
        if any(part in case.name for part in only.split(",")):
            path = work_dir / f"{hashlib.sha256(case.name.encode()).hexdigest()[:12]}.safetensors"
            outcome = read(path, case, key)
            if outcome is None:
                keep(path, outcome := run(case, loaded, sampler, n_heads), key)
                print(row(outcome), flush=True)
            outcomes.append(outcome)
    write(outcomes, output_dir)


def code() -> str:
    """Return what changes with the code of the rooms that reconstruct, and with this file."""
    package = Path(lightning_mri.__file__).parent
    files = [path for room in ROOMS for path in sorted((package / room).rglob("*.py"))]
    return hashlib.sha256(b"".join(path.read_bytes() for path in [*files, Path(__file__)])).hexdigest()


def keep(path: Path, outcome: Outcome, key: str) -> None:
    """Write an outcome to a file."""
    findings = {"ours": outcome.ours, "theirs": outcome.theirs, "seconds": outcome.seconds, "told": outcome.description}
    panels = [[panel.title, panel.note, panel.gain] for panel in outcome.panels]
    images = {f"panel_{index}": panel.image.contiguous() for index, panel in enumerate(outcome.panels)}
    header = {"key": key, "outcome": json.dumps({**findings, "panels": panels})}
    with atomic(path) as part:
        part.write_bytes(safetensors.torch.save(images, header))


def read(path: Path, case: Case, key: str) -> Outcome | None:
    """Return the outcome that a file holds; None where it is missing or came about otherwise."""
    if not path.exists():
        return None
    with safe_open(path, framework="pt") as file:
        header = file.metadata()
        if header["key"] != key:
            return None
        findings = json.loads(header["outcome"])
        panels = tuple(
            Panel(title, file.get_tensor(f"panel_{index}"), note, gain)
            for index, (title, note, gain) in enumerate(findings.pop("panels"))
        )
    return Outcome(case, panels=panels, **findings)


def write(outcomes: Sequence[Outcome], output_dir: Path) -> None:
    """Write the table, and pictures of the three worst cases."""
    worst = sorted(outcomes, key=lambda outcome: -outcome.ratio)[:3]
    output_dir.mkdir(parents=True, exist_ok=True)
    lines = ["| case | prior | L1-wavelet | ratio | s a slice | guard |", "| --- | ---: | ---: | ---: | ---: | --- |"]
    mean = math.exp(sum(math.log(outcome.ratio) for outcome in outcomes) / len(outcomes))
    lines += [*map(row, outcomes), f"| geometric mean | | | {mean:.3f} | | |"]
    (output_dir / "robustness.md").write_text("\n".join(lines) + "\n")
    for i, outcome in enumerate(worst):
        picture(output_dir / f"robustness-{i + 1}.png", outcome.panels, n_columns=4, title=outcome.case.name)


def run(case: Case, prior: NetworkPrior, sampler: Sampler, n_heads: int) -> Outcome:
    """Reconstruct a case's heads by both methods."""
    baseline = tuned(case, prior, n_heads)
    ours, theirs, told, panels, start = [], [], [], (), time.perf_counter()
    reconstructor = Reconstructor(prior, sampler, uncertainty=None)
    for subject in heads("test", n_heads):
        kspace, mask, truth = case.scan(subject)
        problem = case.prepare(kspace, mask, prior)
        result = reconstructor.solve(problem, subject, contrast=case.contrast)
        compressed = problem.finish(baseline.reconstruct(problem.likelihood)).abs()
        ours.append(error(result.magnitude, truth))
        theirs.append(error(compressed, truth))
        told += [warning for warning in result.warnings if "uncertainty" not in warning]
        if not panels:
            panels = (
                Panel("truth", truth[0]),
                Panel("L1-wavelet", compressed[0], f"NRMSE {theirs[0]:.3f}"),
                Panel("prior", result.magnitude[0], f"NRMSE {ours[0]:.3f}"),
                Panel("error x 5", result.magnitude[0] - truth[0], "of prior", 5.0),
            )
    seconds = (time.perf_counter() - start) / n_heads
    return Outcome(case, mean(ours), mean(theirs), seconds, "; ".join(told), panels)


def tuned(case: Case, prior: NetworkPrior, n_heads: int) -> L1Wavelet:
    """Return L1-wavelet with the weight that is best on other heads: downhill from the middle weight."""
    scans = [case.scan(subject) for subject in heads("validation", n_heads)]
    problems = [case.prepare(kspace, mask, prior) for kspace, mask, _ in scans]

    @cache
    def error_of(index: int) -> float:
        choice = L1Wavelet(DEFAULT_WEIGHTS[index])
        images = [problem.finish(choice.reconstruct(problem.likelihood)).abs() for problem in problems]
        return sum(error(image, truth) for image, (_, _, truth) in zip(images, scans, strict=True))

    best, last = len(DEFAULT_WEIGHTS) // 2, -1
    while best != last:
        last = best
        best = min(range(max(best - 1, 0), min(best + 2, len(DEFAULT_WEIGHTS))), key=error_of)
    return L1Wavelet(DEFAULT_WEIGHTS[best])


def heads(side: str, n: int) -> list[str]:
    """Return the names of heads that no prior was trained on."""
    return [f"robustness-{side}-{i}" for i in range(n)]


def error(x: Tensor, truth: Tensor) -> float:
    """Return the NRMSE of a magnitude image."""
    return float((x - truth).norm() / truth.norm())


def mean(values: Sequence[float]) -> float:
    """Return the geometric mean."""
    return math.exp(sum(map(math.log, values)) / len(values))


def row(outcome: Outcome) -> str:
    """Return a line of the table."""
    return (
        f"| {outcome.case.name} | {outcome.ours:.4f} | {outcome.theirs:.4f} | {outcome.ratio:.3f} |"
        f" {outcome.seconds:.1f} | {outcome.description or 'no doubt'} |"
    )


if __name__ == "__main__":
    auto_cli(robustness, as_positional=False)
