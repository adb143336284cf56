"""Reconstruct a real volume of magnitude images as if an array had measured it: true anatomy, simulated scan.

The phase, the coils and the noise are simulated, so that the truth is known; L1-wavelet gets the weight that is best on
the very slice it is scored on, and the same maps as the prior.

    python experiments/magnitude.py VOLUME [--prior brain] [--output_dir experiments/results]
"""

import math
from dataclasses import dataclass
from pathlib import Path

import torch
from jsonargparse import auto_cli
from torch import Tensor

from lightning_mri.baselines import DEFAULT_WEIGHTS, CGSense, L1Wavelet, ZeroFilled
from lightning_mri.diffusion import NetworkPrior
from lightning_mri.evaluation import SLICE, Panel, nrmse, picture
from lightning_mri.io import Scan, read_scan
from lightning_mri.phantoms import Scanner
from lightning_mri.physics import Equispaced, ifft2c
from lightning_mri.reconstruction import label_of, prepare, seeds_of
from lightning_mri.sampling import HQS, Sampler
from lightning_mri.tensors import derive_seed
from lightning_mri.weights import load_prior


def magnitude(
    volume: Path,
    prior: str = "brain",
    sampler: Sampler = HQS(n_steps=40),  # noqa: B008 - frozen
    accelerations: tuple[float, ...] = (4, 6),
    n_slices: int = 4,
    scanner: Scanner = Scanner(snr_db=25.0, oversampling=1),  # noqa: B008 - frozen
    n_center: int = 18,
    output_dir: Path = Path("experiments/results"),
) -> None:
    """Write ``magnitude.md`` and a picture of the middle slice at the first acceleration.

    Args:
        volume: Fully sampled magnitude images of any format.
        prior: Name of a shipped prior, or a checkpoint.
        sampler: How to reconstruct.
        accelerations: Of equispaced lines.
        n_slices: Slices, evenly spaced over the volume but for its ends.
        scanner: Array and noise.
        n_center: Calibration lines.
        output_dir: Folder to write to.
    """
    scan, loaded = read_scan(volume), load_prior(prior)
    chosen = [round((i + 1) * scan.n_slices / (n_slices + 1)) for i in range(n_slices)]
    lines = [
        "| R | slice | zero-filled | CG-SENSE | best L1-wavelet | prior | prior / L1-wavelet |",
        "| ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    shown: Compared | None = None
    for acceleration in accelerations:
        ratios = []
        for index in chosen:
            compared = compare(scan, index, loaded, sampler, scanner, Equispaced(acceleration, n_center))
            ratios.append(compared.errors[-1] / compared.errors[-2])
            errors = " | ".join(f"{error:.4f}" for error in compared.errors)
            lines.append(f"| {acceleration:g} | {index} | {errors} | {ratios[-1]:.3f} |")
            print(lines[-1], flush=True)
            shown = compared if shown is None and index == chosen[n_slices // 2] else shown
        mean = math.exp(sum(map(math.log, ratios)) / len(ratios))
        lines.append(f"| {acceleration:g} | geometric mean | | | | | {mean:.3f} |")
    output_dir.mkdir(parents=True, exist_ok=True)
    (output_dir / "magnitude.md").write_text("\n".join(lines) + "\n")
    assert shown is not None
    title = f"{scan.contrast or 'unknown contrast'}, R = {accelerations[0]:g}"
    picture(output_dir / "magnitude.png", shown.panels, n_columns=4, title=title)


@dataclass(frozen=True, eq=False)
class Compared:
    """One slice: NRMSE of zero-filled, CG-SENSE, best L1-wavelet and prior; and a row of a picture."""

    errors: tuple[float, ...]
    panels: tuple[Panel, ...]


def compare(
    scan: Scan, index: int, prior: NetworkPrior, sampler: Sampler, scanner: Scanner, pattern: Equispaced
) -> Compared:
    """Scan one slice and reconstruct it by every method, with the same maps."""
    image = with_phase(ifft2c(scan.kspace[[index]])[:, 0].abs(), index)
    kspace = scanner.measure(image, derive_seed(scan.name, index), scan.pixel_size or (1.0, 1.0))
    mask = pattern.draw((kspace.shape[-2], kspace.shape[-1]), index)
    problem = prepare(torch.where(mask, kspace, 0), mask, prior.scaling)

    def error(x: Tensor) -> float:
        return float(nrmse(problem.finish(x), image, SLICE))

    label, _ = label_of(scan.contrast, prior)
    ours = sampler.sample(prior, problem.likelihood, seeds_of(scan.name, [index], 1), label)[0]
    classical = [baseline.reconstruct(problem.likelihood) for baseline in (ZeroFilled(), CGSense())]
    best = min((L1Wavelet(weight).reconstruct(problem.likelihood) for weight in DEFAULT_WEIGHTS), key=error)
    errors = tuple(error(x) for x in (*classical, best, ours))
    found, truth = problem.finish(ours)[0].abs(), image[0].abs()
    panels = (
        Panel("reference", truth),
        Panel("best L1-wavelet", problem.finish(best)[0].abs(), f"NRMSE {errors[-2]:.3f}"),
        Panel("prior", found, f"NRMSE {errors[-1]:.3f}"),
        Panel("error x 5", found - truth, "of prior", 5.0),
    )
    return Compared(errors, panels)


def with_phase(image: Tensor, seed: int) -> Tensor:
    """Return magnitude images with a smooth phase of up to a few turns."""
    generator = torch.Generator().manual_seed(seed)
    a, b, c, d = (2 * torch.rand(4, generator=generator) - 1).tolist()
    y, x = torch.meshgrid(*(torch.linspace(-1, 1, n) for n in image.shape[-2:]), indexing="ij")
    return torch.polar(image, 2 * (a * x + b * y) + torch.sin(2 * x + 3 * c) * torch.cos(2 * y + 3 * d))


if __name__ == "__main__":
    auto_cli(magnitude, as_positional=True)
