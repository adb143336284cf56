"""A phase decides where weights come from, how fast they move and for how long."""

from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from pytorch_lightning import Trainer

from lightning_mri.diffusion import EDM, NetworkPrior
from lightning_mri.training import FineTune, Full, Pretrain, PriorModule, TrainingPhase
from lightning_mri.training.phases import Pace
from lightning_mri.weights import load_prior, show

from .conftest import LABELS, Fit, Images, Shaken, network


@given(*[st.integers(1, 7)] * 4, st.integers(1, 60))
def test_steps_and_images_follow_from_each_other(
    n: int, batch: int, accumulated: int, batches: int, steps: int
) -> None:
    """Counted one by one: a step takes some batches of each process, or what an epoch has left."""
    pace, place, images = Pace(n, batch, accumulated, batches), 0, 0
    for _ in range(steps):
        taken = min(accumulated, batches - place)
        place, images = (place + taken) % batches, images + taken * batch * n
    assert pace.images(steps) == images
    assert pace.steps(images) == steps
    assert pace.steps(images + 1) == steps + 1


@pytest.mark.parametrize(
    ("accumulated", "told"),
    [
        (2, "batch of 24 = 2 processes x 6 images x 2 batches a step"),
        (3, "batch of 36 = 2 processes x 6 images x 3 batches a step (1 at the end of an epoch, whose"),
        (8, "batch of 48 = 2 processes x 6 images x 4 batches a step (4 at the end of an epoch, whose"),
    ],
)
def test_a_step_has_no_more_batches_than_an_epoch(accumulated: int, told: str) -> None:
    """Regression: of 8 in an epoch of 4, the sentence made 8 x 12 images a step."""
    text = str(Pace(n_processes=2, batch_size=6, n_accumulated=accumulated, n_batches=4))
    assert text.startswith(told)
    assert ("count as" in text) == (4 % accumulated > 0)


@pytest.mark.parametrize(
    ("phase", "option"), [(Pretrain(steps=1), r"model\.net"), (FineTune(None, steps=1), r"phase\.checkpoint")]
)
def test_a_phase_needs_weights_to_start_from(fit: Fit, phase: TrainingPhase, option: str) -> None:
    with pytest.raises(ValueError, match=option):
        fit(phase, Images())


def test_fit_without_a_phase_is_refused(tmp_path: Path) -> None:
    trainer = Trainer(accelerator="cpu", max_steps=1, logger=False, enable_checkpointing=False)
    with pytest.raises(ValueError, match="phase"):
        trainer.fit(PriorModule(network(), labels=LABELS), Images())


@pytest.mark.parametrize("length", [{"epochs": 3}, {"steps": 9}, {"images": 40}])
def test_a_trial_of_two_batches_stays_one(length: dict[str, int]) -> None:
    module, phase = PriorModule(network(), labels=LABELS), Pretrain(**length)  # type: ignore[arg-type]
    trainer = Trainer(accelerator="cpu", fast_dev_run=2, callbacks=[phase], logger=False, enable_model_summary=False)
    trainer.fit(module, Images())
    assert trainer.global_step == 2


def test_cosine_falls_from_one_to_final_and_finetuning_stays_unless_told() -> None:
    pretrain, finetune = Pretrain(steps=100, final=0.1), FineTune("brain", steps=100)
    assert [pretrain.decay(t) for t in (0.0, 0.5, 1.0)] == pytest.approx([1, 0.55, 0.1])
    assert [finetune.decay(t) for t in (0.0, 0.5, 1.0)] == [1, 1, 1]
    assert FineTune("brain", steps=100, final=0.0).decay(1.0) == pytest.approx(0)


@pytest.mark.slow
def test_pretraining_lowers_the_loss_and_describes_itself(fit: Fit) -> None:
    module = PriorModule(network(), EDM(sigma_data=1.0), LABELS)
    path, _ = fit(Pretrain(learning_rate=3e-3, epochs=30, warm_up=5), Images(), module=module)
    prior = load_prior(path)
    (entry,) = prior.card["history"]
    assert entry.items() >= {"phase": "pretrain", "learning_rate": 3e-3, "warm_up": 5, "steps": 120}.items()
    assert entry["version"]
    assert f"written by   lightning_mri {entry['version']}" in show(str(path))
    sigma, label = torch.full((2,), 0.5), torch.tensor([0, 1])
    before, after = (
        module.loss.at(sigma, x, Shaken(2).images, label, torch.Generator().manual_seed(1)).loss.mean()
        for x in (NetworkPrior(network(), EDM(sigma_data=1.0), labels=LABELS), prior)
    )
    assert after < 0.8 * before


def test_finetuning_starts_from_the_checkpoint(fit: Fit, start: Path) -> None:
    path, _ = fit(FineTune(str(start), learning_rate=1e-12, steps=1, contrast="FLAIR"), Images())
    tuned, before = load_prior(path), load_prior(start)
    torch.testing.assert_close(tuned.net.enter.weight, before.net.enter.weight)
    assert tuned.labels == ("T1w", "T2w", "FLAIR")
    torch.testing.assert_close(tuned.net.label_rows[2], before.net.label_rows[:2].mean(0))
    assert [phase["phase"] for phase in tuned.card["history"]] == ["pretrain", "fine-tune"]


def test_a_strategy_makes_its_data_once(fit: Fit, start: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[Full] = []
    monkeypatch.setattr(Full, "prepare_data", lambda strategy: calls.append(strategy))
    fit(FineTune(str(start), steps=1), Images())
    assert len(calls) == 1
