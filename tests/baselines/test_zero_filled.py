"""Zero-filled is the adjoint."""

import torch

from lightning_mri.baselines import ZeroFilled

from .conftest import ellipse, scan


def test_zero_filled_is_the_adjoint_of_the_measurement(mask):
    likelihood = scan(torch.stack([ellipse(), ellipse(0.3)]), mask)

    assert torch.equal(ZeroFilled().reconstruct(likelihood), likelihood.A.H(likelihood.y))
