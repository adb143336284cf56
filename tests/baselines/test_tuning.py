"""Tuning chooses among the baseline's own weights what is best on scans whose truth is known."""

from dataclasses import replace

import pytest
import torch

from lightning_mri.baselines import L1Wavelet, NonLocalMeans, TotalVariation, Wiener, tune
from lightning_mri.tensors import norm

from .conftest import ellipse, scan


@pytest.mark.parametrize(
    "choice", [L1Wavelet(n_iterations=5), NonLocalMeans(), TotalVariation(n_iterations=15), Wiener()]
)
@pytest.mark.parametrize("weights", [None, (1e-3, 0.03, 0.9, 30.0)])
def test_no_other_weight_has_a_lower_mean_error(choice, weights, mask):
    images = [ellipse(), 0.1 * ellipse(0.2)]
    likelihoods = [scan(image, torch.ones_like(mask), noise_std=0.2, seed=seed) for seed, image in enumerate(images)]

    best = tune(likelihoods, images, weights, choice)

    def error(weight):
        one, pairs = replace(choice, weight=weight), zip(likelihoods, images, strict=True)
        return sum(norm(one.reconstruct(y).abs() - x.abs()).item() / norm(x).item() for y, x in pairs)

    assert best == replace(choice, weight=min(weights or choice.weights, key=error))


def test_without_a_reference_for_each_scan_nothing_is_tuned(mask):
    with pytest.raises(ValueError, match="1 weights, 0 references and 1 likelihoods"):
        tune([scan(ellipse(), mask)], [], [0.1])


def test_empty_slices_do_not_count(mask):
    image = ellipse()
    images = torch.stack([image, 0 * image])
    likelihood = scan(images, torch.ones_like(mask), noise_std=0.2)
    alone = likelihood.rows([0])

    best = tune([likelihood], [images], choice=Wiener())

    assert best.weight == tune([alone], [images[:1]], choice=Wiener()).weight != Wiener().weights[0]
    with pytest.raises(ValueError, match="references must hold a slice that is not empty"):
        tune([likelihood], [0 * images], choice=Wiener())
