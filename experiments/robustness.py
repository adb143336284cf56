"""Where a prior fails: synthetic heads, one thing changed at a time, against L1-wavelet.

Both get the same data and maps; the weight of L1-wavelet is chosen for each scenario on other heads, measured alike.

    python experiments/robustness.py [--prior brain] [--only NAME,NAME]
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import geometric_mean

import torch
from heads import Case, Change, Scenario, heads
from jsonargparse import auto_cli
from methods import L1, Classical, Guarded, Row, draw_pair, write
from torch import Tensor

from lightning_mri.baselines import L1Wavelet
from lightning_mri.evaluation import Study, markdown_table
from lightning_mri.phantoms import wrapped
from lightning_mri.physics import Equispaced, Gaussian1D, PoissonDisc, RandomUniform
from lightning_mri.sampling import HQS, Sampler
from lightning_mri.weights import load_prior

HERE = Path(__file__).resolve().parent


@dataclass(frozen=True)
class SmallFieldOfView(Change):
    """The field of view along x becomes this part of what it was, so that edges wrap around."""

    part: float

    def __call__(self, images: Tensor) -> Tensor:
        """Return narrower images."""
        return wrapped(images, self.part)


@dataclass(frozen=True)
class PhaseRamp(Change):
    """A linear phase of so many cycles over the field of view, along both axes."""

    cycles: float

    def __call__(self, images: Tensor) -> Tensor:
        """Return images with the phase."""
        y, x = (torch.linspace(-0.5, 0.5, n) for n in images.shape[-2:])
        return images * torch.polar(torch.ones(1), 2 * math.pi * self.cycles * (y[:, None] + x))


@dataclass(frozen=True)
class Implants(Change):
    """What no head has, in all coils alike: a bright ring, a dark block and a row of dots."""

    def __call__(self, images: Tensor) -> Tensor:
        """Return images with them."""
        y, x = torch.meshgrid(*(torch.linspace(-1, 1, n) for n in images.shape[-2:]), indexing="ij")
        radius = torch.hypot(y + 0.2, x - 0.25)
        ring = ((radius > 0.08) & (radius < 0.12)).float()
        block = ((y - 0.25).abs() < 0.05) & ((x + 0.25).abs() < 0.09)
        dots = ((y - 0.05).abs() < 0.02) & ((x * 16).remainder(1) < 0.35) & (x.abs() < 0.35)
        return images * (1 + 1.5 * ring + dots) * (1 - 0.9 * block.float())


def scenarios() -> list[Scenario]:
    """Return every scenario, each beside the same ordinary one."""
    ordinary = Scenario("ordinary: 8 coils, R = 4, 16 lines, 20 dB")
    sizes = ((64, 64), (96, 81), (127, 111), (256, 256), (320, 240), (512, 400))
    return [
        ordinary,
        *(replace(ordinary, name=f"{n} coils", n_coils=n) for n in (1, 2, 4, 16, 32)),
        *(replace(ordinary, name=f"{n} x {m} pixels", matrix=(n, m)) for n, m in sizes),
        *(replace(ordinary, name=f"R = {r:g}", pattern=Equispaced(r, 16)) for r in (1, 2, 3, 5, 6, 8)),
        replace(ordinary, name="R = 12, 10 lines", pattern=Equispaced(12, 10)),
        *(replace(ordinary, name=f"{n} lines", pattern=Equispaced(4, n)) for n in (6, 8, 12, 24, 32)),
        *(replace(ordinary, name=f"{snr} dB", snr_db=float(snr)) for snr in (5, 10, 30, 40, 60)),
        replace(ordinary, name="random lines", pattern=RandomUniform(4, 16)),
        replace(ordinary, name="Gaussian lines", pattern=Gaussian1D(4, 16)),
        replace(ordinary, name="Poisson disc, R = 8", pattern=PoissonDisc(8, 24)),
        replace(ordinary, name="head cut along y", matrix=(108, 160), plane_mm=(140.0, 208.0)),
        replace(ordinary, name="edges wrap around", change=SmallFieldOfView(0.7)),
        replace(ordinary, name="two-fold wrap", change=SmallFieldOfView(0.5), pattern=Equispaced(3, 16)),
        replace(ordinary, name="partial Fourier 6/8", partial_fourier=0.75),
        replace(ordinary, name="phase ramp, 2 cycles", change=PhaseRamp(2)),
        replace(ordinary, name="phase ramp, 10 cycles", change=PhaseRamp(10)),
        replace(ordinary, name="implants no head has", change=Implants()),
        replace(ordinary, name="FLAIR", contrasts=("FLAIR",)),
        replace(ordinary, name="head rotates by 3 degrees", rotation_deg=3.0),
        replace(ordinary, name="broken maps", breaks_maps=True),
        replace(ordinary, name="noise level x 0.1", noise_factor=0.1),
        replace(ordinary, name="noise level x 10", noise_factor=10.0),
    ]


def robustness(
    work_dir: Path = Path("runs/robustness"),
    output_dir: Path = HERE / "results",
    prior: str = "brain",
    sampler: Sampler = HQS(),  # noqa: B008 - frozen
    n_heads: int = 1,
    only: str = "",
) -> None:
    """Reconstruct every scenario; write ``robustness.md`` and pictures of the three worst.

    Args:
        work_dir: Folder of what is done.
        output_dir: Folder to write to.
        prior: Name of a shipped prior, or a checkpoint.
        sampler: How to reconstruct.
        n_heads: Heads for each scenario, and as many others to choose the weight of L1-wavelet on.
        only: Scenarios whose name contains one of these, separated by commas; all if empty.
    """
    loaded, study = load_prior(prior), Study(work_dir, Row)
    methods = [Classical(L1, L1Wavelet(), work_dir, scaling=loaded.scaling), Guarded("prior", loaded, sampler)]
    chosen = [scenario for scenario in scenarios() if any(part in scenario.name for part in only.split(","))]
    cases: list[Case] = [case for scenario in chosen for case in heads("robustness", "test", scenario, n_heads)]
    rows = list(study.rows(cases, methods))
    pairs = {s.name: [[r for r in rows if (r.group, r.method) == (s.name, m.name)] for m in methods] for s in chosen}
    ratios = {
        name: geometric_mean(b.nrmse / a.nrmse for a, b in zip(*pair, strict=True)) for name, pair in pairs.items()
    }
    header = ["scenario", "prior", "L1-wavelet", "ratio", "CPU s a slice", "guard"]
    lines = [_line(name, *pair, ratios[name]) for name, pair in pairs.items()]
    lines.append(["geometric mean", "", "", f"{geometric_mean(ratios.values()):.3f}", "", ""])
    command = f"Prior `{prior}`, `{sampler!r}`. Command: `python experiments/robustness.py --prior {prior}`\n"
    write(output_dir / "robustness.md", f"{command}\n{markdown_table(header, lines)}")
    for i, name in enumerate(sorted(ratios, key=lambda name: -ratios[name])[:3]):
        theirs, ours = pairs[name]
        draw_pair(output_dir / f"robustness-{i + 1}.png", theirs[0], ours[0], name)


def _line(name: str, theirs: Sequence[Row], ours: Sequence[Row], ratio: float) -> list[str]:
    """Return the cells of a scenario: geometric means over heads."""
    errors = [f"{geometric_mean(row.nrmse for row in rows):.4f}" for rows in (ours, theirs)]
    seconds = sum(row.seconds for row in ours) / len(ours)
    warnings = "; ".join(remark for row in ours for remark in row.remarks)
    return [name, *errors, f"{ratio:.3f}", f"{seconds:.1f}", warnings or "no warning"]


if __name__ == "__main__":
    auto_cli(robustness, as_positional=False)
