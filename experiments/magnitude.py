"""Reconstruct a real volume of magnitude images as if an array had measured it: true anatomy, simulated scan.

The phase, the coils and the noise are simulated, so that the truth is known; L1-wavelet gets the weight that is best on
the very slice it is scored on, and the same maps as the prior.

    python experiments/magnitude.py VOLUME [--prior brain] [--output_dir experiments/results]
"""

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import torch
from jsonargparse import auto_cli
from methods import L1, Row, Sampled, Slice, classical, draw_pair, write
from torch import Tensor

from lightning_mri.evaluation import Ratio, Study, markdown_table
from lightning_mri.io import Scan, read_scan
from lightning_mri.phantoms import Scanner
from lightning_mri.physics import Equispaced, ifft2c
from lightning_mri.reconstruction import Problem, prepare
from lightning_mri.sampling import HQS, Sampler
from lightning_mri.scaling import Scaling
from lightning_mri.tensors import derive_seed
from lightning_mri.weights import load_prior

HERE = Path(__file__).resolve().parent


@dataclass(frozen=True)
class Case(Slice):
    """One slice of a volume at one acceleration; ``version`` changes with the file."""

    volume: Path
    version: int
    acceleration: float
    scanner: Scanner
    n_center: int
    slice_index: int

    @property
    def name(self) -> str:
        """Group and slice."""
        return f"{self.group}, slice {self.slice_index}"

    @property
    def group(self) -> str:
        """Nominal acceleration."""
        return f"R = {self.acceleration:g}"

    @property
    def subject(self) -> str:
        """Name of the volume."""
        return _scan(self.volume).name

    @property
    def contrast(self) -> str | None:
        """What the file says."""
        return _scan(self.volume).contrast

    @property
    def truth(self) -> Tensor:
        """The slice as it is in the file."""
        return self.image.abs()

    @property
    def image(self) -> Tensor:
        """The slice with a phase."""
        return with_phase(ifft2c(_scan(self.volume).kspace[[self.slice_index]])[:, 0].abs(), self.slice_index)

    def problem(self, scaling: Scaling) -> Problem:
        """Return the slice as scanned and prepared."""
        scan, index = _scan(self.volume), self.slice_index
        kspace = self.scanner.measure(self.image, derive_seed(scan.name, index), scan.pixel_size or (1.0, 1.0))
        mask = Equispaced(self.acceleration, self.n_center).draw((kspace.shape[-2], kspace.shape[-1]), index)
        return prepare(torch.where(mask, kspace, 0), mask, scaling)


@lru_cache(maxsize=1)
def _scan(volume: Path) -> Scan:
    return read_scan(volume)


def with_phase(image: Tensor, seed: int) -> Tensor:
    """Return magnitude images with a smooth phase of up to a few cycles."""
    generator = torch.Generator().manual_seed(seed)
    a, b, c, d = (2 * torch.rand(4, generator=generator) - 1).tolist()
    y, x = torch.meshgrid(*(torch.linspace(-1, 1, n) for n in image.shape[-2:]), indexing="ij")
    return torch.polar(image, 2 * (a * x + b * y) + torch.sin(2 * x + 3 * c) * torch.cos(2 * y + 3 * d))


def magnitude(
    volume: Path,
    prior: str = "brain",
    sampler: Sampler = HQS(),  # noqa: B008 - frozen
    accelerations: tuple[float, ...] = (4, 6),
    n_slices: int = 4,
    scanner: Scanner = Scanner(snr_db=25.0, oversampling=1),  # noqa: B008 - frozen
    n_center: int = 18,
    work_dir: Path = Path("runs/magnitude"),
    output_dir: Path = HERE / "results",
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
        work_dir: Folder of what is done.
        output_dir: Folder to write to.
    """
    n, version = _scan(volume).n_slices, volume.stat().st_mtime_ns
    chosen = [round((i + 1) * n / (n_slices + 1)) for i in range(n_slices)]
    cases = [Case(volume, version, r, scanner, n_center, index) for r in accelerations for index in chosen]
    methods = [*classical(work_dir)[:3], Sampled("prior", load_prior(prior), sampler)]
    rows = list(Study(work_dir, Row).rows(cases, methods))
    lines = []
    for rate in accelerations:
        own = [row for row in rows if row.group == f"R = {rate:g}"]
        errors = {method.name: [row.nrmse for row in own if row.method == method.name] for method in methods}
        for i, index in enumerate(chosen):
            ratio = errors["prior"][i] / errors[L1][i]
            lines.append([f"{rate:g}", index, *(f"{each[i]:.4f}" for each in errors.values()), f"{ratio:.3f}"])
        mean = Ratio.of(errors["prior"], errors[L1]).value
        lines.append([f"{rate:g}", "geometric mean", *[""] * len(methods), f"{mean:.3f}"])
    header = ["R", "slice", "zero-filled", "CG-SENSE", "best L1-wavelet", "prior", "prior / L1-wavelet"]
    command = f"Prior `{prior}`, `{sampler!r}`. Command: `python experiments/magnitude.py VOLUME --prior {prior}`\n"
    write(output_dir / "magnitude.md", f"{command}\n{markdown_table(header, lines, n_words=0)}")
    *_, best, ours = rows[n_slices // 2 * len(methods) :][: len(methods)]
    title = f"{_scan(volume).contrast or 'unknown contrast'}, R = {accelerations[0]:g}"
    draw_pair(output_dir / "magnitude.png", best, ours, title)


if __name__ == "__main__":
    auto_cli(magnitude, as_positional=True)
