"""An unrolled network: the blocks of fastMRI's VarNet (Sriram et al. 2020), with coil maps that are given."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from jaxtyping import Complex, Float
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from lightning_mri.baselines.baseline import NOT_EMPTY, Baseline
from lightning_mri.baselines.cg_sense import CGSense
from lightning_mri.files import write_whole
from lightning_mri.physics import Fourier, GaussianLikelihood, Maps, Mask, fft2c, ifft2c

SUFFIX = ".safetensors"
FIELD = "unrolled"
LARGEST = {"n_cascades": 32, "width": 256, "n_levels": 6}
"""Limits of what a file may ask for."""


class ScaledUnet(nn.Module):
    """FastMRI's U-Net on an image of root mean square 1, which starts as nothing.

    Unlike fastMRI's `NormUnet` it leaves the mean alone, which for a complex image hangs on its phase: subtracted and
    added again it would be a change that every cascade had to learn to undo.

    Args:
        width: Channels at full resolution.
        n_levels: Times that it halves the resolution.
    """

    def __init__(self, width: int, n_levels: int) -> None:
        from fastmri.models.varnet import NormUnet

        super().__init__()
        self.net = NormUnet(width, n_levels)
        last = [layer for layer in self.net.modules() if isinstance(layer, nn.Conv2d)][-1]
        for parameter in last.parameters():
            nn.init.zeros_(parameter)

    def forward(self, x: Float[Tensor, "batch 1 y x 2"]) -> Float[Tensor, "batch 1 y x 2"]:
        """Return U(x), padded to multiples of 16 on the way."""
        channels = self.net.complex_to_chan_dim(x)
        size = channels.square().mean((1, 2, 3), keepdim=True).sqrt().clamp(min=NOT_EMPTY)
        padded, edges = self.net.pad(channels / size)
        return self.net.chan_complex_to_last_dim((self.net.unpad(self.net.unet(padded), *edges) * size).contiguous())


class UnrolledNetwork(nn.Module):
    """Cascades k <- k - w M (k - y) - F S U(S^H F^H k), from k = F S x of CG-SENSE to the image S^H F^H k.

    The weight w and the U-Net U are learnt for each cascade. The published network starts at k = y; its few gradient
    steps then have to unfold the aliases first, which takes far more scans to learn than there are here. This one
    starts where linear reconstruction ends: an untrained network returns CG-SENSE, its acquired samples as measured.

    Args:
        n_cascades: Number of cascades, each with weights of its own.
        width: Channels of the U-Net at full resolution; twice as many at each level below.
        n_levels: Times that the U-Net halves the resolution.
    """

    def __init__(self, n_cascades: int = 5, width: int = 12, n_levels: int = 3) -> None:
        try:
            from fastmri.models.varnet import VarNetBlock  # imported when first used: it takes a second
        except ImportError as error:
            raise ValueError("an unrolled network needs fastMRI's blocks: pip install fastmri") from error
        super().__init__()
        self.config = {"n_cascades": n_cascades, "width": width, "n_levels": n_levels}
        for name, value in self.config.items():
            if not 1 <= value <= LARGEST[name]:
                raise ValueError(f"{name} must be between 1 and {LARGEST[name]}: got {value}")
        self.cascades = nn.ModuleList(VarNetBlock(ScaledUnet(width, n_levels)) for _ in range(n_cascades))

    def forward(self, likelihood: GaussianLikelihood) -> Complex[Tensor, "batch y x"]:
        """Return the image of each slice, in image units; its noise level is not asked for.

        Args:
            likelihood: Undersampled slices with one set of maps, and nothing else in the operator.

        Raises:
            ValueError: If the operator has other factors, or several sets of maps.
        """
        kinds = [type(factor).__name__ for factor in likelihood.A.factors]
        mask, maps = likelihood.A.find(Mask), likelihood.A.find(Maps)
        if mask is None or maps is None or kinds != [kind.__name__ for kind in (Mask, Fourier, Maps)]:
            raise ValueError(
                f"an unrolled network must have the operator Mask @ Fourier @ Maps: got {' @ '.join(kinds)}"
            )
        if maps.n_sets != 1:
            raise ValueError(f"maps must be one set for an unrolled network: got {maps.n_sets}")
        measured, coils = torch.view_as_real(likelihood.y), torch.view_as_real(maps.maps.squeeze(-4))
        kspace = torch.view_as_real(fft2c(maps(CGSense().reconstruct(likelihood))))
        for cascade in self.cascades:
            kspace = cascade(kspace, measured, mask.mask[..., None], coils)
        return maps.adjoint(ifft2c(torch.view_as_complex(kspace.contiguous())))


@dataclass(frozen=True)
class Unrolled(Baseline):
    """An unrolled network that was trained by supervision, the way of `lightning_mri.training.UnrolledModule`.

    It has learnt from pairs of scan and truth, and knows the masks, arrays and noise levels of its training.

    Args:
        checkpoint: File of `save_unrolled`.
    """

    checkpoint: Path | str

    def __post_init__(self) -> None:
        self._loaded  # noqa: B018

    @property
    def card(self) -> dict[str, Any]:
        """What the file says about its training."""
        return dict(self._loaded[1])

    @torch.no_grad()
    def reconstruct(self, likelihood: GaussianLikelihood) -> Complex[Tensor, "*batch y x"]:
        """Return the network's image of each slice.

        Raises:
            ValueError: If the network does not take the operator.
        """
        return self._loaded[0].to(likelihood.y.device)(likelihood)

    @cached_property
    def _loaded(self) -> tuple[UnrolledNetwork, Mapping[str, Any]]:
        return load_unrolled(self.checkpoint)


def save_unrolled(network: UnrolledNetwork, path: Path | str, card: Mapping[str, Any] | None = None) -> None:
    """Write a network with its sizes and a card as JSON in the header; whole or not at all.

    Args:
        network: The network.
        path: Where to write it; ends in ``.safetensors``.
        card: How it was trained, as plain values.

    Raises:
        ValueError: If the path does not end in ``.safetensors``, or the card holds more than plain values.
    """
    path = Path(path)
    if path.suffix != SUFFIX:
        raise ValueError(f"path must end in {SUFFIX}: got {path}")
    try:
        described = json.dumps({"arguments": network.config, "card": dict(card or {})}, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise ValueError(f"card must hold plain values that JSON can write: {error}") from error
    weights = {name: value.detach().cpu().contiguous() for name, value in network.state_dict().items()}
    write_whole(path, safetensors.torch.save(weights, {FIELD: described}))


def load_unrolled(path: Path | str) -> tuple[UnrolledNetwork, dict[str, Any]]:
    """Return the network of a file, for evaluation, and its card; nothing in the file is run.

    Raises:
        ValueError: If it is no file of `save_unrolled`, or its weights do not fit the sizes that it names.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"unrolled network {path} must be a file: there is none")
    try:
        with safe_open(path, framework="pt") as file:
            header, weights = file.metadata() or {}, {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        described = json.loads(header[FIELD])
        with torch.device("meta"):  # nothing is allocated for sizes that the weights may not have
            network = UnrolledNetwork(**described["arguments"])
        network.load_state_dict({name: value.float() for name, value in weights.items()}, assign=True)
        card = dict(described["card"])
    except SafetensorError as error:
        raise ValueError(f"{path} must be a safetensors file: {error}") from error
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        raise ValueError(f"{path} must hold an unrolled network as `save_unrolled` writes it: {error}") from error
    return network.eval().requires_grad_(False), card
