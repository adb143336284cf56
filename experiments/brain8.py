"""Predict held-back samples of a measured, undersampled scan that has no reference.

Of the acquired samples outside the calibration block 20 % are held out, five times anew. Prior and L1-wavelet get the
same maps, found from the rest; L1-wavelet also gets, draw by draw, the weight that predicts the held-back samples best.

    python experiments/brain8.py KSPACE.npy [--prior brain] [--n_draws 5] [--output results.md]
"""

from dataclasses import replace
from pathlib import Path

import torch
from jsonargparse import auto_cli
from torch import Tensor

from lightning_mri.baselines import DEFAULT_WEIGHTS, L1Wavelet
from lightning_mri.diffusion import NetworkPrior
from lightning_mri.evaluation import hold_out, noise_floor, prediction_error
from lightning_mri.io import read_scan
from lightning_mri.physics import GaussianLikelihood, find_acs, sense
from lightning_mri.reconstruction import prepare
from lightning_mri.sampling import HQS, Sampler
from lightning_mri.tensors import derive_seed
from lightning_mri.weights import load_prior


def held_back_errors(
    path: Path,
    prior: str = "brain",
    sampler: Sampler = HQS(),  # noqa: B008 - frozen
    n_draws: int = 5,
    output: Path | None = None,
) -> None:
    """Print, for each draw, the relative error of prior and L1-wavelet beside the noise floor.

    Args:
        path: Scan with zeros where nothing was acquired; its first slice is used.
        prior: Name of a shipped prior, or a checkpoint.
        sampler: How to reconstruct.
        n_draws: Number of draws of the held-back samples.
        output: Markdown file to write the table to.
    """
    scan, loaded = read_scan(path), load_prior(prior)
    rows = [_draw(scan.kspace[:1], scan.mask, loaded, sampler, draw) for draw in range(n_draws)]
    lines = [
        "| draw | prior | L1-wavelet | its weight | noise floor | ratio |",
        "| --- | ---: | ---: | ---: | ---: | ---: |",
    ]
    lines += [
        f"| {i} | {ours:.4f} | {theirs:.4f} | {weight:g} | {floor:.4f} | {ours / theirs:.3f} |"
        for i, (ours, theirs, weight, floor) in enumerate(rows)
    ]
    ours, theirs, _, floor = (sum(column) / n_draws for column in zip(*rows, strict=True))
    lines.append(f"| mean | {ours:.4f} | {theirs:.4f} | | {floor:.4f} | {ours / theirs:.3f} |")
    table = "\n".join(lines) + "\n"
    print(table)
    if output is not None:
        output.write_text(table)


def _draw(
    kspace: Tensor, mask: Tensor, prior: NetworkPrior, sampler: Sampler, draw: int
) -> tuple[float, float, float, float]:
    """Return the errors of prior and best L1-wavelet, its weight, and the noise floor of one draw."""
    generator = torch.Generator().manual_seed(derive_seed("held out", draw))
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
    return ours, tried[weight], weight, float(noise_floor(target))


if __name__ == "__main__":
    auto_cli(held_back_errors, as_positional=True)
