"""Spectra of objects, checked on objects whose power is known."""

import math

import pytest
import torch

from lightning_mri.phantoms.mice import Mouse
from lightning_mri.physics import MeasuredSpectrum, PowerLaw, fft2c, ifft2c
from lightning_mri.physics.spectra import outside_centre
from lightning_mri.tensors import centre_pad

from .gaussian_objects import PIXEL, SHAPE, objects


def per_octave(log_powers: torch.Tensor) -> torch.Tensor:
    """Return how the logarithm of each object's power changes from the 12th row above the centre to the 24th."""
    y, x = (n // 2 for n in log_powers.shape[-2:])
    return log_powers[:, y + 24, x] - log_powers[:, y + 12, x]


def test_a_power_law_falls_by_its_exponent_an_octave_and_spreads_as_it_says():
    change = per_octave(PowerLaw(3.0, 0.3).log_powers(SHAPE, PIXEL))
    assert change.mean().item() == pytest.approx(-3 * math.log(2), rel=1e-5)
    assert change.std().item() == pytest.approx(0.3 * math.log(2), rel=1e-5)


def test_a_measured_spectrum_finds_the_law_of_each_object():
    exponents = (2.5, 3.5)
    measured = MeasuredSpectrum.of([ifft2c(objects(8, i, p)[:, 0]) for i, p in enumerate(exponents)], PIXEL)
    for shape in (SHAPE, (72, 44)):  # of the object, whatever the matrix
        change = per_octave(measured.log_powers(shape, PIXEL))
        assert (change / -math.log(2)).tolist() == pytest.approx(exponents, abs=0.3)


def test_two_objects_say_little_about_a_third():
    """Student's t of one degree of freedom has its 97.5 % point at 12.706; the mean of two is off by 1 / sqrt(2)."""
    measured = MeasuredSpectrum(torch.zeros(2, 8), torch.ones(2, 3, 3), (1.0, 1.0), (1.0, 1.0))
    assert measured.widening == pytest.approx(12.706 / 2 * 1.5**0.5, rel=1e-4)


def test_no_higher_frequencies_are_told_than_were_measured():
    measured = MeasuredSpectrum.of([ifft2c(objects(1, seed)[:, 0]) for seed in range(2)], PIXEL)
    with pytest.raises(ValueError, match=r"a reference must resolve what the scan does: got frequencies up to 4 x 3.2"):
        measured.log_powers(SHAPE, (0.125, 0.15625))


@pytest.mark.parametrize("part", [torch.Tensor.clone, lambda images: images.abs().to(torch.complex64)])
def test_interpolated_images_show_the_spectrum_that_was_measured(part):
    """Regression: what was filled in made the coefficients NaN, in magnitudes, too, which hold little there."""
    mice = [torch.stack([Mouse(i).slice(z, (64, 56), 0.3) for z in (-3.0, -1.0)]) for i in range(2)]
    finer = [part(ifft2c(centre_pad(fft2c(images), (96, 84)))) for images in mice]
    measured = MeasuredSpectrum.of([part(images) for images in mice], (0.3, 0.3)).log_powers((64, 56), (0.3, 0.3))
    interpolated = MeasuredSpectrum.of(finer, (0.2, 0.2))
    found = interpolated.log_powers((64, 56), (0.3, 0.3))
    where = outside_centre((64, 56))
    difference = (found - measured)[:, where]
    assert (difference - difference.mean(1, keepdim=True)).abs().max() < 0.5  # of 15 from the centre to the corner
    with pytest.raises(ValueError, match="a reference must resolve what the scan does"):
        interpolated.log_powers((96, 84), (0.2, 0.2))
