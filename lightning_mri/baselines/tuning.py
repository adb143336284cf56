"""The choice of a baseline's strength on scans whose truth is known."""

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from jaxtyping import Complex
from torch import Tensor

from lightning_mri.baselines.baseline import Baseline, Tunable
from lightning_mri.baselines.l1_wavelet import L1Wavelet
from lightning_mri.physics import GaussianLikelihood
from lightning_mri.tensors import relative_error


def tune(
    likelihoods: Sequence[GaussianLikelihood],
    references: Sequence[Complex[Tensor, "*batch y x"]],
    weights: Sequence[float] | None = None,
    choice: Tunable = L1Wavelet(),  # noqa: B008 - frozen
) -> Tunable:
    """Return the baseline whose weight has the lowest mean NRMSE of the magnitude.

    Tune on subjects other than those that are compared; as an oracle, on the compared ones themselves. Slices that
    have no finite error, such as empty ones, do not count.

    Args:
        likelihoods: Scans, each a batch of slices, of one map set.
        references: Their true images, in the units of the likelihoods' images.
        weights: Weights to try; those that the baseline names if not given.
        choice: The baseline: everything but the weight.

    Raises:
        ValueError: If there is nothing to tune on, every reference is empty, or the numbers of scans and references
            differ.
    """
    weights = choice.weights if weights is None else weights
    if not likelihoods or len(likelihoods) != len(references) or not weights:
        raise ValueError(
            "tuning needs weights, and as many references as likelihoods, at least one: "
            f"got {len(weights)} weights, {len(references)} references and {len(likelihoods)} likelihoods"
        )
    settings: Any = choice  # every baseline is a dataclass, which its abstract class cannot say
    candidates: list[Tunable] = [replace(settings, weight=weight) for weight in weights]
    errors = torch.stack([_errors(candidate, likelihoods, references) for candidate in candidates])
    counted = errors[:, errors.isfinite().any(0)]
    if not counted.numel():
        raise ValueError("references must hold a slice that is not empty: no weight has a finite error on any")
    means = counted.mean(1).nan_to_num(nan=math.inf).tolist()
    return candidates[means.index(min(means))]


def _errors(baseline: Baseline, likelihoods: Sequence[GaussianLikelihood], references: Sequence[Tensor]) -> Tensor:
    """Return the error of each slice."""
    pairs = zip(likelihoods, references, strict=True)
    return torch.cat([relative_error(baseline.reconstruct(likelihood), truth).flatten() for likelihood, truth in pairs])
