"""Measure the speed of training against diffusers' DDPM of as many parameters, in the same run on one device.

Once plainly, in single precision with AdamW; and once with what each side has to offer: half the precision where the
device multiplies it, its best memory layout, a fused optimiser and, on a GPU, a compiled network. The share of the peak
is that of a large matrix product, by the operations of the network alone.

    python experiments/bench_training.py [--device cuda]
"""

from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from bench import HISTORY, Job, times, write
from diffusers import UNet2DModel
from jsonargparse import auto_cli
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from lightning_mri.datasets import Augmentation, CacheEntry, ImageCache, ImageDataset, image_loader
from lightning_mri.datasets.images import ResidentImages, resident_loader
from lightning_mri.diffusion import DenoisingScoreMatching, fast_precision
from lightning_mri.models import UNet
from lightning_mri.models.network import DenoisingNetwork
from lightning_mri.tensors import complex_noise
from lightning_mri.weights import load_prior

OF_SHIPPED = 55  # width of diffusers' network with as many parameters as the shipped one


def bench_training(
    device: str = "cpu",
    repeats: int = 3,
    crop: int = 128,
    size: int = 320,
    output: Path | None = None,
    history: Path = HISTORY,
) -> None:
    """Time steps of training.

    Args:
        device: Where both sides run.
        repeats: Measurements of each, after one that does not count.
        crop: Pixels along both axes of what the shipped network trains on.
        size: The same of the large network.
        output: Markdown file to write the table to.
        history: CSV file to which each figure is added, with commit and processor.
    """
    header = [
        "| training | images a second | peer | its images a second | ratio | share of peak |",
        "| --- | ---: | --- | ---: | ---: | ---: |",
    ]
    peak = peak_rate(device, repeats)
    end = ["", f"Peak: {peak / 1e12:.3g} TFLOP/s, by a product of two matrices."]
    write(output, history, header, rows(device, repeats, crop, size, peak), data_rows(device, repeats, crop), end)


def data_rows(device: str, repeats: int, crop: int) -> Iterator[str]:
    """Yield rows on gradients of the denoising loss, which wait for their images or have them at hand."""
    batch = 8 if device == "cpu" else 256
    prior = load_prior("brain", device).requires_grad_(True).train()
    loss, size = DenoisingScoreMatching(), (crop + 32, crop + 32)

    def learn(images: Tensor) -> None:
        with torch.autocast(device, dtype=fast_precision(torch.device(device)) or torch.float32):
            loss(prior, images.to(device)).loss.mean().backward()

    with TemporaryDirectory() as name:
        cache = ImageCache(Path(name), "bench", {})
        entry = CacheEntry("0", "0", ("T2w",) * 4 * batch, (4 * batch, *size), (1.0,) * 4 * batch, "bench")
        cache.store("0", complex_noise(entry.shape))
        resident = ResidentImages(cache, [entry], (crop, crop), Augmentation(), torch.device(device))
        plain = ImageDataset(cache, [entry], (crop, crop), Augmentation())
        loaders = {
            "resident images": resident_loader(resident, batch, 0),
            "two loading processes": image_loader(plain, batch, n_workers=2, shuffle=True),
        }
        ready = torch.view_as_complex(torch.randn(batch, crop, crop, 2, device=device))
        jobs: list[Job] = [lambda: [learn(ready) for _ in range(4)]]
        jobs += [lambda loader=loader: [learn(part.image) for part in loader] for loader in loaders.values()]
        alone, *fed = (4 * batch / seconds for seconds in times(jobs, repeats, device))
    for what, speed in zip(loaders, fed, strict=True):
        row = f"shipped, denoising loss at {crop} px, {what}"
        yield f"| {row} | {speed:.3g} | images at hand | {alone:.3g} | {speed / alone:.2f} | |"


def rows(device: str, repeats: int, crop: int, size: int, peak: float) -> Iterator[str]:
    """Yield the rows of both networks."""
    large, light = (1, 8) if device == "cpu" else (16, 256)
    for what, ours, width, tolerance, shape in (
        (
            "shipped",
            lambda: load_prior("brain").net.requires_grad_(True),
            OF_SHIPPED,
            0.02,
            (light, 2, crop, crop),
        ),
        ("DDPM", lambda: UNet(n_labels=0), 128, 0.0, (large, 2, size, size)),
    ):
        for how, best in (("plain, fp32", False), ("each at its best", True)):
            nets = [ours(), ddpm_of_diffusers(width)]
            n_ours, n_theirs = (sum(p.numel() for p in net.parameters()) for net in nets)
            if abs(n_ours - n_theirs) > tolerance * n_ours:
                raise ValueError(f"networks must have as many parameters: got {n_ours:,} and diffusers' {n_theirs:,}")
            with FlopCounterMode(display=False) as counter:
                step_of(nets[0], device, (1, *shape[1:]), False)()
            seconds = times([step_of(net, device, shape, best) for net in nets], repeats, device)
            mine, theirs = (shape[0] / each for each in seconds)
            row = f"{what}, {n_ours / 1e6:.1f} M, at {shape[-1]} px, batch {shape[0]}, {how}"
            share = counter.get_total_flops() * mine / peak
            yield f"| {row} | {mine:.3g} | diffusers UNet2DModel | {theirs:.3g} | {mine / theirs:.2f} | {share:.0%} |"


def peak_rate(device: str, repeats: int) -> float:
    """Return the operations a second of a large matrix product, in the precision in which the device is fastest."""
    n = 8192 if device == "cuda" else 2048

    def rate(precision: torch.dtype) -> float:
        a, b = (torch.randn(n, n, device=device, dtype=precision) for _ in range(2))
        return 10 * 2 * n**3 / times([lambda: [a @ b for _ in range(10)]], repeats, device)[0]

    return max(map(rate, {torch.float32, fast_precision(torch.device(device)) or torch.float32}))


def ddpm_of_diffusers(width: int) -> nn.Module:
    """Return DDPM's layout: 34.4 million parameters at width 128."""
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


def step_of(net: nn.Module, device: str, shape: tuple[int, ...], best: bool) -> Job:
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


if __name__ == "__main__":
    auto_cli(bench_training)
