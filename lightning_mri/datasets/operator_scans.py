"""Scans of any trajectory: an operator of the user's takes the place of the Fourier transform."""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from lightning_mri.datasets.batches import LowFieldBatch
from lightning_mri.datasets.scans import Scans
from lightning_mri.io.geometry import about_centre
from lightning_mri.io.scan import Scan
from lightning_mri.physics import (
    GaussianLikelihood,
    LinearOperator,
    Maps,
    Mask,
    cg_sense,
    estimate_maps,
    fft2c,
    find_acs,
    largest_eigenvalue,
)
from lightning_mri.physics.operators import Weights
from lightning_mri.tensors import complex_noise

MAP_LINES = 24
N_POWER_STEPS = 20
ADJOINT = 1e-3


class OperatorScans(Scans):
    """Scans of any trajectory, for ``predict``; files hold samples [slice, coil, a, b] of any two axes, such as spokes.

    Coil maps are found from coil images, which are made by conjugate gradients, and ESPIRiT on the centre of their
    Fourier transform.

    Args:
        root: File or folder.
        operator: Takes coil images [..., coil, y, x] to samples [..., coil, a, b]; see `LinearOperator`. Its scale does
            not matter.
        noise_std: Noise of each real channel of a sample, in the file's units.
        batch_size: Slices of one scan that are reconstructed together.
        reading: Arguments of `Scans`.
    """

    def __init__(
        self, root: Path, operator: LinearOperator, noise_std: float, batch_size: int = 4, **reading: Any
    ) -> None:
        super().__init__(root, batch_size, **reading)
        if not 0 < noise_std < math.inf:
            raise ValueError(f"noise_std must be finite and positive: got {noise_std}")
        self.operator, self.noise_std = operator, noise_std

    def read(self, path: Path) -> Scan:
        """Open a scan, whose image has the matrix that the operator says."""
        scan = super().read(path)
        shape = self.operator.image_shape((1, scan.n_coils, *scan.matrix))
        size = (shape[-2], shape[-1])
        return replace(scan, reconstruction_size=size, affine=about_centre(scan.affine, scan.reconstruction_size, size))

    def check(self, scan: Scan) -> None:
        """Check that the operator makes samples like those of the file, and that its adjoint is one."""
        name = type(self.operator).__name__
        shape = (1, scan.n_coils, *scan.matrix)
        sizes = (scan.reconstruction_size, scan.matrix)
        x, y = (complex_noise((*shape[:2], *size), torch.Generator().manual_seed(0)) for size in sizes)
        forward = self.operator(x)
        if tuple(forward.shape) != shape:
            raise ValueError(
                f"{scan.source}: operator must return the samples of the file: {name} makes {tuple(forward.shape)} of"
                f" images {tuple(x.shape)}, the file has {shape}"
            )
        back = self.operator.adjoint(y)
        left, right = (complex((a.conj() * b).sum()) for a, b in ((forward, y), (x, back)))
        if abs(left - right) > ADJOINT * float(forward.norm() * y.norm()):
            raise ValueError(
                f"operator must have an exact adjoint: of {name} <A x, y> is {left:.4g}, <x, A^H y> {right:.4g}"
            )

    def reading(self) -> Callable[[Scan, tuple[int, ...]], LowFieldBatch]:
        """Return what makes a batch."""
        return WithOperator(self.operator, self.noise_std)


@dataclass(frozen=True, eq=False)
class Gain(Weights):
    """Multiply samples by one number."""

    weights: Float[Tensor, "1 1 1"]


@dataclass(frozen=True, eq=False)
class WithOperator:
    """Makes batches of slices whose operator is known, but for the coil maps."""

    operator: LinearOperator  # from coil images to samples
    noise_std: float  # of each real channel, in the file's units

    def __call__(self, scan: Scan, part: tuple[int, ...]) -> LowFieldBatch:
        """Read some slices, and find their coil maps."""
        y, mask = scan.kspace.with_gaps(part), self.operator.find(Mask)
        y = y if mask is None else torch.where(mask.mask, y, 0)
        coil_image = (1, 1, *scan.reconstruction_size)
        # solvers expect a largest singular value near 1
        gain = largest_eigenvalue(self.operator.normal, coil_image, 3, N_POWER_STEPS).squeeze().rsqrt()
        encoding = Gain(gain.reshape(1, 1, 1)) @ self.operator
        noise = (self.noise_std * gain).expand(len(y))
        coil_images = cg_sense(GaussianLikelihood(encoding, gain * y, noise))
        everything = torch.ones(1, *scan.reconstruction_size, dtype=torch.bool)
        block = find_acs(everything).limited(MAP_LINES, aspect=1)
        maps = estimate_maps(fft2c(coil_images), everything, block, noise)
        likelihood = GaussianLikelihood(encoding @ Maps(maps), gain * y, noise)
        return LowFieldBatch.of(scan, part, likelihood=likelihood)
