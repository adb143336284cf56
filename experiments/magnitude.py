"""Reconstruct a real volume of magnitude images as if an array had measured it: true anatomy, simulated scan.

The phase, the coils and the noise are simulated, so that the truth is known; L1-wavelet gets the weight that is best on
the very slice it is scored on, and the same maps as the prior.

    python experiments/magnitude.py VOLUME [--prior brain] [--output_dir experiments/results]
"""

import math
from dataclasses import replace
from pathlib import Path

import torch
from jsonargparse import auto_cli
from torch import Tensor

from lightning_mri.baselines import DEFAULT_WEIGHTS, CGSense, L1Wavelet, ZeroFilled
from lightning_mri.data import Scanner, read_scan
from lightning_mri.evaluation import SLICE, Panel, nrmse, picture
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
    label, _ = label_of(scan.contrast, loaded)
    pixel = scan.pixel_size or (1.0, 1.0)
    chosen = [round((i + 1) * scan.n_slices / (n_slices + 1)) for i in range(n_slices)]
    lines = [
        "| R | slice | zero-filled | CG-SENSE | best L1-wavelet | prior | prior / L1-wavelet |",
        "| ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    panels: list[Panel] = []
    for acceleration in accelerations:
        ratios = []
        for index in chosen:
            image = with_phase(ifft2c(scan.kspace[[index]])[:, 0].abs(), index)
            kspace = scanner.measure(image, derive_seed(scan.name, index), pixel)
            mask = Equispaced(acceleration, n_center).draw((kspace.shape[-2], kspace.shape[-1]), index)
            problem = prepare(torch.where(mask, kspace, 0), mask, loaded.scaling)

            def error(x: Tensor, problem=problem, image=image) -> float:  # type: ignore[no-untyped-def]
                return float(nrmse(problem.finish(x), image, SLICE))

            tried = [replace(L1Wavelet(), weight=w).reconstruct(problem.likelihood) for w in DEFAULT_WEIGHTS]
            ours = sampler.sample(loaded, problem.likelihood, seeds_of(scan.name, [index], 1), label)[0]
            classical = [baseline.reconstruct(problem.likelihood) for baseline in (ZeroFilled(), CGSense())]
            best = min(tried, key=error)
            errors = [error(x) for x in (*classical, best, ours)]
            ratios.append(errors[-1] / errors[-2])
            row = f"| {acceleration:g} | {index} | {' | '.join(f'{e:.4f}' for e in errors)} | {ratios[-1]:.3f} |"
            lines.append(row)
            print(row, flush=True)
            if acceleration == accelerations[0] and index == chosen[n_slices // 2]:
                found = problem.finish(ours)[0]
                panels = [
                    Panel("reference", image[0].abs()),
                    Panel("best L1-wavelet", problem.finish(best)[0].abs(), f"NRMSE {errors[-2]:.3f}"),
                    Panel("prior", found.abs(), f"NRMSE {errors[-1]:.3f}"),
                    Panel("error x 5", found.abs() - image[0].abs(), "of prior", 5.0),
                ]
        mean = math.exp(sum(map(math.log, ratios)) / len(ratios))
        lines.append(f"| {acceleration:g} | geometric mean | | | | | {mean:.3f} |")
    output_dir.mkdir(parents=True, exist_ok=True)
    (output_dir / "magnitude.md").write_text("\n".join(lines) + "\n")
    name = f"{scan.contrast or 'unknown contrast'}, R = {accelerations[0]:g}"
    picture(output_dir / "magnitude.png", panels, n_columns=4, title=name)


def with_phase(image: Tensor, seed: int) -> Tensor:
    """Return magnitude images with a smooth phase of up to a few turns."""
    generator = torch.Generator().manual_seed(seed)
    a, b, c, d = (2 * torch.rand(4, generator=generator) - 1).tolist()
    y, x = torch.meshgrid(*(torch.linspace(-1, 1, n) for n in image.shape[-2:]), indexing="ij")
    return torch.polar(image, 2 * (a * x + b * y) + torch.sin(2 * x + 3 * c) * torch.cos(2 * y + 3 * d))


if __name__ == "__main__":
    auto_cli(magnitude, as_positional=True)
