"""The average of the weights is as long as it was asked to be."""

from pathlib import Path

import pytest
import torch

from lightning_mri.training import EMA, FineTune, Pretrain, PriorModule

from .conftest import LABELS, Fit, Images, network


@pytest.mark.parametrize(("steps", "epochs"), [(8, None), (None, 2)])
def test_half_life_is_a_share_of_the_run(fit: Fit, steps: int | None, epochs: int | None) -> None:
    """Four batches an epoch; after a half-life of 0.25 x 8 = 2 steps half of a weight is left."""
    ema = EMA(half_life=0.25)
    fit(Pretrain(steps=steps, epochs=epochs), Images(), module=PriorModule(network(), labels=LABELS), ema=ema)
    assert ema.decay**2 == pytest.approx(0.5)


def test_average_follows_its_recursion(fit: Fit, start: Path) -> None:
    """m_1 = w_1, then m_n+1 = d m_n + (1 - d) w_n+1 with d = (1 + n) / (10 + n), below 0.9 until warm."""
    weights, name = [], "prior.net.enter.weight"
    for steps in (1, 2, 3):
        module = PriorModule()
        path, _ = fit(FineTune(str(start), 1e-2, steps=steps), Images(), f"{steps}", module, ema=EMA(decay=0.9))
        saved = torch.load(path, weights_only=True)
        weights.append(saved["current_model_state"][name])
    averaged = weights[0]
    for n, weight in enumerate(weights[1:], 1):
        decay = (1 + n) / (10 + n)
        averaged = decay * averaged + (1 - decay) * weight
    torch.testing.assert_close(saved["state_dict"][name], averaged)
    torch.testing.assert_close(module.state_dict()[name], averaged)
