"""Mean and standard deviation over seeds."""

import pytest
import torch

from lightning_mri.sampling import DDS, posterior

from .conftest import AnySize

SAMPLER = DDS(n_steps=3)


def test_it_is_the_mean_of_the_draws_and_the_spread_of_their_magnitude(likelihood):
    samples = SAMPLER.sample(AnySize(), likelihood, range(5))

    summary = posterior(SAMPLER, AnySize(), likelihood, range(5))

    torch.testing.assert_close(summary.mean, samples.mean(0))
    torch.testing.assert_close(summary.std, samples.abs().std(0))
    assert summary.n_samples == 5


@pytest.mark.parametrize("n_parallel", [1, 2, 7])
def test_drawing_in_groups_changes_nothing(likelihood, n_parallel):
    whole = posterior(SAMPLER, AnySize(), likelihood, torch.arange(5))
    grouped = posterior(SAMPLER, AnySize(), likelihood, torch.arange(5), n_parallel=n_parallel)

    torch.testing.assert_close(grouped.mean, whole.mean)
    torch.testing.assert_close(grouped.std, whole.std, rtol=1e-4, atol=1e-5)
