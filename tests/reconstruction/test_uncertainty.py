import pytest
import torch

from lightning_mri.physics import GaussianLikelihood, sense
from lightning_mri.reconstruction import Uncertainty
from lightning_mri.sampling import DDS


def test_standard_deviation_is_about_the_image_and_never_below_the_noise() -> None:
    maps = torch.ones(1, 1, 1, 9, 7, dtype=torch.complex64)
    maps[..., :2] = 0
    likelihood = GaussianLikelihood(sense(maps), torch.zeros(1, 1, 9, 7, dtype=torch.complex64), torch.tensor([0.3]))
    x = torch.full((1, 9, 7), 2 + 0j)
    draws = torch.stack([x + 1, x + 3, -x])  # magnitudes 3, 5 and 2: errors 1, 3 and 0
    for smoothing in (0.0, 1.5):
        std = Uncertainty(DDS(), 3, smoothing, 2.0).std(draws, x, likelihood)
        assert bool((std[..., :2] == 0).all())
        torch.testing.assert_close(std[..., 2:], torch.full((1, 9, 5), (10 / 3 + 0.6**2) ** 0.5))
    spot = x.clone()
    spot[0, 4, 4] = 5
    spread = Uncertainty(DDS(), 2, 1.0, 0.0).std(torch.stack([spot, spot]), x, likelihood)[0].square()
    assert float(spread[4, 4]) == pytest.approx(9 / (2 * torch.pi), rel=0.05)
    assert float(spread[4, 5] / spread[4, 4]) == pytest.approx(2.71828**-0.5, rel=0.1)
