"""Every sampler reconstructs in predict and in test, with and without a contrast, for one and two sets of maps."""

from dataclasses import replace
from itertools import product
from pathlib import Path

import pytest
import torch

from lightning_mri.baselines import ZeroFilled
from lightning_mri.datasets import SliceBatch
from lightning_mri.diffusion import EDM, NetworkPrior
from lightning_mri.models import LightUNet
from lightning_mri.phantoms import Scanner
from lightning_mri.physics import Equispaced
from lightning_mri.reconstruction import Guard
from lightning_mri.sampling import DAPS, DDS, DPS, HQS, PULA, PredictorCorrector, Sampler
from lightning_mri.training import ReconstructionModule
from lightning_mri.weights import save_prior

SHAPE = (28, 24)
NO_GRADIENT: list[Sampler] = [
    HQS(n_steps=2),
    DDS(n_steps=2),
    DAPS(n_steps=2),
    PULA(n_steps=2, n_langevin=1),
    PredictorCorrector(n_steps=2, sigma_max=1.0),
]
SAMPLERS = [DPS(n_steps=2), DPS(n_steps=2, n_parallel=3)]
SAMPLERS += [pytest.param(sampler, marks=pytest.mark.slow) for sampler in NO_GRADIENT]


@pytest.fixture(scope="module")
def prior(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("prior") / "small.safetensors"
    save_prior(NetworkPrior(LightUNet((8,), 1, 16), EDM()), path)
    return path


@pytest.fixture(scope="module")
def slices() -> SliceBatch:
    """Two ellipses, every second line and eight more."""
    y, x = torch.linspace(-1, 1, 28)[:, None], torch.linspace(-1, 1, 24)
    images = torch.stack([y**2 + x**2 < size for size in (0.5, 0.3)]).to(torch.complex64)
    mask = Equispaced(2.0, 8).draw(SHAPE, 0)
    kspace = Scanner(4, oversampling=1).measure(images, 0, (8.0, 8.0)) * mask
    return SliceBatch(
        scan="e",
        source="e.h5",
        slices=(0, 1),
        n_slices=2,
        contrast="T2w",
        reference=images,
        kspace=kspace,
        mask=mask,
        reconstruction_size=SHAPE,
        acceleration=2.0,
    )


@pytest.mark.parametrize("sampler", SAMPLERS, ids=lambda sampler: type(sampler).__name__)
def test_every_sampler_serves_every_use(prior: Path, slices: SliceBatch, sampler: Sampler) -> None:
    """Regression: DPS could not keep labels that were made in inference mode, in which a trainer predicts and tests."""
    for n_sets, n_slices, contrast in product((1, 2), (1, 2), ("T2w", None)):
        module = ReconstructionModule(
            priors={"small": str(prior)},
            sampler=sampler,
            n_samples=2,
            uncertainty=None,
            baselines={"zero-filled": ZeroFilled()},
            n_sets=n_sets,
            guard=Guard(fallbacks=()),
        ).eval()
        batch = replace(
            slices,
            slices=slices.slices[:n_slices],
            kspace=slices.kspace[:n_slices],
            reference=slices.reference[:n_slices],
            contrast=contrast,
        )
        with torch.inference_mode():
            predicted = module.predict_step(batch, 0).result.image
            tested = module.test_step(batch, 0).images["small"]

        assert predicted.shape == (n_slices, *SHAPE)
        assert bool(predicted.isfinite().all())
        torch.testing.assert_close(predicted.abs(), tested)
