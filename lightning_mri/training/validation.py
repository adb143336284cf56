"""Validation by what counts: the reconstruction of held-out slices, and whether the prior has memorised."""

import copy
import logging
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Complex, Float
from matplotlib.image import imread
from pytorch_lightning import Callback, LightningModule, Trainer
from pytorch_lightning.loggers import Logger, TensorBoardLogger, WandbLogger
from torch import Tensor
from torch.utils.data import DataLoader

from lightning_mri.datasets import CachedScans, ResumableLoader, trained_on
from lightning_mri.evaluation import SLICE, Memorisation, Panel, nearest_distance, nrmse, picture, ssim, white_of
from lightning_mri.files import write_whole
from lightning_mri.io.geometry import for_readers
from lightning_mri.reconstruction import Guard, Reconstructor, UnusableSlicesError, label_of
from lightning_mri.sampling import HQS, Karras, Langevin, PredictorCorrector, Sampler
from lightning_mri.sampling.predictors import AncestralVE
from lightning_mri.tensors import centre_pad, derive_seed
from lightning_mri.training.curve import LOSS, SUBJECT, Row, draw_curve, verdict, write_curve
from lightning_mri.training.phases import Pace
from lightning_mri.training.prior_module import PriorModule
from lightning_mri.training.processes import of_all
from lightning_mri.training.reconstruction_module import Batch, measured_of

log = logging.getLogger(__name__)

RECONSTRUCTED = ("val/nrmse", "val/ssim", "val/nrmse_std")
"""What `ReconstructHeldOut` logs; the last where there are several subjects."""

DRAWS = PredictorCorrector(
    n_steps=40, predictor=AncestralVE(), corrector=Langevin(n_steps=0), schedule=Karras(), sigma_max=10.0
)


class ReconstructHeldOut(Callback):
    """Reconstruct a few undersampled held-out slices with the averaged weights; log ``val/nrmse`` and ``val/ssim``.

    The slices are the data module's ``reconstruction_batches()``. They are also reconstructed before the first
    step: how the scores went from there is drawn beside the checkpoints, as ``curve.csv`` and ``curve.png``, and
    told in words at the end. ``validation.png`` shows reference, reconstruction and error of the last validation; it
    goes to W&B where that is a logger. Without checkpoints, nothing is written but a ``preview`` that is asked for.

    Args:
        sampler: How to reconstruct; a cheap one will do to compare weights.
        preview: PNG to draw into in place of ``validation.png``.
    """

    def __init__(self, sampler: Sampler = HQS(n_steps=10), preview: Path | None = None) -> None:  # noqa: B008 - frozen
        super().__init__()
        self.sampler, self.preview = sampler, preview
        self.rows: list[Row] = []
        self._errors: Row = {}

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Check that there is something to validate on."""
        data = trainer.datamodule  # type: ignore[attr-defined]
        if not hasattr(data, "reconstruction_batches"):
            raise ValueError(
                "validation by reconstruction must have data with held-out slices, reconstruction_batches():"
                f" {type(data).__name__} has none"
            )
        if stage == "validate":
            _warn_of_trained(trainer, pl_module)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Score the weights that training starts from."""
        assert isinstance(pl_module, PriorModule)
        _warn_of_trained(trainer, pl_module)
        _warn_of_none(trainer)
        if trainer.global_step > 0:
            return
        with _evaluating(pl_module):
            held_out = self._reconstruct(trainer, pl_module)
            losses = _held_out_losses(trainer, pl_module)
        self.rows = [{"step": 0, **_means(held_out), **_by_subject(held_out), **losses}]

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Log the scores of the weights that training starts from; by now the rows of an earlier run are dropped."""
        if trainer.global_step > 0:
            return
        # a name of its own, since sweeps count and compare what is logged under the others
        start = {f"start/{name}": self.rows[0][name] for name in ("val/nrmse", "val/ssim")}
        for logger in trainer.loggers:
            logger.log_metrics(start, 0)

    def on_validation_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int, *_: Any
    ) -> None:
        """Reconstruct, score and log, once an epoch; within it, since the averaged weights are swapped at its ends."""
        assert isinstance(pl_module, PriorModule)
        if batch_idx > 0 or trainer.sanity_checking:
            return
        held_out = self._reconstruct(trainer, pl_module)
        pl_module.log_dict(_means(held_out), prog_bar=True, sync_dist=True, batch_size=1)
        pl_module.log_dict(_spread(held_out), sync_dist=True, batch_size=1)
        self._errors = _by_subject(held_out)
        path = self.preview or _in_run_folder(trainer, "validation.png")
        if trainer.is_global_zero and path is not None:
            title = f"held-out slices after {trainer.global_step} steps"
            picture(path, [panel for each in held_out for panel in each.panels()], 1.0, n_columns=3, title=title)
            for logger in trainer.loggers:
                # where Lightning logs the scores: by the last step, counted from 0
                _show(logger, path, trainer.global_step - 1)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Add a point to the curve."""
        if trainer.sanity_checking or "val/nrmse" not in trainer.callback_metrics:
            return
        values = {key: float(value) for key, value in trainer.callback_metrics.items()}
        wanted = ("val/nrmse", "val/ssim", *sorted(key for key in values if key.startswith(LOSS)))
        self.rows.append({"step": trainer.global_step, **{key: values[key] for key in wanted}, **self._errors})
        path = _in_run_folder(trainer, "curve.csv")
        if trainer.is_global_zero and path is not None:
            write_curve(path, self.rows)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Tell whether the run helped, and was too short, right or too long."""
        if trainer.is_global_zero and len(self.rows) > 1:
            pl_module.print(verdict(self.rows))  # not behind the bar, on its line
            if (path := _in_run_folder(trainer, "curve.png")) is not None:
                draw_curve(path, self.rows, path.parent.name)
                pl_module.print(f"See {path}")

    def state_dict(self) -> dict[str, Any]:
        """Return the curve so far."""
        return {"rows": self.rows}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on with the curve."""
        self.rows = list(state_dict["rows"])

    def _reconstruct(self, trainer: Trainer, module: PriorModule) -> list["_HeldOut"]:
        """Return each held-out batch, reconstructed; processes take turns, and know of all."""
        assert module.prior is not None
        # the prior is what is measured: no fallback
        reconstructor = Reconstructor(module.prior, self.sampler, uncertainty=None, guard=Guard(fallbacks=()))
        mine = []
        batches: Sequence[Batch] = trainer.datamodule.reconstruction_batches()  # type: ignore[attr-defined]
        for place in range(trainer.global_rank, len(batches), trainer.world_size):
            batch = batches[place].to(module.device)
            assert batch.reference is not None, "held-out slices have references"
            try:
                problem = reconstructor.prepare(measured_of(batch))
            except UnusableSlicesError as error:
                log.warning("%s: not among the slices to validate on: %s", batch.source, error)
                continue
            result = reconstructor.solve(problem, batch.scan, batch.slices, batch.contrast)
            subject = batch.subject or batch.scan
            known = (subject, batch.contrast, batch.reference.cpu(), result.image, batch.affine)
            mine.append((place, _HeldOut(*known)))
        found = dict(pair for share in of_all(trainer, mine) for pair in share)
        if not found:
            raise ValueError(
                "ReconstructHeldOut must have slices to reconstruct (data.n_reconstructions): there are none"
            )
        return [found[place] for place in sorted(found)]


def _warn_of_trained(trainer: Trainer, module: LightningModule) -> None:
    """Say which of the subjects to validate on the prior was trained on."""
    data = trainer.datamodule  # type: ignore[attr-defined]
    if not trainer.is_global_zero or not isinstance(data, CachedScans):
        return
    assert isinstance(module, PriorModule)
    assert module.prior is not None
    subjects = data.subjects("val")
    seen = [subject for subject in subjects if trained_on(module.prior.card, subject)]
    if seen:
        known = f"WARNING: the prior was trained on {len(seen)} of the {len(subjects)} subjects ({', '.join(seen)})"
        print(f"{known}: its scores say nothing of new subjects", file=sys.stderr)


def _warn_of_none(trainer: Trainer) -> None:
    """Say that a run ends before its first validation."""
    pace, every, n_steps = Pace.of(trainer), trainer.check_val_every_n_epoch, int(trainer.estimated_stepping_batches)
    interval = trainer.val_check_batch or 1  # none where it is a time
    due = interval if every is None else (every - 1) * pace.n_batches + min(interval, pace.n_batches)
    first = pace.steps_of(int(due))
    if trainer.is_global_zero and n_steps < first:
        told = f"WARNING: no validation in {n_steps} steps, so no curve and no best checkpoint: the first"
        print(f"{told} is due after {first} steps (trainer.check_val_every_n_epoch {every})", file=sys.stderr)


@dataclass(frozen=True, eq=False)
class _HeldOut:
    """Slices of one subject, reconstructed, and their reference."""

    subject: str
    contrast: str | None
    reference: Complex[Tensor, "slice y x"]
    image: Complex[Tensor, "slice y x"]
    affine: Float[Tensor, "4 4"] | None = None

    @property
    def errors(self) -> Float[Tensor, " slice"]:
        return nrmse(self.image, self.reference, SLICE)

    def panels(self) -> list[Panel]:
        """Return the first slice as reference, reconstruction and error, 1 shown white: scans differ in their units."""
        white = white_of(self.reference[0])
        reference, image = (for_readers(x[0].abs() / white, self.affine)[0] for x in (self.reference, self.image))
        return [
            Panel("reference", reference, self.contrast or ""),
            Panel("reconstruction", image, f"NRMSE of the slice {float(self.errors[0]):.3f}"),
            Panel("error x 5", image - reference, gain=5.0),
        ]


def _means(held_out: Sequence[_HeldOut]) -> dict[str, float]:
    """Return the mean scores over all slices."""
    similarities = torch.cat([ssim(each.image, each.reference, SLICE) for each in held_out])
    errors = torch.cat([each.errors for each in held_out])
    return {"val/nrmse": float(errors.mean()), "val/ssim": float(similarities.mean())}


def _spread(held_out: Sequence[_HeldOut]) -> dict[str, float]:
    """Return the standard deviation of the NRMSE over subjects, where there are several."""
    errors = torch.tensor([*_by_subject(held_out).values()])
    return {"val/nrmse_std": float(errors.std())} if len(errors) > 1 else {}


def _by_subject(held_out: Sequence[_HeldOut]) -> Row:
    """Return the mean NRMSE of each subject; by number, since a checkpoint holds it and names nobody."""
    subjects = list(dict.fromkeys(each.subject for each in held_out))
    errors = [torch.cat([each.errors for each in held_out if each.subject == name]) for name in subjects]
    return {f"{SUBJECT}{number}": float(each.mean()) for number, each in enumerate(errors)}


class MemorisationCheck(Callback):
    """Draw from the finished prior, and tell whether the draws are copies of training images.

    Beside the draws stand the validation images, which the prior never saw: see `Memorisation`. The verdict is
    printed and written to ``memorisation.txt`` beside the checkpoints.

    Args:
        n_draws: Images to draw, of the size that was trained on.
        sampler: How to draw them.
        n_training: Training images to compare with, at most.
        contrast: Contrast of the draws; that of the first training image if not given.
    """

    def __init__(
        self,
        n_draws: int = 8,
        sampler: Sampler = DRAWS,
        n_training: int = 2000,
        contrast: str | None = None,
    ) -> None:
        super().__init__()
        self.n_draws, self.sampler, self.n_training, self.contrast = n_draws, sampler, n_training, contrast
        self.found: Memorisation | None = None

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Draw and compare; by now the averaged weights are in place."""
        assert isinstance(pl_module, PriorModule)
        assert pl_module.prior is not None
        if not trainer.is_global_zero:
            return
        data = trainer.datamodule  # type: ignore[attr-defined]
        training, contrasts = plain_images(data.train_dataloader(), self.n_training)
        held_out, _ = plain_images(data.val_dataloader(), self.n_training)
        label, _ = label_of(self.contrast or contrasts[0], pl_module.prior)
        seeds = [derive_seed("memorisation", draw) for draw in range(self.n_draws)]
        with _evaluating(pl_module):
            draws = self.sampler.sample(pl_module.prior, None, seeds, label, training.shape[1:]).cpu()
        self.found = Memorisation(nearest_distance(draws, training), nearest_distance(held_out, training))
        print(self.found.text())
        if (path := _in_run_folder(trainer, "memorisation.txt")) is not None:
            write_whole(path, self.found.text() + "\n")


def plain_images(loader: DataLoader[Any], limit: int) -> tuple[Complex[Tensor, "image y x"], list[str]]:
    """Return the images that a loader loads, and their contrasts, without random changes.

    As in training, there are zeros around those that are smaller than the largest.
    """
    dataset: Any = loader.images if isinstance(loader, ResumableLoader) else loader.dataset
    dataset = copy.copy(dataset)
    dataset.augmentation = None
    items = list(islice((dataset[index] for index in range(len(dataset))), limit))
    rows, columns = (max((item.image.shape[axis] for item in items), default=0) for axis in (0, 1))
    padded = [centre_pad(item.image, (rows, columns)) for item in items]
    return torch.stack(padded), [item.contrast for item in items]


@contextmanager
def _evaluating(module: PriorModule) -> Iterator[None]:
    """Evaluate outside of Lightning's own loops."""
    was_training = module.training
    module.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        module.train(was_training)


def _held_out_losses(trainer: Trainer, module: PriorModule) -> Row:
    """Return the mean denoising loss at each noise level over the validation images."""
    loader = trainer.datamodule.val_dataloader()  # type: ignore[attr-defined]
    moved = (trainer.strategy.batch_to_device(batch) for batch in loader)
    sums = sum((module.held_out_sums(batch, loader, turn) for turn, batch in enumerate(moved)), torch.zeros(()))
    return {name: float(loss) for name, loss in module.held_out_losses(sums).items()}


def _show(logger: Logger, path: Path, step: int) -> None:
    """Give a picture to a logger that can show it."""
    if isinstance(logger, WandbLogger):
        logger.log_image("val/reconstruction", [str(path)], step)
    elif isinstance(logger, TensorBoardLogger):
        logger.experiment.add_image("val/reconstruction", imread(path), step, dataformats="HWC")


def _in_run_folder(trainer: Trainer, name: str) -> Path | None:
    """Return the path of a file beside the checkpoints of a run; None if it keeps none."""
    folder = getattr(trainer.checkpoint_callback, "dirpath", None)
    if folder is None:
        return None
    Path(folder).mkdir(parents=True, exist_ok=True)
    return Path(folder, name)
