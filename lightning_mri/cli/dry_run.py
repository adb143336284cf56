"""``--dry_run``: what a command would write, how long it takes and how much memory; no file is made."""

import os
import time
from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import torch
from pytorch_lightning import Callback, Trainer
from pytorch_lightning.utilities import rank_zero_only
from torch.utils.data import Dataset

from lightning_mri.datasets import UNKNOWN_CONTRAST, CachedScans, Failed, LabelledImage, image_loader
from lightning_mri.messages import count, first_few
from lightning_mri.origin import peak_memory
from lightning_mri.reconstruction import Problem, Reconstructor, keep_to_budget, label_of
from lightning_mri.sampling import Progress
from lightning_mri.training import EMA, PriorModule, ReconstructionModule, Results, Strategy, TrainingPhase
from lightning_mri.training.phases import Pace
from lightning_mri.training.reconstruction_module import timed
from lightning_mri.training.results import SCORES

ABOUT = "Say what would be written, how long it takes and how much memory; write nothing."
N_STEPS = 4
"""Steps of a sampler that are measured; the first one, which may set things up, is not taken for the others."""
NO_CROP = (320, 320)
"""Size (y, x) of the images that steps are measured on where whole ones are trained on."""


say = rank_zero_only(print)
"""Print, in the first of several processes."""


class _Enough(Exception):  # noqa: N818 - not an error
    """Ends a sampler after a few steps."""


def dry_run_predict(trainer: Trainer, module: ReconstructionModule, data: Any, results: Results) -> int:
    """Say what `predict` would do; return 3 if scans would fail."""
    _check_folder(results.output.path)
    data.setup("predict")
    results.plan(data, module)
    scans = [scan for scan in data.scans if scan.name not in results.skipped]
    _say_files(results.files(scans))
    n_slices = sum(scan.n_slices for scan in scans)
    to_do = f"{count(len(scans), 'scan')} of {count(n_slices, 'slice')} to do"
    say(f"{to_do}; {len(results.skipped)} more are finished already")
    code = _say_failures(data)
    if scans:
        data.scans = scans
        _say_cost(trainer, module, data.predict_dataloader().dataset, n_slices, scores=False)
    return code


def dry_run_test(trainer: Trainer, module: ReconstructionModule, data: Any, results: Results) -> int:
    """Say what `test` would do; return 3 if scans would fail."""
    _check_folder(results.output.path)
    data.setup("test")
    results.output.refresh()
    files = [results.output.path / name for name in SCORES]
    results.output.check(files, [])
    _say_files(files)
    dataset = data.test_dataloader().dataset
    n_slices = sum(len(part) for _, part, *_ in dataset.items)
    methods = ", ".join([*module.baselines, *module.sources])
    say(f"{count(n_slices, 'slice')} at all accelerations together, each by {methods}")
    code = _say_failures(data)
    _say_cost(trainer, module, dataset, n_slices, scores=True)
    return code


def dry_run_fit(trainer: Trainer, module: PriorModule, data: Any) -> None:
    """Say what `fit` would do: read the split, and take a few steps on random images of the right size."""
    if not isinstance(data, CachedScans):
        raise ValueError(f"data must be a data set of this package for --dry_run: got {type(data).__name__}")
    names = data.split_names()
    sides = ", ".join(f"{len(scans)} {side}" for side, scans in names.items())
    say(f"dry run, nothing is written. It would write runs to {trainer.default_root_dir}, and prepare what")
    say(f"  {data.cache.folder} lacks of {sides} scans")
    n_images, n_batch = _n_images(data, len(names["train"])), data.batch_size
    phase = TrainingPhase.of(trainer)
    n_batches, limit = max(1, n_images // (n_batch * trainer.world_size)), trainer.limit_train_batches
    n_batches = min(n_batches, limit) if isinstance(limit, int) else max(1, int(n_batches * limit))
    n_steps = phase.n_steps(Pace(trainer.world_size, n_batch, trainer.accumulate_grad_batches, n_batches))
    phase.epochs, phase.steps, phase.images = None, n_steps, None
    if type(phase.strategy).prepare_data is not Strategy.prepare_data:
        raise ValueError(f"--dry_run is not for {type(phase.strategy).__name__}, which would prepare data of its own")
    clock = _Clock()
    kept = [each for each in trainer.callbacks if isinstance(each, TrainingPhase | EMA)]  # type: ignore[attr-defined]
    trainer.callbacks, trainer.loggers = [*kept, clock], []  # type: ignore[attr-defined]
    size = data.crop or NO_CROP
    images = _RandomImages(module, size, N_STEPS * n_batch * trainer.world_size)
    trainer.fit(module, image_loader(images, n_batch))
    step = clock.seconds
    say(f"images: {n_images} of {size[0]} x {size[1]}, {n_batch} a step and process: {n_steps} steps")
    say(f"time: {step:.2g} s a step, {duration(step * n_steps)} in all, without preparation and validation")
    say(f"memory: {memory(trainer.strategy.root_device)} at most")


class _RandomImages(Dataset[LabelledImage]):
    """Noise in place of images, of a contrast that the prior in training knows."""

    def __init__(self, module: PriorModule, size: tuple[int, int], n: int) -> None:
        self.module, self.size, self.n = module, size, n

    def __len__(self) -> int:
        return self.n

    def __getitem__(self, index: int) -> LabelledImage:
        assert self.module.prior is not None
        contrast = next(iter(self.module.prior.labels), UNKNOWN_CONTRAST)
        return LabelledImage(torch.randn(self.size, dtype=torch.complex64), contrast, self.size)


class _Clock(Callback):
    """Measures a few steps and ends the run."""

    def __init__(self) -> None:
        self.times: list[float] = []

    @property
    def seconds(self) -> float:
        """Seconds of a step; the first one sets things up."""
        return (self.times[-1] - self.times[0]) / max(1, len(self.times) - 1)

    def on_train_batch_end(self, trainer: Trainer, *_: Any) -> None:
        """Note when a step ended."""
        self.times.append(time.perf_counter())
        trainer.should_stop = len(self.times) == N_STEPS


def _n_images(data: CachedScans, n_scans: int) -> int:
    """Return the number of images to train on, whether they are in the cache or not."""
    scans = getattr(data, "scans", None)
    if isinstance(scans, dict):
        return sum(scan.n_slices for scan in scans["train"])
    rows, names = data.rows(), data.split_names()["train"]
    known = [rows[name].n_slices for name in names if name in rows]
    each: int = max(known) if known else data.cohort.slices_per_subject  # type: ignore[attr-defined]
    return n_scans * each


def _check_folder(path: Path) -> None:
    """Make sure that a folder can be made and written."""
    there = next(folder for folder in (path, *path.absolute().parents) if folder.exists())
    if not there.is_dir() or not os.access(there, os.W_OK):
        raise NotADirectoryError(f"{there}: output_dir must be a folder that can be written")


def _say_failures(data: Any) -> int:
    failures = getattr(data, "failures", ())
    for failure in failures:
        say(f"would fail: {failure.reason}")
    return 3 if failures else 0


def _say_files(files: Sequence[Path]) -> None:
    say(f"dry run, nothing is written. It would write {first_few(files, 6)}")


def _say_cost(trainer: Trainer, module: ReconstructionModule, dataset: Any, n_slices: int, scores: bool) -> None:
    """Prepare the batch that costs most, run a few steps, and say what all slices take."""
    batch = dataset[max(range(len(dataset)), key=lambda i: dataset.costs[i])]
    if isinstance(batch, Failed):
        say(f"would fail: {batch.reason}")
        return
    device = trainer.strategy.root_device
    try:
        batch, problem, left_out = module.to(device).usable(batch.split()[0].to(device))
    except ValueError as error:
        say(f"cannot be reconstructed as it is: {error}")
        return
    for row, reason in left_out.items():
        say(f"slice {row} of {batch.scan} would be zero-filled: {reason}")
    if problem is None:
        return
    say(problem.findings.text(), end="")
    n, seconds = len(problem.scale), problem.seconds
    with trainer.strategy.precision_plugin.predict_step_context():
        chosen = keep_to_budget(module.reconstructor, problem, batch.contrast, batch.n_slices)
        if scores:
            runs = (partial(baseline.reconstruct, problem.likelihood) for baseline in module.baselines.values())
            seconds += sum(timed(run, n)[1] for run in runs)
            seconds += len(module.priors) * _seconds(chosen, problem, batch.contrast, uncertain=False) / n
        else:
            seconds += _seconds(chosen, problem, batch.contrast, uncertain=True) / n
    total = seconds * n_slices / trainer.world_size
    by = f" by {trainer.world_size} processes," if trainer.world_size > 1 else ""
    say(f"time: about {seconds:.2g} s a slice, {problem.seconds:.2g} s of it preparation; {duration(total)} in all")
    say(f" {by} without what is tried again where data and model disagree")
    say(f"memory: {memory(device)} at most, with {count(n, 'slice')} together")


def _seconds(reconstructor: Reconstructor, problem: Problem, contrast: str | None, uncertain: bool) -> float:
    """Return the seconds that the draws of a batch take, from the first steps of one."""
    start, done = time.perf_counter(), []

    def watch(progress: Progress) -> None:
        if progress.x.is_cuda:
            torch.cuda.synchronize(progress.x.device)
        done.append((time.perf_counter() - start, progress.step / progress.n_steps))
        if len(done) == N_STEPS:
            raise _Enough

    label, _ = label_of(contrast, reconstructor.prior)
    sampler, further = reconstructor.sampler, reconstructor.uncertainty
    with suppress(_Enough):
        sampler.sample(reconstructor.prior, problem.likelihood, [0], label, progress=watch)
        done.append((time.perf_counter() - start, 1.0))
    (first, share), (last, until) = done[0], done[-1]
    one = first + (1 - share) * (last - first) / (until - share) if until > share else last
    more = further.n_samples * further.sampler.nfe / sampler.nfe if uncertain and further is not None else 0
    return one * (reconstructor.n_samples + more)


def duration(seconds: float) -> str:
    """Return a time as people say it."""
    minutes, hours = seconds / 60, seconds / 3600
    return f"{seconds:.0f} s" if minutes < 2 else f"{minutes:.0f} min" if hours < 2 else f"{hours:.1f} h"


def memory(device: torch.device) -> str:
    """Return the most memory that this process has used, of the device as well."""
    used = [f"{peak_memory():.1f} GiB"]
    if device.type == "cuda":
        used.append(f"{torch.cuda.max_memory_allocated(device) / 2**30:.1f} GiB on the GPU")
    return " and ".join(used)
