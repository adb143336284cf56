"""DPS along the ODE: its step written out with dense matrices, its limits, and its gradient."""

from itertools import pairwise

import pytest
import torch

from lightning_mri.physics import sense
from lightning_mri.sampling import DPS, EstimateType, Karras

from .conftest import SHAPE, AnySize, draw, vector
from .recursions import Dense


def test_a_whole_walk_is_the_published_step_written_out(smooth_prior, likelihood):
    """x_next = x + (s_next - s) (x - D) / s - (zeta / |r|) grad |r|^2, where grad |r|^2 = -2 K^H A^H (y - A D)."""
    sampler = DPS(n_steps=7, zeta=0.3, sigma_max=3.0, sigma_min=0.05)
    dense = Dense.of(smooth_prior, likelihood)
    columns = likelihood.A(torch.eye(20, dtype=torch.complex64).reshape(20, *SHAPE))
    A, y = columns.reshape(20, -1).T.to(torch.complex128), likelihood.y.flatten().to(torch.complex128)
    expected = 3.0 * vector(draw(*SHAPE, seed=4))
    for s, s_next in pairwise(Karras().sigmas(7, 3.0, 0.05).tolist()):
        K, k = dense.denoiser(s)
        denoised = K @ expected + k
        residual = y - A @ denoised
        gradient = -2 * K.mH @ A.mH @ residual
        expected = expected + (s_next - s) / s * (expected - denoised) - 0.3 / residual.norm() * gradient

    x = sampler.sample(smooth_prior, likelihood, [4])[0]

    torch.testing.assert_close(vector(x), expected, rtol=0, atol=2e-4)


def test_without_weight_it_is_the_probability_flow_of_the_prior(smooth_prior, likelihood):
    """For N(m, C) the flow from sigma_max ends at m + sqrt(C / (C + sigma_max^2)) (x - m)."""
    sampler = DPS(n_steps=100, zeta=0.0, sigma_max=5.0, sigma_min=0.002)

    x = sampler.sample(smooth_prior, likelihood, [4])[0]

    values, basis = torch.linalg.eigh(smooth_prior.covariance)
    m = vector(smooth_prior.mean)
    start = 5.0 * vector(draw(*SHAPE, seed=4)) - m
    expected = m + basis @ ((values / (values + 25)).sqrt() * (basis.mH @ start))
    assert (vector(x) - expected).norm() < 0.05 * (expected - m).norm()


def test_the_data_count_by_zeta_and_not_by_their_noise(smooth_prior, likelihood):
    """An image follows the data the more, the larger zeta; the posterior would heed the noise level instead."""
    loose = likelihood.replace(noise_std=torch.tensor(50.0))
    misfits = []
    for zeta in (0.0, 0.05, 0.2):
        sampler = DPS(n_steps=25, zeta=zeta, sigma_max=3.0)
        x = sampler.sample(smooth_prior, likelihood, [4])[0]
        misfits.append(likelihood.A.adjoint(likelihood.residual(x)).norm().item())
        assert torch.equal(sampler.sample(smooth_prior, loose, [4])[0], x)

    assert misfits[0] > 2 * misfits[1] > 4 * misfits[2]


@pytest.mark.parametrize("n_sets", [1, 2])
def test_gradients_in_groups_are_those_of_the_whole(likelihood, n_sets):
    maps = draw(3, n_sets, 2, *SHAPE, seed=1)
    whole = likelihood.replace(A=sense(maps), y=draw(3, 2, *SHAPE, seed=2), noise_std=torch.ones(3))
    labels = torch.tensor([0, 1, 1])

    one, all_at_once = (
        DPS(n_steps=3, n_parallel=n).sample(AnySize(error=0.05), whole, [3, 4], labels) for n in (1, 100)
    )

    assert one.shape == (2, 3, *([2] if n_sets == 2 else []), *SHAPE)
    torch.testing.assert_close(one, all_at_once)


def test_activations_are_computed_again_only_where_others_wait(likelihood):
    """Memory is that of one image in either case; alone, an image is spared the second evaluation."""
    n_evaluations = []
    for seeds in ([3], [3, 4]):
        prior = AnySize(error=0.05)
        DPS(n_steps=3, n_parallel=1).sample(prior, likelihood, seeds)
        n_evaluations.append(len(prior.seen))

    assert n_evaluations == [3, 12]


def test_what_it_returns_is_a_plain_estimate(likelihood):
    x = DPS(n_steps=2).sample(AnySize(), likelihood, [0])

    assert not x.requires_grad
    assert DPS().estimate_type is EstimateType.POINT
    assert DPS().nfe == 500
