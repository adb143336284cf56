"""Predict held-out samples of a measured, undersampled scan that has no reference.

Of the acquired samples outside the calibration block 20 % are held out, five times anew. Prior and L1-wavelet get the
same maps, found from the rest; L1-wavelet also gets, draw by draw, the weight that predicts the held-out samples best.

    python experiments/brain8.py KSPACE.npy [--prior brain] [--n_draws 5] [--output results.md]
"""

from dataclasses import dataclass, replace
from pathlib import Path

import torch
from jsonargparse import auto_cli
from methods import write
from torch import Tensor

from lightning_mri.baselines import DEFAULT_WEIGHTS, L1Wavelet
from lightning_mri.diffusion import NetworkPrior
from lightning_mri.evaluation import Study, hold_out, markdown_table, noise_floor, prediction_error
from lightning_mri.io import read_scan
from lightning_mri.physics import GaussianLikelihood, find_acs, sense
from lightning_mri.reconstruction import prepare
from lightning_mri.sampling import HQS, Sampler
from lightning_mri.tensors import derive_seed
from lightning_mri.weights import fingerprint, load_prior


@dataclass(frozen=True)
class Row:
    """One draw: relative errors of the held-out samples, the weight of L1-wavelet, and what noise alone leaves."""

    ours: float
    theirs: float
    weight: float
    floor: float


def held_out_errors(
    path: Path,
    prior: str = "brain",
    sampler: Sampler = HQS(),  # noqa: B008 - frozen
    n_draws: int = 5,
    work_dir: Path = Path("runs/brain8"),
    output: Path | None = None,
) -> None:
    """Print, for each draw, the relative error of prior and L1-wavelet beside the noise floor.

    Args:
        path: Scan with zeros where nothing was acquired; its first slice is used.
        prior: Name of a shipped prior, or a checkpoint.
        sampler: How to reconstruct.
        n_draws: Number of draws of the held-out samples.
        work_dir: Folder of what is done.
        output: Markdown file to write the table to.
    """
    scan, loaded, study = read_scan(path), load_prior(prior), Study(work_dir, Row)
    kspace, key = scan.kspace[:1], f"{path} {path.stat().st_mtime_ns} {fingerprint(loaded)} {sampler!r}"
    rows = [
        study.keep(f"{path.stem}, draw {draw}", key, lambda: predict(kspace, scan.mask, loaded, sampler, draw))  # noqa: B023
        for draw in range(n_draws)
    ]
    lines = [[i, *_cells(row.ours, row.theirs, row.floor, f"{row.weight:g}")] for i, row in enumerate(rows)]
    means = (sum(getattr(row, name) for row in rows) / n_draws for name in ("ours", "theirs", "floor"))
    lines.append(["mean", *_cells(*means, "")])
    table = markdown_table(["draw", "prior", "L1-wavelet", "its weight", "noise floor", "ratio"], lines)
    command = f"Command: `python experiments/brain8.py {path.name} --prior {prior}`, `{sampler!r}`\n"
    print(table) if output is None else write(output, f"{command}\n{table}")


def _cells(ours: float, theirs: float, floor: float, weight: str) -> list[str]:
    return [f"{ours:.4f}", f"{theirs:.4f}", weight, f"{floor:.4f}", f"{ours / theirs:.3f}"]


def predict(kspace: Tensor, mask: Tensor, prior: NetworkPrior, sampler: Sampler, draw: int) -> Row:
    """Return the errors of one draw."""
    generator = torch.Generator().manual_seed(derive_seed("held back", draw))
    acs = find_acs(mask)
    center = torch.zeros_like(mask)
    center[:, acs.y, acs.x] = True
    kept, held = hold_out(mask, center, generator)
    problem = prepare(torch.where(kept, kspace, 0), kept, prior.scaling)
    y = torch.where(held, kspace, 0) / problem.scale[:, None, None, None]
    target = GaussianLikelihood(sense(problem.maps, held), y, problem.likelihood.noise_std)

    def error(x: Tensor) -> float:
        return float(prediction_error(x, target))

    ours = error(sampler.sample(prior, problem.likelihood, [0])[0])
    tried = {w: error(replace(L1Wavelet(), weight=w).reconstruct(problem.likelihood)) for w in DEFAULT_WEIGHTS}
    weight = min(tried, key=lambda w: tried[w])
    return Row(ours, tried[weight], weight, float(noise_floor(target)))


if __name__ == "__main__":
    auto_cli(held_out_errors, as_positional=True)
