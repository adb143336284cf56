"""A walk that ends when nothing changes any more: image by image, and never for the worse."""

from itertools import pairwise

import pytest
import torch

from lightning_mri.physics import GaussianLikelihood, Maps, sense
from lightning_mri.sampling import HQS, EarlyStop, MapRefinement, Progress

from .conftest import SHAPE, AnySize, draw


def two_scans() -> GaussianLikelihood:
    """Return one slice that its data determine at once, and one of which a quarter is known."""
    maps = draw(2, 1, 3, *SHAPE, seed=0)
    maps = maps / maps.abs().square().sum(2, keepdim=True).sqrt()
    mask = torch.ones(2, 1, *SHAPE, dtype=torch.bool)
    mask[1] = torch.rand(1, *SHAPE, generator=torch.Generator().manual_seed(1)) < 0.25
    A = sense(maps, mask)
    return GaussianLikelihood(A, A(draw(2, *SHAPE, seed=2)), torch.tensor([1e-4, 0.2]))


def only(likelihood: GaussianLikelihood, i: int) -> GaussianLikelihood:
    maps, mask = likelihood.A.find(Maps).maps[i : i + 1], likelihood.y[i : i + 1, :1] != 0
    return GaussianLikelihood(sense(maps, mask), likelihood.y[i : i + 1], likelihood.noise_std[i : i + 1])


def walk(likelihood: GaussianLikelihood, sampler: HQS) -> tuple[torch.Tensor, list[Progress]]:
    seen: list[Progress] = []
    x = sampler.sample(AnySize(error=0.02), likelihood, [5], progress=seen.append)
    return x, seen


RULE = EarlyStop(tolerance=2e-3, patience=2)
SAMPLER = HQS(n_steps=40, early_stop=RULE)


def test_a_determined_image_ends_after_a_few_steps_of_small_change():
    x, seen = walk(only(two_scans(), 0), SAMPLER)

    assert len(seen) < 20
    assert (seen[-1].step, seen[-1].n_steps) == (len(seen), len(seen))
    changes = [(b.x - a.x).norm() / b.x.norm() for a, b in pairwise(seen)]
    assert max(changes[-2:]) <= 2e-3
    assert torch.equal(x, seen[-1].x)


def test_company_decides_how_long_the_walk_is_and_not_what_comes_out():
    likelihood = two_scans()
    together, long = walk(likelihood, SAMPLER)

    for i in range(2):
        alone, seen = walk(only(likelihood, i), SAMPLER)
        torch.testing.assert_close(together[:, i], alone[:, 0])
        assert len(seen) <= len(long)
    assert len(walk(only(likelihood, 0), SAMPLER)[1]) < len(long)


def test_the_maps_rest_with_their_image():
    likelihood, sampler = two_scans(), HQS(n_steps=40, early_stop=RULE, refinement=MapRefinement(0.3, 0))
    alone = walk(only(likelihood, 0), sampler)[1]
    together = walk(likelihood, sampler)[1]
    assert len(alone) < len(together)

    maps = [seen[-1].likelihood.A.find(Maps).maps for seen in (alone, together)]
    torch.testing.assert_close(maps[0][:, 0], maps[1][:, 0])


def test_without_it_every_level_is_walked():
    likelihood = two_scans()

    assert len(walk(likelihood, HQS(n_steps=40))[1]) == 40
    strict = walk(likelihood, HQS(n_steps=12, early_stop=EarlyStop(1e-9)))[0]
    assert torch.equal(strict, walk(likelihood, HQS(n_steps=12))[0])


def test_impossible_rules_are_refused():
    with pytest.raises(ValueError, match="tolerance must be between 0 and 1: got 0"):
        EarlyStop(tolerance=0.0)
    with pytest.raises(ValueError, match="patience must be at least 1: got 0"):
        EarlyStop(patience=0)
