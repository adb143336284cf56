import numpy as np
import pytest
import torch
from fastmri import evaluate
from skimage.metrics import structural_similarity

from lightning_mri.evaluation import FASTMRI, SLICE, head_of, metrics, nmse, nrmse, psnr, score, ssim

METRICS = (nrmse, psnr, ssim, nmse)


def volume(seed: int, shape: tuple[int, ...] = (3, 19, 14)) -> torch.Tensor:
    """Return a smooth-ish positive volume whose slices differ in brightness."""
    noise = torch.rand(shape, generator=torch.Generator().manual_seed(seed))
    return noise * torch.tensor([1.0, 3.0, 0.2])[:, None, None]


@pytest.mark.parametrize("name", ["nmse", "psnr", "ssim"])
def test_fastmri_convention_gives_the_numbers_of_fastmri(name: str) -> None:
    reference, x_hat = volume(0), volume(1)
    expected = getattr(evaluate, name)(reference.double().numpy(), x_hat.double().numpy())
    ours = {"nmse": nmse, "psnr": psnr, "ssim": ssim}[name](x_hat, reference)
    assert float(ours) == pytest.approx(float(np.squeeze(expected)), rel=1e-9)


def test_slice_convention_takes_each_slice_and_its_own_peak() -> None:
    reference, x_hat = volume(0), volume(1)
    ours = ssim(x_hat, reference, SLICE)
    for value, a, b in zip(ours, reference.double().numpy(), x_hat.double().numpy(), strict=True):
        assert float(value) == pytest.approx(structural_similarity(a, b, data_range=a.max()), rel=1e-9)
    assert psnr(x_hat, reference, SLICE).shape == nrmse(x_hat, reference, SLICE).shape == (3,)


def test_nrmse_of_a_reference_made_a_tenth_brighter_is_a_tenth() -> None:
    assert float(nrmse(1.1 * volume(0), volume(0))) == pytest.approx(0.1, rel=1e-5)
    assert float(nmse(1.1 * volume(0), volume(0))) == pytest.approx(0.01, rel=1e-5)


def test_psnr_of_an_error_of_a_tenth_of_the_peak_is_20_db() -> None:
    reference = volume(0)
    assert float(psnr(reference + 0.1 * reference.max(), reference)) == pytest.approx(20, rel=1e-5)


def test_complex_images_are_compared_by_magnitude() -> None:
    # defect 1: combining or comparing complex data without abs
    phase = torch.polar(torch.ones(3, 19, 14), 6 * torch.rand(3, 19, 14, generator=torch.Generator().manual_seed(2)))
    reference, x_hat = volume(0), volume(1)
    for metric in METRICS:
        assert float(metric(x_hat * phase, reference)) == pytest.approx(float(metric(x_hat, reference)), rel=1e-5)
        assert float(metric(x_hat, reference * phase)) == pytest.approx(float(metric(x_hat, reference)), rel=1e-5)


def test_nothing_is_normalised_before_psnr() -> None:
    # defect 7: after min-max normalisation of both images a wrong gain and offset would cost nothing
    reference = volume(0)
    assert float(psnr(0.5 * reference + 0.1, reference)) < 20


def test_mean_slice_metrics_are_not_the_volume_metrics() -> None:
    # defect 8: a poor dark slice weighs as much as the others only in the slice convention
    reference = volume(0)
    x_hat = reference.clone()
    x_hat[2] *= 2
    per_slice = nmse(x_hat, reference, SLICE)
    assert per_slice.tolist() == pytest.approx([0, 0, 1])
    energy = (reference**2).sum((-2, -1))
    assert float(nmse(x_hat, reference)) == pytest.approx(float(energy[2] / energy.sum()), rel=1e-6)
    assert float(nmse(x_hat, reference)) < 0.02 < float(per_slice.mean())


@pytest.mark.parametrize("convention", [FASTMRI, SLICE])
@pytest.mark.parametrize("metric", METRICS)
def test_pixels_outside_the_region_do_not_count(metric, convention) -> None:
    reference, x_hat = volume(0), volume(1)
    region = torch.zeros(19, 14, dtype=torch.bool)
    region[4:9, 4:11] = True
    spoilt = x_hat.clone()
    spoilt[:, 13:, :] += 5  # further from the region than half an SSIM window
    inside = metric(x_hat, reference, convention, region)
    assert torch.equal(metric(spoilt, reference, convention, region), inside)
    assert not torch.equal(metric(spoilt, reference, convention), metric(x_hat, reference, convention))


def test_region_of_everything_changes_nothing() -> None:
    reference, x_hat = volume(0), volume(1)
    everything = torch.ones(3, 19, 14, dtype=torch.bool)
    for metric in METRICS:
        assert torch.equal(metric(x_hat, reference, region=everything), metric(x_hat, reference))


def test_ssim_of_a_volume_leaves_out_slices_outside_the_region() -> None:
    reference, x_hat = volume(0), volume(1)
    region = torch.ones(3, 19, 14, dtype=torch.bool)
    region[1] = False
    # peak of the volume instead of the slice: compute both slices against it
    first = ssim(x_hat[:2], reference[:2], FASTMRI, torch.tensor([True, False])[:, None, None])
    third = ssim(x_hat[1:], reference[1:], FASTMRI, torch.tensor([False, True])[:, None, None])
    assert float(ssim(x_hat, reference, FASTMRI, region)) == pytest.approx(float((first + third) / 2))


def test_leading_axes_are_volumes_of_their_own() -> None:
    reference, x_hat = torch.stack([volume(0), volume(2)]), torch.stack([volume(1), volume(3)])
    for metric in METRICS:
        both = metric(x_hat, reference)
        assert both.tolist() == pytest.approx([float(metric(x_hat[i], reference[i])) for i in range(2)])


def test_score_collects_the_four() -> None:
    reference, x_hat = volume(0), volume(1)
    expected = {metric.__name__: float(metric(x_hat, reference, SLICE).mean()) for metric in METRICS}
    assert vars(score(x_hat, reference, SLICE)) == pytest.approx(expected)


def test_a_nan_in_the_reconstruction_is_not_hidden() -> None:
    spoilt = volume(1)
    spoilt[0, 5, 5] = float("nan")
    assert all(np.isnan(value) for value in vars(score(spoilt, volume(0))).values())


@pytest.mark.parametrize(
    ("arguments", "rule"),
    [
        ((volume(0)[:2], volume(0)), "same shape"),
        ((volume(0), volume(0), FASTMRI, torch.zeros(3, 19, 14, dtype=torch.bool)), "must not be empty"),
        ((volume(0), volume(0), FASTMRI, torch.ones(5, 14, dtype=torch.bool)), "must broadcast"),
        ((volume(0), torch.zeros(3, 19, 14)), "must not be zero"),
        ((volume(0), volume(0) * torch.tensor([1, 0, 1])[:, None, None], SLICE), "must not be zero throughout a slice"),
    ],
)
@pytest.mark.parametrize("metric", METRICS)
def test_wrong_arguments_are_named(metric, arguments, rule: str) -> None:
    with pytest.raises(ValueError, match=rule):
        metric(*arguments)


def test_ssim_names_its_window() -> None:
    with pytest.raises(ValueError, match="at least 7 x 7"):
        ssim(volume(0)[:, :6], volume(0)[:, :6])
    rim = torch.zeros(19, 14, dtype=torch.bool)
    rim[0] = True
    with pytest.raises(ValueError, match="further than 3 pixels"):
        ssim(volume(1), volume(0), region=rim)


def test_the_head_is_the_largest_bright_region_with_its_holes_filled() -> None:
    y, x = torch.meshgrid(torch.arange(60), torch.arange(50), indexing="ij")
    radius = ((y - 30) ** 2 + (x - 22) ** 2).sqrt()
    image = ((radius < 18) & (radius > 6)).float() + ((y - 4) ** 2 + (x - 45) ** 2 < 9).float()
    found = head_of(torch.stack([image, torch.zeros_like(image)]))
    assert found[0].equal(radius < 18)
    assert not found[1].any()


def test_the_head_reaches_into_its_dim_part_and_across_a_dark_band_of_four_pixels() -> None:
    image = torch.zeros(1, 40, 40)
    image[:, 8:32, 8:24], image[:, 8:32, 24:32] = 1, 0.15
    image[:, 18:22] = 0
    assert head_of(image)[0, 10:30, 10:30].all()


def test_the_head_is_found_in_more_pixels_than_torch_has_quantiles_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metrics, "_largest", lambda bright: bright)
    ramp = torch.arange(4100.0).expand(4100, 4100)  # 2^24 is 4096 x 4096
    assert int(head_of(ramp)[0].sum()) == 4100 - 406  # above a tenth of the 99th percentile, 4059
