"""The image as the scanner shows it."""

import torch

from lightning_mri.baselines import Degraded, ZeroFilled
from lightning_mri.physics import Damping, GaussianLikelihood, Phase, ifft2c, sense

from .conftest import ellipse, scan


def test_nothing_is_undone_whatever_the_operator_knows():
    image = ellipse()
    damping = Damping.gaussian(tuple(image.shape), 2.0, (1.0, 1.0))
    A = sense(torch.ones(1, 1, *image.shape, dtype=torch.complex64), None, damping, Phase(torch.full(image.shape, 0.7)))
    likelihood = GaussianLikelihood(A, A(image), torch.tensor(0.1))

    torch.testing.assert_close(Degraded().reconstruct(likelihood), ifft2c(likelihood.y)[0])


def test_without_damping_and_phase_it_is_zero_filled(mask):
    likelihood = scan(torch.stack([ellipse(), ellipse(0.3)]), mask)
    torch.testing.assert_close(Degraded().reconstruct(likelihood), ZeroFilled().reconstruct(likelihood))
