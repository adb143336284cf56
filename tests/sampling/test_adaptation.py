"""Re-estimation of the noise level, and refinement of the coil maps as part of a trajectory."""

import pytest
import torch

from lightning_mri.physics import Fourier, GaussianLikelihood, Maps, Mask, cg_sense, sense
from lightning_mri.sampling import HQS, MapRefinement, NoiseReestimation
from lightning_mri.sampling.adaptation import data_consistency

from .conftest import SHAPE, AnySize, draw, gram, vector


def scan_with_wrong_maps():
    """Return a likelihood whose maps are smoothly wrong, and the true image."""
    y, x = torch.meshgrid(torch.linspace(-1, 1, 33), torch.linspace(-1, 1, 28), indexing="ij")
    image = torch.polar(1.0 * ((y / 0.9) ** 2 + (x / 0.8) ** 2 < 1) * (1 + 0.3 * torch.sin(9 * y * x)), x)
    coils = [torch.exp(-((y - v) ** 2 + (x - u) ** 2) / 3 + 1j * u * y) for v, u in [(-1, 1), (1, 1), (1, -1)]]
    true = torch.stack(coils)[None].to(torch.complex64)
    wrong = true * torch.exp(0.3j * torch.stack([torch.cos(2 * x), torch.sin(2 * y), torch.cos(x + y)]))
    true, wrong = (maps / maps.abs().square().sum(1, keepdim=True).sqrt() for maps in (true, wrong))
    mask = (torch.arange(28) % 2 == 0) | ((torch.arange(28) - 14).abs() < 4)
    mask = mask.expand(1, 33, 28)
    kspace = sense(true, mask)(image)
    return GaussianLikelihood(sense(wrong, mask), kspace, torch.tensor(0.001)), image


def test_the_noise_level_grows_with_what_is_not_explained(likelihood):
    x = draw(4, *SHAPE, seed=0)

    level = NoiseReestimation(kappa=0.25).noise_std(likelihood, x)

    torch.testing.assert_close(level, (0.5 * likelihood.residual_std(x)).clamp(min=0.2))
    assert level.shape == (4,)


def test_the_noise_level_never_falls_below_the_given_one(likelihood):
    best = cg_sense(likelihood)[None]

    torch.testing.assert_close(NoiseReestimation(kappa=0).noise_std(likelihood, 100 * best), torch.tensor([0.2]))
    assert NoiseReestimation(kappa=1e-6).noise_std(likelihood, best).item() == pytest.approx(0.2)


def test_cg_sense_is_regularised_least_squares(likelihood):
    """Regression: with unconjugated inner products it would stall."""
    start = cg_sense(likelihood)

    M = gram(likelihood)
    expected = torch.linalg.solve(M + 0.02 * torch.eye(len(M)), vector(likelihood.adjoint()))
    torch.testing.assert_close(vector(start), expected, rtol=0, atol=1e-4)


def test_maps_are_refined_within_their_levels_and_kept_above_and_below():
    likelihood, image = scan_with_wrong_maps()
    rule = MapRefinement(sigma_max=0.2, sigma_min=0.1)

    for outside in (0.21, 0.09):
        assert data_consistency(likelihood, image, 0.01, outside, NoiseReestimation(), rule, 10)[1] is likelihood
    for inside in (0.2, 0.1):
        x, refined = data_consistency(likelihood, image, 0.01, inside, NoiseReestimation(), rule, 10)
        assert refined.residual_std(x) < 0.5 * likelihood.residual_std(x)


def test_a_single_coil_has_no_map_to_refine():
    likelihood = scan_with_wrong_maps()[0]
    one = likelihood.replace(A=likelihood.A.replace(Maps, Maps(torch.ones(1, 1, 33, 28, dtype=torch.complex64))))
    one = one.replace(y=likelihood.y[:1])

    assert MapRefinement().refine(one, cg_sense(one), one.noise_std, 0.02) is one


def test_a_scan_without_maps_has_none_to_refine():
    A = Mask(torch.ones(1, 8, 6, dtype=torch.bool)) @ Fourier()
    likelihood = GaussianLikelihood(A, draw(1, 8, 6, seed=0), torch.tensor(0.1))

    assert MapRefinement().refine(likelihood, draw(1, 8, 6, seed=1), likelihood.noise_std, 0.02) is likelihood


def test_refinement_makes_the_image_explain_the_data_better():
    likelihood, image = scan_with_wrong_maps()
    ends = {}
    early = MapRefinement(sigma_max=0.3, sigma_min=0)
    for refinement in (None, early):
        seen = []
        sampler = HQS(n_steps=10, refinement=refinement)
        x = sampler.sample(AnySize(), likelihood, [0], progress=seen.append)[0]
        magnitude_error = (x.abs() - image.abs()).norm() / image.norm()
        ends[refinement] = magnitude_error.item(), seen[-1].likelihood.residual_std(seen[-1].x).item()

    assert ends[early][0] < 0.8 * ends[None][0]
    assert ends[early][1] < 0.5 * ends[None][1]


def test_each_sample_refines_its_own_maps():
    likelihood, _ = scan_with_wrong_maps()
    seen = []
    sampler = HQS(n_steps=2, refinement=MapRefinement(0.3, 0))
    sampler.sample(AnySize(error=0.1), likelihood, [0, 1], progress=seen.append)

    maps = seen[-1].likelihood.A.find(Maps).maps
    assert maps.shape == (2, 1, 3, 33, 28)
    assert not torch.equal(maps[0], maps[1])
