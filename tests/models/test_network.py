import json
import subprocess
import sys
from abc import ABC, abstractmethod

import pytest
import torch
from torch import Tensor, nn

from lightning_mri import described
from lightning_mri.models import ADM, DenoisingNetwork, LightUNet, Style, UNet, adm, build, ddpmpp, describe

NETWORKS = [
    LightUNet(widths=(8, 12), n_blocks=1, embedding=16, stem=1, n_labels=3, frequencies=(0.1, 2), channels=1),
    UNet(width=8, multipliers=(1, 3), n_blocks=1, attention_levels=(1,), dropout=0.2, n_labels=3, channels=1),
    ddpmpp(width=8, multipliers=(1, 3), n_blocks=1, attention_levels=(1,), n_labels=3, channels=1),
    adm(width=64, multipliers=(1, 2), n_blocks=1, attention_levels=(1,), n_labels=3, channels=1),
    UNet(8, (1, 2), 1, (0,), n_labels=3, channels=1, style=Style(resampling="bilinear", head_width=4, group_width=3)),
]
NAMES = ["LightUNet", "DDPM", "DDPM++", "ADM", "bilinear"]


@pytest.mark.parametrize("net", NETWORKS, ids=NAMES)
def test_a_network_is_made_anew_from_its_description_in_json(net: DenoisingNetwork) -> None:
    twin = build(json.loads(json.dumps(describe(net))))
    assert type(twin) is type(net)
    assert twin.config == net.config
    assert (twin.n_labels, twin.multiple) == (net.n_labels, net.multiple)
    twin.load_state_dict(net.state_dict())


def test_an_argument_that_is_an_object_is_made_of_its_plain_values() -> None:
    assert json.loads(json.dumps(describe(NETWORKS[3])))["arguments"]["style"]["head_width"] == 64
    assert build(json.loads(json.dumps(describe(NETWORKS[3])))).style == ADM
    with pytest.raises(ValueError, match=r"UNet must take the arguments in its description: .*depth"):
        build({"class": "UNet", "arguments": {"style": {"depth": 3}}})


@pytest.mark.parametrize("net", NETWORKS, ids=NAMES)
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
    net.label_rows.data[1] = 0.5
    differs = (outputs() - neutral).abs().amax((1, 2, 3)) > 1e-3
    assert differs.tolist() == [False, True, False, False]


@pytest.mark.parametrize("net", NETWORKS, ids=NAMES)
def test_a_sample_does_not_depend_on_the_rest_of_its_batch_and_every_weight_learns(net: DenoisingNetwork) -> None:
    net = build(describe(net)).eval()
    generator = torch.Generator().manual_seed(1)
    for parameter in net.parameters():
        parameter.data = 0.3 * torch.randn(parameter.shape, generator=generator)
    x = torch.randn(3, 1, 6, 10, generator=generator, requires_grad=True)
    out = net(x, torch.tensor([-0.5, 0.1, 0.7]), torch.tensor([0, 3, 1]))
    out[1].square().sum().backward()
    assert x.grad.abs().amax((1, 2, 3)).gt(0).tolist() == [False, True, False]
    idle = [name for name, value in net.named_parameters() if value.grad is None or not value.grad.any()]
    assert idle == []


@pytest.mark.parametrize("net", NETWORKS, ids=NAMES)
def test_output_is_zero_at_first_and_bitwise_repeatable(net: DenoisingNetwork) -> None:
    x, c_noise, label = torch.randn(2, 1, 14, 6), torch.tensor([0.1, -0.4]), torch.tensor([0, 1])
    assert not net(x, c_noise, label).any()
    torch.nn.init.normal_(net.leave.weight)
    assert torch.equal(net.eval()(x, c_noise, label), net(x, c_noise, label))


def gradients(net: DenoisingNetwork, x: torch.Tensor) -> list[torch.Tensor]:
    net.zero_grad()
    out = net(x, torch.tensor([-0.5, 0.7]), torch.tensor([0, 3]))
    out.square().mean().backward()
    return [out.detach().float(), *(parameter.grad.float() for parameter in net.parameters())]


def assert_close(one: list[torch.Tensor], other: list[torch.Tensor], tolerance: float) -> None:
    norm = torch.stack([value.norm() for value in one]).norm()
    assert torch.stack([(a - b).norm() for a, b in zip(one, other, strict=True)]).norm() <= tolerance * norm
    assert (one[0] - other[0]).norm() <= tolerance * one[0].norm()


@pytest.fixture(params=NETWORKS, ids=NAMES)
def trained(request: pytest.FixtureRequest) -> DenoisingNetwork:
    """Return a network of random weights."""
    net = build(describe(request.param)).eval()  # dropout would be drawn anew
    generator = torch.Generator().manual_seed(1)
    for parameter in net.parameters():
        parameter.data = parameter.data + 0.1 * torch.randn(parameter.shape, generator=generator)
    return net


def test_memory_layout_and_recomputing_change_nothing_but_rounding(trained: DenoisingNetwork) -> None:
    x = torch.randn(2, 1, 6, 10, generator=torch.Generator().manual_seed(2))
    plain = gradients(trained, x)
    trained.recompute = True
    n_runs = 0

    def count(*_: object) -> None:
        nonlocal n_runs
        n_runs += 1

    trained.down_blocks[0][0].register_forward_pre_hook(count)
    assert_close(plain, gradients(trained, x), 1e-6)
    assert n_runs == 2  # once forwards, once for the gradient
    trained.recompute = False
    assert_close(plain, gradients(trained.to(memory_format=torch.contiguous_format), x), 1e-5)


@pytest.mark.parametrize(("precision", "tolerance"), [(torch.bfloat16, 0.1), (torch.float16, 0.02)])
def test_reduced_precision_is_off_by_its_rounding(
    trained: DenoisingNetwork, precision: torch.dtype, tolerance: float
) -> None:
    x = torch.randn(2, 1, 6, 10, generator=torch.Generator().manual_seed(2))
    full = gradients(trained, x)
    with torch.autocast("cpu", dtype=precision):
        reduced = gradients(trained, x)
    assert not torch.equal(full[0], reduced[0])
    assert_close(full, reduced, tolerance)


COMPILED = """
import torch
from lightning_mri.models import UNet

net = UNet(8, (1,), 1, n_labels=3, channels=1).eval()
torch.nn.init.normal_(net.leave.weight)
inputs = torch.randn(2, 1, 6, 10), torch.tensor([-0.5, 0.7]), torch.tensor([0, 3])
plain, names = net(*inputs), list(net.state_dict())
net.compile(backend="aot_eager")
torch.testing.assert_close(net(*inputs), plain)
assert list(net.state_dict()) == names
"""


@pytest.mark.slow
def test_compiling_changes_nothing_but_rounding() -> None:
    # in a process of its own, as a user would: the compiler cannot trace the checks of types at run time
    done = subprocess.run([sys.executable, "-c", COMPILED], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_without_labels_there_is_no_embedding_and_nothing_to_heed() -> None:
    for kind in (LightUNet(widths=(8,), n_labels=0), UNet(width=8, multipliers=(1,), n_labels=0)):
        assert kind.label_rows is None
        assert not any("label" in name for name in kind.state_dict())


class Family(ABC):
    """Classes that no other test has, so that none of theirs is named in an error."""

    @abstractmethod
    def number(self) -> int:
        """Return a number."""


class Open(Family):
    """Derived, and still abstract."""


class Parent(Open):
    """A class that can be made."""

    def __init__(self, width: int = 1) -> None:
        self.width = width

    def number(self) -> int:
        """Return the width."""
        return self.width


class Child(Parent):
    """A class derived from one that can be made."""


def test_a_class_derived_from_a_derived_one_is_made_and_an_abstract_one_is_not() -> None:
    made = described.build(
        Family,  # type: ignore[type-abstract]
        "part",
        {"class": described.name_of(Child), "arguments": {"width": 3}},
    )
    assert type(made) is Child
    assert made.number() == 3
    with pytest.raises(ValueError, match=rf"one of {__name__}.Child, {__name__}.Parent: got '{__name__}.Open'"):
        described.build(Family, "part", {"class": described.name_of(Open)})  # type: ignore[type-abstract]


class Plain(DenoisingNetwork):
    """One convolution, which knows nothing of labels."""

    def __init__(self) -> None:
        super().__init__(0, multiple=1)
        self.layer = nn.Conv2d(2, 2, 3, padding=1)

    def forward(self, x: Tensor, c_noise: Tensor, label: Tensor) -> Tensor:
        """Return the convolution."""
        return self.layer(x)


def test_a_network_without_a_condition_has_no_rows_of_labels() -> None:
    net = Plain()
    assert net.label_rows is None
    net.condition = nn.Identity()  # type: ignore[assignment]
    assert net.label_rows is None
