"""BART's compressed sensing, where the program ``bart`` is on the PATH (https://mrirecon.github.io/bart)."""

import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from jaxtyping import Complex
from torch import Tensor

from lightning_mri.baselines.baseline import Tunable
from lightning_mri.cfl import map_cfl, write_cfl
from lightning_mri.physics import Fourier, GaussianLikelihood, Maps, Mask


@dataclass(frozen=True)
class BartPICS(Tunable):
    """argmin abs(y - A x)^2 / 2 + lambda abs(W x)_1 by ``bart pics``, fed with the likelihood's maps.

    Its k-space is scaled by BART itself, so that one weight serves scans in any unit.

    Args:
        weight: BART's lambda.
        n_iterations: Gradient steps.
    """

    weight: float = 0.004
    n_iterations: int = 100

    weights = (0.001, 0.002, 0.004, 0.008, 0.016, 0.032)

    def reconstruct(self, likelihood: GaussianLikelihood) -> Complex[Tensor, "*batch y x"]:
        """Return the image of each slice.

        Raises:
            ValueError: If the operator has factors that BART has no option for, such as damping or phase.
            FileNotFoundError: If there is no program ``bart``.
        """
        maps = likelihood.A.find(Maps)
        if maps is None or any(not isinstance(factor, Maps | Fourier | Mask) for factor in likelihood.A.factors):
            raise ValueError(f"BartPICS takes coil maps, Fourier transform and mask alone: got {likelihood.A!r}")
        batch, image = likelihood.y.shape[:-3], likelihood.image_shape[likelihood.y.ndim - 3 :]
        stored = maps.maps.expand(*batch, *maps.maps.shape[-4:]).reshape(-1, *maps.maps.shape[-4:])
        slices = zip(likelihood.y.reshape(-1, *likelihood.y.shape[-3:]), stored, strict=True)
        images = [torch.from_numpy(self._slice(y.numpy(force=True), s.numpy(force=True))) for y, s in slices]
        return likelihood.apply_support(torch.stack(images).reshape(*batch, *image).to(likelihood.y.device))

    def _slice(self, y: np.ndarray, maps: np.ndarray) -> np.ndarray:
        command = ["pics", "-S", "-l1", "-r", f"{self.weight}", "-i", f"{self.n_iterations}"]
        command += ["-e"] if len(maps) > 1 else []  # the eigenvalues of A^H A exceed 1, where its step diverges
        image = run_bart(command, y.transpose(1, 2, 0)[:, :, None], maps.transpose(2, 3, 1, 0)[:, :, None])
        sets = image.reshape(*y.shape[1:], len(maps), order="F")
        return np.ascontiguousarray(np.moveaxis(sets, -1, 0))


def run_bart(command: Sequence[str], *inputs: np.ndarray) -> np.ndarray:
    """Return what a tool of BART makes of arrays, in BART's sixteen dimensions (read, phase, phase, coil, set ...).

    Args:
        command: Name of the tool and its options.
        inputs: Arrays in its order; dimensions that are missing at the end are 1.

    Raises:
        FileNotFoundError: If there is no program ``bart``.
        RuntimeError: If the tool fails; the message is BART's.
    """
    if shutil.which("bart") is None:
        raise FileNotFoundError("bart must be on the PATH: install BART, or leave it out of the comparison")
    with TemporaryDirectory() as name:
        headers = [Path(name) / f"in{i}.hdr" for i in range(len(inputs))]
        for header, array in zip(headers, inputs, strict=True):
            write_cfl(header, array)
        stems, result = [header.with_suffix("") for header in headers], Path(name) / "out"
        run = subprocess.run(["bart", *command, *map(str, stems), str(result)], capture_output=True, text=True)
        if run.returncode:
            raise RuntimeError(f"bart {command[0]} failed: {run.stderr.strip() or run.stdout.strip()}")
        return np.array(map_cfl(result.with_suffix(".hdr")), order="F")
