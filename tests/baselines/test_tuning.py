"""Tuning chooses among the baseline's own weights what is best on scans whose truth is known."""

import pytest
import torch

from lightning_mri.baselines import L1Wavelet, NonLocalMeans, TotalVariation, Wiener, tune
from lightning_mri.tensors import norm

from .conftest import ellipse, scan


@pytest.mark.parametrize(
    "choice", [L1Wavelet(n_iterations=5), NonLocalMeans(), TotalVariation(n_iterations=15), Wiener()]
)
def test_no_other_weight_is_better(choice, mask):
    image = ellipse()
    likelihood = scan(image, torch.ones_like(mask), noise_std=0.2)

    best = tune([likelihood], [image], choice=choice)

    errors = {
        weight: norm(type(choice)(**{**vars(choice), "weight": weight}).reconstruct(likelihood).abs() - image.abs())
        for weight in choice.weights
    }
    assert type(best) is type(choice)
    assert best.weight == min(errors, key=lambda weight: float(errors[weight]))
    assert {**vars(best), "weight": 0} == {**vars(choice), "weight": 0}


def test_empty_slices_do_not_count(mask):
    image = ellipse()
    images = torch.stack([image, 0 * image])
    likelihood = scan(images, torch.ones_like(mask), noise_std=0.2)
    alone = likelihood.rows([0])

    best = tune([likelihood], [images], choice=Wiener())

    assert best.weight == tune([alone], [images[:1]], choice=Wiener()).weight != Wiener().weights[0]
    with pytest.raises(ValueError, match="references must hold a slice that is not empty"):
        tune([likelihood], [0 * images], choice=Wiener())
