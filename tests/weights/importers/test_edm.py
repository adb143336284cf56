"""Wrappers and variants of EDM's networks."""

from pathlib import Path

import pytest
import torch
from torch import Tensor

from lightning_mri.weights import EDMFamily, import_network

from ..test_importers import state, write


@pytest.mark.parametrize("prefix", ["module.", "module.model.", "model."])
def test_wrappers_of_the_network_change_nothing(tmp_path: Path, prefix: str) -> None:
    """Regression: ``module.`` of torch's data-parallel wrappers was refused."""
    tensors = state("song")
    wrapped = write(tmp_path, {f"{prefix}{name}": value for name, value in tensors.items()}, "wrapped.pt")
    bare, net = (import_network(path, EDMFamily())[0] for path in (write(tmp_path, tensors), wrapped))
    for name, value in bare.state_dict().items():
        assert torch.equal(net.state_dict()[name], value)


def of_iddpm() -> dict[str, Tensor]:
    """Return the state dict of ``iDDPMPrecond``, whose buffer stands beside the network."""
    return {"u": torch.linspace(80, 0, 1001), **{f"model.{name}": value for name, value in state("adm_96").items()}}


def narrow() -> dict[str, Tensor]:
    """Return a network with 32 channels at its coarsest level, where EDM has 32 // 64 = 0 heads."""
    name = "enc.4x4_block0.conv1.weight"
    return {**state("adm_96"), name: state("adm_96")[name][:32]}


@pytest.mark.parametrize(
    ("tensors", "message"),
    [
        (of_iddpm(), "the preconditioning must be that of EDM, VP or VE: got iDDPM's"),
        ({f"module.{name}": value for name, value in of_iddpm().items()}, "got iDDPM's"),
        (narrow(), "the coarsest level must have the 64 channels of one head or more: got 32"),
    ],
    ids=["iDDPM", "iDDPM in a wrapper", "no head"],
)
def test_what_cannot_be_read_is_named(tmp_path: Path, tensors: dict[str, Tensor], message: str) -> None:
    with pytest.raises(ValueError, match=rf"published\.pt: .*{message}"):
        import_network(write(tmp_path, tensors), EDMFamily())
