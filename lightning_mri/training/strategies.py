"""How much of a prior moves in fine-tuning: strategies for few subjects, each a small frozen object.

What a strategy adds to the weights is a parametrization of PyTorch's (`torch.nn.utils.parametrize`), saved with the
run so that it can be resumed; `merged` takes it out again, so that a finished prior is a plain one.
"""

import copy
import math
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, fields
from itertools import count
from typing import Any

import torch
from jaxtyping import Bool, Float
from pytorch_lightning import LightningDataModule
from torch import Tensor, nn
from torch.nn.utils import parametrize

from lightning_mri.datasets import CachedScans, ImageBatch, ResumableLoader
from lightning_mri.diffusion import NetworkPrior
from lightning_mri.tensors import derive_seed


class Strategy(ABC):
    """Which weights train, and what holds them where they were."""

    @abstractmethod
    def prepare(self, prior: NetworkPrior) -> None:
        """Choose the weights that train, and add to them what the strategy needs."""

    def prepare_data(self) -> None:  # noqa: B027 - most need none
        """Make the data that the strategy needs; in one process of each machine."""

    def subjects(self) -> list[str]:
        """Return whom the strategy's own data are of, if it has some."""
        return []

    def penalty(self, prior: NetworkPrior) -> Float[Tensor, ""] | None:
        """Return what is added to the loss of a step, if anything is."""
        return None

    def mix(self, batch: ImageBatch, n_done: int, seed: int) -> ImageBatch:
        """Return the batch to train on.

        Args:
            batch: Images of the new data.
            n_done: Batches of the run before this one.
            seed: Seed of the run.
        """
        return batch

    def describe(self) -> dict[str, str | float]:
        """Return the strategy's name and arguments as plain values, for the prior's history."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}  # type: ignore[arg-type]
        plain = {name: v if isinstance(v, int | float | str) else type(v).__name__ for name, v in values.items()}
        return {"name": type(self).__name__, **plain}


@dataclass(frozen=True)
class Full(Strategy):
    """Train every weight."""

    def prepare(self, prior: NetworkPrior) -> None:
        """Leave no weight out."""
        prior.requires_grad_(True)


@dataclass(frozen=True)
class L2SP(Strategy):
    """Train every weight, at a price for the distance from where it started: weight / 2 |theta - theta_0|^2.

    Li et al. 2018, "Explicit inductive bias for transfer learning with convolutional networks".

    Args:
        weight: Price of the distance.
    """

    weight: float = 0.01

    def __post_init__(self) -> None:
        if not self.weight > 0:
            raise ValueError(f"weight must be positive: got {self.weight}")

    def prepare(self, prior: NetworkPrior) -> None:
        """Remember where every weight starts."""
        prior.requires_grad_(True)
        _parametrize(prior, L2SPAnchor)

    def penalty(self, prior: NetworkPrior) -> Float[Tensor, ""]:
        """Return weight / 2 |theta - theta_0|^2."""
        distances = []
        for added in prior.modules():
            if isinstance(added, parametrize.ParametrizationList):
                anchored = added[0]
                assert isinstance(anchored, L2SPAnchor)
                distances.append((added.original - anchored.start).square().sum())
        return self.weight / 2 * torch.stack(distances).sum()


@dataclass(frozen=True)
class ScaleShift(Strategy):
    """Train gains and offsets only: the weights of the norms, every bias, and the embedding of the contrasts."""

    def prepare(self, prior: NetworkPrior) -> None:
        """Freeze every parameter that has more than one axis."""
        rows = prior.net.label_rows
        for parameter in prior.parameters():
            parameter.requires_grad_(parameter.ndim == 1 or parameter is rows)


@dataclass(frozen=True)
class LoRA(Strategy):
    """Train a low-rank addition to the weights of convolutions and linear layers, W + B A, and the contrasts.

    Hu et al. 2022, "LoRA: low-rank adaptation of large language models". A convolution's weight counts as the
    matrix [out, in x rows x columns]. B starts as zero. Biases and norms stay.

    Args:
        rank: Rank of B A; less where a layer is smaller.
    """

    rank: int = 8

    def __post_init__(self) -> None:
        if self.rank < 1:
            raise ValueError(f"rank must be positive: got {self.rank}")

    def prepare(self, prior: NetworkPrior) -> None:
        """Freeze the prior, and add factors that train."""
        rows = prior.net.label_rows
        for parameter in prior.parameters():
            parameter.requires_grad_(parameter is rows)
        layers = (nn.Conv2d, nn.Linear)
        chosen = {id(module.weight) for module in prior.modules() if isinstance(module, layers)}
        _parametrize(prior, lambda weight: LowRank(weight, self.rank), lambda weight: id(weight) in chosen)


@dataclass(frozen=True)
class Replay(Strategy):
    """Train every weight, with a share of each batch taken from what the prior was trained on.

    Args:
        data: Where those images come from: any DataModule that trains on images, with the crop of the new data.
        share: Share of the images; where it is no whole number of a batch, batches take turns.
    """

    data: LightningDataModule
    share: float = 0.25

    def __post_init__(self) -> None:
        if not 0 < self.share < 1:
            raise ValueError(f"share must be between 0 and 1: got {self.share}")

    def prepare(self, prior: NetworkPrior) -> None:
        """Leave no weight out.

        Raises:
            ValueError: If the data are scaled otherwise than the prior's.
        """
        prior.requires_grad_(True)
        if isinstance(self.data, CachedScans):
            self.data.check_scaling(prior.scaling)

    def prepare_data(self) -> None:
        """Let the DataModule do what it does before training."""
        self.data.prepare_data()

    def subjects(self) -> list[str]:
        """Return the subjects of the images that are mixed in."""
        return self.data.subjects("train") if isinstance(self.data, CachedScans) else []

    def mix(self, batch: ImageBatch, n_done: int, seed: int) -> ImageBatch:
        """Replace the last images of the batch."""
        size = len(batch.contrast)
        n_old = math.floor((n_done + 1) * self.share * size) - math.floor(n_done * self.share * size)
        # a frozen object that opens its files once a run: what is read depends on the arguments alone
        place, stream = self.__dict__.get("_stream", (None, iter(())))
        if place != (seed, n_done):
            stream = self._open(math.ceil(self.share * size), n_done, seed)
        self.__dict__["_stream"] = (seed, n_done + 1), stream
        old = next(stream)
        if old.image.shape[1:] != batch.image.shape[1:]:
            got = f"{tuple(old.image.shape[1:])} and {tuple(batch.image.shape[1:])}"
            raise ValueError(f"crop of the replayed data must be that of the new data: got {got}")
        new, device = size - n_old, batch.image.device
        images = torch.cat([batch.image[:new], old.image[:n_old].to(device)])
        support = torch.cat([_support(batch)[:new], _support(old)[:n_old].to(device)])
        contrast = (*batch.contrast[:new], *old.contrast[:n_old])
        known = batch.pixel_sizes is not None and old.pixel_sizes is not None
        sizes = (*(batch.pixel_sizes or ())[:new], *(old.pixel_sizes or ())[:n_old]) if known else None
        return ImageBatch(images, contrast, None if support.all() else support, sizes)

    def _open(self, batch_size: int, n_done: int, seed: int) -> Iterator[ImageBatch]:
        """Return batches without end, from where a run stands that has done ``n_done`` steps."""
        self.data.setup("fit")
        theirs = self.data.train_dataloader()
        images = theirs.images if isinstance(theirs, ResumableLoader) else theirs.dataset
        loader: ResumableLoader[Any] = ResumableLoader(
            images,
            batch_size,
            derive_seed("replay", seed),
            collate_fn=theirs.collate_fn,
            num_workers=theirs.num_workers,
            persistent_workers=theirs.num_workers > 0,
        )
        epoch, done = divmod(n_done, len(loader))
        loader.load_state_dict({"seed": loader.order.seed, "epoch": epoch, "done": done})
        return (batch for _ in count() for batch in loader)


@dataclass(frozen=True)
class Interpolate(Strategy):
    """Train every weight, then go only part of the way: (1 - share) theta_0 + share theta.

    Wortsman et al. 2022, "Robust fine-tuning of zero-shot models". Validation sees, and checkpoints hold, the
    interpolated average of the weights; training goes on from the others.

    Args:
        share: How far to go; 1 is full fine-tuning.
    """

    share: float = 0.5

    def __post_init__(self) -> None:
        if not 0 < self.share <= 1:
            raise ValueError(f"share must be in (0, 1]: got {self.share}")

    def prepare(self, prior: NetworkPrior) -> None:
        """Remember where every weight starts."""
        prior.requires_grad_(True)
        _parametrize(prior, lambda weight: WeightInterpolation(weight, self.share))


class L2SPAnchor(nn.Module):
    """A weight that remembers where it started."""

    start: Tensor

    def __init__(self, weight: Tensor) -> None:
        super().__init__()
        self.register_buffer("start", weight.detach().clone())

    def forward(self, weight: Tensor) -> Tensor:
        """Return the weight as it is."""
        return weight


class WeightInterpolation(L2SPAnchor):
    """A weight that is taken back towards its start when the network is used, but not while it trains."""

    def __init__(self, weight: Tensor, share: float) -> None:
        super().__init__(weight)
        self.share = share

    def forward(self, weight: Tensor) -> Tensor:
        """Return (1 - share) start + share weight in evaluation."""
        return weight if self.training else torch.lerp(self.start, weight, self.share)


class LowRank(nn.Module):
    """A weight and a low-rank addition to it, W + B A."""

    def __init__(self, weight: Tensor, rank: int) -> None:
        super().__init__()
        n_out, n_in = weight.flatten(1).shape
        rank = min(rank, n_out, n_in)
        self.down = nn.Parameter(torch.randn(rank, n_in) / math.sqrt(n_in))
        self.up = nn.Parameter(torch.zeros(n_out, rank))

    def forward(self, weight: Tensor) -> Tensor:
        """Return W + B A."""
        return weight + (self.up @ self.down).view_as(weight)


def merged(prior: NetworkPrior, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the weights of a plain prior, of which what a strategy added is part."""
    plain = dict(state)
    for path, module in prior.named_modules():
        if not parametrize.is_parametrized(module):
            continue
        for name, added in module.parametrizations.items():
            inside = f"{path}.parametrizations.{name}."
            values = {key.removeprefix(inside): plain.pop(key) for key in state if key.startswith(inside)}
            finished = copy.deepcopy(added).eval()
            finished.load_state_dict(values)
            plain[f"{path}.{name}"] = finished().detach()
    return plain


def trained(prior: NetworkPrior) -> str:
    """Return how many weights train, and of which kind they are."""
    moving = {name: parameter for name, parameter in prior.named_parameters() if parameter.requires_grad}
    n_trained, n_all = (sum(each.numel() for each in of) for of in (moving.values(), prior.parameters()))
    kinds = Counter(name.removesuffix(".original").split(".")[-1] for name in moving)
    listed = ", ".join(f"{n} x {kind}" for kind, n in kinds.items())
    return f"{n_trained:,} of {n_all:,} weights train ({100 * n_trained / n_all:.3g} %): {listed}"


def _support(batch: ImageBatch) -> Bool[Tensor, "batch y x"]:
    """Return which pixels of a batch count."""
    return torch.ones_like(batch.image, dtype=torch.bool) if batch.support is None else batch.support


def _parametrize(
    prior: NetworkPrior,
    addition: Callable[[Tensor], nn.Module],
    wanted: Callable[[Tensor], bool] = lambda _: True,
) -> None:
    """Give every wanted weight of a prior an addition of its own."""
    places = [
        (module, name, weight)
        for module in prior.modules()
        for name, weight in module.named_parameters(recurse=False)
        if wanted(weight)
    ]
    for module, name, weight in places:
        parametrize.register_parametrization(module, name, addition(weight).to(weight.device))
