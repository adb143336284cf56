import hashlib

import pytest
import torch

from lightning_mri.models import LightUNet


def randomised(net: LightUNet, seed: int = 0) -> LightUNet:
    generator = torch.Generator().manual_seed(seed)
    for parameter in net.parameters():
        parameter.data = parameter.data + 0.1 * torch.randn(parameter.shape, generator=generator)
    return net.eval()


def test_names_and_shapes_of_the_weights_are_those_of_the_files_that_ship() -> None:
    net = LightUNet()
    assert (net.multiple, sum(parameter.numel() for parameter in net.parameters())) == (16, 4_453_912)
    layout = "\n".join(f"{name} {tuple(value.shape)}" for name, value in net.state_dict().items())
    assert hashlib.sha256(layout.encode()).hexdigest()[:16] == "6b0c9f7acaa952a1"


@pytest.mark.parametrize("size", [(16, 32), (48, 16)])
def test_any_multiple_of_its_step_is_taken(size: tuple[int, int]) -> None:
    net = randomised(LightUNet(widths=(8, 8, 12, 8), n_blocks=1, embedding=16))
    out = net(torch.randn(3, 2, *size), torch.tensor([-1.0, 0.0, 0.5]), torch.tensor([0, 5, 10]))
    assert out.shape == (3, 2, *size)
    assert out.abs().min() > 0


def test_inside_a_large_image_it_does_as_on_a_crop() -> None:
    net = randomised(LightUNet(widths=(8,), n_blocks=1, embedding=16))
    x = torch.randn(1, 2, 64, 96, generator=torch.Generator().manual_seed(2))
    c_noise, label = torch.tensor([0.2]), torch.tensor([0])
    whole, crop = net(x, c_noise, label), net(x[..., 10:50, 20:70], c_noise, label)
    reach = 10  # four 3 x 3 convolutions on pixels of the stem, two image pixels wide, and the stem itself
    torch.testing.assert_close(
        whole[..., 10 + reach : 50 - reach, 20 + reach : 70 - reach], crop[..., reach:-reach, reach:-reach]
    )
    assert (whole[..., 10:50, 20:70] - crop).abs().max() > 1e-2


def test_noise_code_is_heard_and_no_frequency_is_stored() -> None:
    net = randomised(LightUNet(widths=(8,), n_blocks=1, embedding=16))
    x = torch.randn(1, 2, 8, 8).expand(2, 2, 8, 8)
    low, high = net(x, torch.tensor([-1.0, 0.4]), torch.tensor([10, 10]))
    assert (low - high).abs().max() > 1e-3
    assert "condition.angular" not in net.state_dict()
    torch.testing.assert_close(net.condition.angular[[0, -1]], 2 * torch.pi * torch.tensor([0.25, 8.0]))


def test_reduced_precision_agrees_to_its_own_rounding() -> None:
    net = randomised(LightUNet(widths=(8, 16), n_blocks=1, embedding=16))
    x, c_noise, label = torch.randn(2, 2, 8, 12), torch.tensor([0.1, 0.2]), torch.tensor([0, 1])
    full = net(x, c_noise, label)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        reduced = net(x, c_noise, label)
    assert reduced.dtype == torch.bfloat16
    assert (reduced.float() - full).norm() < 0.03 * full.norm()
