"""A run that was cut off and resumed is, to the last bit, the run that was not."""

import os
import shutil
import signal
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import torch
from pytorch_lightning import Callback, LightningModule, Trainer

from lightning_mri.evaluation.table_files import read_csv
from lightning_mri.models import UNet
from lightning_mri.training import (
    EMA,
    L2SP,
    Checkpoint,
    FineTune,
    Full,
    Interpolate,
    LoRA,
    MetricsFile,
    Pretrain,
    PriorModule,
    Replay,
    ScaleShift,
    Strategy,
    TrainingPhase,
)

from .conftest import LABELS, At, Fit, Images, Seen, Validated, constant, differing, module, same


def stop(trainer: Trainer) -> None:
    trainer.should_stop = True


def kill(trainer: Trainer) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


class AtValidation(Callback):
    """Send a signal to this process in a validation."""

    def __init__(self, step: int, number: int) -> None:
        self.step, self.number = step, number

    def on_validation_batch_start(self, trainer: Trainer, *_: Any) -> None:
        if trainer.global_step == self.step:
            os.kill(os.getpid(), self.number)


def check_resumed(
    fit: Fit, phase: Callable[[int], TrainingPhase], cut: int, n_steps: int, make: Any = module, **more: Any
) -> dict[str, Any]:
    """Check that a run that was cut off and goes on ends as one that was not; return its checkpoint."""
    whole, seen = fit(phase(n_steps), Images(), "whole", make(), **more)
    half, first = fit(phase(cut), Images(), "half", make(), **more)
    before = torch.load(half, weights_only=True)
    resumed, second = fit(phase(n_steps), Images(), "half", make(), ckpt_path=half, **more)
    after = torch.load(resumed, weights_only=True)
    assert first.steps + second.steps == seen.steps
    assert differing(whole, resumed) == []
    assert (before["global_step"], after["global_step"]) == (cut, n_steps)
    assert not same(before["state_dict"], after["state_dict"])
    return after


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
    check_resumed(fit, constant, steps, 10, every=interval)


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

    check_resumed(fit, constant, 2, 4, make=dropping, accumulate_grad_batches=2)


@pytest.mark.parametrize(
    "strategy",
    [Full(), L2SP(0.5), ScaleShift(), LoRA(2), Interpolate(0.3), lambda: Replay(Images(7, seed=1), 0.3)],
    ids=["Full", "L2SP", "ScaleShift", "LoRA", "Interpolate", "Replay"],
)
def test_every_strategy_is_resumed(fit: Fit, start: Path, strategy: Strategy | Callable[[], Strategy]) -> None:
    def phase(steps: int) -> TrainingPhase:
        chosen = strategy if isinstance(strategy, Strategy) else strategy()
        return FineTune(str(start), 1e-2, steps=steps, warm_up=2, contrast="FLAIR", strategy=chosen)

    resumed = check_resumed(fit, phase, 3, 7, make=PriorModule)
    assert [entry["phase"] for entry in resumed["prior"]["card"]["history"]] == ["pretrain", "fine-tune"]


@pytest.mark.parametrize(
    ("number", "step"), [(signal.SIGTERM, 3), (signal.SIGUSR1, 4), (signal.SIGHUP, 5), (signal.SIGINT, 6)]
)
def test_a_signal_ends_a_run_after_its_batch_and_nothing_is_lost(
    fit: Fit, tmp_path: Path, no_nohup: None, number: int, step: int
) -> None:
    whole, seen = fit(constant(10), Images(), "whole", module())
    first = Seen()
    callbacks = (first, At(step, lambda _: os.kill(os.getpid(), number)))
    with pytest.raises(SystemExit) as end:
        fit(constant(10), Images(), "cut", module(), callbacks=callbacks)
    assert end.value.code == 128 + number
    assert [at for at, *_ in first.steps] == list(range(1, step + 1))
    last = tmp_path / "cut/last.ckpt"
    resumed, second = fit(constant(10), Images(), "cut", module(), ckpt_path=last)
    assert first.steps + second.steps == seen.steps
    assert differing(whole, resumed) == []


def test_a_signal_that_nohup_ignores_is_ignored(fit: Fit) -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        _, seen = fit(
            constant(4), Images(), "run", module(), callbacks=(At(2, lambda _: os.kill(os.getpid(), signal.SIGHUP)),)
        )
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)
    assert len(seen.steps) == 4


class WithinStep(Callback):
    """Send a signal between the backward pass and the step that follows it."""

    def on_before_optimizer_step(self, trainer: Trainer, pl_module: LightningModule, optimizer: Any) -> None:
        if trainer.global_step == 4:
            os.kill(os.getpid(), signal.SIGUSR1)


def test_a_signal_within_a_step_lets_the_step_end(fit: Fit, tmp_path: Path) -> None:
    """Regression: a requeued job made 566 steps of 560, since its checkpoint was saved within one."""
    whole, seen = fit(constant(10), Images(), "whole", module())
    with pytest.raises(SystemExit):
        fit(constant(10), Images(), "cut", module(), callbacks=(WithinStep(),))
    last = tmp_path / "cut/last.ckpt"
    assert torch.load(last, weights_only=True)["global_step"] == 5
    resumed, second = fit(constant(10), Images(), "cut", module(), ckpt_path=last)
    assert second.steps == seen.steps[5:]
    assert differing(whole, resumed) == []


def test_a_run_that_is_resumed_after_its_end_says_so_and_stays_as_it_is(
    fit: Fit, capsys: pytest.CaptureFixture[str]
) -> None:
    whole, _ = fit(constant(10), Validated(), "run", module())
    before = whole.read_bytes()
    assert "has its" not in capsys.readouterr().out
    resumed, second = fit(constant(10), Validated(), "run", module(), ckpt_path=whole)
    assert second.steps == []
    assert "the run has its 10 steps" in capsys.readouterr().out
    (whole.parent / "before.ckpt").write_bytes(before)
    assert differing(whole.parent / "before.ckpt", resumed) == []


class AtStart(Callback):
    """Send a signal before the first step."""

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        os.kill(os.getpid(), signal.SIGUSR1)


@pytest.mark.parametrize(
    ("sender", "options"), [(AtValidation(0, signal.SIGUSR1), {}), (AtStart(), {"num_sanity_val_steps": 0})]
)
def test_a_signal_before_the_first_step_is_not_lost(fit: Fit, sender: Callback, options: dict[str, int]) -> None:
    """Regression: without a sanity check, what came while the first weights were scored ended the process at once."""
    with pytest.raises(SystemExit) as end:
        fit(constant(10), Validated(), "run", module(), callbacks=(sender,), **options)
    assert end.value.code == 128 + signal.SIGUSR1


def test_after_a_run_signals_end_the_process_again(fit: Fit) -> None:
    before = signal.getsignal(signal.SIGINT)
    fit(constant(1), Images(), "run", module())
    assert signal.getsignal(signal.SIGTERM) == signal.getsignal(signal.SIGUSR1) == signal.SIG_DFL
    assert signal.getsignal(signal.SIGINT) == before


class Losses(Callback):
    """Step, epoch and loss of each complete validation."""

    def __init__(self) -> None:
        self.rows: list[tuple[int, int, float]] = []

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.rows.append((trainer.global_step, trainer.current_epoch, float(trainer.callback_metrics["val/loss"])))


@pytest.mark.parametrize(("cut", "options"), [(4, {}), (8, {}), (2, {"val_check_interval": 2})])
def test_a_validation_that_was_cut_off_is_repeated(fit: Fit, tmp_path: Path, cut: int, options: dict[str, Any]) -> None:
    """The same steps, the same validations and the same weights as of a run that was not stopped."""

    def run(folder: str, *callbacks: Callback, **more: Any) -> tuple[Path, list[tuple[int, int, float]]]:
        noted = Losses()
        try:
            path, _ = fit(constant(10), Validated(), folder, module(), callbacks=(noted, *callbacks), **options, **more)
        except SystemExit:
            path = tmp_path / folder / "last.ckpt"
        return path, noted.rows

    whole, rows = run("whole", num_sanity_val_steps=0)
    half, first = run("cut", AtValidation(cut, signal.SIGTERM), num_sanity_val_steps=0)
    assert torch.load(half, weights_only=True)["global_step"] == cut
    resumed, second = run("cut", ckpt_path=half)
    assert first + second == rows
    assert second[0][0] == cut
    assert differing(whole, resumed) == []


@pytest.mark.slow
@pytest.mark.parametrize(("cut", "every"), [(4, 1), (8, 2)])
def test_a_validation_may_be_cut_off_again_and_again(fit: Fit, tmp_path: Path, cut: int, every: int) -> None:
    """Regression: each time the run counted an epoch more, and ended early; so did one that was killed soon after."""

    def run(folder: str, *callbacks: Callback, **more: Any) -> Seen:
        kept, seen = Checkpoint(tmp_path / folder / "kept", monitor="val/loss", save_last=True), Seen()
        look = At(cut + 1, lambda _: shutil.copy(tmp_path / folder / "kept/last.ckpt", tmp_path / "soon.ckpt"))
        options = {"num_sanity_val_steps": 0, "check_val_every_n_epoch": every, **more}
        with suppress(SystemExit):
            phase = Pretrain(learning_rate=1e-2, epochs=4, warm_up=2)
            fit(phase, Validated(), folder, module(), callbacks=(kept, look, seen, *callbacks), **options)
        return seen

    seen, last = run("whole"), tmp_path / "cut/last.ckpt"
    run("cut", AtValidation(cut, signal.SIGTERM))
    run("cut", AtValidation(cut, signal.SIGUSR1), ckpt_path=last)
    for checkpoint in (last, tmp_path / "soon.ckpt"):
        assert run("cut", ckpt_path=checkpoint).steps == seen.steps[cut:]
        assert differing(tmp_path / "whole/last.ckpt", last) == []


@pytest.mark.parametrize(("steps", "at"), [(6, 4), (8, 8)])
def test_a_run_killed_in_a_validation_repeats_it(fit: Fit, tmp_path: Path, steps: int, at: int) -> None:
    """The checkpoint of the batch before it, which an interval wrote, knows that the validation is due.

    Regression: after the last one of all, the checkpoint was written anew, with the average in place of the weights.
    """
    noted, again = Losses(), Losses()
    whole, _ = fit(constant(steps), Validated(), "whole", module(), callbacks=(noted,), every=4, num_sanity_val_steps=0)
    if (child := os.fork()) == 0:
        killer = AtValidation(at, signal.SIGKILL)
        fit(constant(steps), Validated(), "cut", module(), callbacks=(killer,), every=4, num_sanity_val_steps=0)
        os._exit(1)
    os.waitpid(child, 0)
    last = tmp_path / "cut/last.ckpt"
    fit(constant(steps), Validated(), "cut", module(), callbacks=(again,), every=4, ckpt_path=last)
    assert again.rows == [row for row in noted.rows if row[0] >= at]
    assert differing(whole, last) == []


def test_a_resumed_run_has_one_file_of_metrics(fit: Fit, tmp_path: Path) -> None:
    """Rows of steps that are done again, and of a validation that is, are there once, whenever the run was saved."""

    def rows(name: str) -> list[list[str]]:
        logged = read_csv(tmp_path / name / "log" / "metrics.csv")
        return [[row[key] for key in ("step", "epoch", "train/loss", "val/loss")] for row in logged]

    def options(name: str, *callbacks: Callback) -> dict[str, Any]:
        logger = MetricsFile(tmp_path, name, version="log", flush_logs_every_n_steps=1)
        at_end = Checkpoint(tmp_path / name / "at_end", monitor="val/loss", save_top_k=-1, save_on_train_epoch_end=True)
        logged = {"logger": logger, "log_every_n_steps": 1, "num_sanity_val_steps": 0, "every": 3}
        return {**logged, "callbacks": (at_end, *callbacks)}

    fit(constant(10), Validated(), "whole", module(), **options("whole"))
    with pytest.raises(SystemExit):
        fit(constant(10), Validated(), "cut", module(), **options("cut", AtValidation(8, signal.SIGTERM)))
    shutil.copy(tmp_path / "cut" / "last.ckpt", tmp_path / "cut" / "owing.ckpt")  # a validation
    for checkpoint in ("epoch=1-step=6.ckpt", "at_end/epoch=0-step=4.ckpt", "owing.ckpt"):
        fit(constant(10), Validated(), "cut", module(), ckpt_path=tmp_path / "cut" / checkpoint, **options("cut"))
        assert rows("cut") == rows("whole")


def test_losses_by_level_cover_the_steps_before_the_cut(fit: Fit, tmp_path: Path) -> None:
    """Regression: the row of the first interval was of the steps since the cut alone, and lacked levels."""

    def run(name: str, *callbacks: Callback, **more: Any) -> None:
        logger = MetricsFile(tmp_path, name, version="log")
        options = {"logger": logger, "log_every_n_steps": 4, "callbacks": callbacks, **more}
        fit(constant(8), Images(), name, module(), **options)

    run("whole")
    with pytest.raises(SystemExit):
        run("cut", At(6, lambda _: os.kill(os.getpid(), signal.SIGTERM)))
    run("cut", ckpt_path=tmp_path / "cut/last.ckpt")
    whole, cut = (read_csv(tmp_path / name / "log/metrics.csv") for name in ("whole", "cut"))
    assert cut == whole
    assert [row["step"] for row in whole if row["train/loss/sigma_1"]] == ["3", "7"]
