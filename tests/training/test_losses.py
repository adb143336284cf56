"""The supervised loss, and losses told apart by noise level."""

import pytest
import torch

from lightning_mri.diffusion import EDM, NetworkPrior
from lightning_mri.models import LightUNet
from lightning_mri.physics import LowField
from lightning_mri.tensors import complex_noise
from lightning_mri.training import PriorModule, SupervisedReconstruction
from lightning_mri.training.losses import LossByLevel


def untrained(**process: float) -> NetworkPrior:
    torch.manual_seed(0)
    return NetworkPrior(LightUNet(widths=(8,), n_blocks=1, embedding=16), EDM(**process))


def test_an_untrained_network_pays_for_what_the_scanner_took() -> None:
    """F = 0, so that D = c_skip (A^H y + sigma z); with a scanner that only adds noise, the error is known."""
    prior, x = untrained(sigma_data=0.5, p_mean=-1.0, p_std=1e-6), complex_noise((64, 20, 24)) * 0.5
    clean = SupervisedReconstruction(LowField(snr_db=(100.0, 100.0)))
    noisy = SupervisedReconstruction(LowField(snr_db=(3.0, 3.0)))
    label, generator = torch.zeros(64, dtype=torch.int64), torch.Generator().manual_seed(1)
    sigma, variance = torch.tensor(-1.0).exp(), 0.25
    skip = variance / (variance + sigma**2)
    weight = prior.process.loss_weight(sigma)
    for loss, measured in ((clean, 0.0), (noisy, variance / 10**0.3)):
        expected = weight * ((1 - skip) ** 2 * variance + skip**2 * (sigma**2 + measured))
        assert loss(prior, x, label, generator).item() == pytest.approx(float(expected), rel=0.03)


def test_what_is_drawn_follows_the_generator() -> None:
    prior, x, label = untrained(), complex_noise((3, 16, 12)), torch.zeros(3, dtype=torch.int64)
    loss = SupervisedReconstruction(LowField(b0_hz=20.0))
    first, again, other = (loss(prior, x, label, torch.Generator().manual_seed(seed)) for seed in (3, 3, 4))
    assert first == again
    assert first != other


def test_an_image_of_air_alone_does_not_count() -> None:
    """Regression: a part of an image without signal ended the run."""
    prior, x, label = untrained(), complex_noise((3, 16, 12)), torch.zeros(3, dtype=torch.int64)
    loss, sizes = SupervisedReconstruction(LowField(fwhm_mm=0.4)), ((0.1, 0.1), (0.2, 0.2), (0.3, 0.3))
    x[1], kept = 0, [0, 2]
    support = torch.ones(3, 16, 12, dtype=torch.bool)
    whole = loss(prior, x, label, torch.Generator().manual_seed(3), support, sizes)
    without = (x[kept], label[kept], torch.Generator().manual_seed(3), support[kept], (sizes[0], sizes[2]))
    assert whole == loss(prior, *without)
    assert loss(prior, 0 * x, label) == 0


def test_the_blur_is_in_mm_whatever_the_pixels_of_an_image() -> None:
    prior, x, label = untrained(), complex_noise((2, 16, 12)), torch.zeros(2, dtype=torch.int64)
    sizes, generator = ((0.1, 0.12), (0.3, 0.2)), torch.Generator()
    in_mm, in_pixels = (
        SupervisedReconstruction(LowField(fwhm_mm=0.4, pixel_size=size, snr_db=(90, 90))) for size in (9.0, 0.1)
    )
    mixed = in_mm(prior, x, label, generator.manual_seed(2), None, sizes)
    assert mixed == SupervisedReconstruction(LowField(fwhm_mm=0.4, snr_db=(90, 90)))(
        prior, x, label, generator.manual_seed(2), None, sizes
    )
    assert mixed != in_pixels(prior, x, label, generator.manual_seed(2))


def test_pixels_outside_of_the_image_do_not_count() -> None:
    prior, x, label = untrained(), complex_noise((3, 16, 12)), torch.zeros(3, dtype=torch.int64)
    support = torch.ones(3, 16, 12, dtype=torch.bool)
    support[:, :, 8:] = False
    loss = PriorModule(prior.net, prior.process).loss
    sigma = torch.tensor([0.1, 0.5, 2.0])

    def paid(image: torch.Tensor) -> torch.Tensor:
        return loss.at(sigma, prior, image, label, torch.Generator().manual_seed(0), support).loss

    changed = x.clone()
    changed[:, :, 8:] = 100.0
    torch.testing.assert_close(paid(x), paid(changed))
    whole = loss.at(sigma, prior, x, label, torch.Generator().manual_seed(0)).loss
    assert not torch.allclose(paid(x), whole)


def test_losses_are_averaged_within_half_decades_until_they_are_reset() -> None:
    levels = LossByLevel()
    levels.update(torch.tensor([0.1, 0.32]), torch.tensor([1.0, 5.0]))
    levels.update(torch.tensor([0.12, 0.01, 1e-9, 1e9]), torch.tensor([2.0, 7.0, 8.0, 9.0]))
    assert levels.compute() == {"sigma_0.0001": 8, "sigma_0.01": 7, "sigma_0.1": 1.5, "sigma_0.3": 5, "sigma_300": 9}
    levels.reset()
    levels.update(torch.tensor([0.1]), torch.tensor([3.0]))
    assert levels.compute() == {"sigma_0.1": 3}


@pytest.mark.parametrize(("rank", "n", "loss"), [(0, 2, 2.0), (1, 2, 4.0), (0, 3, 3.0), (2, 3, 1.0), (0, 1, 3.0)])
def test_sums_of_an_earlier_run_count_once_whatever_the_number_of_processes(rank: int, n: int, loss: float) -> None:
    earlier, now = [LossByLevel(), LossByLevel()], LossByLevel()
    for levels, value in zip(earlier, (2.0, 4.0), strict=True):
        levels.update(torch.tensor([0.1]), torch.tensor([value]))
    now.load([levels.sums.tolist() for levels in earlier], rank, n)
    now.load((), rank, n)  # of a run that noted none
    now.update(torch.tensor([1.0]), torch.tensor([1.0]))
    assert now.compute() == {**({} if rank == 2 else {"sigma_0.1": loss}), "sigma_1": 1.0}
