"""Two halves make one complex image, and the range of stored phase tells its unit."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch

from lightning_mri.io.complex_images import ComplexArray, image_scan, phase_scale
from lightning_mri.io.geometry import Geometry
from lightning_mri.physics import fft2c, ifft2c
from lightning_mri.tensors import centre_pad, complex_noise
from tests.builders import InMemory
from tests.physics.phantom import head


def values(numbers: np.ndarray, name: str = "a.nii") -> InMemory:
    return InMemory(numbers, name, "image")


RNG = np.random.default_rng(0)
X = RNG.standard_normal((3, 5, 7)) + 1j * RNG.standard_normal((3, 5, 7))
X[0, 0, 0] = -1  # so that the phase spans its whole range
TURN = np.angle(X)


def test_real_and_imaginary_parts_make_the_image() -> None:
    np.testing.assert_allclose(ComplexArray(values(X.real), values(X.imag))[1:3].numpy(), X[1:3], rtol=1e-6)


@pytest.mark.parametrize(
    ("stored", "name"),
    [
        (TURN, "radians"),
        (TURN % (2 * math.pi), "radians"),
        (np.degrees(TURN), "degrees"),
        (np.degrees(TURN) % 360, "degrees"),
        (np.rint(TURN * 1000), "thousandths of a radian"),
        (np.rint(TURN % (2 * math.pi) * 1000), "thousandths of a radian"),
        (TURN / math.pi * 4096, "-4096 ... 4095 for -pi ... pi"),
        ((TURN / math.pi + 1) * 2048, "0 ... 4095 for -pi ... pi"),
    ],
)
def test_phase_is_understood_in_every_unit_that_scanners_write(stored: np.ndarray, name: str) -> None:
    scale = phase_scale(values(stored))
    assert scale.name == name
    image = ComplexArray(values(np.abs(X)), values(stored), scale)[:].numpy()
    np.testing.assert_allclose(image, X, rtol=1e-3)


def test_a_narrow_range_is_taken_for_the_smallest_unit_that_holds_it() -> None:
    """Phase of -1200 ... 1000 around a field map's zero: thousandths, not 4096ths of half a turn."""
    phase = np.linspace(-1.2, 1.0, 35).reshape(1, 5, 7)
    stored = values(np.rint(1000 * phase))
    scale = phase_scale(stored)
    assert scale.name == "thousandths of a radian (its range, -1200 ... 1000, leaves that open)"
    np.testing.assert_allclose(np.angle(ComplexArray(values(np.ones((1, 5, 7))), stored, scale)[:]), phase, atol=1e-3)


def test_radians_that_fill_no_turn_may_be_another_unit() -> None:
    """Regression: phase of -1 ... 1 in units of pi passed for radians without a word, 2.1 rad off."""
    assert phase_scale(values(TURN / math.pi)).name.startswith("radians (its range, -0.9")


@pytest.mark.parametrize("stored", [TURN * 5000, np.abs(TURN) * 9000])
def test_a_range_that_is_no_phase_is_refused(stored: np.ndarray) -> None:
    with pytest.raises(ValueError, match=r"p.nii: phase must be in radians, degrees, in 0 ... 4095 or"):
        phase_scale(values(stored, "p.nii"))


@pytest.mark.parametrize("step", [0.0, 1 / 2048], ids=["single precision", "12 bits"])
def test_what_was_filled_in_to_interpolate_an_image_was_not_measured(step: float) -> None:
    """Regression: the noise was read off the filled edge of k-space, 10^-7 of what it was."""
    x = head((24, 21)) + 0.03 * complex_noise((3, 24, 21), torch.Generator().manual_seed(0))
    fine = ifft2c(centre_pad(fft2c(x), (48, 45)))
    fine = fine / fine.abs().max()
    fine = torch.complex(*((part / step).round() * step if step else part for part in (fine.real, fine.imag)))
    scan = image_scan(Path("a.nii"), values(fine.numpy()), Geometry(), True, ())
    measured = centre_pad(torch.ones(1, 24, 21), (48, 45)) > 0
    assert torch.equal(scan.mask, measured)
    assert any("interpolated: k-space was measured in 24 x 21 of 48 x 45 samples" in text for text in scan.warnings)
    as_measured = image_scan(Path("a.nii"), values(x.numpy()), Geometry(), True, ())
    assert as_measured.mask.all()
    assert len(as_measured.warnings) == 1


def test_halves_of_different_size_are_refused() -> None:
    with pytest.raises(ValueError, match=r"b.nii: image must have the shape of its other half a.nii"):
        ComplexArray(values(X.real), values(X.imag[:2], "b.nii"))
