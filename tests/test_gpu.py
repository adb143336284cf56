"""What only a GPU can show: agreement with the CPU, reduced precision, and a run of fit and predict on it."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from pytorch_lightning import Trainer

from lightning_mri.datasets import SyntheticHeads
from lightning_mri.diffusion import EDM
from lightning_mri.io import read_scan
from lightning_mri.models import LightUNet
from lightning_mri.physics import estimate_maps
from lightning_mri.reconstruction import prepare
from lightning_mri.sampling import HQS
from lightning_mri.tensors import complex_noise, local_generator
from lightning_mri.training import EMA, Pretrain, PriorModule
from lightning_mri.weights import load_prior

ROOT = Path(__file__).parents[1]
EXPERIMENTS = ROOT / "experiments"
pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device")]


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
        *("predict", "--config", EXPERIMENTS / "reconstruct.yaml", f"--data.root={cohort / 'multicoil_test'}"),
        *(f"--output_dir={tmp_path}", "--trainer.accelerator=gpu", "--trainer.devices=1"),
    )
    assert len(list(tmp_path.glob("*.h5"))) == 1


@pytest.mark.parametrize("compile_backend", ["null", "inductor"])
def test_fit_trains_on_the_gpu(tmp_path: Path, compile_backend: str) -> None:
    """In a process of its own, whose types are not checked: a compiler cannot read through the checks."""
    command = (
        *(sys.executable, "-m", "lightning_mri", "fit"),
        *(f"--config={EXPERIMENTS / 'pretrain' / 'synthetic_noflair.yaml'}", "--phase.steps=3"),
        *(f"--model.compile_backend={compile_backend}", "--model.net.widths=[8,8]", "--data.n_subjects=1"),
        *("--data.n_val=1", "--data.size=48", "--data.crop=[32,32]", "--data.batch_size=2"),
        *("--data.n_workers=1", f"--data.cache_dir={tmp_path}", "--trainer.accelerator=gpu"),
        *("--trainer.devices=1", "--trainer.logger=false"),
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))}
    subprocess.run(command, cwd=tmp_path, env=environment, check=True)
    prior = load_prior(next(tmp_path.rglob("last.ckpt")), "cuda")
    assert prior.card["history"][-1]["steps"] == 3
    assert prior.denoise(torch.zeros(1, 48, 40, dtype=torch.complex64, device="cuda"), 0.1).isfinite().all()


def test_average_is_kept_where_the_weights_are(tmp_path: Path) -> None:
    ema = EMA(decay=0.9)
    data = SyntheticHeads(1, 1, slices_per_subject=2, size=48, crop=(32, 32), batch_size=2, cache_dir=tmp_path)
    trainer = Trainer(
        accelerator="gpu",
        devices=1,
        precision="bf16-mixed",
        callbacks=[Pretrain(steps=3), ema],
        logger=False,
        enable_checkpointing=False,
        default_root_dir=tmp_path,
    )
    trainer.fit(PriorModule(LightUNet((8, 8)), EDM(sigma_data=0.25)), data)
    assert ema._average_model is not None
    assert all(weight.is_cuda for weight in ema._average_model.module.parameters())


def test_noise_of_the_gpu_follows_the_seed_of_the_cpu() -> None:
    def drawn(seed: int) -> torch.Tensor:
        source = local_generator(torch.Generator().manual_seed(seed), torch.device("cuda"))
        return complex_noise((3, 257, 255), source, "cuda")

    assert drawn(1).is_cuda
    assert torch.equal(drawn(1), drawn(1))
    assert not torch.equal(drawn(1), drawn(2))
    assert float(drawn(1).abs().square().mean()) == pytest.approx(2, rel=0.01)
