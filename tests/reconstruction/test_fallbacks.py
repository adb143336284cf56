from dataclasses import replace

import pytest
import torch

from lightning_mri.reconstruction import EstimatedNoise, Problem


@pytest.mark.parametrize("factor", [0.2, 5.0])
def test_a_noise_level_is_estimated_whether_it_was_too_low_or_too_high(known: Problem, factor: float) -> None:
    true, drawn = known.likelihood.noise_std, []
    wrong = replace(known, likelihood=known.likelihood.replace(noise_std=factor * true))
    EstimatedNoise().reconstruct(wrong, drawn.append)  # type: ignore[arg-type]
    torch.testing.assert_close(drawn[0].likelihood.noise_std, true, rtol=0.1, atol=0)
