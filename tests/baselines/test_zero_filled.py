"""Zero-filled is the adjoint."""

import torch

from lightning_mri.baselines import ZeroFilled
from lightning_mri.physics import Damping, GaussianLikelihood, Phase, ifft2c, sense

from .conftest import ellipse, scan


def test_zero_filled_is_the_adjoint_of_the_measurement(mask):
    likelihood = scan(torch.stack([ellipse(), ellipse(0.3)]), mask)

    assert torch.equal(ZeroFilled().reconstruct(likelihood), likelihood.A.H(likelihood.y))


def test_neither_damping_nor_phase_is_undone():
    image = ellipse()
    damping = Damping.gaussian(tuple(image.shape), 2.0, (1.0, 1.0))
    A = sense(torch.ones(1, 1, *image.shape, dtype=torch.complex64), None, damping, Phase(torch.full(image.shape, 0.7)))
    likelihood = GaussianLikelihood(A, A(image), torch.tensor(0.1))

    torch.testing.assert_close(ZeroFilled().reconstruct(likelihood), ifft2c(likelihood.y)[0])
