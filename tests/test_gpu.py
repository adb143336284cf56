"""What only a GPU can show: agreement with the CPU, reduced precision, and a run of fit and predict on it."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from lightning_mri.data import read_scan
from lightning_mri.physics import estimate_maps
from lightning_mri.reconstruction import prepare
from lightning_mri.sampling import HQS
from lightning_mri.weights import load_prior

EXPERIMENTS = Path(__file__).parents[1] / "experiments"
pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device"),
]


@pytest.fixture
def kspace(cohort: Path) -> torch.Tensor:
    return read_scan(next((cohort / "multicoil_test").glob("*.h5"))).kspace[:1]


def test_coil_maps_agree(kspace: torch.Tensor) -> None:
    mask = torch.ones(1, *kspace.shape[-2:], dtype=torch.bool)
    torch.testing.assert_close(
        estimate_maps(kspace.cuda(), mask.cuda()).cpu(), estimate_maps(kspace, mask), atol=2e-3, rtol=0
    )


@pytest.mark.parametrize(("precision", "tolerance"), [(torch.float32, 1e-3), (torch.bfloat16, 3e-2)])
def test_denoiser_agrees(precision: torch.dtype, tolerance: float) -> None:
    here, there = load_prior("brain"), load_prior("brain", "cuda")
    here.precision, there.precision = torch.float32, precision
    x = torch.randn(2, 65, 48, dtype=torch.complex64, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        difference = there.denoise(x.cuda(), 0.3).cpu() - here.denoise(x, 0.3)
    assert difference.abs().max() < tolerance


def test_reconstruction_agrees(kspace: torch.Tensor) -> None:
    mask = torch.ones(1, *kspace.shape[-2:], dtype=torch.bool)
    images = []
    for device in ("cpu", "cuda"):
        prior = load_prior("brain", device)
        prior.precision = torch.float32
        problem = prepare(kspace.to(device), mask.to(device), prior.scaling)
        images.append(problem.finish(HQS(n_steps=5).sample(prior, problem.likelihood, [0])[0]).cpu())
    assert torch.linalg.vector_norm(images[0] - images[1]) < 1e-2 * torch.linalg.vector_norm(images[0])


def test_predict_uses_the_gpu(command: Callable[..., str], cohort: Path, tmp_path: Path) -> None:
    command(
        "predict",
        "--config",
        EXPERIMENTS / "reconstruct.yaml",
        f"--data.root={cohort / 'multicoil_test'}",
        f"--output_dir={tmp_path}",
        "--trainer.accelerator=gpu",
        "--trainer.devices=1",
    )
    assert len(list(tmp_path.glob("*.h5"))) == 1
