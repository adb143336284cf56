"""The prior: a denoiser of complex images, whatever network, noise process or formula is behind it."""

from abc import ABC, abstractmethod
from contextlib import AbstractContextManager, nullcontext
from typing import Any, cast

import torch
from jaxtyping import Complex, Float, Int
from torch import Tensor, nn

from lightning_mri import described
from lightning_mri.diffusion.process import NoiseProcess, describe
from lightning_mri.messages import count
from lightning_mri.scaling import Scaling
from lightning_mri.tensors import to_channels, to_complex

SPARE = "spare-"
"""A label whose name begins so is free for a contrast met in fine-tuning, however many a prior has."""
DEFAULT_LABELS = ("T1w", "T1w-post", "T2w", "PD", "FLAIR", "other", "spare-1", "spare-2", "spare-3", "spare-4")
"""Contrast names of the priors that ship."""

Label = Int[Tensor, "..."] | int | None


class Prior(ABC):
    """What is known of images before a scan, as the mean of clean images given a noisy one.

    Attributes:
        sigma_data: Standard deviation of the images per real channel, in image units.
        sigma_min: Lowest noise level that the prior was made for.
        sigma_max: Highest noise level that the prior was made for.
        scaling: How images were brought to image units.
        labels: Names of the contrasts that can be asked for; may be empty.
    """

    sigma_data: float
    sigma_min: float
    sigma_max: float
    scaling: Scaling
    labels: tuple[str, ...]

    @abstractmethod
    def denoise(
        self, x: Complex[Tensor, "*batch y x"], sigma: Float[Tensor, "..."] | float, label: Label = None
    ) -> Complex[Tensor, "*batch y x"]:
        """Return E[x0 | x = x0 + sigma z], where z has standard deviation 1 in each real channel.

        Gradients are recorded or not as the caller's mode says.

        Args:
            x: Noisy images, in image units.
            sigma: Noise level of each image, or one for all; anything that broadcasts to ``*batch``.
            label: Index of the contrast of each image, or one for all; None for no label.

        Raises:
            ValueError: If a label is not one of the prior's.
        """

    def score(
        self, x: Complex[Tensor, "*batch y x"], sigma: Float[Tensor, "..."] | float, label: Label = None
    ) -> Complex[Tensor, "*batch y x"]:
        """Return the gradient of the log density of noisy images, (D(x; sigma) - x) / sigma^2 (Tweedie)."""
        variance = torch.as_tensor(sigma, dtype=x.dtype.to_real(), device=x.device) ** 2
        return (self.denoise(x, sigma, label) - x) / variance[..., None, None]

    @property
    def device(self) -> torch.device:
        """Where the weights are; the CPU if there are none."""
        parameters = self.parameters() if isinstance(self, nn.Module) else iter(())
        return next((parameter.device for parameter in parameters), torch.device("cpu"))

    def label_index(self, name: str) -> int:
        """Return the index of a contrast.

        Raises:
            ValueError: If the prior does not know the contrast.
        """
        if name not in self.labels:
            known = ", ".join(self.labels) or "none, as this prior has no labels"
            raise ValueError(f"label must be one of {known}: got {name!r}")
        return self.labels.index(name)


class NetworkPrior(nn.Module, Prior):
    """A trained network as a prior: D(x; sigma) = c_skip x + c_out F(c_in x; c_noise, label).

    Images of any size and any leading axes go in and come out; two real channels, padding and reduced
    precision exist only in here. The image is padded by its mirror image, whose noise is that of the image;
    zeros would be an island without noise, at which no network was trained.

    Args:
        net: The network F: a module called as ``net(x, c_noise, label)``, with the attributes ``n_labels``
            (the label of that index means none), ``multiple`` (which height and width must be of),
            ``config`` (its arguments, for `describe`) and ``label_rows`` (for `add_label`).
        process: The noise process that it was trained for.
        scaling: How its images were scaled.
        labels: Names of the contrasts it knows, one for each of the network's labels.
        card: Anything worth telling about the training, as plain values.
        precision: Type that the network computes in; None for bfloat16 where the device is built for it
            (`fast_precision`) when evaluating, and for the trainer's own choice when training. The result
            is complex64 in any case.
    """

    def __init__(
        self,
        net: nn.Module,
        process: NoiseProcess,
        scaling: Scaling = Scaling(),  # noqa: B008
        labels: tuple[str, ...] = DEFAULT_LABELS,
        card: dict[str, Any] | None = None,
        precision: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        if len(labels) != net.n_labels:
            got = f"got {len(labels)} and {net.n_labels}, its n_labels"
            raise ValueError(f"labels must be as many as the network's: {got}")
        self.net, self.process, self.scaling = net, process, scaling
        self.labels, self.card, self.precision = tuple(labels), dict(card or {}), precision
        self.sigma_data, self.sigma_min = process.sigma_data, process.sigma_min
        self.sigma_max = process.sigma_max

    def __repr__(self) -> str:
        n, labels = sum(parameter.numel() for parameter in self.parameters()), ", ".join(self.labels) or "no labels"
        return f"NetworkPrior({type(self.net).__name__} of {count(n, 'weight')}, {self.process!r}, {labels})"

    def denoise(
        self, x: Complex[Tensor, "*batch y x"], sigma: Float[Tensor, "..."] | float, label: Label = None
    ) -> Complex[Tensor, "*batch y x"]:
        """Return the network's estimate of the clean images, complex64; see `Prior.denoise`.

        Raises:
            ValueError: If ``x`` is no complex image, a label not the network's, or a noise level negative or nan.
        """
        if x.ndim < 2 or not x.is_complex():
            raise ValueError(f"x must be complex [..., y, x]: got {x.dtype} {tuple(x.shape)}")
        batch = x.shape[:-2]
        noisy = x.to(torch.complex64).reshape(-1, *x.shape[-2:])
        level = torch.as_tensor(sigma, dtype=torch.float32)
        # to look at levels on a GPU would be to wait for it at every step; samplers give numbers
        if level.device.type == "cpu" and not bool((level >= 0).all()):
            raise ValueError(f"sigma must not be negative: got {level.tolist()}")
        sigma = level.to(x.device).expand(batch).reshape(-1)
        c = self.process.precondition(sigma)
        scaled = pad(to_channels(c.c_in[:, None, None] * noisy), cast(int, self.net.multiple))
        with self.autocast(x.device):
            raw = self.net(scaled, c.c_noise, self.label_tensor(label, batch, x.device))
        raw = to_complex(raw[..., : x.shape[-2], : x.shape[-1]])
        return (c.c_skip[:, None, None] * noisy + c.c_out[:, None, None] * raw).reshape(x.shape)

    def forward(
        self, x: Complex[Tensor, "*batch y x"], sigma: Float[Tensor, "..."] | float, label: Label = None
    ) -> Complex[Tensor, "*batch y x"]:
        """Return `denoise`, so that hooks and wrappers of modules apply."""
        return self.denoise(x, sigma, label)

    def add_label(self, name: str) -> int:
        """Give the first spare label to a new contrast, which starts from the mean of the known ones.

        Returns:
            The index of the label.

        Raises:
            ValueError: If the contrast is known already, or no label is to spare.
        """
        spare = [index for index, label in enumerate(self.labels) if label.startswith(SPARE)]
        if name in self.labels or not spare:
            raise ValueError(
                f"label must be new, and one of {SPARE}1, {SPARE}2 ... free to take it: "
                f"got {name!r} for a prior of {', '.join(self.labels) or 'no labels'}"
            )
        known = [index for index in range(len(self.labels)) if index not in spare]
        rows = cast(Tensor, self.net.label_rows).detach()
        rows[spare[0]] = rows[known].mean(0) if known else 0
        self.labels = tuple(name if index == spare[0] else label for index, label in enumerate(self.labels))
        return spare[0]

    def describe(self) -> dict[str, Any]:
        """Return everything but the weights as plain values, for checkpoints."""
        return {
            "network": {"class": described.name_of(type(self.net)), "arguments": self.net.config},
            "process": describe(self.process),
            "scaling": self.scaling.describe(),
            "labels": list(self.labels),
            "card": self.card,
        }

    def label_tensor(self, label: Label, batch: torch.Size, device: torch.device) -> Int[Tensor, " flat"]:
        """Return one label for each image of a batch, the last index where there is none.

        Raises:
            ValueError: If a label is not one of the network's.
        """
        n_labels = len(self.labels)
        if isinstance(label, str):
            index = self.label_index(label)
            raise ValueError(f"label must be a number, for {label!r} {index}, which label_index tells")
        value = torch.as_tensor(n_labels if label is None else label, dtype=torch.int64)
        # to look at labels on a GPU would be to wait for it at every step; a sampler looks at them once
        if value.device.type == "cpu" and not bool(((value >= 0) & (value <= n_labels)).all()):
            raise ValueError(f"label must be 0 ... {n_labels}, the last for none: got {value.tolist()}")
        return value.to(device).expand(batch).reshape(-1)

    def autocast(self, device: torch.device) -> AbstractContextManager[Any]:
        """Return the context in which the network computes."""
        precision = self.precision
        if precision is None:
            precision = None if self.training else fast_precision(device)
        if precision is None:
            return nullcontext()
        return torch.autocast(device.type, dtype=precision, enabled=precision is not torch.float32)


def fast_precision(device: torch.device) -> torch.dtype | None:
    """Return bfloat16 where the device multiplies it in hardware, else None, as emulation is far slower."""
    if device.type == "cuda":
        fast = torch.cuda.is_bf16_supported(including_emulation=False)
    else:
        built = (torch.cpu._is_amx_tile_supported, torch.cpu._is_avx512_bf16_supported)
        fast = device.type == "cpu" and any(supported() for supported in built)
    return torch.bfloat16 if fast else None


def pad(x: Float[Tensor, "batch 2 y x"], multiple: int) -> Float[Tensor, "batch 2 v u"]:
    """Extend the last two axes by reflection at their end, up to a multiple; even from a single pixel."""
    for axis in (-2, -1):
        n = x.shape[axis]
        if n % multiple:
            index = torch.arange(-(-n // multiple) * multiple, device=x.device) % max(2 * n - 2, 1)
            x = x.index_select(axis, torch.minimum(index, 2 * n - 2 - index))
    return x
