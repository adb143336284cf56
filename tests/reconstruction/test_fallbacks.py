from dataclasses import replace

import pytest
import torch

from lightning_mri.baselines import L1Wavelet
from lightning_mri.reconstruction import BaselineFallback, Estimate, EstimatedNoise, Problem, SoftSense


@pytest.mark.parametrize("factor", [0.2, 5.0])
def test_a_noise_level_is_estimated_whether_it_was_too_low_or_too_high(known: Problem, factor: float) -> None:
    true, drawn = known.likelihood.noise_std, []
    wrong = replace(known, likelihood=known.likelihood.replace(noise_std=factor * true))
    EstimatedNoise().reconstruct(wrong, drawn.append)  # type: ignore[arg-type]
    torch.testing.assert_close(drawn[0].likelihood.noise_std, true, rtol=0.1, atol=0)


def never(problem: Problem) -> Estimate:
    raise AssertionError


def test_fall_backs_that_would_change_nothing_step_aside(known: Problem) -> None:
    assert EstimatedNoise().reconstruct(known, never) is None
    one_coil = replace(known, maps=known.maps[:, :, :1])
    assert SoftSense().reconstruct(one_coil, never) is None


def test_a_baseline_comes_without_standard_deviation(known: Problem) -> None:
    result = BaselineFallback(L1Wavelet(0.002, n_iterations=3)).reconstruct(known, never)
    assert result is not None
    assert result.std.isnan().all()
    torch.testing.assert_close(result.image, L1Wavelet(0.002, n_iterations=3).reconstruct(known.likelihood))
