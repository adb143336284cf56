"""A run of training small enough to be repeated many times: nine images, a tiny network, real callbacks."""

import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from pytorch_lightning import Callback, LightningDataModule, LightningModule, Trainer, seed_everything
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from lightning_mri.datasets import ImageBatch, LabelledImage, SliceBatch, image_loader
from lightning_mri.diffusion import EDM, NetworkPrior
from lightning_mri.models import LightUNet
from lightning_mri.phantoms import Scanner
from lightning_mri.physics import Equispaced
from lightning_mri.training import EMA, Checkpoint, Pretrain, PriorModule, TrainingPhase
from lightning_mri.weights import save_prior

LABELS = ("T1w", "T2w", "spare-1")
PARTS = ("state_dict", "current_model_state", "averaging_state", "optimizer_states", "lr_schedulers", "run", "prior")


def network() -> LightUNet:
    torch.manual_seed(0)
    return LightUNet(widths=(8, 12), n_blocks=1, embedding=16, n_labels=len(LABELS))


class Shaken(Dataset[LabelledImage]):
    """Smooth complex images, each turned by a phase from the global random source when it is read, unless still."""

    def __init__(self, n: int, size: tuple[int, int] = (16, 12), seed: int = 0, still: bool = False) -> None:
        self.still = still
        coarse = torch.view_as_complex(torch.randn(n, 4, 4, 2, generator=torch.Generator().manual_seed(seed)))
        self.images = torch.kron(coarse, torch.ones(size[0] // 4, size[1] // 4))

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> LabelledImage:
        image = self.images[index] if self.still else self.images[index] * torch.exp(6j * torch.rand(()))
        return LabelledImage(image, LABELS[index % 2], (image.shape[0], image.shape[1]))


class Images(LightningDataModule):
    """Shuffled batches of two: four an epoch, and one image left over."""

    def __init__(self, n: int = 9, n_workers: int = 0, size: tuple[int, int] = (16, 12), seed: int = 0) -> None:
        super().__init__()
        self.dataset, self.n_workers = Shaken(n, size, seed), n_workers

    def train_dataloader(self) -> DataLoader[LabelledImage]:
        return image_loader(self.dataset, 2, self.n_workers, shuffle=True)


class Validated(Images):
    """The same with five images to validate on."""

    def val_dataloader(self) -> DataLoader[LabelledImage]:
        return image_loader(Shaken(5, seed=8, still=True), 2)


class Seen(Callback):
    """What each step saw and paid."""

    def __init__(self) -> None:
        self.steps: list[tuple[int, complex, float]] = []

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: ImageBatch, batch_idx: int
    ) -> None:
        self.steps.append((trainer.global_step, batch.image.sum().item(), float(outputs["loss"])))


class At(Callback):
    """Do something after a step."""

    def __init__(self, step: int, act: Callable[[Trainer], object]) -> None:
        self.step, self.act = step, act

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *_: Any) -> None:
        if trainer.global_step == self.step:
            self.act(trainer)


def constant(steps: int) -> TrainingPhase:
    return Pretrain(learning_rate=1e-2, steps=steps, warm_up=6, final=1.0)


def module() -> PriorModule:
    return PriorModule(network(), labels=LABELS)


Fit = Callable[..., tuple[Path, Seen]]


@pytest.fixture
def fit(tmp_path: Path) -> Fit:
    """Run a phase in a folder of its own; return its last checkpoint and what it saw."""

    def run(
        phase: TrainingPhase,
        data: LightningDataModule,
        folder: str = "run",
        module: PriorModule | None = None,
        seed: int = 3,
        ckpt_path: Path | None = None,
        ema: EMA | None = None,
        callbacks: tuple[Callback, ...] = (),
        every: int | None = None,
        **options: Any,
    ) -> tuple[Path, Seen]:
        seed_everything(seed, verbose=False)
        seen = Seen()
        saved = Checkpoint(tmp_path / folder, save_last=True, enable_version_counter=False, every_n_train_steps=every)
        trainer = Trainer(
            accelerator="cpu",
            max_epochs=-1,
            callbacks=[phase, ema or EMA(decay=0.9), seen, saved, *callbacks],
            enable_progress_bar=False,
            enable_model_summary=False,
            **{"logger": False, **options},
        )
        module = PriorModule() if module is None else module
        trainer.fit(module, data, ckpt_path=ckpt_path, weights_only=True if ckpt_path else None)
        return tmp_path / folder / "last.ckpt", seen

    return run


@pytest.fixture
def start(tmp_path: Path) -> Path:
    """A prior to fine-tune."""
    prior = NetworkPrior(network(), EDM(), labels=LABELS, card={"history": [{"phase": "pretrain"}]})
    generator = torch.Generator().manual_seed(1)
    for parameter in prior.parameters():
        parameter.data += 0.05 * torch.randn(parameter.shape, generator=generator)
    save_prior(prior, tmp_path / "start.safetensors")
    return tmp_path / "start.safetensors"


@pytest.fixture(scope="session")
def ellipses() -> SliceBatch:
    """Two slices, each an ellipse, with every second line and eight more."""
    y, x = torch.linspace(-1, 1, 28)[:, None], torch.linspace(-1, 1, 24)
    images = torch.stack([y**2 + x**2 < size for size in (0.5, 0.3)]).to(torch.complex64)
    mask = Equispaced(2.0, 8).draw((28, 24), 0)
    kspace = Scanner(4, oversampling=1).measure(images, 0, (8.0, 8.0)) * mask
    named = {"scan": "ellipse", "source": "ellipse.h5", "contrast": "T2w"}
    shown = {"slices": (0, 1), "n_slices": 2, "reconstruction_size": (28, 24)}
    return SliceBatch(**named, **shown, reference=images, kspace=kspace, mask=mask, acceleration=2.0)  # type: ignore[arg-type]


@pytest.fixture
def no_nohup() -> Iterator[None]:
    """Undo what ``nohup make test`` makes all processes ignore."""
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGHUP, before)


def same(a: Any, b: Any) -> bool:
    """Whether two checkpoints, or parts of them, are equal to the last bit."""
    if isinstance(a, Tensor):
        return isinstance(b, Tensor) and torch.equal(a, b)
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(map(same, a, b))
    return bool(a == b)


def differing(a: Path, b: Path) -> list[str]:
    one, other = (torch.load(path, weights_only=True) for path in (a, b))
    parts = [*PARTS, *(part for part in one if part == "training_state")]
    return [part for part in parts if not same(one[part], other[part])]
