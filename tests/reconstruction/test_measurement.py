"""A measurement is the same however it lies in memory, and whether or not the caller records gradients."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from lightning_mri.physics import GaussianLikelihood, sense
from lightning_mri.reconstruction import Guard, Measurement, Reconstruction, Reconstructor, Uncertainty, prepare
from lightning_mri.sampling import DDS, DPS, HQS, Sampler
from lightning_mri.scaling import Scaling

DRAWS = Uncertainty(DDS(n_steps=2, refinement=None), 2)
SAMPLERS = [HQS(n_steps=2), DPS(n_steps=3, zeta=0.1)]


def test_slices_are_prepared_together_where_the_same_coils_are_live_and_the_same_lines_measured(measured) -> None:
    kspace, lines = measured.kspace[[0, 1, 2, 0]], measured.kspace[[0, 1, 2, 0]]
    kspace[1:3, 0] = 0
    assert Measurement(kspace, measured.mask).groups() == [[0, 3], [1, 2]]
    lines[2, :, :, measured.mask[0, 0]] = 0
    lines[2, ..., 20] = 1
    assert Measurement(kspace, measured.mask, calibration=lines).groups() == [[0, 3], [1], [2]]


def test_rows_are_those_of_kspace_and_calibration(measured) -> None:
    whole = Measurement(measured.kspace, measured.mask, calibration=2 * measured.kspace)
    some = whole.rows([2, 0])
    assert torch.equal(some.kspace, measured.kspace[[2, 0]])
    assert some.calibration is not None
    assert torch.equal(some.calibration, 2 * some.kspace)
    assert whole.rows(range(3)) is whole


def coils_last(x: Tensor) -> Tensor:
    """Return the same numbers with the axis of coils fastest in memory."""
    moved = x.movedim(-3, -1).contiguous().movedim(-1, -3)
    assert not moved.is_contiguous()
    return moved


def recorded(x: Tensor) -> Tensor:
    """Return the same numbers, of which autograd takes note."""
    return x.clone().requires_grad_()


def reconstruct(measured, prior, sampler: Sampler, change: Callable[[Tensor], Tensor], known: bool) -> Reconstruction:
    kspace, maps = measured.kspace[:1], measured.maps[:1, None]
    reconstructor = Reconstructor(prior, sampler, uncertainty=DRAWS, guard=Guard(fallbacks=()))
    if known:
        A = sense(change(maps), measured.mask)
        return reconstructor.reconstruct_known(GaussianLikelihood(A, change(kspace), torch.tensor([0.5])))
    return reconstructor.reconstruct(change(kspace), measured.mask.mT.contiguous().mT)


@pytest.mark.parametrize("change", [coils_last, recorded])
@pytest.mark.parametrize("known", [False, True])
@pytest.mark.parametrize("sampler", SAMPLERS)
def test_neither_memory_nor_gradients_change_a_bit(measured, prior, sampler: Sampler, known: bool, change) -> None:
    plain = reconstruct(measured, prior, sampler, lambda x: x, known)
    other = reconstruct(measured, prior, sampler, change, known)
    for name in ("image", "std", "null_space"):
        expected, found = getattr(plain, name), getattr(other, name)
        assert torch.equal(found, expected)
        assert not found.requires_grad
    assert other.warnings == plain.warnings


def test_a_prepared_problem_has_no_gradients_and_the_same_bits(measured) -> None:
    plain = prepare(measured.kspace, measured.mask, Scaling())
    for change in (coils_last, recorded):
        other = prepare(change(measured.kspace), measured.mask.mT.contiguous().mT, Scaling())
        for found, expected in ((other.likelihood.y, plain.likelihood.y), (other.maps, plain.maps)):
            assert torch.equal(found, expected)
            assert not found.requires_grad
