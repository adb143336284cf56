"""What a checkpoint of score_sde says of its process."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from lightning_mri.diffusion import DDPM, VP
from lightning_mri.weights import ScoreSDE, import_prior

from ..test_importers import score_sde, write


def of_steps(n: int) -> dict[str, Any]:
    """Return a checkpoint of n steps, which the length of a buffer tells."""
    whole = score_sde()
    whole["model"]["module.sigmas"] = torch.linspace(50, 0.01, n)
    return whole


@pytest.mark.parametrize("n", [21, 1000, 2000])
def test_discrete_time_has_as_many_steps_as_the_file(tmp_path: Path, n: int) -> None:
    """Regression: every file was one of 1000 steps. The schedule is that of ``VPSDE``, a rate of 0.1 to 20 in all."""
    prior = import_prior(write(tmp_path, of_steps(n)), ScoreSDE(discrete=True))
    abar = np.cumprod(1 - np.linspace(0.1 / n, 20 / n, n))
    steps = np.array([0, n // 3, n - 1])
    sigma = torch.from_numpy(np.sqrt(1 / abar[steps] - 1))
    torch.testing.assert_close(prior.process.precondition(sigma).c_noise, torch.from_numpy(steps).double())
    assert (prior.process == DDPM()) is (n == 1000)
    assert list(prior.card["history"][0]["left_out"].values()) == [["sigmas"]]


def test_continuous_time_knows_no_number_of_steps(tmp_path: Path) -> None:
    assert import_prior(write(tmp_path, of_steps(2000)), ScoreSDE()).process == VP()


def test_steps_that_have_no_schedule_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"published\.pt: 'sigmas' must be of more than 20 steps.*: got 20"):
        import_prior(write(tmp_path, of_steps(20)), ScoreSDE(discrete=True))
    without = of_steps(1000)
    del without["model"]["module.sigmas"]
    with pytest.raises(ValueError, match=r"published\.pt: sigmas must be a tensor with 1 axes: got none"):
        import_prior(write(tmp_path, without), ScoreSDE(discrete=True))
