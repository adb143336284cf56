"""Measure speed as ratios to named peers in the same run, on one device: python experiments/bench.py [--device cuda].

The median of a few repeats is printed; machines are noisy, so quote the ratios.
"""

import statistics
import time
from collections.abc import Callable
from pathlib import Path

import torch
from jsonargparse import auto_cli

from lightning_mri.baselines import L1Wavelet
from lightning_mri.data.synthetic import Geometry, Head, simulate_coil_maps
from lightning_mri.diffusion import DenoisingScoreMatching
from lightning_mri.physics import Equispaced, estimate_maps, fft2c, find_acs
from lightning_mri.reconstruction import prepare
from lightning_mri.sampling import DDS, HQS, PredictorCorrector
from lightning_mri.tensors import complex_noise
from lightning_mri.weights import load_prior

SIZE, N_COILS, N_CENTER = 256, 8, 24


def bench(device: str = "cpu", repeats: int = 3, output: Path | None = None) -> None:
    """Time calibration, samplers and training on one slice of 256 x 256 with 8 coils.

    Args:
        device: Where our side runs; sigpy's runs on the CPU.
        repeats: Measurements of each, after one that does not count.
        output: Markdown file to write the table to.
    """
    kspace, mask = _scan()
    acs = find_acs(mask).limited(N_CENTER, aspect=1)
    there = kspace.to(device)
    prior = load_prior("brain", device)
    problem = prepare(there, mask.to(device), prior.scaling)
    images = torch.view_as_complex(torch.randn(8, 128, 128, 2, device=device))
    trained = load_prior("brain", device).requires_grad_(True).train()

    def train() -> None:
        DenoisingScoreMatching()(trained, images).loss.mean().backward()

    def sample(sampler: HQS | DDS | PredictorCorrector) -> Callable[[], object]:
        return lambda: sampler.sample(prior, problem.likelihood, [0])

    espirit = _time(lambda: estimate_maps(there, mask.to(device), acs, crop=0.95), repeats, device)
    theirs = _time(lambda: _sigpy_maps(kspace), repeats, device)
    wavelet = _time(lambda: L1Wavelet().reconstruct(problem.likelihood), repeats, device)
    rows = [
        ("ESPIRiT", espirit, "sigpy EspiritCalib", theirs),
        (
            "HQS, 20 evaluations",
            _time(sample(HQS(n_steps=20)), repeats, device),
            "sigpy L1-wavelet, 100 steps",
            wavelet,
        ),
        ("HQS, 30 evaluations", _time(sample(HQS()), repeats, device), "sigpy L1-wavelet, 100 steps", wavelet),
        (
            "DDS, 30 evaluations",
            _time(sample(DDS(n_steps=30)), repeats, device),
            "sigpy L1-wavelet, 100 steps",
            wavelet,
        ),
    ]
    lines = ["| what | s a slice | peer | its s a slice | ratio |", "| --- | ---: | --- | ---: | ---: |"]
    lines += [
        f"| {what} | {ours:.3g} | {peer} | {other:.3g} | {ours / other:.2g} |" for what, ours, peer, other in rows
    ]
    walk = PredictorCorrector(n_steps=20)
    seconds = _time(sample(walk), repeats, device)
    lines.append(f"| predictor-corrector, {walk.nfe} evaluations | {seconds:.3g} | | | |")
    speed = 8 / _time(train, repeats, device)
    lines.append(f"| training of the shipped network, 128 x 128 images a second | {speed:.3g} | | | |")
    name = torch.cuda.get_device_name() if device == "cuda" else f"CPU, {torch.get_num_threads()} threads"
    table = "\n".join(
        [*lines, "", f"{name}; torch {torch.__version__}; median of {repeats}; {SIZE} x {SIZE}, {N_COILS} coils"]
    )
    print(table)
    if output is not None:
        output.write_text(table + "\n")


def _scan() -> tuple[torch.Tensor, torch.Tensor]:
    geometry = Geometry(shape=(SIZE, SIZE), pixel_size=(0.9, 0.9))
    image = Head("bench").slice("T2w", geometry).image
    maps = simulate_coil_maps(N_COILS, (SIZE, SIZE), seed=0)
    kspace = fft2c(maps * image)
    kspace = kspace + 0.02 * kspace.abs().std() * complex_noise(kspace.shape, torch.Generator().manual_seed(0))
    mask = Equispaced(4, N_CENTER).draw((SIZE, SIZE), 0)
    return torch.where(mask, kspace, 0)[None], mask


def _sigpy_maps(kspace: torch.Tensor) -> object:
    from sigpy.mri.app import EspiritCalib

    return EspiritCalib(kspace[0].numpy(), calib_width=N_CENTER, crop=0.95, show_pbar=False).run()


def _time(function: Callable[[], object], repeats: int, device: str) -> float:
    """Return the median time of a call, after one that does not count."""
    times = []
    for _ in range(repeats + 1):
        start = time.perf_counter()
        function()
        if device == "cuda":
            torch.cuda.synchronize()
        times.append(time.perf_counter() - start)
    return statistics.median(times[1:])


if __name__ == "__main__":
    auto_cli(bench)
