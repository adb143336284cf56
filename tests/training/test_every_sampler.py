"""Every sampler reconstructs in predict and in test, with and without a contrast, for one and two sets of maps."""

from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import pytest
import torch
from pytorch_lightning import Callback, LightningModule, Trainer
from torch.utils.data import DataLoader

from lightning_mri.baselines import ZeroFilled
from lightning_mri.datasets import SliceBatch
from lightning_mri.diffusion import EDM, NetworkPrior
from lightning_mri.models import LightUNet
from lightning_mri.reconstruction import Guard
from lightning_mri.sampling import DAPS, DDS, DPS, HQS, PULA, Denoise, PredictorCorrector, Sampler
from lightning_mri.training import ReconstructionModule
from lightning_mri.training.reconstruction_module import Predicted
from lightning_mri.training.scores import ScoredScan
from lightning_mri.weights import save_prior

NO_GRADIENT: list[Sampler] = [
    HQS(n_steps=2),
    DDS(n_steps=2),
    DAPS(n_steps=2),
    PULA(n_steps=2, n_langevin=1),
    PredictorCorrector(n_steps=2, sigma_max=1.0),
    Denoise(),
]
CASES = [(DPS(n_steps=2), 1), (DPS(n_steps=2, n_parallel=3), 2)]
CASES += [pytest.param(sampler, n, marks=pytest.mark.slow) for sampler in NO_GRADIENT for n in (1, 2)]


@pytest.fixture(scope="module")
def prior(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("prior") / "small.safetensors"
    save_prior(NetworkPrior(LightUNet((8,), 1, 16), EDM()), path)
    return path


class Keep(Callback):
    """Keep what the steps return."""

    def __init__(self) -> None:
        self.cases: list[ScoredScan] = []
        self.predicted: list[Predicted] = []

    def on_predict_batch_end(self, trainer: Trainer, pl_module: LightningModule, outputs: Any, *_: Any) -> None:
        self.predicted.append(outputs)

    def on_test_batch_end(self, trainer: Trainer, pl_module: LightningModule, outputs: Any, *_: Any) -> None:
        self.cases.append(outputs)


@pytest.mark.parametrize(("sampler", "n_sets"), CASES, ids=lambda value: type(value).__name__)
def test_every_sampler_serves_every_use(
    prior: Path, ellipses: SliceBatch, tmp_path: Path, sampler: Sampler, n_sets: int
) -> None:
    """Through Lightning's loops, with one and two slices, of known and unknown contrast.

    Regression: DPS could not keep labels that were made in inference mode, in which a trainer predicts and tests.
    """
    module = ReconstructionModule(
        priors={"small": str(prior)},
        sampler=sampler,
        n_samples=2,
        uncertainty=None,
        baselines={"zero-filled": ZeroFilled()},
        n_sets=n_sets,
        guard=Guard(fallbacks=()),
    )
    batches = [replace(ellipses.rows(range(n)), contrast=contrast) for n, contrast in product((1, 2), ("T2w", None))]
    keep = Keep()
    options = {"accelerator": "cpu", "devices": 1, "logger": False, "enable_progress_bar": False}
    trainer = Trainer(**options, callbacks=[keep], default_root_dir=tmp_path, enable_model_summary=False)
    loader = DataLoader(batches, batch_size=None)
    trainer.predict(module, loader, return_predictions=False)
    trainer.test(module, loader, verbose=False)
    assert [part.slices for part in keep.predicted] == [(0,), (0,), (0, 1), (0, 1)]
    for part, case in zip(keep.predicted, keep.cases, strict=True):
        assert part.result.image.shape == (len(part.slices), 28, 24)
        assert bool(part.result.image.isfinite().all())
        torch.testing.assert_close(part.result.image.abs(), case.images["small"])
