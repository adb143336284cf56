"""A scan with coils of zeros is reconstructed as without them, and says so."""

import torch

from lightning_mri.reconstruction import Reconstructor, prepare
from lightning_mri.sampling import HQS
from lightning_mri.scaling import Scaling
from lightning_mri.tensors import complex_noise


def padded(kspace: torch.Tensor, n: int = 2) -> torch.Tensor:
    return torch.cat([torch.zeros_like(kspace[:, :1]).expand(-1, n, -1, -1), kspace], 1)


def test_coils_of_zeros_change_nothing_and_are_named(measured) -> None:
    alone = prepare(measured.kspace, measured.mask, Scaling())
    found = prepare(padded(measured.kspace), measured.mask, Scaling())
    for name in ("scale", "maps", "noise_std"):
        assert torch.equal(getattr(found, name), getattr(alone, name)), name
    assert (found.findings.n_coils, found.findings.n_virtual_coils) == (7, None)
    assert [texts[0] for texts in found.warnings] == ["coils of zeros are left out: 0, 1"] * 3


def test_a_coil_that_is_dead_in_one_slice_does_not_depend_on_the_others(measured, prior) -> None:
    kspace = measured.kspace[:, :2].clone()
    kspace[1, 1] = 0  # one coil is left, of which no maps are found
    reconstructor = Reconstructor(prior, HQS(n_steps=4), uncertainty=None)
    together = reconstructor.reconstruct(kspace, measured.mask)
    alone = reconstructor.reconstruct(kspace[1:2], measured.mask, slices=[1])
    assert torch.equal(together.image[1], alone.image[0])
    assert [text for text in together.warnings if "slice 1:" in text] == list(alone.warnings)
    for name in ("noise_std", "scale", "noise_ratio"):
        mine, one = (getattr(each.findings, name) for each in (together, alone))
        torch.testing.assert_close(mine[1:2], one, rtol=1e-3, atol=0)


def test_a_channel_that_was_dead_in_the_noise_scan_is_left_out(measured) -> None:
    covariance = torch.eye(5, dtype=torch.complex64)
    covariance[0, 0] = 0
    found = prepare(measured.kspace, measured.mask, Scaling(), noise_covariance=covariance)
    alone = prepare(measured.kspace[:, 1:], measured.mask, Scaling(), noise_covariance=covariance[1:, 1:])
    assert torch.equal(found.maps, alone.maps)
    assert found.warnings == (("coils of zeros are left out: 0",),) * 3


def test_a_dead_and_a_noisy_coil_are_named_by_their_numbers(measured, simulate) -> None:
    kspace = padded(simulate(measured.mask, noise_std=3.0).kspace)
    kspace[:, 4] += 30 * complex_noise(kspace[:, 4].shape, torch.Generator().manual_seed(0)) * measured.mask
    found = prepare(kspace, measured.mask, Scaling())
    for texts in found.warnings:
        assert texts[0] == "coils of zeros are left out: 0, 1"
        assert "counted less by whitening: 4 (" in texts[1]


def test_double_precision_gives_the_same(measured, prior) -> None:
    reconstructor = Reconstructor(prior, HQS(n_steps=2), uncertainty=None)
    single, double = (
        reconstructor.reconstruct(kspace, measured.mask).image
        for kspace in (measured.kspace, measured.kspace.to(torch.complex128))
    )
    assert torch.equal(single, double)
