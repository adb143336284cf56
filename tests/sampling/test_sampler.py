"""What all samplers promise: shapes, labels, progress, and results that do not depend on the batch."""

from dataclasses import replace
from itertools import pairwise

import pytest
import torch

from lightning_mri.physics import GaussianLikelihood, Maps, sense
from lightning_mri.sampling import (
    DAPS,
    DDS,
    DPS,
    HQS,
    PULA,
    Langevin,
    MapRefinement,
    NoiseReestimation,
    PosteriorScore,
    PredictorCorrector,
    Relaxed,
)

from .conftest import SHAPE, AnySize, draw

EARLY = MapRefinement(sigma_max=1.0, sigma_min=0)
SAMPLERS = [
    HQS(n_steps=4),
    DDS(n_steps=4),
    DAPS(n_steps=4, n_ode_steps=2),
    DPS(n_steps=4, sigma_max=1.0),
    PULA(n_steps=4, n_langevin=2),
    PULA(n_steps=4, n_langevin=1, noise=NoiseReestimation(), refinement=EARLY),
    PredictorCorrector(n_steps=4, sigma_max=1.0),
    PredictorCorrector(n_steps=4, sigma_max=1.0, consistency=Relaxed(), corrector=Langevin(n_steps=2)),
]
ADAPTED = [
    HQS(n_steps=4, refinement=EARLY),
    DDS(n_steps=4, refinement=EARLY),
    DAPS(n_steps=4, noise=NoiseReestimation(), refinement=EARLY),
    DPS(n_steps=4, sigma_max=1.0, refinement=EARLY),
    PULA(n_steps=4, noise=NoiseReestimation(), refinement=EARLY),
    PredictorCorrector(
        n_steps=4, sigma_max=1.0, consistency=PosteriorScore(noise=NoiseReestimation()), refinement=EARLY
    ),
]
N_SLICES = 3


def scan(n_sets=1, only=slice(None)):
    """Return the likelihood of three slices, or of some of them."""
    maps = draw(N_SLICES, n_sets, 2, *SHAPE, seed=0) + 1
    maps = maps / maps.abs().square().sum(-3, keepdim=True).sqrt()
    mask = torch.rand(N_SLICES, 1, *SHAPE, generator=torch.Generator().manual_seed(1)) < 0.6
    y = draw(N_SLICES, 2, *SHAPE, seed=2) * torch.tensor([1.0, 50.0, 0.01])[:, None, None, None] * mask
    return GaussianLikelihood(sense(maps[only], mask[only]), y[only], torch.tensor([0.1, 0.2, 0.05])[only])


@pytest.mark.parametrize("sampler", SAMPLERS)
@pytest.mark.parametrize("n_sets", [1, 2])
def test_a_result_depends_on_its_own_slice_and_seed_alone(sampler, n_sets):
    prior, seeds = AnySize(error=0.05), torch.tensor([[3, 4, 5], [6, 7, 8]])
    together = sampler.sample(prior, scan(n_sets), seeds)

    assert together.shape == (2, N_SLICES, *([2] if n_sets == 2 else []), *SHAPE)
    for i in range(N_SLICES):
        alone = sampler.sample(prior, scan(n_sets, only=i), seeds[1:, i])
        torch.testing.assert_close(together[1, i], alone[0], rtol=1e-4, atol=1e-5 * float(alone.abs().max()))


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_one_seed_a_sample_is_the_same_seed_for_every_slice(sampler):
    shared = sampler.sample(AnySize(error=0.05), scan(), [3, 9])
    spelled = sampler.sample(AnySize(error=0.05), scan(), torch.tensor([[3] * N_SLICES, [9] * N_SLICES]))

    assert torch.equal(shared, spelled)
    assert not torch.equal(shared[0], shared[1])


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_each_slice_is_denoised_under_its_own_label(sampler):
    labels, seeds = torch.tensor([0, 1, 0]), [3]
    mixed = sampler.sample(AnySize(error=0.05), scan(n_sets=2), seeds, label=labels)
    one = sampler.sample(AnySize(error=0.05), scan(n_sets=2), seeds, label=1)
    none = sampler.sample(AnySize(error=0.05), scan(n_sets=2), seeds)

    single = sampler.sample(AnySize(error=0.05), scan(), seeds, label=1)

    assert torch.equal(single, sampler.sample(AnySize(error=0.05), scan(), seeds, label=torch.tensor([1, 1, 1])))
    torch.testing.assert_close(mixed[:, 1], one[:, 1])
    torch.testing.assert_close(mixed[:, 0], none[:, 0])  # the fixture's label 0 changes nothing
    assert (mixed[:, 0] - one[:, 0]).abs().max() > 1e-4


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_progress_counts_the_steps_and_ends_with_the_result(sampler):
    seen = []
    x = sampler.sample(AnySize(), scan(), [3], progress=seen.append)

    assert [progress.step for progress in seen] == [1, 2, 3, 4]
    assert {progress.n_steps for progress in seen} == {4}
    assert all(a.sigma > b.sigma for a, b in pairwise(seen))
    assert seen[-1].x.shape == x.shape
    if not isinstance(sampler, PredictorCorrector):
        assert torch.equal(seen[-1].x, x)


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_the_callers_likelihood_is_left_alone(sampler):
    likelihood = scan()
    maps = likelihood.A.find(Maps).maps.clone()
    x = sampler.sample(AnySize(), likelihood, [3])

    assert torch.equal(likelihood.A.find(Maps).maps, maps)
    x += 1  # the result is an ordinary tensor, outside of inference mode
    image = torch.ones(N_SLICES, *SHAPE, dtype=torch.complex64, requires_grad=True)
    likelihood.score(image).abs().sum().backward()
    assert image.grad is not None


@pytest.mark.parametrize(
    ("sampler", "n"),
    [
        (HQS(n_steps=7, symmetry=None), 7),
        (DDS(n_steps=7, symmetry=None), 7),
        (DAPS(n_steps=5, n_ode_steps=3), 15),
        (PULA(n_steps=5, n_langevin=3), 16),
        (PredictorCorrector(n_steps=6, corrector=Langevin(n_steps=2)), 18),
    ],
)
def test_evaluations_are_counted(sampler, n):
    prior = AnySize()
    sampler.sample(prior, scan(only=slice(1)), [0])

    assert sampler.nfe == n == len(prior.seen)


@pytest.mark.parametrize("sampler", ADAPTED, ids=lambda sampler: type(sampler).__name__)
def test_each_sampler_refines_the_maps_of_each_sample(sampler):
    """The given maps are those of the last step's likelihood, turned a little, and each sample has its own."""
    seen, given = [], scan().A.find(Maps).maps
    x = sampler.sample(AnySize(error=0.05), scan(), [3, 4], progress=seen.append)

    assert not torch.allclose(x, replace(sampler, refinement=None).sample(AnySize(error=0.05), scan(), [3, 4]))
    maps = seen[-1].likelihood.A.find(Maps).maps
    assert maps.shape == (2, *given.shape)
    assert 1e-4 < (maps - given).abs().mean() < 1
    assert not torch.equal(maps[0], maps[1])
