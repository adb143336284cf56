"""How large a network, for a given time of one core or a given number of steps: each starts anew.

The held-out losses are those of the averaged weights at the end of the run, whose
learning rate has then fallen; so a longer run is another run.

    python experiments/sizes.py --output_dir runs/sizes --minutes 10
    python experiments/sizes.py --n_steps 1500 --machine '{accelerator: gpu, precision: bf16-mixed, n_workers: 8}'
"""

import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Literal

import torch
from jsonargparse import auto_cli
from methods import write
from pytorch_lightning import Trainer, seed_everything

from lightning_mri.datasets import SyntheticHeads
from lightning_mri.diffusion import EDM
from lightning_mri.evaluation import Study, markdown_table
from lightning_mri.models import LightUNet
from lightning_mri.training import EMA, Pretrain, PriorModule
from lightning_mri.training.prior_module import VALIDATION_SIGMAS

HERE = Path(__file__).resolve().parent
LEARNING_RATE = 1.2e-3
SHIPPED = (40, 80, 160, 288)
PROCESS = EDM(sigma_data=0.25, sigma_max=10, p_mean=-1.9, p_std=1.4)
CONTRASTS = ("T1w", "T1w-post", "T2w", "PD", "other")
N_MEASURED, N_EVALUATIONS = 12, 5
MATRIX = (192, 160)

Widths = tuple[int, ...]
"""Channels of each level of the light U-Net."""

CANDIDATES: tuple[Widths, ...] = (SHIPPED, (40, 80, 128, 192), (48, 96, 160, 256), (64, 112, 176, 256))


@dataclass(frozen=True)
class Heads:
    """What is learnt from: arguments of `SyntheticHeads`, but for ``crop``, which is the length of both sides."""

    n_subjects: int = 450
    n_val: int = 8
    size: int = 144
    crop: int = 96
    batch_size: int = 8
    seed: int = 21


@dataclass(frozen=True)
class Machine:
    """What learns.

    Args:
        accelerator: Lightning's name of it.
        precision: Lightning's name of it.
        n_threads: Threads of the CPU.
        n_workers: Processes that read and augment images.
    """

    accelerator: str = "cpu"
    precision: Literal["32-true", "bf16-mixed"] = "32-true"
    n_threads: int = 1
    n_workers: int = 0


@dataclass(frozen=True)
class Row:
    """What came of a candidate: losses at `VALIDATION_SIGMAS`, and seconds of one evaluation of 192 x 160 pixels."""

    widths: list[int]
    weights: int
    steps: int
    minutes: float
    losses: list[float]
    seconds: float

    @property
    def cells(self) -> list[str]:
        """Cells of the table."""
        name = ", ".join(map(str, self.widths)) + (" (ships)" if tuple(self.widths) == SHIPPED else "")
        losses, mean = ", ".join(f"{loss:.3f}" for loss in self.losses), sum(self.losses) / len(self.losses)
        about = [name, f"{self.weights / 1e6:.2f} M", str(self.steps), f"{self.minutes:.3g}"]
        return [*about, losses, f"{mean:.3f}", f"{1e3 * self.seconds:.0f}"]


def sizes(
    output_dir: Path = Path("runs/sizes"),
    minutes: float = 10.0,
    candidates: tuple[Widths, ...] = CANDIDATES,
    heads: Heads = Heads(),
    machine: Machine = Machine(),
    n_steps: int | None = None,
    cache_dir: Path | None = None,
    table: Path = HERE / "results" / "sizes.md",
) -> None:
    """Run what is missing, and write a table.

    Args:
        output_dir: Folder of what is done.
        minutes: Time of each run.
        candidates: Widths of the networks.
        heads: What is learnt from.
        machine: What learns.
        n_steps: Steps of each run, in place of the time.
        cache_dir: Folder of the heads; the user's cache folder if not given.
        table: Where to write the table.
    """
    torch.set_num_threads(machine.n_threads)
    settings = asdict(heads) | {"crop": (heads.crop, heads.crop), "n_workers": machine.n_workers}
    data = SyntheticHeads(contrasts=CONTRASTS, cache_dir=cache_dir, **settings)
    study = Study(output_dir, Row, version="1")
    length = f"{minutes:g} minutes" if n_steps is None else f"{n_steps} steps"
    key = f"{length} {replace(machine, n_workers=0)!r} {heads!r} {LEARNING_RATE}"
    rows = [
        study.keep(f"{widths}, {length}", key, lambda: learn(widths, data, minutes, n_steps, machine, output_dir))  # noqa: B023
        for widths in candidates
    ]
    levels = ", ".join(f"{level:g}" for level in VALIDATION_SIGMAS)
    intro = f"""# Sizes of the light U-Net, for the same {"time" if n_steps is None else "number of steps"}

Each starts from random weights and learns for {length} from crops of {heads.crop} px, {heads.batch_size} a step, of
{heads.n_subjects} synthetic heads without FLAIR, by AdamW at {LEARNING_RATE:g}; the rate was tuned for none.
{machine.accelerator}, {machine.precision}. Held-out denoising losses at sigma {levels}, averaged weights; 1 is what an
untrained network pays. An evaluation is timed on {machine.n_threads} thread(s) of a CPU. One run each. Command:
`python experiments/sizes.py`.

"""
    header = ["widths", "weights", "steps", "minutes", "losses", "mean", "ms an evaluation, 192 x 160"]
    write(table, intro + markdown_table(header, [row.cells for row in rows]))


def learn(
    widths: Widths, data: SyntheticHeads, minutes: float, n_steps: int | None, machine: Machine, folder: Path
) -> Row:
    """Train for so many steps, or for as many as the time allows, by the speed of a short run before."""
    if n_steps is None:
        per_step = fit(widths, data, N_MEASURED, machine, folder)[2] / N_MEASURED
        n_steps = max(1, round(60 * minutes / per_step))
    module, trainer, seconds = fit(widths, data, n_steps, machine, folder)
    metrics = trainer.validate(module, data, verbose=False)[0]
    losses = [metrics[f"val/loss/sigma_{level:g}"] for level in VALIDATION_SIGMAS]
    n_weights = sum(weight.numel() for weight in module.parameters())
    return Row(list(widths), n_weights, n_steps, seconds / 60, losses, evaluation_seconds(module.cpu()))


def fit(
    widths: Widths, data: SyntheticHeads, n_steps: int, machine: Machine, folder: Path
) -> tuple[PriorModule, Trainer, float]:
    """Return a trained module, its trainer and the seconds that the training took."""
    seed_everything(1, verbose=False)
    module = PriorModule(LightUNet(widths), PROCESS)
    quiet = {
        "logger": False,
        "enable_checkpointing": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
    }
    trainer = Trainer(
        accelerator=machine.accelerator,
        devices=1,
        precision=machine.precision,
        callbacks=[Pretrain(LEARNING_RATE, steps=n_steps, warm_up=50, final=0.03), EMA(half_life=0.05)],
        gradient_clip_val=1.0,
        limit_val_batches=0,
        num_sanity_val_steps=0,
        default_root_dir=folder,
        **quiet,
    )
    begun = time.perf_counter()
    trainer.fit(module, data)
    seconds = time.perf_counter() - begun
    trainer.limit_val_batches = 1.0
    return module, trainer, seconds


@torch.inference_mode()
def evaluation_seconds(module: PriorModule) -> float:
    """Return the least time of a few evaluations."""
    assert module.prior is not None
    prior, x, times = module.prior.eval(), torch.zeros(1, *MATRIX, dtype=torch.complex64), []
    for _ in range(N_EVALUATIONS):
        begun = time.perf_counter()
        prior.denoise(x, 0.1)
        times.append(time.perf_counter() - begun)
    return min(times)


if __name__ == "__main__":
    auto_cli(sizes, as_positional=False)
