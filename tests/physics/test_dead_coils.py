"""Coils of zeros, which dead channels leave and to which arrays are padded, change nothing."""

import math

import pytest
import torch

from lightning_mri.phantoms import Scanner
from lightning_mri.physics import (
    Equispaced,
    NonlinearInversion,
    PoissonDisc,
    compress_coils,
    estimate_maps,
    estimate_noise_std,
    find_acs,
    live_coils,
    sense,
    whiten_live,
    whiten_noisy_coils,
)
from lightning_mri.physics.combination import combine_coils
from lightning_mri.physics.likelihood import GaussianLikelihood
from lightning_mri.tensors import complex_noise

SIZE = (48, 40)
MASKS = [Equispaced(2.0, 12).draw(SIZE, 0), PoissonDisc(2.0, 16).draw(SIZE, 0)]


def measured(n_coils: int = 4, seed: int = 0) -> torch.Tensor:
    y, x = torch.meshgrid(torch.linspace(-1, 1, SIZE[0]), torch.linspace(-1, 1, SIZE[1]), indexing="ij")
    image = (y**2 + x**2 < 0.4) * (1 + 0.3 * torch.sin(9 * y) * torch.cos(11 * x))
    clean = Scanner(n_coils, math.inf, 1).measure(image[None].to(torch.complex64), 0, (4.0, 4.0))
    return clean + 0.05 * complex_noise(clean.shape, torch.Generator().manual_seed(seed))


def padded(kspace: torch.Tensor, n: int = 3) -> torch.Tensor:
    """Put coils of zeros behind the first coil."""
    return torch.cat([kspace[:, :1], torch.zeros_like(kspace[:, :1]).expand(-1, n, -1, -1), kspace[:, 1:]], 1)


@pytest.mark.parametrize("mask", MASKS)
def test_the_noise_level_is_that_of_the_live_coils(mask) -> None:
    k = measured() * mask
    assert torch.equal(estimate_noise_std(padded(k), mask), estimate_noise_std(k, mask))
    two = torch.cat([padded(k), measured(7, seed=1) * mask])
    assert torch.equal(estimate_noise_std(two, mask)[:1], estimate_noise_std(k, mask))


@pytest.mark.parametrize("mask", MASKS)
def test_a_noisy_coil_beside_dead_ones_is_whitened(mask) -> None:
    k = measured(6) * mask
    k[:, 4] += 0.5 * complex_noise((1, *SIZE), torch.Generator().manual_seed(2)) * mask

    white, (found,) = whiten_noisy_coils(padded(k, 8), mask)
    alone, (other,) = whiten_noisy_coils(k, mask)

    assert list(found.ratios) == [12]
    assert found.ratios[12] == other.ratios[4]
    torch.testing.assert_close(white, padded(alone, 8))


def test_maps_of_the_other_coils_are_the_same() -> None:
    mask, k = MASKS[0], measured()
    acs = find_acs(mask)
    for n_sets in (1, 2):
        found = estimate_maps(padded(k), mask, acs, 0.05, n_sets)
        assert torch.equal(found, torch.stack([padded(each) for each in estimate_maps(k, mask, acs, 0.05, n_sets)]))
    one, other = (NonlinearInversion().maps(each * mask, mask, acs, 0.05)[:, 0] for each in (k, padded(k)))
    # the order of the coils alone changes an inversion by 1e-3: it stops at other iterations
    torch.testing.assert_close(other, padded(one), rtol=0, atol=1e-2)
    alone = estimate_maps(padded(k[:, :1]), mask, acs)
    assert alone[0, 0].sum((-2, -1)).real.tolist() == [SIZE[0] * SIZE[1], 0, 0, 0]


def test_few_live_coils_of_a_large_array_stay_as_they_are() -> None:
    k = measured()
    small = compress_coils(padded(k, 9), 5, find_acs(MASKS[0]))
    assert torch.equal(small, torch.cat([k, torch.zeros_like(k[:, :1])], 1))


def test_whitening_leaves_out_what_was_dead_in_the_noise_scan_or_in_a_slice() -> None:
    k = torch.ones(2, 3, 1, 1, dtype=torch.complex64)
    covariance = torch.diag(torch.tensor([0.0, 4.0, 1.0])).to(torch.complex64)
    live = torch.tensor([[False, True, True], [False, False, True]])
    # in units of the mean noise of the coils that count: 1 / sqrt(4 / 2.5), 1 / sqrt(1 / 2.5); 1
    expected = torch.tensor([[0.0, 0.625**0.5, 2.5**0.5], [0.0, 0.0, 1.0]])
    torch.testing.assert_close(whiten_live(k, covariance, live)[..., 0, 0].real, expected)
    with pytest.raises(ValueError, match="Hermitian positive definite"):
        whiten_live(k, 0 * covariance, torch.ones(2, 3, dtype=torch.bool))


def test_a_noise_scan_of_zeros_kills_no_coil() -> None:
    k = padded(measured(2), 1)
    assert live_coils(k, torch.zeros(3, 3, dtype=torch.complex64)).equal(live_coils(k))


def test_nothing_of_a_coil_that_is_dead_in_the_noise_scan_counts() -> None:
    k, covariance = measured(), torch.diag(torch.tensor([1.0, 1, 1, 0])).to(torch.complex64)
    k[:, 3] = 0
    silent = combine_coils(k, SIZE, 24, covariance)
    k[0, 3, 40, 3] = 1e6  # a spike
    found = combine_coils(k, SIZE, 24, covariance)
    assert (found.image.equal(silent.image), found.warnings) == (True, silent.warnings)


@pytest.mark.parametrize("dead_in_noise_scan", [False, True])
def test_fully_sampled_coils_are_combined_without_them(dead_in_noise_scan: bool) -> None:
    k, mixing = measured(), torch.eye(4) + 0.2
    covariance = (mixing @ mixing.mT).to(torch.complex64)
    wide = torch.eye(7, dtype=torch.complex64) * (0 if dead_in_noise_scan else 3)
    rows = torch.tensor([0, 4, 5, 6])
    wide[rows[:, None], rows] = covariance
    for few, many in ((None, None), (covariance, wide)):
        alone, found = (combine_coils(one, (48, 40), 24, c) for one, c in ((k, few), (padded(k), many)))
        torch.testing.assert_close(found.image, alone.image)
        assert found.warnings == (("coils of zeros are left out: 1, 2, 3",),)
        assert alone.warnings == ((),)


def test_samples_that_no_coil_measured_do_not_count_in_the_residual() -> None:
    k = measured() * MASKS[0]
    maps = torch.full((1, 1, 4, *SIZE), 0.5 + 0j)
    zero = torch.zeros(1, *SIZE, dtype=torch.complex64)
    alone = GaussianLikelihood(sense(maps, MASKS[0]), k, torch.tensor([0.05]))
    wide = GaussianLikelihood(sense(padded(maps[0])[None], MASKS[0]), padded(k), torch.tensor([0.05]))
    assert torch.equal(wide.n_acquired, alone.n_acquired)
    torch.testing.assert_close(wide.residual_std(zero), alone.residual_std(zero))


def test_double_precision_is_rounded_to_single() -> None:
    k = measured()
    assert torch.equal(estimate_maps(k.to(torch.complex128), MASKS[0]), estimate_maps(k, MASKS[0]))
    assert torch.equal(combine_coils(k.to(torch.complex128), SIZE).image, combine_coils(k, SIZE).image)
