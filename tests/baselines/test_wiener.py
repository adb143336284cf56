"""Wiener deconvolution: the inverse without noise, nothing without signal, and the linear optimum."""

import pytest
import torch

from lightning_mri.baselines import Wiener, ZeroFilled
from lightning_mri.physics import Damping, GaussianLikelihood, Phase, fft2c, ifft2c, sense
from lightning_mri.tensors import complex_noise, norm

SHAPE = (34, 26)


def measured(x, fwhm=1.5, noise_std=0.0, phase=None):
    damping = Damping.gaussian(SHAPE, fwhm, (1.0, 1.0)) if fwhm else None
    A = sense(torch.ones(1, 1, *SHAPE, dtype=torch.complex64), None, damping, phase)
    noise = complex_noise((1, *SHAPE), torch.Generator().manual_seed(1))
    return GaussianLikelihood(A, A(x) + noise_std * noise, torch.tensor(noise_std))


def rough(power=1.0):
    """An image whose spectrum falls with the radius of k-space."""
    z = complex_noise(SHAPE, torch.Generator().manual_seed(0))
    y, x = ((torch.arange(n) - n // 2) * (max(SHAPE) / n) for n in SHAPE)
    return ifft2c(z / (1 + (y[:, None].square() + x.square()).sqrt()) ** power)


def test_without_noise_blur_and_phase_are_inverted():
    x = rough()
    phase = Phase(torch.linspace(-2, 2, SHAPE[1]).expand(SHAPE))
    torch.testing.assert_close(Wiener().reconstruct(measured(x, phase=phase)), x, rtol=1e-3, atol=1e-4)


def test_the_weight_of_one_is_the_best_linear_filter():
    """For a white image of power S and noise N and no damping the gain is S / (S + N)."""
    x = complex_noise(SHAPE, torch.Generator().manual_seed(3))
    likelihood = measured(x, fwhm=0.0, noise_std=0.5)
    ratio = fft2c(Wiener().reconstruct(likelihood)) / likelihood.y[0]
    assert ratio.abs().median().item() == pytest.approx(1 / 1.25, abs=0.06)


def test_it_is_better_than_the_degraded_image_and_never_amplifies_where_there_is_no_signal():
    x = rough(1.5)
    likelihood = measured(x, fwhm=4.0, noise_std=0.02)  # leaves 1e-8 of the corners of k-space
    before, after = ZeroFilled().reconstruct(likelihood), Wiener().reconstruct(likelihood)
    assert norm(after - x) < 0.9 * norm(before - x)
    silent = likelihood.A.find(Damping).weights[0] < 1e-3
    assert silent.sum() > 100
    assert (fft2c(after) * silent).norm() <= (likelihood.y[0] * silent).norm()


def test_an_empty_scan_stays_empty():
    assert not Wiener().reconstruct(measured(torch.zeros(SHAPE, dtype=torch.complex64))).any()
    with pytest.raises(ValueError, match="weight must not be negative, and finite: got -1"):
        Wiener(-1.0)


def test_double_precision_is_rounded_to_single():
    single = measured(rough(), noise_std=0.01)
    double = single.replace(y=single.y.to(torch.complex128), noise_std=single.noise_std.double())
    torch.testing.assert_close(Wiener().reconstruct(double), Wiener().reconstruct(single))
