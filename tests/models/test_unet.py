import pytest
import torch
from torch import nn

from lightning_mri.diffusion import EDM, NetworkPrior
from lightning_mri.models import ADM, DDPM, DDPMPP, Style, UNet, adm, ddpmpp
from lightning_mri.models.blocks import Attention, Downsample, NoiseEmbedding, Upsample, group_norm


def n_parameters(net: nn.Module) -> int:
    return sum(parameter.numel() for parameter in net.parameters())


def test_the_published_networks_have_the_published_numbers_of_parameters() -> None:
    with torch.device("meta"):
        assert n_parameters(UNet(n_labels=0, channels=1)) == 34_423_297  # score_sde's DDPM
        assert n_parameters(UNet(n_labels=0, channels=2)) == 34_425_602
        assert n_parameters(ddpmpp(n_labels=0)) == 64_669_570  # EDM's SongUNet, at 320 px
        assert n_parameters(ddpmpp(n_labels=0, attention_levels=(4,))) == 65_460_610  # at 192 px, attention at 12
        assert n_parameters(adm(n_labels=0)) == 26_002_050  # InverseBench's DhariwalUNet
        dds = adm(256, (1, 1, 2, 2, 4, 4), n_labels=0)
        assert n_parameters(dds) == 361_428_228 - 2 * (9 * 256 + 1)  # without the learned variance
        assert n_parameters(UNet(n_labels=7)) == 34_425_602 + 8 * 512  # a row for each label and one for none


@pytest.mark.parametrize("size", [(32, 32), (33, 47), (65, 32)])
@pytest.mark.parametrize("family", [UNet, ddpmpp, adm])
def test_any_height_and_width_go_in_and_come_out(family: type[UNet], size: tuple[int, int]) -> None:
    net = family(64, (1, 1, 1), 1, n_labels=0)
    nn.init.normal_(net.leave.weight, std=0.1)
    x = torch.complex(torch.randn(size), torch.randn(size))
    with torch.inference_mode():
        denoised = NetworkPrior(net, EDM(), labels=()).denoise(x, 0.5)
    assert denoised.shape == size
    assert (denoised - EDM().precondition(torch.tensor(0.5)).c_skip * x).abs().min() > 0


@pytest.mark.parametrize("attention_levels", [(), (0, 2)])
def test_any_multiple_of_its_step_is_taken(attention_levels: tuple[int, ...]) -> None:
    net = UNet(8, (1, 2, 3), 1, attention_levels, n_labels=2)
    nn.init.normal_(net.leave.weight)
    out = net(torch.randn(3, 2, 20, 4), torch.tensor([0.0, 500.0, 999.0]), torch.tensor([0, 1, 2]))
    assert (net.multiple, out.shape) == (4, (3, 2, 20, 4))
    assert out.abs().min() > 0


def test_attention_follows_every_block_down_and_the_last_one_up_of_its_level() -> None:
    def attentions(levels: tuple[int, ...]) -> int:
        net = UNet(8, (1, 1, 1), 2, levels, n_labels=0)
        return sum(isinstance(module, Attention) for module in net.modules())

    assert attentions(()) == 1
    assert attentions((1,)) == 1 + 2 + 1
    assert attentions((4,)) == 1
    with torch.device("meta"):
        every_block = adm(64, (1, 1, 1), 2, (1,))
    assert sum(isinstance(module, Attention) for module in every_block.modules()) == 1 + 2 + 3


@pytest.mark.parametrize("style", [DDPM, Style(head_width=4), DDPMPP], ids=["one head", "two heads", "scaled"])
def test_attention_with_equal_scores_adds_the_mean_over_pixels(style: Style) -> None:
    attention = Attention(8, style)
    with torch.no_grad():
        attention.qkv.weight[:16] = 0
        attention.out.weight.copy_(torch.eye(8)[:, :, None, None])
    x = torch.randn(2, 8, 3, 5)
    mean = attention.qkv(attention.norm(x))[:, 16:].mean((2, 3), keepdim=True)
    torch.testing.assert_close(attention(x, torch.empty(2, 0)), style.shortcut_scale * (x + mean))


def test_heads_attend_each_on_its_own() -> None:
    two, one = Attention(8, Style(head_width=4)), Attention(8, DDPM)
    x = torch.randn(2, 8, 3, 5)
    q, k, v = two.qkv(two.norm(x)).flatten(2).chunk(3, dim=1)
    expected = [(k[:, head].mT @ q[:, head] / 2).softmax(1).mT @ v[:, head].mT for head in (slice(0, 4), slice(4, 8))]
    nn.init.dirac_(two.out.weight)
    attended = two(x, torch.empty(2, 0)) - x
    torch.testing.assert_close(attended.flatten(2).mT, torch.cat(expected, dim=2), atol=1e-5, rtol=1e-4)
    assert (two.n_heads, one.n_heads) == (2, 1)
    assert Attention(8, Style(n_heads=2)).n_heads == 2
    for style, name in ((Style(head_width=3), "head_width"), (Style(n_heads=3), "n_heads")):
        with pytest.raises(ValueError, match=f"{name} must divide the 8 channels of a level with attention: got 3"):
            Attention(8, style)
    for style in (Style(head_width=16), Style(head_width=16, wider_heads=True)):
        with pytest.raises(ValueError, match="head_width must divide the 8 channels of a level with attention: got 16"):
            Attention(8, style)
    heads = [Attention(width, Style(head_width=4, wider_heads=True)).n_heads for width in (4, 6, 8, 10)]
    assert heads == [1, 1, 2, 2]  # of 4, 6, 4 and 5 channels


@pytest.mark.parametrize(
    ("style", "angular"),
    [(DDPM, [1, 10 ** (-4 / 3), 10 ** (-8 / 3), 1e-4]), (ADM, [1, 0.1, 0.01, 0.001])],
    ids=["DDPM", "ADM"],
)
def test_the_noise_code_is_embedded_by_sines_from_1_to_about_1e_4_radians_a_unit(
    style: Style, angular: list[float]
) -> None:
    embedding = NoiseEmbedding(8, style, None)
    torch.testing.assert_close(embedding.angular, torch.tensor(angular))
    heard = []
    embedding.linear1.register_forward_pre_hook(lambda _, inputs: heard.append(inputs[0]))
    embedding(torch.tensor([0.0, torch.pi / 2]), torch.tensor([0, 0]))
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


def test_sizes_change_by_means_and_copies_or_by_interpolation() -> None:
    x = torch.tensor([[[[0.0, 4.0], [8.0, 4.0]]]])
    for name, row in (("nearest", [0, 0, 4, 4]), ("bilinear", [0, 1, 3, 4])):
        net = UNet(4, (1,), 1, n_labels=0, style=Style(resampling=name))
        half, double = net._downsample(4).resample(x), net._upsample(4).resample(x)
        assert half.item() == 4
        assert double[0, 0, 0].tolist() == row
    torch.testing.assert_close(nn.functional.interpolate(x, size=(1, 1), mode="bilinear"), half)


@pytest.mark.parametrize(
    ("width", "style", "groups"),
    [(128, DDPM, 32), (384, DDPMPP, 32), (64, DDPM, 16), (24, DDPM, 6), (4, DDPM, 1), (96, Style(group_width=1), 32)],
)
def test_groups_are_32_or_the_most_that_fit(width: int, style: Style, groups: int) -> None:
    assert group_norm(width, style).num_groups == groups
    assert group_norm(width, ADM).eps == 1e-5
