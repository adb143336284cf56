"""How time and memory grow with slices, coils, matrix and samples, on one core: figures and exponents.

Processor time is measured, which other programs on the machine disturb little; memory is the largest resident set of a
process of its own for each row.

    python experiments/growth.py
"""

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from multiprocessing import get_context
from pathlib import Path

import torch
from bench import Sizes, measured_slice
from jsonargparse import auto_cli

from lightning_mri.evaluation import markdown_table
from lightning_mri.files import write_whole
from lightning_mri.origin import peak_memory
from lightning_mri.reconstruction import prepare
from lightning_mri.sampling import HQS
from lightning_mri.weights import load_prior

HERE = Path(__file__).resolve().parent


@dataclass(frozen=True)
class Size:
    """One scan."""

    slices: int = 1  # slices together
    coils: int = 8  # coils
    matrix: int = 192  # pixels along both axes
    samples: int = 1  # images drawn a slice


GROWTH = {
    "slices": (1, 2, 4, 8),
    "coils": (4, 8, 16, 32, 64),
    "matrix": (128, 192, 256, 384, 512),
    "samples": (1, 2, 4, 8),
}


def growth(n_steps: int = 4, output_dir: Path = HERE / "results") -> None:
    """Measure every row in a process of its own, and write ``growth.md``.

    Args:
        n_steps: Levels of the sampler; its time is given for one level.
        output_dir: Folder to write to.
    """
    parts = [
        f"One core, torch `{torch.__version__}`. Seconds of processor time. Exponents are slopes of the logarithm of"
        " time over that of the size, between the first and the last row (matrix: number of pixels). More than 16 coils"
        " are compressed to 16."
        "\n\nCommand: `python experiments/growth.py`\n"
    ]
    for name, values in GROWTH.items():
        rows = []
        for value in values:
            with get_context("spawn").Pool(1) as pool:
                rows.append(pool.apply(measure, (replace(Size(), **{name: value}), n_steps)))
            print(name, value, rows[-1], flush=True)
        n = [value**2 if name == "matrix" else value for value in values]
        lines = [[str(value), *(f"{x:.3g}" for x in row)] for value, row in zip(values, rows, strict=True)]
        slopes = [exponent(n, column) for column in zip(*rows, strict=True)]
        lines.append(["exponent", *(f"{slope:.2f}" for slope in slopes)])
        parts.append(markdown_table([name, "preparation, s", "a level, s", "memory, GiB"], lines))
    write_whole(output_dir / "growth.md", "\n".join(parts) + "\n")


def measure(size: Size, n_steps: int) -> tuple[float, float, float]:
    """Return the seconds of preparation and of one level, and the largest memory of this process in GiB."""
    torch.set_num_threads(1)
    prior = load_prior("brain")
    kspace, mask = measured_slice(Sizes(matrix=size.matrix, n_coils=size.coils))
    kspace = kspace.expand(size.slices, *kspace.shape[1:]).clone()
    start = time.process_time()
    problem = prepare(kspace, mask, prior.scaling)
    between = time.process_time()
    HQS(n_steps=n_steps).sample(prior, problem.likelihood, range(size.samples))
    end = time.process_time()
    return between - start, (end - between) / n_steps, peak_memory()


def exponent(sizes: Sequence[float], values: Sequence[float]) -> float:
    """Return the slope of log values over log sizes."""
    return math.log(values[-1] / values[0]) / math.log(sizes[-1] / sizes[0])


if __name__ == "__main__":
    auto_cli(growth)
