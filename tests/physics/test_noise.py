import math

import pytest
import torch

from lightning_mri.phantoms import Scanner
from lightning_mri.physics import (
    Equispaced,
    Gaussian1D,
    PoissonDisc,
    estimate_noise_std,
    noise_covariance,
    whiten,
    whiten_noisy_coils,
)
from lightning_mri.physics.noise import whiten_alike
from lightning_mri.tensors import complex_noise

from .phantom import coil_maps, head, kspace

SIZE, COILS = (120, 101), 6
PATTERNS = [Equispaced(1, 0), Equispaced(4, 16), Gaussian1D(8, 8), PoissonDisc(4, 20), PoissonDisc(8, 14)]


@pytest.fixture(scope="module")
def maps() -> torch.Tensor:
    return coil_maps(COILS, SIZE)


@pytest.mark.parametrize("pattern", PATTERNS)
@pytest.mark.parametrize("noise_std", [0.003, 0.1])
def test_recovers_the_noise_level(maps, pattern, noise_std):
    k = kspace(maps, head(SIZE), noise_std)
    assert estimate_noise_std(k, pattern.draw(SIZE, 0)).item() == pytest.approx(noise_std, rel=0.1)


@pytest.mark.parametrize("pattern", PATTERNS)
def test_nothing_but_acquired_samples_matters(maps, pattern):
    k, mask = kspace(maps, head(SIZE), 0.01), pattern.draw(SIZE, 0)
    assert torch.equal(estimate_noise_std(k, mask), estimate_noise_std(k * mask + 7 * ~mask, mask))


def test_an_object_that_fills_the_image_leaves_the_edge_of_k_space(maps):
    # no quiet row anywhere: signal in one point of k-space only
    k = 0.02 * complex_noise((1, COILS, *SIZE), torch.Generator().manual_seed(1))
    k[..., SIZE[0] // 2, :] += 100
    assert estimate_noise_std(k, Equispaced(4, 16).draw(SIZE, 0)).item() == pytest.approx(0.02, rel=0.1)


def test_sharp_objects_leave_the_quiet_rows(maps):
    sharp = (head(SIZE).abs() > 0.5) * (1 + torch.rand(SIZE, generator=torch.Generator().manual_seed(2)))
    k = kspace(maps, sharp.to(torch.complex64), 0.01)
    assert estimate_noise_std(k, Equispaced(4, 16).draw(SIZE, 0)).item() == pytest.approx(0.01, rel=0.1)


def test_zero_filled_samples_do_not_count(maps):
    k = kspace(maps, head(SIZE), 0.01)
    k[..., :15, :] = 0
    k[..., -15:, :] = 0
    assert estimate_noise_std(k, Equispaced(4, 16).draw(SIZE, 0)).item() == pytest.approx(0.01, rel=0.1)


def test_each_slice_has_its_own_level(maps):
    k = torch.cat([kspace(maps, head(SIZE), std) for std in (0.01, 0.05)])
    mask = torch.stack([Equispaced(4, 16).draw(SIZE, seed) for seed in (0, 1)])
    torch.testing.assert_close(estimate_noise_std(k, mask), torch.tensor([0.01, 0.05]), rtol=0.1, atol=0)


def test_whitened_noise_is_independent_and_of_unit_level():
    generator = torch.Generator().manual_seed(0)
    mixing = complex_noise((4, 4), generator)
    noise = mixing @ complex_noise((4, 20000), generator)
    white = whiten(noise[None, :, None], noise_covariance(noise))[0, :, 0]
    torch.testing.assert_close(noise_covariance(white), torch.eye(4, dtype=torch.complex64), rtol=0, atol=1e-3)
    assert white.real.std().item() == pytest.approx(1, rel=0.02)


def test_whitening_by_hand_keeps_zeros():
    covariance = torch.diag(torch.tensor([4.0, 0.25])).to(torch.complex64)
    k = torch.tensor([[2.0, 0.0], [1j, 0.0]], dtype=torch.complex64)[:, None]
    expected = torch.tensor([[1.0, 0.0], [2j, 0.0]], dtype=torch.complex64)[:, None]
    torch.testing.assert_close(whiten(k, covariance), expected)


def array(factors: list[float], seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """Return k-space of an ellipse without noise, and noise that is white but for a factor for each coil."""
    y, x = torch.meshgrid(torch.linspace(-1, 1, 48), torch.linspace(-1, 1, 40), indexing="ij")
    image = (y**2 + x**2 < 0.4) * (1 + 0.3 * torch.sin(9 * y) * torch.cos(11 * x))
    clean = Scanner(len(factors), math.inf, 1).measure(image[None].to(torch.complex64), 0, (4.0, 4.0))
    noise = complex_noise(clean.shape, torch.Generator().manual_seed(seed))
    return clean, 0.05 * torch.tensor(factors)[:, None, None] * noise


EQUAL = Equispaced(2.0, 12).draw((48, 40), 0)


@pytest.mark.parametrize("mask", [torch.ones_like(EQUAL), EQUAL])
@pytest.mark.parametrize("unit", [1e-30, 1.0, 1e30])
def test_coils_of_equal_noise_keep_every_bit(mask, unit):
    clean, noise = array([1.0, 1.5, 0.8, 1.0, 1.2, 0.7])
    kspace = unit * (clean + noise) * mask

    kept, found = whiten_noisy_coils(kspace, mask)

    assert kept is kspace
    assert found == (None,)
    assert whiten_noisy_coils(clean * mask, mask)[1] == (None,)  # rounding is no noise


@pytest.mark.parametrize("mask", [torch.ones_like(EQUAL), EQUAL, PoissonDisc(2.0, 16).draw((48, 40), 0)])
def test_a_coil_ten_times_as_noisy_is_found_and_whitened(mask):
    clean, noise = array([1.0, 1.0, 10.0, 1.0, 1.0, 1.0])
    kspace = (clean + noise) * mask

    white, (found,) = whiten_noisy_coils(kspace, mask)

    assert list(found.ratios) == [2]
    assert found.ratios[2] == pytest.approx(10, rel=0.2)
    levels = torch.linalg.solve_triangular(found.root, (noise * mask)[0].flatten(1), upper=False).abs().square().mean(1)
    assert (levels.max() / levels.min()).sqrt() < 1.3
    assert estimate_noise_std(white, mask).item() == pytest.approx(0.05, rel=0.2)
    torch.testing.assert_close(whiten_alike(kspace, [found]), white)
