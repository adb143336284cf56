import json
from dataclasses import FrozenInstanceError

import pytest
import torch

from lightning_mri.diffusion import DDPM, EDM, VE, VP, NoiseProcess, build, describe
from lightning_mri.diffusion.process import draw_time

PROCESSES = [
    EDM(),
    EDM(0.25, 0.003, 20.0, -1.9, 1.4, 5.0),
    VE(),
    VE(0.3, 0.02, 50.0, 1e-3),
    VP(),
    VP(0.3, 0.2, 15.0, 500, 1e-4, 1e-2),
    DDPM(),
    DDPM(0.3, 1e-3, 0.05, 200),
]
every_process = pytest.mark.parametrize("process", PROCESSES, ids=str)


@every_process
def test_level_and_time_are_inverse_and_rise_together(process: NoiseProcess) -> None:
    t = torch.linspace(1e-3, 1, 57).reshape(3, 19)
    sigma = process.sigma(t)
    torch.testing.assert_close(process.t(sigma), t, atol=1e-6, rtol=1e-5)
    assert sigma.flatten().diff().gt(0).all()
    assert process.sigma(torch.tensor(1.0)).item() == pytest.approx(process.sigma_max, rel=1e-5)
    assert process.sigma_min < process.sigma_max


@every_process
def test_every_weight_makes_the_loss_the_plain_error_of_the_network(process: NoiseProcess) -> None:
    sigma = torch.tensor([[0.01, 0.3], [1.0, 40.0]])
    torch.testing.assert_close(process.loss_weight(sigma) * process.precondition(sigma).c_out ** 2, torch.ones(2, 2))


@every_process
def test_drawn_levels_follow_the_generator_alone(process: NoiseProcess) -> None:
    first, again = (process.draw_sigma(5, torch.Generator().manual_seed(3)) for _ in range(2))
    assert torch.equal(first, again)
    assert not torch.equal(first, process.draw_sigma(5, torch.Generator().manual_seed(4)))
    assert (first > 0).all()


@every_process
def test_a_process_is_made_anew_from_its_description_in_json(process: NoiseProcess) -> None:
    assert build(json.loads(json.dumps(describe(process)))) == process


@every_process
def test_a_process_cannot_be_changed(process: NoiseProcess) -> None:
    with pytest.raises(FrozenInstanceError):
        process.sigma_data = 1.0  # type: ignore[misc]


def test_times_are_uniform_from_the_earliest() -> None:
    t = draw_time(20_000, 0.4, torch.Generator().manual_seed(0))
    assert t.min() >= 0.4
    assert t.max() <= 1
    assert t.mean().item() == pytest.approx(0.7, abs=0.005)
    assert t.std().item() == pytest.approx(0.6 / 12**0.5, rel=0.02)
