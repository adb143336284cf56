import json

import pytest
import torch

from lightning_mri.models import DenoisingNetwork, LightUNet, UNet, build, describe

NETWORKS = [
    LightUNet(widths=(8, 12), n_blocks=1, embedding=16, stem=1, n_labels=3, frequencies=(0.1, 2), channels=1),
    UNet(width=8, multipliers=(1, 3), n_blocks=1, attention_levels=(1,), dropout=0.2, n_labels=3, channels=1),
]


@pytest.mark.parametrize("net", NETWORKS, ids=lambda net: type(net).__name__)
def test_a_network_is_made_anew_from_its_description_in_json(net: DenoisingNetwork) -> None:
    twin = build(json.loads(json.dumps(describe(net))))
    assert type(twin) is type(net)
    assert twin.config == net.config
    assert (twin.n_labels, twin.multiple) == (net.n_labels, net.multiple)
    twin.load_state_dict(net.state_dict())


@pytest.mark.parametrize("name", ["Sequential", "DenoisingNetwork", "os.system", None])
def test_nothing_but_a_network_of_the_package_is_built(name: str | None) -> None:
    with pytest.raises(ValueError, match=r"network must be one of .*LightUNet.*UNet.*: got"):
        build({"class": name, "arguments": {}})


def test_arguments_that_a_network_does_not_take_are_named() -> None:
    with pytest.raises(ValueError, match=r"LightUNet must take the arguments in its description: .*depth"):
        build({"class": "LightUNet", "arguments": {"depth": 3}})


def test_a_negative_number_of_labels_is_refused() -> None:
    with pytest.raises(ValueError, match="n_labels must not be negative: got -1"):
        LightUNet(widths=(8,), n_labels=-1)


@pytest.mark.parametrize("net", NETWORKS, ids=lambda net: type(net).__name__)
def test_labels_start_neutral_and_a_row_speaks_for_its_label_alone(net: DenoisingNetwork) -> None:
    net = build(describe(net)).eval()
    generator = torch.Generator().manual_seed(0)
    for parameter in net.parameters():
        if parameter is not net.label_rows:
            parameter.data = 0.3 * torch.randn(parameter.shape, generator=generator)
    x = torch.randn(1, 1, 6, 10, generator=generator).expand(4, 1, 6, 10)

    def outputs() -> torch.Tensor:
        with torch.inference_mode():
            return net(x, torch.full((4,), 0.3), torch.arange(4))

    neutral = outputs()
    torch.testing.assert_close(neutral, neutral[:1].expand_as(neutral))
    assert net.label_rows is not None
    net.label_rows.data[1] = 0.5
    differs = (outputs() - neutral).abs().amax((1, 2, 3)) > 1e-3
    assert differs.tolist() == [False, True, False, False]


@pytest.mark.parametrize("net", NETWORKS, ids=lambda net: type(net).__name__)
def test_a_sample_does_not_depend_on_the_rest_of_its_batch_and_every_weight_learns(
    net: DenoisingNetwork,
) -> None:
    net = build(describe(net)).eval()
    generator = torch.Generator().manual_seed(1)
    for parameter in net.parameters():
        parameter.data = 0.3 * torch.randn(parameter.shape, generator=generator)
    x = torch.randn(3, 1, 6, 10, generator=generator, requires_grad=True)
    out = net(x, torch.tensor([-0.5, 0.1, 0.7]), torch.tensor([0, 3, 1]))
    out[1].square().sum().backward()
    assert x.grad is not None
    assert x.grad.abs().amax((1, 2, 3)).gt(0).tolist() == [False, True, False]
    idle = [name for name, value in net.named_parameters() if value.grad is None or not value.grad.any()]
    # a key's bias shifts every score of a query alike, which softmax ignores, and so does round-off
    assert [name for name in idle if not name.endswith("key.bias")] == []


@pytest.mark.parametrize("net", NETWORKS, ids=lambda net: type(net).__name__)
def test_output_is_zero_at_first_and_bitwise_repeatable(net: DenoisingNetwork) -> None:
    x, c_noise, label = torch.randn(2, 1, 14, 6), torch.tensor([0.1, -0.4]), torch.tensor([0, 1])
    assert not net(x, c_noise, label).any()
    torch.nn.init.normal_(net.leave.weight)
    assert torch.equal(net.eval()(x, c_noise, label), net(x, c_noise, label))


def test_without_labels_there_is_no_embedding_and_nothing_to_heed() -> None:
    for kind in (LightUNet(widths=(8,), n_labels=0), UNet(width=8, multipliers=(1,), n_labels=0)):
        assert kind.label_rows is None
        assert not any("label" in name for name in kind.state_dict())
