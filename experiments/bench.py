"""Measure speed as ratios to named peers in the same run, on one device; training is in ``bench_training.py``.

The median of a few repeats is printed; machines are noisy, so quote the ratios. Each row is printed as it comes, and
added to the history of our own figures.

    python experiments/bench.py [--device cuda]
"""

import csv
import random
import re
import shutil
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from multiprocessing import get_context
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from fastmri.data import SliceDataset
from jsonargparse import auto_cli
from torch import Tensor
from torch.utils.data import DataLoader

from lightning_mri import origin
from lightning_mri.baselines import BartPICS, L1Wavelet, run_bart
from lightning_mri.datasets import Augmentation, CacheEntry, ImageCache, ImageDataset, image_loader
from lightning_mri.diffusion import EDM, NetworkPrior, Prior
from lightning_mri.files import write_whole
from lightning_mri.io import write_fastmri
from lightning_mri.models import UNet
from lightning_mri.phantoms import CoilArray, Geometry, Head, Scanner
from lightning_mri.physics import Equispaced, GaussianLikelihood, Maps, Mask, estimate_maps, fft2c, find_acs
from lightning_mri.reconstruction import PRESETS, prepare
from lightning_mri.sampling import DDS, PredictorCorrector, Sampler
from lightning_mri.tensors import complex_noise, to_channels, to_complex
from lightning_mri.weights import load_prior

Job = Callable[[], object]
FIGURE = re.compile(r"\d[\d.]*(e[+-]\d+)?")
HISTORY = Path(__file__).parent / "results" / "bench_history.csv"
FIELD_OF_VIEW_MM = 230.4
N_CACHED_SLICES = 16


@dataclass(frozen=True)
class Sizes:
    """What is timed.

    Args:
        matrix: Pixels of a slice along both axes.
        n_coils: Its coils.
        n_center: Its calibration lines.
        n_cached: Volumes in the cache, 16 slices of ``cached_matrix`` each.
        n_raw: Raw scans, four slices each of 16 coils and twice as many rows.
        cached_matrix: Pixels along both axes.
        volume: Slices, coils and pixels of the volume that is timed on a GPU.
    """

    matrix: int = 256
    n_coils: int = 8
    n_center: int = 24
    n_cached: int = 40
    n_raw: int = 4
    cached_matrix: int = 320
    volume: tuple[int, int, int] = (16, 16, 320)


def bench(
    device: str = "cpu",
    repeats: int = 3,
    sizes: Sizes = Sizes(),
    output: Path | None = None,
    history: Path = HISTORY,
) -> None:
    """Time calibration, whole reconstructions and the cache.

    Args:
        device: Where our side runs; sigpy's runs on the CPU.
        repeats: Measurements of each, after one that does not count.
        sizes: What is timed.
        output: Markdown file to write the table to.
        history: CSV file to which each figure is added, with commit and processor.
    """
    name = torch.cuda.get_device_name() if device == "cuda" else f"CPU, {torch.get_num_threads()} threads"
    scan = f"{sizes.matrix} x {sizes.matrix}, {sizes.n_coils} coils"
    write(
        output,
        history,
        ["| what | s a slice | peer | its s a slice | ratio |", "| --- | ---: | --- | ---: | ---: |"],
        sampler_rows(sizes, device, repeats),
        cache_rows(sizes, repeats),
        volume_rows(sizes, device, repeats) if device == "cuda" else [],
        ["", f"{name}; torch {torch.__version__}; median of {repeats}; {scan}"],
    )


def write(output: Path | None, history: Path, *parts: Sequence[str] | Iterator[str]) -> None:
    """Print lines as they come, so that nothing that was measured is lost, and write them."""
    lines = []
    for line in (line for part in parts for line in part):
        print(line, flush=True)
        remember(line, history)
        lines.append(line)
    if output is not None:
        write_whole(output, "\n".join(lines) + "\n")


def remember(line: str, history: Path) -> None:
    """Add a row of a table to the history of our own figures, if it holds a figure of ours and a peer's."""
    cells = [cell.strip() for cell in line.strip("|").split("|")]
    if len(cells) < 5 or not FIGURE.fullmatch(cells[4]):  # a heading, or no peer
        return
    fresh = not history.exists()
    with history.open("a", newline="") as file:
        rows = csv.writer(file)
        if fresh:
            rows.writerow(("day", "commit", "on", "threads", "what", "ours", "peer", "peer's", "ratio"))
        day, threads = datetime.now(UTC).date(), torch.get_num_threads()
        rows.writerow((day, origin.short_commit(), origin.hardware(), threads, *cells[:5]))


def sampler_rows(sizes: Sizes, device: str, repeats: int) -> Iterator[str]:
    """Yield rows on coil maps, and on whole reconstructions from measured k-space, coil maps included.

    Peers that are not installed are left out. All are run in turns. The predictor-corrector of 1000 steps is not: its
    time is 50 times that of 20, measured in the same turns.
    """
    (kspace, mask), prior = measured_slice(sizes), load_prior("brain", device)
    acs = find_acs(mask).limited(sizes.n_center, aspect=1)
    there, mask_there = kspace.to(device), mask.to(device)
    problem, on_cpu = prepare(there, mask_there, prior.scaling), prepare(kspace, mask, prior.scaling).likelihood
    pc, sigpy, bart = PredictorCorrector(n_steps=20), "sigpy EspiritCalib", "BART ecalib"
    operator, theirs = "100 x A^H A", deepinv_jobs(problem.likelihood, prior)
    jobs: dict[str, Job] = {
        "ESPIRiT": lambda: estimate_maps(there, mask_there, acs, crop=0.95),
        sigpy: lambda: sigpy_maps(kspace, sizes.n_center),
        **{f"`{name}`, maps included": whole(prior, each, there, mask_there) for name, each in PRESETS.items()},
        "DDS, one draw, maps included": whole(prior, DDS(), there, mask_there),
        "pc": lambda: pc.sample(prior, problem.likelihood, [0]),
        "L1": lambda: L1Wavelet().reconstruct(on_cpu),
    }
    if theirs:
        A, x = problem.likelihood.A, problem.likelihood.adjoint()
        jobs |= {operator: lambda: [A.normal(x) for _ in range(100)], **theirs}
    if shutil.which("bart"):
        jobs[bart] = lambda: run_bart(
            ["ecalib", "-m1", f"-r{sizes.n_center}"], kspace[0].numpy().transpose(1, 2, 0)[:, :, None]
        )
        jobs["pics"] = lambda: BartPICS().reconstruct(on_cpu)
    seconds = dict(zip(jobs, times(list(jobs.values()), repeats, device), strict=True))
    thousand = f"predictor-corrector of 1000 steps, extrapolated from {pc.n_steps}"
    seconds |= {thousand: 1000 / pc.n_steps * seconds["pc"], f"{sigpy} + L1-wavelet": seconds[sigpy] + seconds["L1"]}
    pairs = [("ESPIRiT", sigpy), ("`standard`, maps included", thousand)]
    if bart in seconds:
        seconds[f"{bart} + pics"] = seconds[bart] + seconds["pics"]
        pairs += [("ESPIRiT", bart), ("`standard`, maps included", f"{bart} + pics")]
    pairs += list(zip((operator, "`standard`, maps included"), theirs, strict=False))
    pairs += [(what, f"{sigpy} + L1-wavelet") for what in jobs if what.endswith("maps included")]
    yield from (compared(what, seconds[what], peer, seconds[peer]) for what, peer in pairs)
    yield f"| peak memory of `standard`, all of its process, GiB | {peak_memory(sizes, device):.2f} | | | |"


def deepinv_jobs(likelihood: GaussianLikelihood, prior: Prior) -> dict[str, Job]:
    """Return deepinv's operator and its DiffPIR with the same maps, mask and network; none if it cannot be imported.

    It is no requirement, since the torchvision that it brings breaks an environment whose torch it does not fit.
    """
    try:
        from deepinv.optim import L2
        from deepinv.physics import MultiCoilMRI
        from deepinv.sampling import DiffPIR
    except (ImportError, RuntimeError) as error:  # the latter by a torchvision that does not fit torch
        print(f"deepinv is left out: {error}")
        return {}
    maps, mask = likelihood.A.find(Maps), likelihood.A.find(Mask)
    x = to_channels(likelihood.adjoint())
    physics = MultiCoilMRI(mask=mask.mask[0].float(), coil_maps=maps.maps[:, 0], device=x.device)
    y = physics.A(x)

    def denoise(image: Tensor, sigma: Tensor) -> Tensor:
        return to_channels(prior.denoise(to_complex(image), sigma))

    sampler = DiffPIR(denoise, L2(), sigma=0.02, max_iter=PRESETS["standard"].n_steps, device=x.device)
    return {
        "deepinv MultiCoilMRI": lambda: [physics.A_adjoint_A(x) for _ in range(100)],
        f"deepinv DiffPIR, {sampler.max_iter} levels, maps given": lambda: sampler(y, physics),
    }


def whole(prior: Prior, sampler: Sampler, kspace: Tensor, mask: Tensor, n_draws: int = 1) -> Job:
    """Return a reconstruction from measured k-space."""
    scaling = load_prior("brain").scaling
    return lambda: sampler.sample(prior, prepare(kspace, mask, scaling).likelihood, range(n_draws))


def peak_memory(sizes: Sizes, device: str) -> float:
    """Return the largest resident memory in GiB of a process that reconstructs a slice, from start to end."""
    with get_context("spawn").Pool(1) as pool:
        return pool.apply(_reconstruct_alone, (sizes, device))


def _reconstruct_alone(sizes: Sizes, device: str) -> float:
    kspace, mask = (each.to(device) for each in measured_slice(sizes))
    whole(load_prior("brain", device), PRESETS["standard"], kspace, mask)()
    return origin.peak_memory()


def cache_rows(sizes: Sizes, repeats: int) -> Iterator[str]:
    """Yield rows on the cache: reading against a memory map, loading against fastMRI's dataset of raw scans.

    One process reads, two load with augmentation.
    """
    n, size = N_CACHED_SLICES, (sizes.cached_matrix, sizes.cached_matrix)
    with TemporaryDirectory() as name:
        folder = Path(name)
        cache, entries = ImageCache(folder, "bench", {}), []
        for k in range(sizes.n_cached):
            entries.append(CacheEntry(f"{k}", f"{k}", ("T2w",) * n, (n, *size), (1.0,) * n, "bench"))
            cache.store(f"{k}", complex_noise(entries[-1].shape))
        for k in range(sizes.n_raw):
            kspace = complex_noise((4, 16, 2 * size[0], size[1]))
            write_fastmri(folder / "raw" / f"{k}.h5", kspace, contrast="T2w", subject=f"{k}", reconstruction_size=size)
        maps = [np.load(cache.folder / f"{entry.name}.npy", mmap_mode="r") for entry in entries]
        places = [(k, i) for k in range(sizes.n_cached) for i in range(n)]
        random.Random(0).shuffle(places)
        images = image_loader(ImageDataset(cache, entries, size, Augmentation()), 8, n_workers=2, shuffle=True)
        raw = SliceDataset(folder / "raw", "multicoil", use_dataset_cache=False)
        slices = DataLoader(raw, batch_size=None, num_workers=2, persistent_workers=True)
        jobs: dict[str, tuple[Job, int]] = {
            "read a cached slice": (lambda: [cache.read(entries[k], i) for k, i in places], len(places)),
            "numpy memory map": (lambda: [torch.from_numpy(np.array(maps[k][i])) for k, i in places], len(places)),
            "load and augment a slice, 2 workers": (lambda: list(images), len(places)),
            "fastmri SliceDataset, raw scans": (lambda: list(slices), len(raw)),
        }
        seconds = [(what, times([job], repeats, "cpu")[0] / n_slices) for what, (job, n_slices) in jobs.items()]
    yield from (compared(*ours, *theirs) for ours, theirs in zip(seconds[::2], seconds[1::2], strict=True))


def volume_rows(sizes: Sizes, device: str, repeats: int) -> Iterator[str]:
    """Yield rows on a whole volume, coil maps included: with each network, and eight draws beside one.

    The large network is untrained, which changes no time.
    """
    n_slices, n_coils, size = sizes.volume
    geometry = Geometry(shape=(size, size), pixel_size=(0.72, 0.72))
    images = torch.stack([part.image for part in Head("bench").slices("T2w", n_slices, 4.0, geometry)])
    kspace = Scanner(n_coils, oversampling=1).measure(images, 0, geometry.pixel_size, 4.0).to(device)
    mask = Equispaced(4, sizes.n_center).draw((size, size), 0).to(device)
    kspace, standard, shipped = torch.where(mask, kspace, 0), PRESETS["standard"], load_prior("brain", device)
    large = NetworkPrior(UNet(n_labels=0), EDM(sigma_data=0.25), labels=()).to(device).eval()
    jobs = {
        "`standard`, shipped network": whole(shipped, standard, kspace, mask),
        "`standard`, DDPM of 34.4 M": whole(large, standard, kspace, mask),
        **{f"DDS, {n} draws": whole(shipped, DDS(), kspace, mask, n) for n in (1, 8)},
        **{f"`standard`, one slice, {n} samples": whole(shipped, standard, kspace[:1], mask, n) for n in (1, 8)},
        **{f"DDS, {n} draws of one slice": whole(shipped, DDS(), kspace[:1], mask, n) for n in (1, 8)},
    }
    title = f"{n_slices} slices of {size} x {size}, {n_coils} coils, maps included"
    yield from ("", f"| {title} | s in all |", "| --- | ---: |")
    for what, job in jobs.items():
        yield f"| {what} | {times([job], repeats, device)[0]:.3g} |"


def measured_slice(sizes: Sizes) -> tuple[Tensor, Tensor]:
    """Return undersampled k-space [1, coil, y, x] of a head, and its mask."""
    shape = (sizes.matrix, sizes.matrix)
    image = Head("bench").slice("T2w", Geometry(shape, (FIELD_OF_VIEW_MM / sizes.matrix,) * 2)).image
    kspace = fft2c(CoilArray.draw(sizes.n_coils, seed=0).maps(shape) * image)
    kspace = kspace + 0.02 * kspace.abs().std() * complex_noise(kspace.shape, torch.Generator().manual_seed(0))
    mask = Equispaced(4, sizes.n_center).draw(shape, 0)
    return torch.where(mask, kspace, 0)[None], mask


def sigpy_maps(kspace: Tensor, n_center: int) -> object:
    """Return sigpy's coil maps."""
    from sigpy.mri.app import EspiritCalib

    return EspiritCalib(kspace[0].numpy(), calib_width=n_center, crop=0.95, show_pbar=False).run()


def compared(what: str, ours: float, peer: str, theirs: float) -> str:
    """Return a row of the table."""
    return f"| {what} | {ours:.3g} | {peer} | {theirs:.3g} | {ours / theirs:.2g} |"


def times(jobs: Sequence[Job], repeats: int, device: str) -> list[float]:
    """Return the median time of each, run in turn, so that other load slows all alike; a first round does not count."""

    def seconds(job: Job) -> float:
        start = time.perf_counter()
        job()
        if device == "cuda":
            torch.cuda.synchronize()
        return time.perf_counter() - start

    rounds = [[seconds(job) for job in jobs] for _ in range(repeats + 1)]
    return [statistics.median(each) for each in zip(*rounds[1:], strict=True)]


if __name__ == "__main__":
    auto_cli(bench)
