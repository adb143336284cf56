"""Measure speed as ratios to named peers in the same run, on one device: python experiments/bench.py [--device cuda].

The median of a few repeats is printed; machines are noisy, so quote the ratios.
"""

import importlib.util
import random
import resource
import shutil
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from fastmri.data import SliceDataset
from jsonargparse import auto_cli
from torch.utils.data import DataLoader
from torch.utils.flop_counter import FlopCounterMode

from lightning_mri.baselines import BartPICS, L1Wavelet, run_bart
from lightning_mri.datasets import Augmentation, CacheEntry, ImageCache, ImageDataset, image_loader
from lightning_mri.diffusion import EDM, DenoisingScoreMatching, NetworkPrior, Prior, fast_precision
from lightning_mri.io import write_fastmri
from lightning_mri.models import UNet
from lightning_mri.models.network import DenoisingNetwork
from lightning_mri.phantoms import CoilArray, Geometry, Head, Scanner
from lightning_mri.physics import Equispaced, estimate_maps, fft2c, find_acs
from lightning_mri.reconstruction import PRESETS, prepare
from lightning_mri.sampling import DDS, PredictorCorrector, Sampler
from lightning_mri.tensors import complex_noise
from lightning_mri.weights import load_prior

WIDTH_OF_SHIPPED = 55  # of diffusers' network, for as many parameters as the shipped one has


@dataclass(frozen=True)
class Sizes:
    """What is timed.

    Args:
        matrix: Pixels of a slice along both axes.
        n_coils: Its coils.
        n_center: Its calibration lines.
        crop: Pixels along both axes of what the shipped network trains on.
        train_size: The same of the large network.
        n_cached: Volumes in the cache, 16 slices of ``cached_matrix`` each.
        n_raw: Raw scans, four slices each of twice as many rows.
        cached_matrix: Pixels along both axes.
        volume: Slices, coils and pixels of the volume that is timed on a GPU.
    """

    matrix: int = 256
    n_coils: int = 8
    n_center: int = 24
    crop: int = 128
    train_size: int = 320
    n_cached: int = 40
    n_raw: int = 4
    cached_matrix: int = 320
    volume: tuple[int, int, int] = (16, 16, 320)


def bench(
    device: str = "cpu",
    repeats: int = 3,
    sizes: Sizes = Sizes(),
    output: Path | None = None,
) -> None:
    """Time calibration, whole reconstructions and training.

    Args:
        device: Where our side runs; sigpy's runs on the CPU.
        repeats: Measurements of each, after one that does not count.
        sizes: What is timed.
        output: Markdown file to write the table to.
    """
    images = torch.view_as_complex(torch.randn(8, sizes.crop, sizes.crop, 2, device=device))
    trained = load_prior("brain", device).requires_grad_(True).train()

    def train() -> None:
        DenoisingScoreMatching()(trained, images).loss.mean().backward()

    name = torch.cuda.get_device_name() if device == "cuda" else f"CPU, {torch.get_num_threads()} threads"
    scan = f"{sizes.matrix} x {sizes.matrix}, {sizes.n_coils} coils"
    table = Table(f"{name}; torch {torch.__version__}; median of {repeats}; {scan}")
    table.add("| what | s a slice | peer | its s a slice | ratio |", "| --- | ---: | --- | ---: | ---: |")
    table.add(*sampler_rows(sizes, device, repeats))
    speed = 8 / _time(train, repeats, device)
    table.add(f"| training of the shipped network, {sizes.crop} x {sizes.crop} images a second | {speed:.3g} | | | |")
    table.add(*cache_rows(sizes, repeats))
    if device == "cuda":
        table.add("", *volume_rows(sizes, device, repeats))
    for row in training_rows(sizes, device, repeats):
        table.add(row)
    table.add("", table.conditions)
    if output is not None:
        output.write_text("\n".join(table.lines) + "\n")


class Table:
    """Lines that are printed as they come, so that nothing that was measured is lost."""

    def __init__(self, conditions: str) -> None:
        self.conditions, self.lines = conditions, list[str]()

    def add(self, *lines: str) -> None:
        """Add lines."""
        self.lines += lines
        print(*lines, sep="\n", flush=True)


def sampler_rows(sizes: Sizes, device: str, repeats: int) -> list[str]:
    """Return rows on coil maps, and on whole reconstructions from measured k-space, coil maps included.

    Peers that are not installed are left out. All are run in turns. The predictor-corrector of 1000 steps is not: its
    time is 50 times that of 20, measured in the same turns.
    """
    kspace, mask = _scan(sizes)
    acs = find_acs(mask).limited(sizes.n_center, aspect=1)
    there, mask_there, prior = kspace.to(device), mask.to(device), load_prior("brain", device)
    problem = prepare(there, mask_there, prior.scaling)
    on_cpu = prepare(kspace, mask, prior.scaling).likelihood
    pc = PredictorCorrector(n_steps=20)

    def whole(sampler: Sampler) -> Callable[[], object]:
        return lambda: sampler.sample(prior, prepare(there, mask_there, prior.scaling).likelihood, [0])

    jobs: dict[str, Callable[[], object]] = {
        "ESPIRiT": lambda: estimate_maps(there, mask_there, acs, crop=0.95),
        "sigpy EspiritCalib": lambda: _sigpy_maps(kspace, sizes.n_center),
        **{f"`{name}`, maps included": whole(sampler) for name, sampler in PRESETS.items()},
        "DDS, one draw, maps included": whole(DDS()),
        "pc": lambda: pc.sample(prior, problem.likelihood, [0]),
        "sigpy L1-wavelet": lambda: L1Wavelet().reconstruct(on_cpu),
    }
    if shutil.which("bart"):
        jobs |= {
            "BART ecalib": lambda: _bart_maps(kspace, sizes.n_center),
            "BART pics": lambda: BartPICS().reconstruct(on_cpu),
        }
    seconds = dict(zip(jobs, _paired(list(jobs.values()), repeats, device), strict=True))
    seconds["sigpy EspiritCalib + L1-wavelet"] = seconds["sigpy EspiritCalib"] + seconds["sigpy L1-wavelet"]
    thousand = f"predictor-corrector of 1000 steps, extrapolated from {pc.n_steps}"
    seconds[thousand] = 1000 / pc.n_steps * seconds["pc"]
    pairs = [("ESPIRiT", "sigpy EspiritCalib"), ("`standard`, maps included", thousand)]
    if "BART pics" in seconds:
        seconds["BART ecalib + pics"] = seconds["BART ecalib"] + seconds["BART pics"]
        pairs += [("ESPIRiT", "BART ecalib"), ("`standard`, maps included", "BART ecalib + pics")]
    pairs += [(what, "sigpy EspiritCalib + L1-wavelet") for what in jobs if what.endswith("maps included")]
    rows = [
        f"| {what} | {seconds[what]:.3g} | {peer} | {seconds[peer]:.3g} | {seconds[what] / seconds[peer]:.2g} |"
        for what, peer in pairs
    ]
    return [*rows, f"| peak memory of `standard`, all of its process, GiB | {peak_memory(sizes, device):.2f} | | | |"]


def peak_memory(sizes: Sizes, device: str) -> float:
    """Return the largest resident memory in GiB of a process that reconstructs a slice, from start to end."""
    with get_context("spawn").Pool(1) as pool:
        return pool.apply(_reconstruct_alone, (sizes, device))


def _reconstruct_alone(sizes: Sizes, device: str) -> float:
    (kspace, mask), prior = _scan(sizes), load_prior("brain", device)
    problem = prepare(kspace.to(device), mask.to(device), prior.scaling)
    PRESETS["standard"].sample(prior, problem.likelihood, [0])
    unit = 1 if sys.platform == "darwin" else 1024  # bytes of ru_maxrss
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**30


def cache_rows(sizes: Sizes, repeats: int) -> list[str]:
    """Return rows on the cache: reading against a memory map, loading against fastMRI's dataset of raw scans.

    One process reads, two load with augmentation. The raw slices have 16 coils and twice as many rows as
    the cache, which holds what a prior is trained on.
    """
    n_slices, matrix = 16, (sizes.cached_matrix, sizes.cached_matrix)
    with TemporaryDirectory() as name:
        folder = Path(name)
        cache, entries = ImageCache(folder, "bench", {}), []
        for k in range(sizes.n_cached):
            entry = CacheEntry(f"{k}", f"{k}", ("T2w",) * n_slices, (n_slices, *matrix), (1.0,) * n_slices, "bench")
            cache.store(entry.name, complex_noise(entry.shape))
            entries.append(entry)
        for k in range(sizes.n_raw):
            write_fastmri(
                folder / "raw" / f"{k}.h5",
                complex_noise((4, 16, 2 * matrix[0], matrix[1])),
                contrast="T2w",
                subject=f"{k}",
                reconstruction_size=matrix,
            )
        maps = [np.load(cache.folder / f"{entry.name}.npy", mmap_mode="r") for entry in entries]
        places = [(k, i) for k in range(sizes.n_cached) for i in range(n_slices)]
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


def volume_rows(sizes: Sizes, device: str, repeats: int) -> list[str]:
    """Return rows on a whole volume, coil maps included: with each network, and eight draws beside one.

    The large network is untrained, which changes no time.
    """
    (kspace, mask), (n_slices, n_coils, size) = volume(sizes), sizes.volume
    kspace, mask = kspace.to(device), mask.to(device)
    shipped = load_prior("brain", device)
    large = NetworkPrior(UNet(n_labels=0), EDM(sigma_data=0.25), labels=()).to(device).eval()

    def whole(prior: Prior, sampler: Sampler, n_draws: int, n_slices: int) -> Callable[[], object]:
        part = kspace[:n_slices]
        return lambda: sampler.sample(prior, prepare(part, mask, shipped.scaling).likelihood, range(n_draws))

    standard = PRESETS["standard"]
    jobs = {
        "`standard`, shipped network": whole(shipped, standard, 1, n_slices),
        "`standard`, DDPM of 34.4 M": whole(large, standard, 1, n_slices),
        "DDS, one draw": whole(shipped, DDS(), 1, n_slices),
        "DDS, eight draws": whole(shipped, DDS(), 8, n_slices),
        "`standard`, one slice": whole(shipped, standard, 1, 1),
        "`standard`, one slice, eight samples": whole(shipped, standard, 8, 1),
        "DDS, one draw of one slice": whole(shipped, DDS(), 1, 1),
        "DDS, eight draws of one slice": whole(shipped, DDS(), 8, 1),
    }
    title = f"{n_slices} slices of {size} x {size}, {n_coils} coils, maps included"
    rows = [f"| {title} | s in all |", "| --- | ---: |"]
    return rows + [f"| {what} | {_time(job, repeats, device):.3g} |" for what, job in jobs.items()]


def volume(sizes: Sizes) -> tuple[torch.Tensor, torch.Tensor]:
    """Return undersampled k-space [slice, coil, y, x] of a head, and its mask."""
    n_slices, n_coils, size = sizes.volume
    geometry = Geometry(shape=(size, size), pixel_size=(0.72, 0.72))
    images = torch.stack([part.image for part in Head("bench").slices("T2w", n_slices, 4.0, geometry)])
    kspace = Scanner(n_coils, oversampling=1).measure(images, 0, geometry.pixel_size, 4.0)
    mask = Equispaced(4, sizes.n_center).draw((size, size), 0)
    return torch.where(mask, kspace, 0), mask


def training_rows(sizes: Sizes, device: str, repeats: int) -> Iterator[str]:
    """Time training steps of our networks against diffusers' DDPM of the same number of parameters.

    Once plainly, in single precision with AdamW; and once with what each side has to offer: half the precision where
    the device multiplies it, its best memory layout, a fused optimiser and, on a GPU, a compiled network. The share
    of the peak is that of a large matrix product (`peak_rate`), by the operations of the network alone.
    """
    if importlib.util.find_spec("diffusers") is None:
        print("training is not compared: diffusers, of the extra 'bench', is not installed")
        return
    yield from ("", "| training | images a second | diffusers' | ratio | share of peak |")
    yield "| --- | ---: | ---: | ---: | ---: |"
    peak = peak_rate(device, repeats)
    large, light = (1, 8) if device == "cpu" else (16, 256)
    for what, ours, width, tolerance, shape in (
        ("shipped", _shipped_net, WIDTH_OF_SHIPPED, 0.02, (light, 2, sizes.crop, sizes.crop)),
        ("DDPM", lambda: UNet(n_labels=0), 128, 0.0, (large, 2, sizes.train_size, sizes.train_size)),
    ):
        for how, best in (("plain, fp32", False), ("each at its best", True)):
            nets = [ours(), _ddpm_of_diffusers(width)]
            n_ours, n_theirs = (sum(p.numel() for p in net.parameters()) for net in nets)
            if abs(n_ours - n_theirs) > tolerance * n_ours:
                raise ValueError(
                    f"both networks must have as many parameters: got {n_ours:,} and diffusers' {n_theirs:,}"
                )
            with FlopCounterMode(display=False) as counter:
                _step(nets[0], device, (1, *shape[1:]), False)()
            seconds = _paired([_step(net, device, shape, best) for net in nets], repeats, device)
            mine, theirs = (shape[0] / each for each in seconds)
            row = f"{what}, {n_ours / 1e6:.1f} M, at {shape[-1]} px, batch {shape[0]}, {how}"
            share = counter.get_total_flops() * mine / peak
            yield f"| {row} | {mine:.3g} | {theirs:.3g} | {mine / theirs:.2f} | {share:.0%} |"
    yield from ("", f"Peak: {peak / 1e12:.3g} TFLOP/s, by a product of two matrices.")


def peak_rate(device: str, repeats: int) -> float:
    """Return the operations a second of a large matrix product, in the precision in which the device is fastest."""
    n = 8192 if device == "cuda" else 2048

    def rate(precision: torch.dtype) -> float:
        a, b = (torch.randn(n, n, device=device, dtype=precision) for _ in range(2))
        return 10 * 2 * n**3 / _time(lambda: [a @ b for _ in range(10)], repeats, device)

    return max(map(rate, {torch.float32, fast_precision(torch.device(device)) or torch.float32}))


def _shipped_net() -> torch.nn.Module:
    return load_prior("brain").net.requires_grad_(True)


def _ddpm_of_diffusers(width: int) -> torch.nn.Module:
    """Return DDPM's layout: 34.4 million parameters at width 128."""
    from diffusers import UNet2DModel

    return UNet2DModel(
        in_channels=2,
        out_channels=2,
        block_out_channels=(width, 2 * width, 2 * width, 2 * width),
        down_block_types=("DownBlock2D",) * 4,  # attention at 16 px of 256 or 320 is in the middle only
        up_block_types=("UpBlock2D",) * 4,
        layers_per_block=2,
        norm_num_groups=32 if width % 32 == 0 else width,
        attention_head_dim=2 * width,
        downsample_padding=0,
    )


def _step(net: torch.nn.Module, device: str, shape: tuple[int, ...], best: bool) -> Callable[[], object]:
    """Return one step of training: predict, square, differentiate, update."""
    net = net.to(device).train()
    precision = fast_precision(torch.device(device)) if best else None
    if best and (device == "cuda" or precision is not None):
        net.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    if best and device == "cuda":
        net.compile()
    optimizer = torch.optim.AdamW(net.parameters(), 1e-4, fused=best)
    x, target = (torch.randn(shape, device=device) for _ in range(2))
    code, label = torch.ones(len(x), device=device), torch.zeros(len(x), dtype=torch.long, device=device)
    ours = isinstance(net, DenoisingNetwork)

    def step() -> None:
        optimizer.zero_grad(set_to_none=True)
        with torch.autocast(device, dtype=precision, enabled=precision is not None):
            predicted = net(x, code, label) if ours else net(x, code).sample
        (predicted.float() - target).square().mean().backward()
        optimizer.step()

    return step


def _paired(functions: list[Callable[[], object]], repeats: int, device: str) -> list[float]:
    """Return the median time of each, run in turn, so that other load slows all alike."""
    rounds = [[_time_once(function, device) for function in functions] for _ in range(repeats + 1)]
    return [statistics.median(times) for times in zip(*rounds[1:], strict=True)]


def _scan(sizes: Sizes) -> tuple[torch.Tensor, torch.Tensor]:
    shape = (sizes.matrix, sizes.matrix)
    geometry = Geometry(shape=shape, pixel_size=(230.4 / sizes.matrix,) * 2)
    image = Head("bench").slice("T2w", geometry).image
    maps = CoilArray.draw(sizes.n_coils, seed=0).maps(shape)
    kspace = fft2c(maps * image)
    kspace = kspace + 0.02 * kspace.abs().std() * complex_noise(kspace.shape, torch.Generator().manual_seed(0))
    mask = Equispaced(4, sizes.n_center).draw(shape, 0)
    return torch.where(mask, kspace, 0)[None], mask


def _sigpy_maps(kspace: torch.Tensor, n_center: int) -> object:
    from sigpy.mri.app import EspiritCalib

    return EspiritCalib(kspace[0].numpy(), calib_width=n_center, crop=0.95, show_pbar=False).run()


def _bart_maps(kspace: torch.Tensor, n_center: int) -> object:
    return run_bart(["ecalib", "-m1", f"-r{n_center}"], kspace[0].numpy().transpose(1, 2, 0)[:, :, None])


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
