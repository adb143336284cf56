from pathlib import Path

import numpy as np
import pytest
import sigpy.mri
import torch

from lightning_mri.physics import Acs, Equispaced, PoissonDisc, acs_image, estimate_maps, find_acs, ifft2c
from lightning_mri.tensors import complex_noise

from .phantom import coil_maps, head, kspace

SIZE, COILS = (76, 65), 5
BRAIN8 = Path(__file__).parents[3] / "shared/data/brain8/kspace.npy"
ALL = torch.ones(1, *SIZE, dtype=torch.bool)


def overlap(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """abs(sum over coils of conj(a) b) / (abs(a) abs(b)) in each pixel where both are not zero."""
    norms = torch.linalg.vector_norm(a, dim=-3) * torch.linalg.vector_norm(b, dim=-3)
    return ((a.conj() * b).sum(-3).abs() / norms)[norms > 0]


def square(width: int, size: tuple[int, int]) -> Acs:
    return Acs(*(slice(n // 2 - width // 2, n // 2 - width // 2 + width) for n in size))


def sigpy_maps(k: torch.Tensor, width: int, crop: float = 0.95) -> torch.Tensor:
    app = sigpy.mri.app.EspiritCalib(k.numpy(), calib_width=width, crop=crop, show_pbar=False)
    return torch.from_numpy(app.run())


@pytest.fixture(scope="module")
def scan() -> torch.Tensor:
    return kspace(coil_maps(COILS, SIZE), head(SIZE), 2e-3)


def test_agrees_with_sigpy_on_simulated_coils(scan):
    maps = estimate_maps(scan, ALL, square(24, SIZE), crop=0.95)
    reference = sigpy_maps(scan[0], 24)
    assert overlap(maps[0, 0], reference).mean() > 0.999
    support, expected = (m.abs().sum(-3) > 0 for m in (maps[0, 0], reference))
    assert (support != expected).float().mean() < 0.005


@pytest.mark.skipif(not BRAIN8.exists(), reason=f"needs the measured k-space {BRAIN8}")
def test_agrees_with_sigpy_on_a_measured_brain():
    k = torch.from_numpy(np.load(BRAIN8))
    mask = (k != 0).any(0, keepdim=True)
    maps = estimate_maps(k[None], mask, square(24, k.shape[-2:]), crop=0.95)
    reference = sigpy_maps(k, 24)
    assert find_acs(mask).shape == (24, 24)
    assert overlap(maps[0, 0], reference).mean() > 0.999
    assert ((maps[0, 0].abs().sum(0) > 0) != (reference.abs().sum(0) > 0)).float().mean() < 0.005


def test_recovers_the_true_maps_inside_the_object(scan):
    maps = estimate_maps(scan, Equispaced(3, 16).draw(SIZE, 0))[0, 0]
    inside = head(SIZE).abs() > 0.3
    assert overlap(maps * inside, coil_maps(COILS, SIZE)).min() > 0.999


@pytest.mark.parametrize(("n_lines", "model_error"), [(6, 0.06), (8, 0.03), (12, 0.015)])
def test_a_few_lines_are_enough(scan, n_lines, model_error):
    coils = coil_maps(COILS, SIZE) * head(SIZE)
    central, whole = square(n_lines, SIZE), square(64, SIZE)
    for block in (Acs(whole.y, central.x), Acs(central.y, whole.x)):
        maps = estimate_maps(scan, ALL, block)[:, 0]
        unexplained = coils - maps * (maps.conj() * coils).sum(1, keepdim=True)
        assert unexplained.norm() < model_error * coils.norm()


def test_maps_have_unit_norm_in_their_support(scan):
    power = estimate_maps(scan, ALL, n_sets=2).abs().square().sum(-3)
    assert torch.logical_or((power - 1).abs() < 1e-4, power == 0).all()


def test_two_sets_are_orthogonal_and_the_first_is_the_only_one_of_one_set(scan):
    one, two = (estimate_maps(scan, ALL, square(20, SIZE), n_sets=n, crop=0.3) for n in (1, 2))
    assert ((two[0, 0].conj() * two[0, 1]).sum(0).abs() < 1e-2).all()
    inside = head(SIZE).abs() > 0.3
    assert overlap(one[0, 0] * inside, two[0, 0]).min() > 0.9999


def test_a_folded_object_needs_two_sets():
    # a narrow field of view wraps the head onto itself: two places, two sensitivities, one pixel
    # (texture, because the sum of two smooth objects could pass for one)
    texture = complex_noise((48, 96), torch.Generator().manual_seed(0))
    maps, image = coil_maps(COILS, (48, 96)), head((48, 96)) * texture
    wrapped = (maps * image).unflatten(-1, (3, 32)).sum(-2)
    k = kspace(torch.ones(COILS, 1, 1), wrapped, 1e-4)
    mask = torch.ones(1, 48, 32, dtype=torch.bool)

    def unexplained(n_sets: int) -> float:
        s = estimate_maps(k, mask, n_sets=n_sets, crop=0.5)[0]
        explained = (s * (s.conj() * wrapped).sum(1, keepdim=True)).sum(0)
        return float((wrapped - explained).norm() / wrapped.norm())

    assert unexplained(2) < 0.1 * unexplained(1)


def test_phase_is_that_of_the_first_virtual_coil(scan):
    """Its phase is fixed by its largest entry; the eigenvectors of libraries, and of devices, differ in theirs."""
    maps = estimate_maps(scan, ALL, square(24, SIZE))[0, 0]
    flat = square(24, SIZE).crop(scan[0]).flatten(1)
    virtual = torch.from_numpy(np.linalg.svd(flat.numpy())[0][:, 0])
    virtual = virtual * virtual[virtual.abs().argmax()].conj().sgn()
    image = (virtual.conj()[:, None, None] * maps).sum(0)
    assert image.angle()[image.abs() > 0.1].abs().max() < 1e-3


def test_noise_level_keeps_noise_out_of_the_signal_subspace():
    noise_std = 0.05
    k = kspace(coil_maps(COILS, SIZE), head(SIZE), noise_std)
    inside = head(SIZE).abs() > 0.3

    def mean_overlap(std: float) -> float:
        maps = estimate_maps(k, ALL, noise_std=std)[0, 0]
        return float(overlap(maps * inside, coil_maps(COILS, SIZE)).mean())

    assert mean_overlap(noise_std) > 0.99
    assert mean_overlap(0.0) < mean_overlap(noise_std)


def test_the_noise_level_has_the_unit_of_the_data():
    k = complex_noise((1, 3, 40, 36), torch.Generator().manual_seed(0))
    k[..., 18:22, 16:20] *= 200
    mask = torch.ones(1, 40, 36, dtype=torch.bool)
    one, other = (estimate_maps(unit * k, mask, noise_std=unit) for unit in (1.0, 1024.0))
    assert bool(one.any())
    assert one.equal(other)


def test_noise_alone_has_no_signal_subspace():
    k = complex_noise((1, 4, 40, 40), torch.Generator().manual_seed(0))
    assert not estimate_maps(k, torch.ones(1, 40, 40, dtype=torch.bool), noise_std=1.1, crop=0.0).any()


def test_slices_have_their_own_maps():
    # maps of slice 0 used for every slice is a defect seen in public code
    first = kspace(coil_maps(COILS, SIZE), head(SIZE), 2e-3)
    both = torch.cat([first, first.roll(1, dims=1)])
    maps = estimate_maps(both, ALL)
    torch.testing.assert_close(maps[:1], estimate_maps(both[:1], ALL))
    torch.testing.assert_close(maps[1:], estimate_maps(both[1:], ALL))
    assert maps.shape == (2, 1, COILS, *SIZE)
    assert overlap(maps[0, 0], maps[1, 0]).mean() < 0.9


@pytest.mark.parametrize("pattern", [Equispaced(4, 12), PoissonDisc(4, 14)])
def test_nothing_but_acquired_samples_matters(scan, pattern):
    mask = pattern.draw(SIZE, 1)
    altered = torch.where(mask, scan, 1e3 * torch.ones_like(scan))
    maps = estimate_maps(scan, mask)
    assert torch.equal(maps, estimate_maps(altered, mask))
    assert torch.equal(acs_image(scan, mask), acs_image(altered, mask))
    assert torch.equal(acs_image(scan, mask, maps), acs_image(altered, mask, maps))


def test_one_coil_has_a_map_of_ones():
    maps = estimate_maps(kspace(torch.ones(1, 1, 1), head(SIZE), 1e-3), ALL)
    assert torch.equal(maps, torch.ones(1, 1, 1, *SIZE, dtype=torch.complex64))


def test_an_empty_slice_has_no_maps():
    maps = estimate_maps(torch.zeros(1, COILS, *SIZE, dtype=torch.complex64), ALL)
    assert (maps == 0).all()


@pytest.mark.parametrize("seed", range(20))
def test_one_huge_sample_does_not_keep_eigenvalues_from_converging(seed):
    k = complex_noise((1, 4, 40, 32), torch.Generator().manual_seed(seed)) * 1e-25
    k[0, seed % 4, 18 + seed % 5, 15] = 1 + 0.3j
    mask = torch.ones(1, 40, 32, dtype=torch.bool)

    maps = estimate_maps(k, mask, Acs(slice(8, 32), slice(6, 26)))

    assert bool(maps.isfinite().all())


def test_acs_image_of_all_of_k_space_is_the_image(scan):
    maps = coil_maps(COILS, SIZE)[None, None]
    expected = (maps[0].conj() * ifft2c(scan)).sum(1)
    torch.testing.assert_close(acs_image(scan, ALL, maps), expected)
    torch.testing.assert_close(acs_image(scan, ALL), ifft2c(scan).abs().square().sum(1).sqrt().to(torch.complex64))


def test_acs_image_is_the_object_blurred():
    image, maps = head(SIZE), coil_maps(COILS, SIZE)
    low = acs_image(kspace(maps, image, 0), Equispaced(4, 16).draw(SIZE, 0), maps[None, None])[0]
    assert 0.05 < (low - image).norm() / image.norm() < 0.3
    assert low.abs().max() == pytest.approx(float(image.abs().max()), rel=0.15)


def test_acs_image_of_two_sets_has_no_phase(scan):
    image = acs_image(scan, ALL, estimate_maps(scan, ALL, n_sets=2))
    assert image.shape == (1, *SIZE)
    assert torch.equal(image, image.abs().to(torch.complex64))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"n_sets": 6}, "n_sets must be between 1 and the number of coils, 5: got 6"),
        ({"acs": square(2, SIZE)}, r"at least as wide as the kernel, 3 x 3: got \(2, 2\)"),
        ({"mask": Equispaced(4, 0).draw(SIZE)}, "mask must hold a fully sampled block"),
    ],
)
def test_refuses_what_cannot_be_calibrated(scan, arguments, message):
    with pytest.raises(ValueError, match=message):
        estimate_maps(scan, **{"mask": ALL, **arguments})


def test_the_block_that_is_found_is_cut_to_32_lines():
    k, mask = complex_noise((1, 2, 40, 36), torch.Generator().manual_seed(0)), torch.ones(1, 40, 36, dtype=torch.bool)
    cut, whole = (estimate_maps(k, mask, acs, crop=0.0) for acs in (find_acs(mask).limited(), find_acs(mask)))
    assert estimate_maps(k, mask, crop=0.0).equal(cut)
    assert not cut.equal(whole)
