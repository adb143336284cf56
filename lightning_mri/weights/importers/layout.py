"""What a published layout is, and how its tensors find their places in our network."""

import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from lightning_mri.diffusion import NoiseProcess
from lightning_mri.models import UNet
from lightning_mri.models.blocks import Attended, Attention, Style

State = Mapping[str, Tensor]
NamedSource = tuple[str, "Source"]
"""Name of one of our weights, and where it comes from."""


def as_stored(tensor: Tensor) -> Tensor:
    """Return a tensor as it is."""
    return tensor


@dataclass(frozen=True)
class Source:
    """Where one of our weights comes from."""

    names: tuple[str, ...]  # the published tensors
    convert: Callable[..., Tensor] = as_stored  # makes our weight of them


@dataclass(frozen=True)
class Architecture:
    """The arguments of our `UNet` that a published state dict implies, and how many labels it knows."""

    width: int  # channels of the finest level
    multipliers: tuple[int, ...]  # channels of each level, in multiples of ``width``
    n_blocks: int  # residual blocks a level
    attention_levels: tuple[int, ...]  # levels with attention
    style: Style  # family of the network
    n_labels: int  # labels in the file
    channels: int  # channels of the image

    def build(self, n_labels: int) -> UNet:
        """Make the network, with room for at least the labels in the file."""
        return UNet(
            self.width,
            self.multipliers,
            self.n_blocks,
            self.attention_levels,
            n_labels=max(n_labels, self.n_labels),
            channels=self.channels,
            style=self.style,
        )


class PublishedLayout(ABC):
    """How one public code base stores its network; what the file does not tell is an argument."""

    @property
    @abstractmethod
    def assumed(self) -> str:
        """What the file does not tell and is taken for granted, options of the layout included."""

    @abstractmethod
    def noise_process(self, state: State) -> NoiseProcess:
        """Return the process that the network was trained for.

        Raises:
            ValueError: If the state dict tells of one that this package does not have.
        """

    @abstractmethod
    def state(self, content: Any) -> dict[str, Tensor]:
        """Return the averaged weights in a file's content, by their published names.

        Raises:
            ValueError: If the content is not laid out so.
        """

    @abstractmethod
    def architecture(self, state: State) -> Architecture:
        """Return what names and shapes imply.

        Raises:
            ValueError: If they imply no network that this layout is for.
        """

    @abstractmethod
    def places(self, net: UNet, state: State) -> Iterator[NamedSource]:
        """Yield every weight of our network but the labels', and where it comes from."""

    def labels(self, state: State) -> Source | None:
        """Return where the rows of the labels come from, that of "no label" last; None without labels."""
        return None

    def left_out(self, state: State) -> dict[str, str]:
        """Return the tensors that our network has no need of, each with the reason; by default there are none."""
        return {}


def translate(layout: PublishedLayout, net: UNet, state: State) -> dict[str, Tensor]:
    """Return our network's weights."""
    sources = dict(layout.places(net, state))
    rows, left_out = layout.labels(state), layout.left_out(state)
    used = {name for source in (*sources.values(), *([rows] if rows else [])) for name in source.names}
    faults = [f"missing {name}" for name in sorted(used - state.keys())]
    faults += [f"extra {name}" for name in state if name not in used and name not in left_out]
    weights, places = {}, net.state_dict()
    for ours, source in sources.items():
        if all(name in state for name in source.names):
            value = converted(source, state)
            if value is None or value.shape != places[ours].shape:
                faults += [f"{name} is {tuple(state[name].shape)}, which does not fit" for name in source.names]
            else:
                weights[ours] = value
    if faults:
        raise ValueError(f"weights must be exactly those of {type(layout).__name__}: {'; '.join(faults)}")
    if net.label_rows is not None:
        weights["condition.label.weight"] = label_rows(converted(rows, state) if rows else None, net.label_rows)
    return weights


def converted(source: Source, state: State) -> Tensor | None:
    """Return our weight, or None where the published tensors do not even have the right number of axes."""
    try:
        return source.convert(*(state[name] for name in source.names))
    except (RuntimeError, IndexError):
        return None


def label_rows(published: Tensor | None, ours: Tensor) -> Tensor:
    """Return the published rows; labels that the file does not know start as "no label", the last row."""
    if published is None:
        return torch.zeros_like(ours)
    known, none = published[:-1], published[-1:]
    return torch.cat([known, none.expand(len(ours) - len(known), -1)])


@dataclass(frozen=True)
class Stage:
    """A residual block of our network, or a change of resolution, in the order in which they are computed."""

    path: str  # its name in our network
    part: str  # ``down``, ``encoder``, ``middle``, ``up`` or ``decoder``
    level: int  # its level, 0 at full resolution; of ``down`` and ``up`` the one that follows
    index: int = 0  # its number within part and level


def stages(net: UNet) -> Iterator[Stage]:
    """Yield the stages between the first and the last convolution."""
    n_levels = len(net.multipliers)
    for level in range(n_levels):
        if level > 0:
            yield Stage(f"down.{level - 1}", "down", level)
        yield from (Stage(f"down_blocks.{level}.{i}", "encoder", level, i) for i in range(net.n_blocks))
    yield from (Stage(f"middle.{i}", "middle", n_levels - 1, i) for i in range(2))
    for step in range(n_levels):
        level = n_levels - 1 - step
        if step > 0:
            yield Stage(f"up.{step - 1}", "up", level)
        yield from (Stage(f"up_blocks.{step}.{i}", "decoder", level, i) for i in range(net.n_blocks + 1))


def sines_first(weight: Tensor) -> Tensor:
    """Return the weight of an embedding for sines before cosines, which is stored the other way about."""
    return weight.roll(weight.shape[1] // 2, 1)


def layer(ours: str, theirs: str) -> Iterator[NamedSource]:
    """Yield weight and bias of a layer that is stored as ours."""
    yield f"{ours}.weight", Source((f"{theirs}.weight",))
    yield f"{ours}.bias", Source((f"{theirs}.bias",))


def layers(net: UNet, ours: str, theirs: str, names: Mapping[str, str]) -> Iterator[NamedSource]:
    """Yield weight and bias of the layers of one block, whose names are ours: theirs; a shortcut may have none."""
    for our_name, their_name in names.items():
        if not isinstance(net.get_submodule(f"{ours}.{our_name}"), nn.Identity):
            yield from layer(f"{ours}.{our_name}", f"{theirs}.{their_name}")


def block_of(net: UNet, path: str) -> tuple[str, str | None]:
    """Return the paths of the residual block and of the attention that may follow it."""
    if isinstance(net.get_submodule(path), Attended):
        return f"{path}.block", f"{path}.attention"
    return path, None


def heads_of(net: UNet, path: str) -> int:
    """Return the number of heads of an attention."""
    attention = net.get_submodule(path)
    assert isinstance(attention, Attention)
    return attention.n_heads


def tensors_of(state: Any, what: str) -> dict[str, Tensor]:
    """Return a mapping of tensors without the ``module.`` of torch's data-parallel wrappers."""
    if not isinstance(state, Mapping) or not state or not all(isinstance(value, Tensor) for value in state.values()):
        raise ValueError(f"{what} must map names to tensors: got {type(state).__name__}")
    return without_prefix({str(name): value for name, value in state.items()}, "module.")


def without_prefix(state: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """Return tensors without a prefix, if all names have it."""
    if all(name.startswith(prefix) for name in state):
        return {name.removeprefix(prefix): value for name, value in state.items()}
    return state


def shape_of(state: State, name: str, ndim: int) -> torch.Size:
    """Return the shape of a tensor that the layout cannot be without."""
    if name not in state or state[name].ndim != ndim or 0 in state[name].shape:
        got = tuple(state[name].shape) if name in state else "none"
        raise ValueError(f"{name} must be a tensor with {ndim} axes: got {got}")
    return state[name].shape


def matches(state: State, pattern: str) -> list[re.Match[str]]:
    """Return the names that a pattern fits as a whole."""
    return [match for name in state if (match := re.fullmatch(pattern, name))]


def multiples(widths: Iterable[int], width: int) -> tuple[int, ...]:
    """Return the channels of the levels in multiples of the finest."""
    widths = tuple(widths)
    if any(n % width for n in widths):
        raise ValueError(f"channels of every level must be a multiple of the first's {width}: got {widths}")
    return tuple(n // width for n in widths)
