"""The LightningModule that trains a prior."""

import os
from collections.abc import Callable, Sequence
from typing import Any

import torch
from jaxtyping import Float, Int
from pytorch_lightning import LightningModule, Trainer
from pytorch_lightning.utilities.rank_zero import rank_zero_warn
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from lightning_mri.datasets import (
    TRAINED,
    UNKNOWN_CONTRAST,
    CachedScans,
    ImageBatch,
    ResumableLoader,
    WholeBatches,
    check_images,
    run_seed,
    subject_digest,
)
from lightning_mri.diffusion import DEFAULT_LABELS, EDM, DenoisingScoreMatching, NetworkPrior, NoiseProcess, describe
from lightning_mri.models import DenoisingNetwork
from lightning_mri.reconstruction import CALIBRATION, label_of
from lightning_mri.scaling import Scaling
from lightning_mri.tensors import derive_seed
from lightning_mri.training.agreement import check_prior, check_run
from lightning_mri.training.curve import LOSS
from lightning_mri.training.losses import LossByLevel, SupervisedReconstruction
from lightning_mri.training.metrics_file import MetricsFile
from lightning_mri.training.place import say_where, validate, validation_is_due
from lightning_mri.training.processes import of_all
from lightning_mri.training.strategies import Strategy, merged
from lightning_mri.weights import written_by

Configure = Callable[[list[nn.Parameter], Trainer], tuple[Optimizer, LRScheduler]]
VALIDATION_SIGMAS = (0.02, 0.05, 0.1, 0.2, 0.5)


class PriorModule(LightningModule):
    """Denoising score matching, with the supervised reconstruction loss as an optional term.

    How the weights start and move is the phase's matter (`Pretrain`, `FineTune`), their average is `EMA`'s.

    A run that was cut off and resumed ends with the same bits as one that was not: what a step draws follows from
    (seed, batch, process), what the data are from (seed, epoch, index), and the checkpoint holds the place.

    Args:
        net: The network F; left out when a `FineTune` phase takes it from its checkpoint. Process, labels and scaling
            come from there, too, and must then be left out or agree with it.
        process: Noise process, preconditioning and loss weighting; of a new network ``EDM()`` if not given.
        labels: Contrast names in the order of the network's labels; of a new one as in shipped priors if not given.
        scaling: How the training images were scaled, which travels with the checkpoint; as usual if not given.
        loss: Denoising score matching.
        reconstruction: Supervised reconstruction loss, added to the other, or none.
        reconstruction_weight: Its share beside score matching.
        compile_backend: How `torch.compile` makes the network, "inductor" being the usual one; None leaves it as it is.
            The first steps then take a minute.
    """

    def __init__(
        self,
        net: DenoisingNetwork | None = None,
        process: NoiseProcess | None = None,
        labels: Sequence[str] | None = None,
        scaling: Scaling | None = None,
        loss: DenoisingScoreMatching = DenoisingScoreMatching(),  # noqa: B008 - frozen
        reconstruction: SupervisedReconstruction | None = None,
        reconstruction_weight: float = 1.0,
        compile_backend: str | None = None,
    ) -> None:
        super().__init__()
        if not reconstruction_weight >= 0:
            raise ValueError(f"reconstruction_weight must not be negative: got {reconstruction_weight}")
        if compile_backend is not None and compile_backend not in torch._dynamo.list_backends(()):
            known = ", ".join(torch._dynamo.list_backends())
            raise ValueError(f"compile_backend must be one of {known}: got {compile_backend}")
        self.prior: NetworkPrior | None = None
        given = {
            "process": None if process is None else describe(process),
            "labels": None if labels is None else list(labels),
            "scaling": None if scaling is None else scaling.describe(),
        }
        self._given = {name: value for name, value in given.items() if value is not None}
        if net is not None:
            names = DEFAULT_LABELS if labels is None else tuple(labels)
            self.prior = NetworkPrior(net, process or EDM(), scaling or Scaling(), names)
            self._given["network"] = self.prior.describe()["network"]
        self.loss = loss
        self.reconstruction, self.reconstruction_weight = reconstruction, reconstruction_weight
        self.compile_backend = compile_backend
        self.strategy: Strategy | None = None
        self._configure: Configure | None = None
        self._seed, self._n_batches, self._n_images = 0, 0, 0
        self.n_done = 0, 0  # steps and images, where the run goes on
        self._loss_by_level = LossByLevel()
        self._place_in_data: dict[str, int] | None = None
        self._validating, self._epoch_to_validate = False, -1
        self._held_out = torch.zeros(())

    def adopt(self, prior: NetworkPrior, source: str) -> None:
        """Take another prior's weights, noise process, labels and scale contract; a calibration ends with its weights.

        Raises:
            ValueError: If the configuration names a network, noise process, labels or scaling other than the prior's.
        """
        check_prior(self._given, prior.describe(), source)
        prior.card.pop(CALIBRATION, None)
        self.prior = prior.requires_grad_(True).train()

    def begin(self, strategy: Strategy, configure: Configure, summary: dict[str, Any]) -> None:
        """Enter a phase.

        Args:
            strategy: Which weights train.
            configure: Makes the optimiser and its schedule from parameters and trainer.
            summary: Settings of the phase, for the prior's history.
        """
        assert self.prior is not None
        self.strategy, self._configure, self._seed = strategy, configure, run_seed()
        self._enter_trained(strategy.subjects())
        self._history = [*self.prior.card.get("history", []), {**summary, **self.loss_settings()}]

    def loss_settings(self) -> dict[str, float]:
        """Return what the loss is made of, for the prior's history."""
        weight = 0.0 if self.reconstruction is None else self.reconstruction_weight
        return {"label_dropout": self.loss.label_dropout, "reconstruction_weight": weight}

    def configure_optimizers(self) -> Any:
        """Ask the phase for its optimiser."""
        if self._configure is None:
            raise ValueError("fit needs a phase: give Pretrain or FineTune as --phase or among the callbacks")
        parameters = [parameter for parameter in self.parameters() if parameter.requires_grad]
        optimizer, schedule = self._configure(parameters, self.trainer)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def on_fit_start(self) -> None:
        """Compile the network in place, where that was asked for; the names of its weights stay."""
        if self.compile_backend is not None:
            assert self.prior is not None
            self.prior.net.compile(backend=self.compile_backend)

    def on_train_start(self) -> None:
        """Take up the place in the data; Lightning does so too, but not for every run. Repeat a validation cut off."""
        if isinstance(loader := self.trainer.train_dataloader, ResumableLoader):
            loader.limit = int(self.trainer.num_training_batches)
            if self._place_in_data:
                loader.load_state_dict(self._place_in_data)
        self._repeat_validation()

    def on_fit_end(self) -> None:
        """Repeat a validation that was cut off after the last step: a run with all its steps does not start again."""
        if self._epoch_to_validate >= 0:
            self._repeat_validation()

    def _repeat_validation(self) -> None:
        """Drop what is logged again, and validate where that is due."""
        for logger in self.loggers:
            if isinstance(logger, MetricsFile):
                logger.forget(self.global_step, validation=self._epoch_to_validate >= 0)
        if self._epoch_to_validate >= 0:
            validate(self.trainer, self._epoch_to_validate)
            self._epoch_to_validate = -1

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
        """Check that the data are images."""
        check_images(batch, self.trainer.datamodule, "train_dataloader")  # type: ignore[attr-defined]

    def on_validation_batch_start(self, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> None:
        """Check that the data are images."""
        check_images(batch, self.trainer.datamodule, "val_dataloader")  # type: ignore[attr-defined]

    def training_step(self, batch: ImageBatch, batch_idx: int) -> Float[Tensor, ""]:
        """Return the mean weighted denoising loss of a batch of images, and what phase and physics add to it."""
        assert self.prior is not None
        assert self.strategy is not None
        batch = self.strategy.mix(batch, self._n_batches, self._seed)
        label, generator = self.labels_of(batch), self._generator()
        scored = self.loss(self.prior, batch.image, label, generator, batch.support)
        self._loss_by_level.update(scored.sigma.detach(), scored.loss.detach())
        loss = scored.loss.mean()
        self.log("train/loss", loss, batch_size=len(label), prog_bar=True)
        if self.reconstruction is not None:
            supervised = self.reconstruction(
                self.prior, batch.image, label, generator, batch.support, batch.pixel_sizes
            )
            self.log("train/reconstruction_loss", supervised, batch_size=len(label))
            loss = loss + self.reconstruction_weight * supervised
        if (penalty := self.strategy.penalty(self.prior)) is not None:
            self.log("train/penalty", penalty, batch_size=len(label))
            loss = loss + penalty
        self._n_batches += 1
        self._n_images += len(label) * self.trainer.world_size
        return loss

    def on_before_optimizer_step(self, optimizer: Optimizer) -> None:
        """Log the loss by noise level, as a mean over the batches since the last time.

        It goes straight to the loggers: Lightning's ``log`` would repeat the last value of a level that had no sample.
        """
        every: int = self.trainer.log_every_n_steps  # type: ignore[attr-defined]
        if every and (self.global_step + 1) % every == 0:
            means = {f"train/loss/{level}": value for level, value in self._loss_by_level.compute().items()}
            for logger in self.loggers:
                logger.log_metrics({"epoch": self.current_epoch, **means}, self.global_step)
            self._loss_by_level.reset()

    def validation_step(self, batch: ImageBatch, batch_idx: int) -> None:
        """Log the denoising loss of held-out images."""
        self._held_out = self._held_out + self.held_out_sums(batch, self.trainer.val_dataloaders, batch_idx)

    def on_validation_epoch_start(self) -> None:
        """Note that a validation is under way."""
        self._validating, self._held_out = True, torch.zeros(())

    def on_validation_epoch_end(self) -> None:
        """Log the means over all processes, and note that the validation is complete."""
        losses = self.held_out_losses(self._held_out)
        self.log_dict(losses, sync_dist=True)
        self.log("val/loss", sum(losses.values()) / len(losses), prog_bar=True, sync_dist=True)
        self._validating = False

    def held_out_sums(self, batch: ImageBatch, loader: Any, turn: int) -> Float[Tensor, " levels_and_number"]:
        """Return the sums of a batch's losses at fixed noise levels, and the number of its images.

        The noise follows from the batch's place among all. A batch that another process counts is all zeros.
        """
        assert self.prior is not None
        sampler = getattr(loader, "sampler", None)
        place = sampler.place(turn) if isinstance(sampler, WholeBatches) else turn
        sums, label = torch.zeros(len(VALIDATION_SIGMAS) + 1, device=self.device), self.labels_of(batch)
        if place is None:
            return sums
        for row, level in enumerate(VALIDATION_SIGMAS):
            sigma = torch.full((len(label),), level, device=self.device)
            noise = torch.Generator().manual_seed(place)
            sums[row] = self.loss.at(sigma, self.prior, batch.image, label, noise, batch.support).loss.sum()
        sums[-1] = len(label)
        return sums

    def held_out_losses(self, sums: Float[Tensor, " levels_and_number"]) -> dict[str, Float[Tensor, ""]]:
        """Return the mean losses over all images of all processes, by the names they are logged under."""
        *totals, n = self.trainer.strategy.reduce(sums.to(self.device), reduce_op="sum")
        return {f"{LOSS}sigma_{level:g}": total / n for level, total in zip(VALIDATION_SIGMAS, totals, strict=True)}

    def labels_of(self, batch: ImageBatch) -> Int[Tensor, " batch"]:
        """Return the label of each image's contrast; of one that the prior lacks its ``other``, or else none."""
        assert self.prior is not None
        label = {name: label_of(name, self.prior)[0] for name in {UNKNOWN_CONTRAST, *batch.contrast}}
        found = (label[UNKNOWN_CONTRAST] if label[name] is None else label[name] for name in batch.contrast)
        none = len(self.prior.labels)
        return torch.tensor([none if index is None else index for index in found], device=self.device)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Make the checkpoint self-describing: network, process, scale contract, labels, history, splits.

        Its ``state_dict`` are the weights to use; where a strategy trains others, those are beside it.
        """
        assert self.prior is not None
        if not all(bool(weight.isfinite().all()) for weight in checkpoint["state_dict"].values()):
            raise ValueError(f"weights after step {self.global_step} are not finite: lower phase.learning_rate")
        data = self.trainer.datamodule  # type: ignore[attr-defined]
        trained_on = data.describe() if isinstance(data, CachedScans) else type(data).__name__
        seen = {"trained_on": trained_on, "steps": self.global_step, "images": self._n_images}
        history = [*self._history[:-1], {**self._history[-1], **seen}]
        splits: dict[str, list[str]] = getattr(data, "split_names", dict)()
        self.prior.card.update(history=history, splits=splits)
        if isinstance(data, CachedScans):
            self._enter_trained(data.subjects("train"))
        checkpoint["prior"] = {**self.prior.describe(), "origin": written_by()}
        loader = self.trainer.train_dataloader
        place = loader.state_dict() if isinstance(loader, ResumableLoader) else None
        due = self._validating or validation_is_due(self.trainer)
        checkpoint["run"] = {
            "seed": self._seed,
            "n_batches": self._n_batches,
            "n_images": self._n_images,
            "data": place,
            "loss_by_level": of_all(self.trainer, self._loss_by_level.sums.tolist()),
            "epoch_to_validate": self.current_epoch if due else -1,
            "versions": {type(logger).__name__: logger.version for logger in self.loggers},
            "job": os.environ.get("SLURM_JOB_ID"),
        }
        say_where(checkpoint["loops"]["fit_loop"], self.trainer.validating, self._validating)
        trained = {name.removeprefix("prior."): weight for name, weight in checkpoint["state_dict"].items()}
        plain = merged(self.prior, trained)
        if plain.keys() != trained.keys():
            checkpoint["training_state"] = checkpoint["state_dict"]
            checkpoint["state_dict"] = {f"prior.{name}": weight for name, weight in plain.items()}

    def _enter_trained(self, subjects: Sequence[str]) -> None:
        """Add subjects to those that the prior's card says it was trained on, in this phase or earlier."""
        assert self.prior is not None
        digests = {*self.prior.card.get(TRAINED, ()), *map(subject_digest, subjects)}
        self.prior.card[TRAINED] = sorted(digests)

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Go on with the run's seed, place in the data, card, and the weights that its strategy trains.

        Raises:
            ValueError: If prior, phase or loss are not those of the run.
        """
        assert self.prior is not None
        run, theirs, card = checkpoint.get("run", {}), checkpoint["prior"], checkpoint["prior"]["card"]
        check_run(self._history[-1], card)
        check_prior(self.prior.describe(), theirs, "of the run")
        self._seed, self._n_batches = run.get("seed", self._seed), run.get("n_batches", 0)
        self._n_images = run.get("n_images", 0)
        self.n_done = checkpoint["global_step"], self._n_images
        self._place_in_data = run.get("data")
        self._loss_by_level.load(run.get("loss_by_level", ()), self.global_rank, self.trainer.world_size)
        self._epoch_to_validate = run.get("epoch_to_validate", -1)
        checkpoint["state_dict"] = checkpoint.get("training_state", checkpoint["state_dict"])
        self.prior.card.update(card)
        self._history = card["history"]
        data = self.trainer.datamodule  # type: ignore[attr-defined]
        splits: dict[str, list[str]] = getattr(data, "split_names", dict)()
        if splits != card.get("splits", splits):
            rank_zero_warn("the split is another than the run had: its scores before and after are of other subjects")

    def _generator(self) -> torch.Generator:
        """Return the random source of a step; what has no other, such as dropout, is seeded alike.

        The batches are counted here, since Lightning counts otherwise after a run that was extended.
        """
        seed = derive_seed("step", self._seed, self._n_batches, self.global_rank)
        torch.manual_seed(seed)
        return torch.Generator().manual_seed(seed)
