"""CG-SENSE solves its normal equations."""

import torch

from lightning_mri.baselines import CGSense
from lightning_mri.tensors import norm

from .conftest import ellipse, scan


def test_the_normal_equations_hold_for_every_slice(mask):
    likelihood = scan(torch.stack([ellipse(), 5 * ellipse(0.3)]), mask)

    x_hat = CGSense(n_iterations=200, regularisation=0.1).reconstruct(likelihood)

    rest = likelihood.A.normal(x_hat) + 0.1 * x_hat - likelihood.adjoint()
    assert (norm(rest) < 1e-4 * norm(likelihood.adjoint())).all()


def test_noiseless_full_sampling_gives_the_image_back(mask):
    image = ellipse()
    likelihood = scan(image, torch.ones_like(mask), noise_std=0.0)

    torch.testing.assert_close(CGSense(regularisation=0.0).reconstruct(likelihood), image)
