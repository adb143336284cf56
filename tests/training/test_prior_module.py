"""What PriorModule trains is the distribution of its images."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from pytorch_lightning import LightningDataModule, Trainer, seed_everything
from pytorch_lightning.loggers import CSVLogger
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from lightning_mri.datasets import ImageBatch, LabelledImage, image_loader
from lightning_mri.diffusion import EDM
from lightning_mri.evaluation.table_files import read_csv
from lightning_mri.models import LightUNet
from lightning_mri.sampling import Karras, Langevin, PredictorCorrector
from lightning_mri.sampling.predictors import AncestralVE
from lightning_mri.tensors import complex_noise
from lightning_mri.training import EMA, MetricsFile, Pretrain, PriorModule
from lightning_mri.training.losses import LossByLevel

from .conftest import LABELS, Fit, Images, network

SHARE, MEAN, SPREAD = 0.7, 0.5, 0.15


class Mixture(Dataset[LabelledImage]):
    """All pixels of an image about +(1 + i) / 2, or, of three in ten, all about -(1 + i) / 2; drawn when read."""

    def __len__(self) -> int:
        return 640

    def __getitem__(self, index: int) -> LabelledImage:
        sign = 1 if torch.rand(()) < SHARE else -1
        image = sign * MEAN * (1 + 1j) + SPREAD * complex_noise((4, 4))
        return LabelledImage(image, "T1w", (4, 4))


class Mixtures(LightningDataModule):
    def train_dataloader(self) -> DataLoader[LabelledImage]:
        return image_loader(Mixture(), 64, shuffle=True)


@pytest.mark.parametrize(
    ("labels", "expected"),
    [(["T1w", "FLAIR", "other"], [0, 1, 1, 2]), (["FLAIR"], [1, 0, 0, 1]), ([], [0, 0, 0, 0])],
)
def test_a_contrast_is_trained_under_the_label_that_it_is_asked_for_by(labels: list[str], expected: list[int]) -> None:
    """Regression: `flair` trained `other`, and a prior without labels or without `other` trained on nothing else."""
    module = PriorModule(LightUNet((8,), 1, 16, n_labels=len(labels)), labels=labels)
    batch = ImageBatch(torch.zeros(4, 4, 4, dtype=torch.complex64), ("T1w", "FLAIR", "flair", "DWI"))
    assert module.labels_of(batch).tolist() == expected


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[PriorModule, list[dict[str, str]]]:
    """A prior trained for a few seconds, and what was logged."""
    seed_everything(0, verbose=False)
    torch.manual_seed(0)
    net = LightUNet(widths=(24,), n_blocks=2, embedding=32, stem=2, n_labels=1)
    module = PriorModule(net, EDM(sigma_data=0.5, sigma_max=10.0), labels=["T1w"])
    folder = tmp_path_factory.mktemp("logs")
    trainer = Trainer(
        accelerator="cpu",
        max_epochs=-1,
        callbacks=[Pretrain(learning_rate=4e-3, steps=300, warm_up=20), EMA(half_life=0.1)],
        logger=CSVLogger(folder, name="", version=""),
        log_every_n_steps=25,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(module, Mixtures())
    return module, read_csv(folder / "metrics.csv")


@pytest.mark.slow
def test_samples_have_the_moments_of_the_mixture(trained: tuple[PriorModule, Any]) -> None:
    sampler = PredictorCorrector(40, AncestralVE(), Langevin(n_steps=0), schedule=Karras())
    prior = trained[0].prior
    prior.eval()
    samples = sampler.sample(prior, None, range(300), 0, (4, 4))
    image_means = samples.mean((-2, -1))
    positive = image_means.real > 0
    assert positive.float().mean().item() == pytest.approx(SHARE, abs=0.08)
    for chosen, sign in ((positive, 1), (~positive, -1)):
        mean = samples[chosen].mean()
        assert abs(mean - sign * MEAN * (1 + 1j)) < 0.08
        assert torch.view_as_real(samples[chosen] - mean).std().item() == pytest.approx(SPREAD, rel=0.2)


def test_training_logs_its_loss_by_noise_level(trained: tuple[Any, list[dict[str, str]]]) -> None:
    rows = [row for row in trained[1] if row["train/loss/sigma_0.3"]]
    assert len(rows) == 12
    levels = [name for name in rows[0] if name.startswith("train/loss/sigma_")]
    assert {"train/loss/sigma_0.1", "train/loss/sigma_0.3", "train/loss/sigma_1"} <= set(levels)
    first, last = (float(rows[k]["train/loss/sigma_0.3"]) for k in (0, -1))
    assert last < 0.5 * first


def test_a_level_has_the_mean_of_its_step_and_nothing_where_no_image_had_it(
    fit: Fit, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Regression: of the batches of a step the last ones were left out, and a value was repeated until the next."""
    module, expected = PriorModule(network(), labels=LABELS), [LossByLevel() for _ in range(4)]
    update = module._loss_by_level.update

    def noted(sigma: Tensor, loss: Tensor) -> None:
        update(sigma, loss)
        expected[module.global_step].update(sigma, loss)

    monkeypatch.setattr(module._loss_by_level, "update", noted)
    logger = MetricsFile(tmp_path, flush_logs_every_n_steps=1)
    options = {"logger": logger, "log_every_n_steps": 1, "accumulate_grad_batches": 3}
    fit(Pretrain(steps=4), Images(), module=module, **options)
    rows = [row for row in read_csv(tmp_path / "metrics.csv") if not row["train/loss"]]
    logged = [{key: float(row[key]) for key in row if key.startswith("train/loss/") and row[key]} for row in rows]
    assert logged == [{f"train/loss/{name}": value for name, value in each.compute().items()} for each in expected]
    assert {len(each) for each in logged} != {len(logged[0])}


COMPILED = """
import torch
from pytorch_lightning import Trainer, seed_everything
from lightning_mri.training import Pretrain, PriorModule
from tests.training.conftest import LABELS, Images, network


def trained(backend):
    seed_everything(3, verbose=False)
    module = PriorModule(network(), labels=LABELS, compile_backend=backend)
    quiet = {name: False for name in ("logger", "enable_checkpointing", "enable_progress_bar", "enable_model_summary")}
    Trainer(accelerator="cpu", max_epochs=-1, callbacks=[Pretrain(1e-2, steps=3)], **quiet).fit(module, Images())
    assert (module.prior.net._compiled_call_impl is not None) == (backend is not None)
    return module.state_dict()


plain, compiled = trained(None), trained("aot_eager")
torch.testing.assert_close(compiled, plain, rtol=1e-4, atol=1e-5)
"""


@pytest.mark.slow
def test_a_compiled_network_trains_alike(tmp_path: Path) -> None:
    # in a process of its own, as a user would: the compiler cannot trace the checks of types at run time
    root = Path(__file__).parents[2]
    done = subprocess.run([sys.executable, "-c", COMPILED], cwd=root, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
