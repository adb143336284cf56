"""Measure speed as ratios to named peers in the same run, on one device: python experiments/bench.py [--device cuda].

The median of a few repeats is printed; machines are noisy, so quote the ratios.
"""

import importlib.util
import random
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from fastmri.data import SliceDataset
from jsonargparse import auto_cli
from torch.utils.data import DataLoader

from lightning_mri.baselines import L1Wavelet
from lightning_mri.data import Augmentation, CacheEntry, ImageCache, ImageDataset, write_fastmri
from lightning_mri.data.datasets import image_loader
from lightning_mri.data.synthetic import Geometry, Head, simulate_coil_maps
from lightning_mri.diffusion import DenoisingScoreMatching, fast_precision
from lightning_mri.models import UNet
from lightning_mri.physics import Equispaced, estimate_maps, fft2c, find_acs
from lightning_mri.reconstruction import prepare
from lightning_mri.sampling import DDS, HQS, PredictorCorrector
from lightning_mri.tensors import complex_noise
from lightning_mri.weights import load_prior

SIZE, N_COILS, N_CENTER = 256, 8, 24
CACHED, RAW = 40, 4  # volumes


def bench(device: str = "cpu", repeats: int = 3, train_size: int = 320, output: Path | None = None) -> None:
    """Time calibration, samplers and training on one slice of 256 x 256 with 8 coils.

    Args:
        device: Where our side runs; sigpy's runs on the CPU.
        repeats: Measurements of each, after one that does not count.
        train_size: Height and width of the images that the large network trains on.
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
    lines += cache_rows(repeats)
    walk = PredictorCorrector(n_steps=20)
    seconds = _time(sample(walk), repeats, device)
    lines.append(f"| predictor-corrector, {walk.nfe} evaluations | {seconds:.3g} | | | |")
    speed = 8 / _time(train, repeats, device)
    lines.append(f"| training of the shipped network, 128 x 128 images a second | {speed:.3g} | | | |")
    lines += _training(device, repeats, train_size)
    name = torch.cuda.get_device_name() if device == "cuda" else f"CPU, {torch.get_num_threads()} threads"
    table = "\n".join(
        [*lines, "", f"{name}; torch {torch.__version__}; median of {repeats}; {SIZE} x {SIZE}, {N_COILS} coils"]
    )
    print(table)
    if output is not None:
        output.write_text(table + "\n")


def cache_rows(repeats: int = 3) -> list[str]:
    """Return rows on the cache: reading against a memory map, loading against fastMRI's dataset of raw scans.

    One process reads, two load with augmentation. The raw slices have 16 coils of 640 x 320, of which the cache
    holds what a prior is trained on, 320 x 320.
    """
    n_slices, matrix = 16, (320, 320)
    with TemporaryDirectory() as name:
        folder = Path(name)
        cache, entries = ImageCache(folder, "bench", {}), []
        for k in range(CACHED):
            entry = CacheEntry(f"{k}", f"{k}", ("T2w",) * n_slices, (n_slices, *matrix), (1.0,) * n_slices, "bench")
            cache.store(entry.name, complex_noise(entry.shape))
            entries.append(entry)
        for k in range(RAW):
            write_fastmri(
                folder / "raw" / f"{k}.h5",
                complex_noise((4, 16, 640, 320)),
                contrast="T2w",
                subject=f"{k}",
                reconstruction_size=matrix,
            )
        maps = [np.load(cache.folder / f"{entry.name}.npy", mmap_mode="r") for entry in entries]
        places = [(k, i) for k in range(CACHED) for i in range(n_slices)]
        random.Random(0).shuffle(places)
        ours = _time(lambda: [cache.read(entries[k], i) for k, i in places], repeats, "cpu") / len(places)
        mapped = _time(lambda: [torch.from_numpy(np.array(maps[k][i])) for k, i in places], repeats, "cpu") / len(
            places
        )
        images = image_loader(ImageDataset(cache, entries, matrix, Augmentation()), 8, n_workers=2, shuffle=True)
        loaded = _time(lambda: list(images), repeats, "cpu") / len(places)
        raw = SliceDataset(folder / "raw", "multicoil", use_dataset_cache=False)
        slices = DataLoader(raw, batch_size=None, num_workers=2, persistent_workers=True)
        theirs = _time(lambda: list(slices), repeats, "cpu") / len(raw)
    return [
        f"| read a cached slice | {ours:.3g} | numpy memory map | {mapped:.3g} | {ours / mapped:.2g} |",
        f"| load and augment a slice, 2 workers | {loaded:.3g} | fastmri SliceDataset, raw scans | {theirs:.3g}"
        f" | {loaded / theirs:.2g} |",
    ]


def _training(device: str, repeats: int, size: int) -> list[str]:
    """Time training steps of DDPM's 34.4 million parameters against diffusers' network of the same size.

    Once plainly, in single precision with AdamW; and once with what each side has to offer: half the precision where
    the device multiplies it, its best memory layout, a fused optimiser and, on a GPU, a compiled network.
    """
    lines = ["", "| training | images a second | diffusers' | ratio |", "| --- | ---: | ---: | ---: |"]
    if importlib.util.find_spec("diffusers") is None:
        print("training is not compared: diffusers, of the extra 'bench', is not installed")
        return []
    for what, best in (("plain, fp32", False), ("each at its best", True)):
        steps = [_step(_our_unet(), device, size, best), _step(_their_unet(), device, size, best)]
        ours, theirs = _paired(steps, repeats, device)
        batch = _batch(device)
        lines.append(
            f"| 34.4 M at {size} px, batch {batch}, {what} | {batch / ours:.3g} | {batch / theirs:.3g} | "
            f"{theirs / ours:.2f} |"
        )
    return lines


def _batch(device: str) -> int:
    return 8 if device == "cuda" else 1


def _our_unet() -> torch.nn.Module:
    return UNet(n_labels=0)


def _their_unet() -> torch.nn.Module:
    from diffusers import UNet2DModel

    net = UNet2DModel(
        in_channels=2,
        out_channels=2,
        block_out_channels=(128, 256, 256, 256),
        down_block_types=("DownBlock2D",) * 4,  # attention at 16 px of 256 or 320 is in the middle only
        up_block_types=("UpBlock2D",) * 4,
        layers_per_block=2,
        attention_head_dim=256,
        downsample_padding=0,
    )
    n_ours, n_theirs = (sum(p.numel() for p in each.parameters()) for each in (_our_unet(), net))
    if n_ours != n_theirs:
        raise ValueError(f"both networks must have as many parameters: got {n_ours:,} and diffusers' {n_theirs:,}")
    return net


def _step(net: torch.nn.Module, device: str, size: int, best: bool) -> Callable[[], object]:
    """Return one step of training: predict, square, differentiate, update."""
    net = net.to(device).train()
    precision = fast_precision(torch.device(device)) if best else None
    if best and (device == "cuda" or precision is not None):
        net.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    if best and device == "cuda":
        net.compile()
    optimizer = torch.optim.AdamW(net.parameters(), 1e-4, fused=best)
    batch = _batch(device)
    x, target = (torch.randn(batch, 2, size, size, device=device) for _ in range(2))
    code, label = torch.full((batch,), 500.0, device=device), torch.zeros(batch, dtype=torch.long, device=device)
    ours = isinstance(net, UNet)

    def step() -> None:
        optimizer.zero_grad(set_to_none=True)
        with torch.autocast(device, dtype=precision, enabled=precision is not None):
            predicted = net(x, code, label) if ours else net(x, code).sample
        (predicted.float() - target).square().mean().backward()
        optimizer.step()

    return step


def _paired(functions: list[Callable[[], object]], repeats: int, device: str) -> list[float]:
    """Return the median time of each, run in turn so that a busy machine is equally unkind to all."""
    rounds = [[_time_once(function, device) for function in functions] for _ in range(repeats + 1)]
    return [statistics.median(times) for times in zip(*rounds[1:], strict=True)]


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
    return statistics.median([_time_once(function, device) for _ in range(repeats + 1)][1:])


def _time_once(function: Callable[[], object], device: str) -> float:
    start = time.perf_counter()
    function()
    if device == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - start


if __name__ == "__main__":
    auto_cli(bench)
