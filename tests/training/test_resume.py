"""A run that was cut off and resumed is, to the last bit, the run that was not."""

import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from pytorch_lightning import Callback, LightningModule, Trainer

from lightning_mri.models import UNet
from lightning_mri.training import (
    EMA,
    L2SP,
    FineTune,
    Full,
    Interpolate,
    LoRA,
    Pretrain,
    PriorModule,
    Replay,
    ScaleShift,
    Strategy,
    TrainingPhase,
)
from lightning_mri.weights import load_prior

from .conftest import LABELS, Fit, Images, network, same

PARTS = ("state_dict", "current_model_state", "averaging_state", "optimizer_states", "lr_schedulers", "run", "prior")


class At(Callback):
    """Do something after a step."""

    def __init__(self, step: int, act: Callable[[Trainer], object]) -> None:
        self.step, self.act = step, act

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *_: Any) -> None:
        if trainer.global_step == self.step:
            self.act(trainer)


def stop(trainer: Trainer) -> None:
    trainer.should_stop = True


def kill(trainer: Trainer) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def constant(steps: int) -> TrainingPhase:
    return Pretrain(learning_rate=1e-2, steps=steps, warm_up=6, final=1.0)


def module() -> PriorModule:
    return PriorModule(network(), labels=LABELS)


def differing(a: Path, b: Path) -> list[str]:
    one, other = (torch.load(path, weights_only=True) for path in (a, b))
    parts = [*PARTS, *(part for part in one if part == "training_state")]
    return [part for part in parts if not same(one[part], other[part])]


@pytest.mark.parametrize(("n_workers", "cuts"), [(0, (3, 4, 5)), (2, (3,))])
def test_a_run_is_extended_within_and_between_turns_through_the_data(
    fit: Fit, n_workers: int, cuts: tuple[int, ...]
) -> None:
    whole, seen = fit(constant(10), Images(n_workers=n_workers), "whole", module())
    for cut in cuts:
        half, first = fit(constant(cut), Images(n_workers=n_workers), f"cut{cut}", module())
        resumed, second = fit(constant(10), Images(n_workers=n_workers), f"cut{cut}", module(), seed=99, ckpt_path=half)
        assert first.steps + second.steps == seen.steps
        assert differing(whole, resumed) == []


@pytest.mark.parametrize(("steps", "interval"), [(5, 4), (6, 4), (3, 5)])
def test_the_last_steps_are_kept_where_the_interval_does_not_divide_them(fit: Fit, steps: int, interval: int) -> None:
    whole, seen = fit(constant(10), Images(), "whole", module(), every=interval)
    assert torch.load(whole, weights_only=True)["global_step"] == 10
    half, first = fit(constant(steps), Images(), "half", module(), every=interval)
    resumed, second = fit(constant(10), Images(), "half", module(), every=interval, ckpt_path=half)
    assert first.steps + second.steps == seen.steps
    assert differing(whole, resumed) == []


def test_a_run_that_is_stopped_keeps_its_last_steps(fit: Fit) -> None:
    last, _ = fit(constant(10), Images(), "stopped", module(), every=4, callbacks=(At(6, stop),))
    assert torch.load(last, weights_only=True)["global_step"] == 6


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_killed_run_goes_on_from_its_last_checkpoint(fit: Fit, tmp_path: Path) -> None:
    """A checkpoint every three steps, the cosine of the learning rate, an average in proportion, SIGKILL at step 8."""

    def phase() -> TrainingPhase:
        return Pretrain(learning_rate=1e-2, epochs=3, warm_up=2)

    whole, seen = fit(phase(), Images(), "whole", module(), ema=EMA(half_life=0.2), every=3)
    if (child := os.fork()) == 0:
        fit(phase(), Images(), "killed", module(), ema=EMA(half_life=0.2), every=3, callbacks=(At(8, kill),))
        os._exit(1)
    _, status = os.waitpid(child, 0)
    assert os.WTERMSIG(status) == signal.SIGKILL
    last = tmp_path / "killed/last.ckpt"
    assert torch.load(last, weights_only=True)["global_step"] == 6
    resumed, second = fit(phase(), Images(), "killed", module(), ema=EMA(half_life=0.2), every=3, ckpt_path=last)
    assert second.steps == seen.steps[6:]
    assert differing(whole, resumed) == []


@pytest.mark.parametrize(("limit", "cut"), [(1.0, 4), (1.0, 6), (2, 3), (2, 4)])
def test_epochs_are_resumed_from_their_middle_and_their_end(fit: Fit, limit: float, cut: int) -> None:
    def phase() -> TrainingPhase:
        return Pretrain(learning_rate=1e-2, epochs=3, warm_up=2)

    length: dict[str, Any] = {"limit_train_batches": limit}
    whole, seen = fit(phase(), Images(), "whole", module(), **length)
    half, _ = fit(phase(), Images(), "half", module(), callbacks=(At(cut, stop),), **length)
    resumed, second = fit(phase(), Images(), "half", module(), ckpt_path=half, **length)
    assert second.steps == seen.steps[cut:]
    assert differing(whole, resumed) == []


def test_dropout_and_accumulated_gradients_are_resumed(fit: Fit) -> None:
    def dropping() -> PriorModule:
        torch.manual_seed(0)
        net = UNet(width=8, multipliers=(1,), n_blocks=1, attention_levels=(), dropout=0.5, n_labels=len(LABELS))
        return PriorModule(net, labels=LABELS)

    whole, seen = fit(constant(4), Images(), "whole", dropping(), accumulate_grad_batches=2)
    half, first = fit(constant(2), Images(), "half", dropping(), accumulate_grad_batches=2)
    resumed, second = fit(constant(4), Images(), "half", dropping(), ckpt_path=half, accumulate_grad_batches=2)
    assert first.steps + second.steps == seen.steps
    assert differing(whole, resumed) == []


@pytest.mark.parametrize(
    "strategy",
    [Full(), L2SP(0.5), ScaleShift(), LoRA(2), Interpolate(0.3), lambda: Replay(Images(7, seed=1), 0.3)],
    ids=["Full", "L2SP", "ScaleShift", "LoRA", "Interpolate", "Replay"],
)
def test_every_strategy_is_resumed(fit: Fit, start: Path, strategy: Strategy | Callable[[], Strategy]) -> None:
    def phase(steps: int, checkpoint: Path = start) -> TrainingPhase:
        chosen = strategy if isinstance(strategy, Strategy) else strategy()
        return FineTune(str(checkpoint), 1e-2, steps=steps, warm_up=2, contrast="FLAIR", strategy=chosen)

    whole, seen = fit(phase(7), Images(), "whole")
    half, first = fit(phase(3), Images(), "half")
    before = torch.load(half, weights_only=True)
    resumed, second = fit(phase(7, half), Images(), "half", ckpt_path=half)
    assert first.steps + second.steps == seen.steps
    assert differing(whole, resumed) == []
    assert not same(before["state_dict"], torch.load(resumed, weights_only=True)["state_dict"])
    assert [entry["phase"] for entry in load_prior(resumed).card["history"]] == ["pretrain", "fine-tune"]


def test_another_strategy_cannot_resume_a_run(fit: Fit, start: Path) -> None:
    half, _ = fit(FineTune(str(start), steps=1, strategy=LoRA(2)), Images(), "half")
    with pytest.raises(ValueError, match=r"its own phase\.strategy, LoRA: got Full"):
        fit(FineTune(str(half), steps=2), Images(), "half", ckpt_path=half)
