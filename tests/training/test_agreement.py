"""A run goes on with what its checkpoint says; only its length, its data and where it runs may change."""

from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils.data import DataLoader

from lightning_mri.datasets import LabelledImage, image_loader
from lightning_mri.diffusion import EDM, VP, DenoisingScoreMatching, NetworkPrior
from lightning_mri.models import LightUNet
from lightning_mri.scaling import Scaling
from lightning_mri.training import FineTune, Full, LoRA, Pretrain, PriorModule, TrainingPhase
from lightning_mri.weights import load_prior

from .conftest import LABELS, Fit, Images, constant, module, network


def test_a_run_goes_on_with_its_own_phase_or_not_at_all(fit: Fit, start: Path) -> None:
    """Regression: LoRA of another rank was a traceback, and the new learning rate was printed, not taken.

    The command refuses before it reads data, and in a dry run; `Trainer.fit` when it loads the checkpoint.
    """

    def phase(**changed: Any) -> TrainingPhase:
        return FineTune(str(start), **{"learning_rate": 1e-2, "steps": 2, "strategy": LoRA(2), **changed})

    half, _ = fit(phase(steps=1), Images(), "half")
    before, names = half.read_bytes(), set(half.parent.iterdir())
    for option, value in {
        "strategy": LoRA(3),
        "learning_rate": 1e-3,
        "warm_up": 9,
        "weight_decay": 0.1,
        "final": 0.5,
        "contrast": "FLAIR",
    }.items():
        refused = rf"its own phase\.{option}, .*: got "
        with pytest.raises(ValueError, match=refused):
            phase(**{option: value}).resume(PriorModule(), str(half))
        with pytest.raises(ValueError, match=refused):
            fit(phase(**{option: value}), Images(), "half", ckpt_path=half)
    with pytest.raises(ValueError, match=r"its own phase\.strategy, .*LoRA.*: got .*Full"):
        fit(phase(strategy=Full()), Images(), "half", ckpt_path=half)
    with pytest.raises(ValueError, match="its own phase, fine-tune: got pretrain"):
        fit(Pretrain(1e-2, steps=2), Images(), "half", module(), ckpt_path=half)
    assert (half.read_bytes(), set(half.parent.iterdir())) == (before, names)


@pytest.mark.parametrize(
    ("mine", "refused"),
    [
        ({}, None),
        ({"net": LightUNet(widths=(8,), n_labels=3), "labels": LABELS}, "net"),
        ({"process": EDM()}, "process"),
        ({"labels": LABELS[::-1]}, "labels"),
        ({"scaling": Scaling(90.0)}, "scaling"),
    ],
)
def test_what_is_typed_beside_a_checkpoint_agrees_with_it(mine: dict[str, Any], refused: str | None) -> None:
    """Regression: it was ignored; and EDM, typed for a prior that was trained as VP, was taken for nothing said."""
    theirs = NetworkPrior(network(), VP(), labels=LABELS)
    words = rf"model\.{refused} must be left out or agree with the checkpoint of somebody"
    with pytest.raises(ValueError, match=words) if refused else nullcontext():
        PriorModule(**mine).adopt(theirs, "of somebody")


def test_a_run_goes_on_with_its_own_prior_or_not_at_all(fit: Fit) -> None:
    """Regression: a network that was trained as EDM was saved as VP, and every label took another contrast's name."""
    half, _ = fit(constant(1), Images(), "half", module())
    wide = LightUNet(widths=(8, 16), n_blocks=1, embedding=16, n_labels=len(LABELS))
    for option, other in {
        "net": PriorModule(wide, labels=LABELS),
        "process": PriorModule(network(), VP(), labels=LABELS),
        "labels": PriorModule(network(), labels=LABELS[::-1]),
        "scaling": PriorModule(network(), labels=LABELS, scaling=Scaling(90.0)),
        "loss.label_dropout": PriorModule(network(), labels=LABELS, loss=DenoisingScoreMatching(0.5)),
    }.items():
        with pytest.raises(ValueError, match=rf"model\.{option}"):
            fit(constant(2), Images(), "half", other, ckpt_path=half)


class Split(Images):
    def split_names(self) -> dict[str, list[str]]:
        return {"train": ["a"], "val": ["b"]}


def test_a_resumed_run_knows_whom_it_was_trained_on(fit: Fit) -> None:
    """Regression: the subjects of the first part were forgotten, so that a leak of them into a test was not seen."""
    half, _ = fit(constant(1), Images(), "half", module())
    saved = torch.load(half, weights_only=True)
    saved["prior"]["card"]["trained_subjects"] = ["ab"]
    torch.save(saved, half)
    with pytest.warns(UserWarning, match="the split is another"):
        resumed, _ = fit(constant(2), Split(), "half", module(), ckpt_path=half)
    assert load_prior(resumed).card["trained_subjects"] == ["ab"]


class Wide(Images):
    """Batches of four."""

    def train_dataloader(self) -> DataLoader[LabelledImage]:
        return image_loader(self.dataset, 4, shuffle=True)


@pytest.mark.parametrize(
    ("data", "options", "done", "images", "steps"),
    [(Wide(), {}, 12, 24, 9), (Images(), {"accumulate_grad_batches": 2}, 12, 24, 9), (Wide(), {}, 10, 26, 9)],
)
def test_a_run_of_so_many_images_sees_them_with_another_batch_too(
    fit: Fit,
    data: Images,
    options: dict[str, Any],
    done: int,
    images: int,
    steps: int,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Regression: it ended early, and late where the images done are no whole batches of the new size."""
    half, _ = fit(Pretrain(1e-2, images=done), Images(), "half", module())
    resumed, _ = fit(Pretrain(1e-2, images=images), data, "half", module(), ckpt_path=half, **options)
    saved = torch.load(resumed, weights_only=True)
    assert (saved["global_step"], saved["run"]["n_images"]) == (steps, images)
    assert f"{steps} steps, {images} images" in capsys.readouterr().out
