"""A slice of one coil is suspect where its noise level is not that of its data, and nowhere else."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from lightning_mri.physics import LowField, fft2c, ifft2c
from lightning_mri.reconstruction import Estimate, Guard, Residual, prepare_likelihood
from lightning_mri.reconstruction.symptoms import wrong_noise
from lightning_mri.scaling import Scaling


def low_field(image: Tensor, noise: float = 1.0, masked: bool = False) -> Estimate:
    """Return the true images of a scan of one coil, with a noise level that is so many times that of the scan."""
    measured = LowField(fwhm_mm=0.4, snr_db=(12, 12)).degrade(image, [1, 2, 3])
    y = fft2c(ifft2c(measured.y) * (image != 0)[:, None]) if masked else measured.y
    given = measured.replace(y=y, noise_std=noise * measured.noise_std)
    problem = prepare_likelihood(given, Scaling())
    x = image / problem.scale[:, None, None]
    return Estimate(problem, x, torch.zeros_like(x.real), problem.likelihood)


@pytest.mark.parametrize("factor", [0.01, 4.0, 100.0])
def test_a_wrong_noise_level_is_the_first_cause_where_there_is_one_coil(measured, factor) -> None:
    """Regression: 100 times the level passed in silence, and a hundredth of it was blamed on the coil maps."""
    reasons = Guard().reasons(low_field(measured.image, factor))
    assert list(reasons) == [0, 1, 2]
    assert all(reason.startswith("the noise level is ") for reason in reasons.values())
    assert not any("coil maps" in reason for reason in reasons.values())


def test_a_low_noise_level_that_the_image_fits_is_no_reason(known) -> None:
    low = replace(known, likelihood=known.likelihood.replace(noise_std=0.2 * known.likelihood.noise_std))
    reasons = [list(wrong_noise(low, Residual(torch.full((3,), r), torch.full((3,), 0.01)))) for r in (1.0, 5.0)]
    assert reasons == [[], [0, 1, 2]]


@pytest.mark.parametrize("masked", [False, True])
def test_the_true_noise_level_of_one_coil_is_no_reason(measured, masked) -> None:
    """Also where the image was set to zero around the object, which leaves no noise to find."""
    assert Guard().reasons(low_field(measured.image, masked=masked)) == {}
