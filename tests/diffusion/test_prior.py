import json

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from lightning_mri.diffusion import DEFAULT_LABELS, EDM, SPARE, VP, NetworkPrior, build, fast_precision
from lightning_mri.diffusion.prior import pad
from lightning_mri.models import LightUNet, UNet
from lightning_mri.models import build as build_network
from tests.builders import noise

from ..analytic import GaussianPrior

SHAPES = [(3, 2, 9, 14), (2, 16, 8), (5, 3), (1, 1), (2, 1, 23, 1)]


def make_prior(net: nn.Module | None = None, seed: int = 0) -> NetworkPrior:
    """Return a small prior of random weights, labels included."""
    prior = NetworkPrior(net or LightUNet(widths=(8, 12), n_blocks=1, embedding=16), EDM(sigma_data=0.25))
    generator = torch.Generator().manual_seed(seed)
    for parameter in prior.parameters():
        parameter.data = parameter.data + 0.1 * torch.randn(parameter.shape, generator=generator)
    return prior.eval()


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("sigma", [0.03, 0.4, 7.0])
def test_every_process_gives_the_exact_denoiser_of_gaussian_images(
    perfect_prior: NetworkPrior, shape: tuple[int, ...], sigma: float
) -> None:
    exact = GaussianPrior(torch.zeros(shape[-2:], dtype=torch.complex64), 0.16)
    x = noise(*shape)
    torch.testing.assert_close(perfect_prior.denoise(x, sigma), exact.denoise(x, sigma), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(perfect_prior.score(x, sigma), -x / (0.16 + sigma**2), rtol=1e-3, atol=2e-3)


def test_each_image_has_its_own_level(perfect_prior: NetworkPrior) -> None:
    x, sigma = noise(3, 2, 9, 14), torch.tensor([0.1, 1.0])
    expected = 0.16 / (0.16 + sigma[:, None, None] ** 2) * x
    torch.testing.assert_close(perfect_prior.denoise(x, sigma), expected, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(perfect_prior.denoise(x, sigma.expand(3, 2)), expected, rtol=1e-4, atol=1e-5)


def test_the_network_sees_a_padded_image_of_about_unit_variance_in_two_channels() -> None:
    net = LightUNet(widths=(8, 12), n_blocks=1, embedding=16)
    seen: list[Tensor] = []
    net.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    NetworkPrior(net, EDM(sigma_data=0.25)).denoise((0.25**2 + 3.0**2) ** 0.5 * noise(2, 3, 61, 70), 3.0)
    assert seen[0].shape == (6, 2, 64, 72)
    assert seen[0].std().item() == pytest.approx(1, rel=0.02)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_any_shape_goes_in_and_comes_out_in_single_precision(shape: tuple[int, ...]) -> None:
    prior, x = make_prior(), noise(*shape)
    denoised = prior.denoise(x, 0.2, 3)
    assert denoised.shape == x.shape
    assert denoised.dtype == torch.complex64
    again = prior.denoise(x.to(torch.complex128), torch.tensor(0.2, dtype=torch.float64), 3)
    assert torch.equal(again, denoised)
    assert torch.equal(prior(x, 0.2, 3), denoised)
    assert prior.score(x, torch.tensor(0.2, dtype=torch.float64)).dtype == torch.complex64


def test_leading_axes_are_only_a_way_of_counting() -> None:
    prior, x = make_prior(), noise(6, 7, 10)
    sigma, label = torch.linspace(0.1, 0.6, 6), torch.arange(6)
    flat = prior.denoise(x, sigma, label)
    flattened = prior.denoise(x.reshape(3, 2, 7, 10), sigma.reshape(3, 2), label.reshape(3, 2))
    assert torch.equal(flattened.reshape(6, 7, 10), flat)
    torch.testing.assert_close(prior.denoise(x[4], 0.5, 4), flat[4], rtol=1e-4, atol=1e-5)


def test_labels_may_be_one_for_all_one_each_or_none() -> None:
    prior, x = make_prior(), noise(3, 8, 8)
    told = prior.denoise(x, 0.3, 2)
    assert torch.equal(prior.denoise(x, 0.3, torch.tensor([2, 2, 2])), told)
    assert torch.equal(prior.denoise(x, 0.3, torch.tensor(2)), told)
    none = prior.denoise(x, 0.3)
    assert torch.equal(prior.denoise(x, 0.3, len(DEFAULT_LABELS)), none)
    assert (told - none).abs().max() > 1e-4


def test_gradients_reach_the_image_through_the_padding_unless_the_caller_forbids() -> None:
    prior, x = make_prior(), noise(2, 5, 7).requires_grad_(True)
    prior.denoise(x, 0.3)[0].abs().sum().backward()
    assert x.grad[0].abs().min() > 0
    assert not x.grad[1].any()
    with torch.inference_mode():
        assert prior.denoise(x, 0.3).is_inference()


@pytest.mark.parametrize("net", [None, UNet(width=8, multipliers=(1, 2), n_blocks=1)], ids=["light", "ddpm"])
def test_reduced_precision_stays_inside(net: nn.Module | None) -> None:
    prior, x = make_prior(net), noise(2, 9, 11)
    prior.precision = torch.float32
    full = prior.denoise(x, 0.5)
    prior.precision = torch.bfloat16
    reduced = prior.denoise(x, 0.5)
    assert reduced.dtype == torch.complex64
    assert 0 < (reduced - full).norm() < 0.02 * full.norm()
    prior.precision = torch.float32
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(prior.denoise(x, 0.5), full)


def test_in_training_the_precision_is_the_trainers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lightning_mri.diffusion.prior.fast_precision", lambda _: torch.bfloat16)
    prior, x = make_prior().train(), noise(2, 9, 11)
    prior.precision = torch.float32
    full = prior.denoise(x, 0.5)
    prior.precision = torch.bfloat16
    reduced = prior.denoise(x, 0.5)
    prior.precision = None
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(prior.denoise(x, 0.5), reduced)
    assert torch.equal(prior.denoise(x, 0.5), full)


def test_bfloat16_is_for_devices_that_multiply_it() -> None:
    in_hardware = torch.cpu._is_amx_tile_supported() or torch.cpu._is_avx512_bf16_supported()
    assert fast_precision(torch.device("cpu")) == (torch.bfloat16 if in_hardware else None)
    assert fast_precision(torch.device("meta")) is None


@pytest.mark.parametrize("n", [1, 2, 3, 5, 7, 8, 9])
def test_padding_mirrors_the_far_edge(n: int) -> None:
    x = torch.randn(1, 2, 3, n)
    padded = pad(x, 8)
    assert padded.shape == (1, 2, 8, -(-n // 8) * 8)
    if n > 1:
        # numpy reflects repeatedly where the image is smaller than its margin
        mirrored = torch.from_numpy(np.pad(x, ((0, 0), (0, 0), (0, 5), (0, -n % 8)), "reflect"))
        assert torch.equal(padded, mirrored)
    else:
        assert torch.equal(padded[..., :3, :], x.expand(1, 2, 3, 8))


def test_a_contrast_is_found_by_name() -> None:
    prior = make_prior()
    assert prior.label_index("FLAIR") == 4
    with pytest.raises(ValueError, match=r"label must be one of T1w, .*spare-4: got 'CT'"):
        prior.label_index("CT")
    with pytest.raises(ValueError, match="label must be one of none"):
        GaussianPrior(noise(2, 3), 1.0).label_index("T1w")


def test_a_new_contrast_takes_the_first_spare_label_and_the_mean_of_the_known() -> None:
    prior = make_prior()
    before = prior.net.label_rows.clone()
    assert prior.add_label("SWI") == 6
    assert prior.labels == (*DEFAULT_LABELS[:6], "SWI", *DEFAULT_LABELS[7:])
    rows = prior.net.label_rows
    torch.testing.assert_close(rows[6], before[:6].mean(0))
    assert torch.equal(rows[[0, 1, 2, 3, 4, 5, 7, 8, 9, 10]], before[[0, 1, 2, 3, 4, 5, 7, 8, 9, 10]])
    assert prior.add_label("DWI") == 7
    with pytest.raises(ValueError, match="label must be new"):
        prior.add_label("SWI")
    prior.add_label("ADC"), prior.add_label("TOF")
    with pytest.raises(ValueError, match=r"spare.* free to take it: got .PET"):
        prior.add_label("PET")


def test_every_spare_label_is_free_however_many_there_are() -> None:
    """As the configurations for pre-training declare them: seven, which are no contrasts to start from."""
    labels = ("PD", "PDFS", "other", *(f"{SPARE}{i}" for i in range(1, 8)))
    prior = NetworkPrior(LightUNet(widths=(8,), n_blocks=1, embedding=16, n_labels=10), EDM(), labels=labels)
    before = prior.net.label_rows.clone()
    assert [prior.add_label(f"new-{i}") for i in range(7)] == [3, 4, 5, 6, 7, 8, 9]
    torch.testing.assert_close(prior.net.label_rows[3], before[:3].mean(0))


def test_its_limits_are_those_of_the_process_and_its_description_rebuilds_it() -> None:
    prior = NetworkPrior(LightUNet(widths=(8,), n_labels=0), VP(), labels=(), card={"steps": 3})
    assert (prior.sigma_data, prior.sigma_min, prior.sigma_max) == (0.5, VP().sigma_min, VP().sigma_max)
    description = json.loads(json.dumps(prior.describe()))
    assert build(description["process"]) == prior.process
    assert build_network(description["network"]).config == prior.net.config
    assert description["scaling"] == {"percentile": 99.0, "fft_norm": "ortho"}
    assert (description["labels"], description["card"]) == ([], {"steps": 3})


def test_a_prior_is_shown_on_one_line() -> None:
    """Regression: it was shown layer by layer, within everything that holds one, too."""
    prior = NetworkPrior(LightUNet(widths=(8,), n_labels=0), EDM(sigma_data=0.25), labels=())
    n = sum(parameter.numel() for parameter in prior.net.parameters())
    assert repr(prior) == f"NetworkPrior(LightUNet of {n:,} weights, {EDM(sigma_data=0.25)!r}, no labels)"
