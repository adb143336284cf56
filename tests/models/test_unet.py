import pytest
import torch
from torch import nn

from lightning_mri.models import UNet
from lightning_mri.models.unet import Attention, Downsample, TimeEmbedding, Upsample, group_norm


@pytest.mark.parametrize(("channels", "n_parameters"), [(1, 34_423_297), (2, 34_425_602)])
def test_the_published_network_has_the_published_number_of_parameters(channels: int, n_parameters: int) -> None:
    with torch.device("meta"):
        net = UNet(n_labels=0, channels=channels)
    assert sum(parameter.numel() for parameter in net.parameters()) == n_parameters
    assert len(list(net.parameters())) == 278  # score_sde's state dict has these and one buffer


def test_labels_add_one_row_each_and_one_for_none() -> None:
    with torch.device("meta"):
        net = UNet(n_labels=7)
    assert sum(parameter.numel() for parameter in net.parameters()) == 34_425_602 + 8 * 512


@pytest.mark.parametrize("size", [(4, 12), (20, 8)])
@pytest.mark.parametrize("attention_levels", [(), (0, 2)])
def test_any_multiple_of_its_step_is_taken(size: tuple[int, int], attention_levels: tuple[int, ...]) -> None:
    net = UNet(8, (1, 2, 3), 1, attention_levels, n_labels=2)
    nn.init.normal_(net.leave.weight)
    out = net(torch.randn(3, 2, *size), torch.tensor([0.0, 500.0, 999.0]), torch.tensor([0, 1, 2]))
    assert net.multiple == 4
    assert out.shape == (3, 2, *size)
    assert out.abs().min() > 0


def test_attention_follows_every_block_down_and_the_last_one_up_of_its_level() -> None:
    def attentions(levels: tuple[int, ...]) -> int:
        net = UNet(8, (1, 1, 1), 2, levels, n_labels=0)
        return sum(isinstance(module, Attention) for module in net.modules())

    assert attentions(()) == 1
    assert attentions((1,)) == 1 + 2 + 1
    assert attentions((4,)) == 1


def test_attention_with_equal_scores_adds_the_mean_over_pixels() -> None:
    attention = Attention(8)
    for silent in (attention.query, attention.key):
        nn.init.zeros_(silent.weight)
    with torch.no_grad():
        attention.out.weight.copy_(torch.eye(8)[:, :, None, None])
    x = torch.randn(2, 8, 3, 5)
    mean = attention.value(attention.norm(x)).mean((2, 3), keepdim=True)
    torch.testing.assert_close(attention(x, torch.empty(2, 0)), x + mean)


def test_time_is_embedded_by_sines_from_1_to_1e_4_radians_a_unit() -> None:
    embedding = TimeEmbedding(8)
    torch.testing.assert_close(embedding.angular, torch.tensor([1, 10 ** (-4 / 3), 10 ** (-8 / 3), 1e-4]))
    heard = []
    embedding.linear1.register_forward_pre_hook(lambda _, inputs: heard.append(inputs[0]))
    embedding(torch.tensor([0.0, torch.pi / 2]))
    torch.testing.assert_close(heard[0][0], torch.tensor([0.0, 0, 0, 0, 1, 1, 1, 1]))
    torch.testing.assert_close(heard[0][1, [0, 4]], torch.tensor([1.0, 0.0]), atol=1e-6, rtol=0)


def test_downsampling_pads_at_the_far_edges_and_upsampling_repeats_pixels() -> None:
    x, nothing = torch.randn(1, 4, 6, 8), torch.empty(1, 0)
    down, up = Downsample(4), Upsample(4)
    for conv in (down.conv, up.conv):
        nn.init.zeros_(conv.weight)
        nn.init.zeros_(conv.bias)
    with torch.no_grad():
        down.conv.weight[:, :, 0, 0] = torch.eye(4)
        up.conv.weight[:, :, 1, 1] = torch.eye(4)
    torch.testing.assert_close(down(x, nothing), x[..., ::2, ::2])
    torch.testing.assert_close(up(x, nothing), x.repeat_interleave(2, -1).repeat_interleave(2, -2))


@pytest.mark.parametrize(("width", "groups"), [(128, 32), (384, 32), (64, 16), (24, 2), (4, 1)])
def test_groups_are_32_or_fewer_where_the_network_is_small(width: int, groups: int) -> None:
    assert group_norm(width).num_groups == groups


@pytest.mark.parametrize("arguments", [{"multipliers": ()}, {"width": 30}, {"n_blocks": 0}, {"multipliers": (1, 0)}])
def test_a_network_of_nothing_is_refused(arguments: dict) -> None:
    with pytest.raises(ValueError, match="multipliers must name one level or more"):
        UNet(**arguments)
