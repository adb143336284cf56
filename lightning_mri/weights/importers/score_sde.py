"""The DDPM of score_sde_pytorch and score-MRI (Song et al. 2021, Chung and Ye 2022)."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import count
from typing import Any

import torch
from torch import Tensor, nn

from lightning_mri import diffusion
from lightning_mri.diffusion import VP, NoiseProcess
from lightning_mri.models import DDPM, UNet
from lightning_mri.weights.importers import layout
from lightning_mri.weights.importers.layout import Architecture, NamedSource, PublishedLayout, Source, State

BLOCK = {
    "norm1": "GroupNorm_0",
    "conv1": "Conv_0",
    "norm2.linear": "Dense_0",
    "norm2.norm": "GroupNorm_1",
    "conv2": "Conv_1",
}


@dataclass(frozen=True)
class ScoreSDE(PublishedLayout):
    """A dict of ``model``, ``ema``, ``optimizer`` and ``step``, whose averaged weights are a list without names.

    They are named by their position among the parameters of ``model``. The network must see images centred at 0
    (``data.centered``), use SiLU ("swish") and predict the noise of the variance-preserving process (``VPSDE``).
    Networks of ``VESDE`` and ``subVPSDE`` are not read; no tensor tells them apart from this one's.

    Args:
        discrete: Whether it was trained on steps (``model.num_scales``, the length of the buffer ``sigmas``) instead
            of continuous time (``training.continuous``).
    """

    discrete: bool = False

    @property
    def assumed(self) -> str:
        """The process, the range of the images, and the nonlinearity."""
        time = "in discrete steps" if self.discrete else "in continuous time"
        return f"the variance-preserving process {time} with rates 0.1 to 20, images centred at 0, SiLU"

    def noise_process(self, state: State) -> NoiseProcess:
        """Return `VP` with rates 0.1 to 20, or its steps, as many as there are ``sigmas``."""
        if not self.discrete:
            return VP()
        n_times = layout.shape_of(state, "sigmas", 1)[0]
        if n_times <= 20:
            raise ValueError(f"'sigmas' must be of more than 20 steps, as the last one's rate is 20 / n: got {n_times}")
        return diffusion.DDPM(beta_min=0.1 / n_times, beta_max=20 / n_times, n_times=n_times)  # sde_lib.VPSDE

    def state(self, content: Any) -> dict[str, Tensor]:
        """Return the averaged weights and the buffer ``sigmas``, by the names of ``model``."""
        if not isinstance(content, Mapping) or not {"model", "ema"} <= content.keys():
            raise ValueError("a checkpoint of score_sde must hold 'model' and 'ema'")
        model = layout.tensors_of(content["model"], "'model'")
        shadow = content["ema"].get("shadow_params") if isinstance(content["ema"], Mapping) else None
        if not isinstance(shadow, list) or not all(isinstance(value, Tensor) for value in shadow):
            raise ValueError(f"'ema' must hold a list of tensors, 'shadow_params': got {type(shadow).__name__}")
        names = [name for name in model if name != "sigmas"]
        if len(names) != len(shadow):
            raise ValueError(f"'ema' must hold as many tensors as 'model': got {len(shadow)} and {len(names)}")
        odd = [
            f"number {position} is {tuple(value.shape)} where {name} is {tuple(model[name].shape)}"
            for position, (name, value) in enumerate(zip(names, shadow, strict=True))
            if value.shape != model[name].shape
        ]
        if odd:
            raise ValueError(f"'ema' must hold the tensors of 'model' in their order: {'; '.join(odd)}")
        return {**model, **dict(zip(names, shadow, strict=True))}

    def architecture(self, state: State) -> Architecture:
        """Return what names and shapes imply."""
        if layout.matches(state, r"all_modules\.0\.W") or layout.matches(state, r"all_modules\.\d+\.Conv2d_0\..*"):
            raise ValueError("the network must be DDPM: got NCSN++, which this package has no network for")
        kinds = _kinds(state)
        if not re.fullmatch("LLC[BAR]*NC", kinds):
            raise ValueError(f"modules must be those of DDPM, from embedding to last layer: got {kinds or 'none'}")
        width, channels = layout.shape_of(state, "all_modules.2.weight", 4)[:2]
        n_levels = kinds.count("R") // 2 + 1
        segments = kinds.split("R")[:n_levels]  # the last also holds the middle, which has one attention
        blocks = [index for index, kind in enumerate(kinds) if kind == "B"]
        n_blocks = (len(blocks) - 2 - n_levels) // (2 * n_levels)
        if n_blocks < 1:
            raise ValueError(f"there must be a block in every level: got {len(blocks)} for {n_levels} levels")
        firsts = blocks[: n_levels * n_blocks : n_blocks]
        widths = [layout.shape_of(state, f"all_modules.{index}.Conv_0.weight", 4)[0] for index in firsts]
        attended = [level for level, kind in enumerate(segments) if kind.count("A") > (level == n_levels - 1)]
        style = replace(DDPM, group_width=1)  # 32 groups at any width
        return Architecture(width, layout.multiples(widths, width), n_blocks, tuple(attended), style, 0, channels)

    def places(self, net: UNet, state: State) -> Iterator[NamedSource]:
        """Yield our weights in the order in which score_sde makes its modules."""
        module = (f"all_modules.{number}" for number in count())
        for ours in ("condition.linear1", "condition.linear2", "enter"):
            yield from layout.layer(ours, next(module))
        for stage in layout.stages(net):
            if stage.part in ("down", "up"):
                yield from layout.layer(f"{stage.path}.conv", f"{next(module)}.Conv_0")
            else:
                yield from _block(net, module, stage.path)
        for ours in ("norm", "leave"):
            yield from layout.layer(ours, next(module))

    def left_out(self, state: State) -> dict[str, str]:
        """Return the noise levels of a process that the network may not have, of which only the length tells."""
        return {"sigmas": "noise levels of VESDE, of which only the number is read"} if "sigmas" in state else {}


def _block(net: UNet, module: Iterator[str], path: str) -> Iterator[NamedSource]:
    """Yield the weights of a residual block and of the attention that may follow it, one module each."""
    ours, attention = layout.block_of(net, path)
    yield from layout.layers(net, ours, theirs := next(module), BLOCK)
    if not isinstance(net.get_submodule(ours).shortcut, nn.Identity):
        yield from nin(f"{ours}.shortcut", (f"{theirs}.NIN_0",))
    if attention:
        theirs = next(module)
        yield from layout.layer(f"{attention}.norm", f"{theirs}.GroupNorm_0")
        yield from nin(f"{attention}.qkv", tuple(f"{theirs}.NIN_{n}" for n in range(3)))
        yield from nin(f"{attention}.out", (f"{theirs}.NIN_3",))


def nin(ours: str, theirs: Sequence[str]) -> Iterator[NamedSource]:
    """Yield weight and bias of a 1 x 1 convolution that is stored as matrices [in, out], one or several."""
    yield f"{ours}.weight", Source(tuple(f"{name}.W" for name in theirs), _as_convolution)
    yield f"{ours}.bias", Source(tuple(f"{name}.b" for name in theirs), lambda *biases: torch.cat(biases))


def _as_convolution(*matrices: Tensor) -> Tensor:
    return torch.cat([matrix.T for matrix in matrices])[:, :, None, None]


def _kinds(state: State) -> str:
    """Return one letter a module: linear, convolution, norm, block, attention, resampling."""
    members: dict[int, set[str]] = {}
    for match in layout.matches(state, r"all_modules\.(\d{1,6})\.(.+)"):
        members.setdefault(int(match[1]), set()).add(match[2])
    return "".join(_kind(state, number, names) for number, names in sorted(members.items()))


def _kind(state: State, number: int, names: set[str]) -> str:
    if "weight" in names:
        return {1: "N", 2: "L", 4: "C"}.get(state[f"all_modules.{number}.weight"].ndim, "?")
    if "NIN_3.W" in names:
        return "A"
    return "B" if "Dense_0.weight" in names else "R"
