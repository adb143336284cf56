import torch

from lightning_mri.physics import Maps
from lightning_mri.reconstruction import Estimate, Problem, measure_residual
from lightning_mri.reconstruction.result import Finished


def test_the_residual_is_that_of_the_maps_as_calibrated_and_not_as_refined(known: Problem) -> None:
    x = known.likelihood.adjoint()
    refined = known.likelihood.replace(A=known.likelihood.A.replace(Maps, Maps(1.1 * known.maps)))
    finished = Finished.of(Estimate(known, x, torch.zeros_like(x.real), refined), None)
    assert finished.noise_ratio.equal(measure_residual(known.likelihood, x).noise_ratio)
