"""What every network in this package is: noisy channels, a noise code and a label in, channels out."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import asdict, is_dataclass
from inspect import signature
from typing import Any, TypeVar

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from lightning_mri import described

Layer = TypeVar("Layer", bound=nn.Module)
Image = Float[Tensor, "batch _channel _y _x"]
Embedding = Float[Tensor, "batch _width"]
Codes = Float[Tensor, " batch"]
Labels = Int[Tensor, " batch"]


class DenoisingNetwork(nn.Module, ABC):
    """A raw network F(x; c_noise, label), which a noise process turns into a denoiser.

    Args:
        n_labels: Number of labels (contrasts). Label ``n_labels`` means that there is none, so that a
            network with ``n_labels = 0`` takes no notice of labels.
        multiple: Height and width must be multiples of this; a prior pads to it.
        recompute: Whether training keeps the input of each block only, and computes the rest again for the
            gradient: less memory, more time, the same result.
    """

    condition: "Condition"

    def __init__(self, n_labels: int, multiple: int, recompute: bool = False) -> None:
        super().__init__()
        if n_labels < 0:
            raise ValueError(f"n_labels must not be negative: got {n_labels}")
        self.n_labels = n_labels
        self.multiple = multiple
        self.recompute = recompute

    def apply_block(self, block: nn.Module, *inputs: Tensor) -> Tensor:
        """Return a block's output, keeping its activations for the gradient or computing them again then."""
        if self.recompute and torch.is_grad_enabled():
            return checkpoint(block, *inputs, use_reentrant=False)
        return block(*inputs)

    @abstractmethod
    def forward(self, x: Image, c_noise: Codes, label: Labels) -> Image:
        """Return F, of the shape of ``x``.

        Args:
            x: Noisy image, scaled to about unit variance; real and imaginary part are the channels.
            c_noise: Noise code, as the noise process defines it.
            label: Index of the contrast, 0 ... ``n_labels``; the last one means "no label".
        """

    @property
    def label_rows(self) -> Float[Tensor, "rows width"] | None:
        """Return the weights of the label embedding, the row of "no label" last; None without one."""
        embedding = getattr(getattr(self, "condition", None), "label", None)
        return None if embedding is None else embedding.weight

    @property
    def config(self) -> dict[str, Any]:
        """Return the constructor's arguments but for ``recompute`` as plain values, for checkpoints.

        A network keeps each argument as an attribute of its name.
        """
        names = [name for name in signature(type(self)).parameters if name != "recompute"]
        return {name: _plain(getattr(self, name)) for name in names}


class Condition(nn.Module):
    """Embedding of noise code and label, by which every block is modulated; ``label`` is None without labels."""

    label: nn.Embedding | None


def _plain(value: Any) -> Any:
    if is_dataclass(value) and not isinstance(value, type):
        return asdict(value)
    return list(value) if isinstance(value, tuple) else value


def describe(net: DenoisingNetwork) -> dict[str, Any]:
    """Return the network's class and arguments as plain values, from which `build` makes it anew."""
    return {"class": described.name_of(type(net)), "arguments": net.config}


def build(description: Mapping[str, Any]) -> DenoisingNetwork:
    """Make an untrained network from its description.

    Only subclasses of `DenoisingNetwork` are made, never anything else that a file may name.

    Raises:
        ValueError: If the class is not known, or does not take the arguments.
    """
    return described.build(DenoisingNetwork, "network", description)  # type: ignore[type-abstract]


def laid_out(x: Image, weight: Tensor) -> Image:
    """Return x in the memory layout that suits the convolutions of its device; no value changes.

    That is the channels of a pixel next to each other, but where a CPU trains in single precision: there the
    gradient of a convolution's weight takes up to twice as long in this layout.

    Args:
        x: Input of a network.
        weight: Weight of its first convolution.
    """
    trains = torch.is_grad_enabled() and weight.requires_grad
    plain = trains and x.device.type == "cpu" and not torch.is_autocast_enabled("cpu")
    return x.contiguous(memory_format=torch.contiguous_format if plain else torch.channels_last)


def label_embedding(n_labels: int, width: int) -> nn.Embedding | None:
    """Return one row for each label and one for "no label", all zero, so that labels start neutral."""
    if n_labels == 0:
        return None
    embedding = nn.Embedding(n_labels + 1, width)
    nn.init.zeros_(embedding.weight)
    return embedding


def zeroed(layer: Layer) -> Layer:
    """Set every parameter of a layer to zero, so that its branch starts as nothing."""
    for parameter in layer.parameters():
        nn.init.zeros_(parameter)
    return layer
