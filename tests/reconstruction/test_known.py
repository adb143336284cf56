"""Scans of known operators: every shape that `sense` takes, own factors, no calibration block, and slices apart."""

from dataclasses import dataclass, replace

import pytest
import torch
from torch import Tensor

from lightning_mri.physics import (
    Composition,
    Equispaced,
    Fourier,
    GaussianLikelihood,
    LinearOperator,
    LowField,
    Maps,
    Mask,
    Phase,
    RandomUniform,
    fft2c,
    sense,
)
from lightning_mri.reconstruction import Guard, Reconstructor, prepare_likelihood
from lightning_mri.reconstruction.problem import LOWEST_NOISE
from lightning_mri.sampling import HQS
from lightning_mri.scaling import Scaling
from lightning_mri.tensors import relative_error


@dataclass(frozen=True, eq=False)
class Shift(LinearOperator):
    """A rigid shift of each slice, as a phase ramp in k-space."""

    ramp: Tensor

    def __call__(self, x: Tensor) -> Tensor:
        """Return the samples of the shifted slices."""
        return x * self.ramp

    def adjoint(self, y: Tensor) -> Tensor:
        """Return the samples of slices shifted back."""
        return y * self.ramp.conj()

    def rows(self, which: list[int]) -> "Shift":  # type: ignore[override]
        """Return the shift of some slices."""
        return Shift(self.ramp[which])


@pytest.fixture
def solver(prior) -> Reconstructor:
    return Reconstructor(prior, HQS(n_steps=8), uncertainty=None, guard=Guard(fallbacks=()))


def known(A: LinearOperator, x: Tensor) -> GaussianLikelihood:
    return GaussianLikelihood(A, A(x), torch.full((len(x),), 0.5))


def without_the_first(likelihood: GaussianLikelihood) -> GaussianLikelihood:
    return likelihood.replace(y=likelihood.y * torch.tensor([0, 1, 1])[:, None, None, None])


PHASE = torch.linspace(0, 1, 46)[:, None].expand(46, 40)
OPERATORS = {
    "mask of all": lambda maps, mask: sense(maps, mask),
    "mask of all, with an axis": lambda maps, mask: sense(maps, mask[None]),
    "maps of all": lambda maps, mask: sense(maps[0], mask.expand(3, 1, 46, 40)),
    "maps of all, with an axis": lambda maps, mask: sense(maps[:1], mask.expand(3, 1, 46, 40)),
    "phase of all": lambda maps, mask: sense(maps, mask.expand(3, 1, 46, 40), phase=Phase(PHASE)),
    "phase of all, with an axis": lambda maps, mask: sense(maps, mask, phase=Phase(PHASE[None])),
    "no mask": lambda maps, mask: sense(maps),
}


@pytest.mark.parametrize("make", OPERATORS.values(), ids=OPERATORS)
def test_slices_share_what_they_like(measured, solver, make) -> None:
    likelihood = known(make(measured.maps[:, None], measured.mask), measured.image)
    result = solver.reconstruct_known(likelihood)
    assert (relative_error(result.image, measured.image) < 0.1).all()
    alone = solver.reconstruct_known(likelihood.rows([2]), slices=[2])
    torch.testing.assert_close(result.image[2:], alone.image, rtol=1e-3, atol=0.1)
    others = solver.reconstruct_known(without_the_first(likelihood))
    torch.testing.assert_close(others.image[1:], result.image[1:], rtol=1e-3, atol=0.1)


@pytest.mark.parametrize("masked", [True, False])
def test_two_sets_of_maps(measured, solver, masked: bool) -> None:
    maps = torch.stack([measured.maps, measured.maps.roll(5, -1)], 1) * 0.5**0.5
    A = sense(maps, measured.mask if masked else None, phase=Phase(PHASE))
    likelihood = known(A, torch.stack([measured.image, 0 * measured.image], 1))
    result = solver.reconstruct_known(without_the_first(likelihood))
    assert result.usable.tolist() == [False, True, True]
    assert (relative_error(result.image, measured.image)[1:] < 0.3).all()


def test_own_factor_that_differs_by_slice_and_an_empty_slice(measured, solver) -> None:
    cycles = torch.tensor([0, 6, 12])[:, None] / 46
    ramp = torch.exp(2j * torch.pi * cycles * (torch.arange(46) - 23))[:, None, :, None].to(torch.complex64)
    A = Composition((Mask(measured.mask), Shift(ramp), Fourier(), Maps(measured.maps[:, None])))
    likelihood = known(A, measured.image)
    whole = solver.reconstruct_known(likelihood)
    assert (relative_error(whole.image, measured.image) < 0.1).all()
    result = solver.reconstruct_known(without_the_first(likelihood))
    torch.testing.assert_close(result.image[1:], whole.image[1:], rtol=1e-3, atol=0.1)


def test_known_maps_need_no_calibration_block(measured, solver) -> None:
    mask = torch.zeros_like(measured.mask)
    mask[..., ::2] = True
    likelihood = known(sense(measured.maps[:, None], mask), measured.image)
    result = solver.reconstruct_known(likelihood)
    assert (relative_error(result.image, measured.image) < 0.1).all()
    # the scale is that of the object, 200 but for its dark hole
    torch.testing.assert_close(result.findings.scale, torch.full((3,), 200.0), rtol=0.15, atol=0)


def test_the_scale_of_a_slice_is_that_of_its_own_mask(measured) -> None:
    masks = torch.zeros(3, 1, 46, 40, dtype=torch.bool)
    for row, half in enumerate((2, 6, 20)):
        masks[row, ..., 20 - half : 20 + half] = True
    likelihood = known(sense(measured.maps[:, None], masks), measured.image)
    together = prepare_likelihood(likelihood, Scaling()).scale
    alone = torch.cat([prepare_likelihood(likelihood.rows([row]), Scaling()).scale for row in range(3)])
    torch.testing.assert_close(together, alone)
    scanner = LowField(snr_db=(7, 7), pattern=RandomUniform(2.0, 8))
    low = scanner.degrade(measured.image, seeds=[1, 5, 9])
    scale = prepare_likelihood(low, Scaling()).scale
    torch.testing.assert_close(scale[:1], prepare_likelihood(low.rows([0]), Scaling()).scale)


def test_maps_of_any_unit_give_the_image_in_theirs(measured, solver) -> None:
    factors = torch.tensor([0.1, 1.0, 30.0])[:, None, None]
    likelihood = known(sense(measured.maps[:, None], measured.mask), measured.image)
    likelihood.y[0, 0, 23, 20] = torch.nan  # this slice is zero-filled
    other = likelihood.replace(A=sense(factors[..., None, None] * measured.maps[:, None], measured.mask))
    result, scaled = (solver.reconstruct_known(each) for each in (likelihood, other))
    torch.testing.assert_close(factors * scaled.image, result.image, rtol=1e-3, atol=0.1)
    assert torch.equal(scaled.image[1], result.image[1])
    assert torch.equal(scaled.findings.noise_std[1:], result.findings.noise_std[1:])


def test_the_mask_of_a_result_is_that_of_each_slice(measured, solver) -> None:
    masks = torch.stack([Equispaced(rate, 12).draw((46, 40), 0) for rate in (2.0, 3.0, 2.0)])
    likelihood = known(sense(measured.maps[:, None], masks), measured.image)
    assert torch.equal(solver.reconstruct_known(likelihood).mask, masks[:, 0])
    likelihood.y[1] = 0
    assert torch.equal(solver.reconstruct_known(likelihood).mask, masks[:, 0])
    assert torch.equal(solver.reconstruct_known(likelihood.rows([0, 2])).mask, masks[0])


def test_no_mask_is_a_mask_of_all(measured) -> None:
    maps = measured.maps[:, None]
    bare, masked = (known(sense(maps, mask), measured.image) for mask in (None, torch.ones_like(measured.mask)))
    scales = [prepare_likelihood(likelihood, Scaling()).scale for likelihood in (bare, masked)]
    torch.testing.assert_close(*scales)


def test_an_operator_without_maps_is_refused(measured) -> None:
    A = Composition((Mask(measured.mask), Fourier()))
    likelihood = GaussianLikelihood(A, fft2c(measured.image)[:, None] * measured.mask, torch.full((3,), 0.5))
    with pytest.raises(ValueError, match="must have a factor Maps: got Mask, Fourier"):
        prepare_likelihood(likelihood, Scaling())


def test_double_precision_is_rounded(measured, solver) -> None:
    likelihood = known(sense(measured.maps[:, None], measured.mask), measured.image)
    maps = Maps(measured.maps[:, None].to(torch.complex128))
    double = replace(likelihood, A=likelihood.A.replace(Maps, maps), y=likelihood.y.to(torch.complex128))
    assert torch.equal(solver.reconstruct_known(double).image, solver.reconstruct_known(likelihood).image)


@pytest.mark.parametrize("noise_std", [torch.tensor(0.5), torch.tensor([0.5])])
def test_one_noise_level_is_that_of_every_slice(measured, solver, noise_std: torch.Tensor) -> None:
    likelihood = known(sense(measured.maps[:, None], measured.mask), measured.image)
    result = solver.reconstruct_known(likelihood.replace(noise_std=noise_std))
    assert torch.equal(result.image, solver.reconstruct_known(likelihood).image)


def test_data_without_noise_have_the_lowest_level(measured) -> None:
    likelihood = known(sense(measured.maps[:, None], measured.mask), measured.image)
    problem = prepare_likelihood(likelihood.replace(noise_std=torch.zeros(3)), Scaling())
    assert problem.likelihood.noise_std.tolist() == pytest.approx([LOWEST_NOISE] * 3)
