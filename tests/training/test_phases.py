"""A phase decides where weights come from, how fast they move and for how long."""

from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from pytorch_lightning import LightningDataModule, Trainer
from pytorch_lightning.callbacks import ModelCheckpoint
from torch.utils.data import DataLoader

from lightning_mri.datasets import ImageBatch
from lightning_mri.diffusion import EDM, VP, NetworkPrior
from lightning_mri.models import LightUNet
from lightning_mri.scaling import Scaling
from lightning_mri.training import EMA, FineTune, Pretrain, PriorModule, TrainingPhase
from lightning_mri.training.phases import Pace
from lightning_mri.weights import load_prior, save_prior

LABELS = ("T1w", "T2w", "spare-1")


def network() -> LightUNet:
    torch.manual_seed(0)
    return LightUNet(widths=(8, 12), n_blocks=1, embedding=16, n_labels=len(LABELS))


class Waves(LightningDataModule):
    """Eight batches of smooth complex images, always the same."""

    def train_dataloader(self) -> DataLoader[ImageBatch]:
        generator = torch.Generator().manual_seed(0)
        coarse = torch.view_as_complex(torch.randn(16, 4, 4, 2, generator=generator))
        images = torch.kron(coarse, torch.ones(5, 6))
        batches = [ImageBatch(images[2 * i : 2 * i + 2], ("T1w", "T2w")) for i in range(8)]
        return DataLoader(batches, batch_size=None)  # type: ignore[arg-type]


def train(phase: TrainingPhase, module: PriorModule, folder: Path, **options: object) -> Path:
    checkpoint = ModelCheckpoint(folder, save_last=True, enable_version_counter=False)
    trainer = Trainer(
        accelerator="cpu",
        max_epochs=-1,
        callbacks=[phase, EMA(decay=0.9), checkpoint],
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(module, Waves(), **options)  # type: ignore[arg-type]
    return folder / "last.ckpt"


def shipped(folder: Path) -> Path:
    torch.manual_seed(3)
    prior = NetworkPrior(network(), EDM(), labels=LABELS, card={"history": [{"phase": "pretrain"}]})
    for parameter in prior.parameters():
        parameter.data += 0.01 * torch.randn_like(parameter)
    save_prior(prior, folder / "start.safetensors")
    return folder / "start.safetensors"


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


def test_pretraining_needs_a_network(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"model\.net"):
        train(Pretrain(steps=1), PriorModule(), tmp_path)


def test_fit_without_a_phase_is_refused(tmp_path: Path) -> None:
    trainer = Trainer(accelerator="cpu", max_steps=1, logger=False, enable_checkpointing=False)
    with pytest.raises(ValueError, match="phase"):
        trainer.fit(PriorModule(network(), labels=LABELS), Waves())


@pytest.mark.parametrize("length", [{"epochs": 3}, {"steps": 9}, {"images": 40}])
def test_a_trial_of_two_batches_stays_one(length: dict[str, int]) -> None:
    module, phase = PriorModule(network(), labels=LABELS), Pretrain(**length)  # type: ignore[arg-type]
    trainer = Trainer(accelerator="cpu", fast_dev_run=2, callbacks=[phase], logger=False, enable_model_summary=False)
    trainer.fit(module, Waves())
    assert trainer.global_step == 2


def test_cosine_falls_from_one_to_final_and_finetuning_stays_unless_told() -> None:
    pretrain, finetune = Pretrain(steps=100, final=0.1), FineTune("brain", steps=100)
    assert [pretrain.decay(t) for t in (0.0, 0.5, 1.0)] == pytest.approx([1, 0.55, 0.1])
    assert [finetune.decay(t) for t in (0.0, 0.5, 1.0)] == [1, 1, 1]
    assert FineTune("brain", steps=100, final=0.0).decay(1.0) == pytest.approx(0)


def test_pretraining_lowers_the_loss_and_describes_itself(tmp_path: Path) -> None:
    module = PriorModule(network(), EDM(sigma_data=1.0), LABELS)
    path = train(Pretrain(learning_rate=3e-3, epochs=15, warm_up=5), module, tmp_path)
    prior = load_prior(path)
    (entry,) = prior.card["history"]
    assert entry.items() >= {"phase": "pretrain", "learning_rate": 3e-3, "warm_up": 5, "steps": 120}.items()
    assert entry["version"]
    batch = next(iter(Waves().train_dataloader()))
    sigma = torch.full((2,), 0.5)
    label = torch.tensor([0, 1])
    untrained = NetworkPrior(network(), EDM(sigma_data=1.0), labels=LABELS)
    before, after = (
        module.loss.at(sigma, x, batch.image, label, torch.Generator().manual_seed(1)).loss.mean()
        for x in (untrained, prior)
    )
    assert after < 0.8 * before


def test_checkpoints_hold_the_averaged_weights(tmp_path: Path) -> None:
    module = PriorModule(network(), EDM(), LABELS)
    saved = torch.load(train(Pretrain(learning_rate=1e-2, steps=6), module, tmp_path), weights_only=True)
    name = "prior.net.enter.weight"
    assert not torch.equal(saved["state_dict"][name], saved["current_model_state"][name])
    torch.testing.assert_close(module.state_dict()[name], saved["state_dict"][name])


def test_finetuning_starts_from_the_checkpoint(tmp_path: Path) -> None:
    start = shipped(tmp_path)
    module = PriorModule()
    path = train(FineTune(str(start), learning_rate=1e-12, steps=1, contrast="FLAIR"), module, tmp_path)
    tuned, before = load_prior(path), load_prior(start)
    torch.testing.assert_close(tuned.net.enter.weight, before.net.enter.weight)
    assert tuned.labels == ("T1w", "T2w", "FLAIR")
    rows = before.net.label_rows
    torch.testing.assert_close(tuned.net.label_rows[2], rows[:2].mean(0))
    assert [phase["phase"] for phase in tuned.card["history"]] == ["pretrain", "fine-tune"]


def test_finetuning_refuses_another_network(tmp_path: Path) -> None:
    module = PriorModule(LightUNet(widths=(8,), n_labels=3), labels=LABELS)
    with pytest.raises(ValueError, match="checkpoint"):
        train(FineTune(str(shipped(tmp_path)), steps=1), module, tmp_path)


@pytest.mark.parametrize(
    ("option", "module"),
    [
        ("process", PriorModule(process=VP())),
        ("labels", PriorModule(labels=LABELS[::-1])),
        ("scaling", PriorModule(scaling=Scaling(90.0))),
    ],
)
def test_finetuning_refuses_what_is_not_the_checkpoints(option: str, module: PriorModule, tmp_path: Path) -> None:
    """Regression: it was ignored."""
    with pytest.raises(ValueError, match=rf"model\.{option} must be left out or agree with the checkpoint"):
        train(FineTune(str(shipped(tmp_path)), steps=1), module, tmp_path)


def test_finetuning_needs_a_checkpoint(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"phase\.checkpoint"):
        train(FineTune(None, steps=1), PriorModule(), tmp_path)
