"""Factors that make a standard deviation an error bar: how they are fitted, kept, and no longer hold."""

import math
from dataclasses import replace
from pathlib import Path
from statistics import fmean

import pytest
import torch

from lightning_mri.diffusion import EDM, NetworkPrior
from lightning_mri.models import LightUNet
from lightning_mri.reconstruction import (
    Calibration,
    ErrorBar,
    Guard,
    Measurement,
    Reconstructor,
    Uncertainty,
    error_bar,
    pooled_quantile,
    recipe_of,
    with_calibration,
)
from lightning_mri.sampling import DDS, HQS, PULA
from lightning_mri.scaling import Scaling
from lightning_mri.training import PriorModule
from lightning_mri.weights import fingerprint, load_prior, replace_card, save_prior

QUICK, DRAWS = HQS(n_steps=2), Uncertainty(DDS(n_steps=2), 2)
RECIPE = recipe_of(QUICK, 1, DRAWS.description)
CALIBRATION = Calibration(RECIPE, (2.0, 8.0), (1.5, 6.0), 40)


@pytest.fixture
def network_prior() -> NetworkPrior:
    torch.manual_seed(3)
    net = LightUNet(widths=(8, 12), n_blocks=1, embedding=16, n_labels=2)
    prior = NetworkPrior(net, EDM(sigma_data=0.25), Scaling(), ("T1w", "spare-1"), {"history": []})
    for parameter in prior.parameters():
        parameter.data = (parameter.data + 0.125).half().float()
    return prior.eval().requires_grad_(False)


@pytest.fixture
def calibrated(network_prior: NetworkPrior) -> NetworkPrior:
    network_prior.card = with_calibration(network_prior.card, fingerprint(network_prior), CALIBRATION)
    return network_prior


def heads(n: int, generator: torch.Generator) -> list[torch.Tensor]:
    """Return scores of subjects that differ in size and in how wrong their standard deviations are."""
    sizes = torch.randint(20, 400, (n,), generator=generator).tolist()
    return [
        (torch.randn(size, generator=generator) * torch.randn(1, generator=generator).mul(0.8).exp()).abs()
        for size in sizes
    ]


def test_every_subject_counts_alike_however_many_its_pixels() -> None:
    many, one = torch.arange(1.0, 11.0), torch.tensor([100.0])
    assert pooled_quantile([many, one], 0.5) == 10
    assert pooled_quantile([many, one], 0.51) == 100
    assert pooled_quantile([many, one], 0.05) == 1


def test_coverage_of_new_subjects_is_what_was_promised_of_few() -> None:
    generator = torch.Generator().manual_seed(5)
    held = []
    for _ in range(300):
        q = pooled_quantile(heads(9, generator))
        held.append(fmean(float((head <= q).float().mean()) for head in heads(4, generator)))
    # level K / (K + 1) = 0.81 whatever the distributions, and not far below the level for these
    assert 0.85 < fmean(held) < 0.93


def test_factors_follow_the_errors_of_each_acceleration() -> None:
    generator = torch.Generator().manual_seed(6)
    true = {2.0: 1.1, 4.0: 0.9, 8.0: 2.0}
    scans = [(r, true[r] * torch.randn(40_000, generator=generator).abs() / 1.645) for r in (2.0, 2.0, 8.0, 8.0, 4.0)]
    fitted = Calibration.fit("any", scans)
    assert (fitted.accelerations, fitted.n_subjects) == ((2.0, 4.0, 8.0), 5)
    assert fitted.factors == pytest.approx([1.1, 0.9, 2.0], rel=0.02)
    assert Calibration.fit("any", scans[:2]).factors == pytest.approx([1.1], rel=0.02)
    assert Calibration.fit("any", scans[:4]).factors == pytest.approx([1.1, 2.0], rel=0.02)


def test_factors_are_interpolated_in_the_logarithm_and_kept_beyond_the_ends() -> None:
    assert CALIBRATION.factor(4.0) == pytest.approx(3.0)
    assert (CALIBRATION.factor(1.2), CALIBRATION.factor(20.0)) == pytest.approx((1.5, 6.0))
    assert Calibration("any", (3.0,), (2.0,), 9).factor(5.0) == 2
    three = Calibration("any", (1.0, 2.0, 4.0), (1.0, 1.0, 3.0), 9)
    assert three.factor(math.sqrt(8)) == pytest.approx(math.sqrt(3))
    assert three.factor(math.sqrt(2)) == pytest.approx(1)


def test_accelerations_are_covered_to_two_digits() -> None:
    covered = [CALIBRATION.covers(r) for r in (1.9, 1.99, 2.0, 8.0, 8.07, 8.2)]
    assert covered == [False, True, True, True, True, False]


def test_a_calibrated_prior_makes_wider_error_bars_and_says_so(measured, calibrated: NetworkPrior) -> None:
    bare = load_like(calibrated, {"history": []})
    reconstructors = [Reconstructor(prior, QUICK, 1, DRAWS, Guard(1e9, ())) for prior in (bare, calibrated)]
    results = [
        each.solve(each.prepare(Measurement(measured.kspace[:1], measured.mask)), "head") for each in reconstructors
    ]
    factor = CALIBRATION.factor(results[0].findings.acceleration)
    assert 1 < factor < 6
    torch.testing.assert_close(results[1].std, factor * results[0].std)
    assert [result.findings.std_factor.item() for result in results] == [1, factor]
    assert torch.equal(results[0].image, results[1].image)
    told = [any("std is not calibrated" in warning for warning in result.warnings) for result in results]
    assert told == [True, False]
    assert results[1].findings.std_calibration == "1.645 std held 90 % of the errors in 40 subjects at R = 2 ... 8"


def test_slices_are_told_whose_error_bars_are_a_large_part_of_the_image() -> None:
    image = torch.polar(torch.full((3, 8, 6), 1e30), torch.rand(3, 8, 6))
    std = 1e30 * torch.tensor([0.07, 0.1, torch.nan])[:, None, None].expand(3, 8, 6)
    remarks = ErrorBar(2.0, "fitted", ("R is large",), calibrated=True).remarks(std, image, (4, 7, 9))
    about = "slice 7: the error bars expect an error of 20 % of the signal: structures may be missing or false, see std"
    assert remarks == ["R is large", about]
    assert ErrorBar(2.0, "none", ("not calibrated",)).remarks(std, image, (4, 7, 9)) == ["not calibrated"]


def test_another_recipe_is_not_calibrated(calibrated: NetworkPrior) -> None:
    # a point estimate is the same after more steps
    more = recipe_of(replace(QUICK, n_steps=80), 1, DRAWS.description)
    assert error_bar(calibrated, more, 4.0).factor == pytest.approx(3)
    others = (
        recipe_of(replace(QUICK, likelihood_weights=(1.0, 1.0)), 1, DRAWS.description),
        recipe_of(QUICK, 2, DRAWS.description),
        recipe_of(QUICK, 1, replace(DRAWS, n_samples=3).description),
        recipe_of(QUICK, 1, replace(DRAWS, sampler=DDS(n_steps=3)).description),
        recipe_of(QUICK, 1, replace(DRAWS, smoothing=2.0).description),
        recipe_of(PULA(), 8, "8 samples"),
    )
    for other in others:
        bar = error_bar(calibrated, other, 4.0)
        assert bar.factor == 1
        assert bar.warnings == ("std is not calibrated, and no error bar: the prior was calibrated for other samplers",)
    assert recipe_of(PULA(n_steps=3), 8, "8 samples") != recipe_of(PULA(n_steps=4), 8, "8 samples")


def test_other_scans_than_those_it_was_made_with_cause_a_warning(calibrated: NetworkPrior) -> None:
    low_field = error_bar(calibrated, RECIPE, 4.0, parallel=False)
    assert (low_field.factor, "parallel imaging alone" in low_field.warnings[0]) == (1, True)
    beyond = error_bar(calibrated, RECIPE, 12.3)
    assert beyond.factor == pytest.approx(6)
    assert beyond.warnings == ("std is calibrated for R = 2 ... 8, here R is 12.3",)
    assert error_bar(calibrated, RECIPE, 7.99).warnings == ()


def test_any_change_of_the_weights_ends_a_calibration(calibrated: NetworkPrior) -> None:
    next(calibrated.parameters()).data.flatten()[0] += 1e-3
    bar = error_bar(calibrated, RECIPE, 4.0)
    assert (bar.factor, bar.description) == (1, "none: the prior was calibrated with other weights")
    renewed = with_calibration(calibrated.card, fingerprint(calibrated), replace(CALIBRATION, recipe="another"))
    assert [each["recipe"] for each in renewed["calibration"]["recipes"]] == ["another"]


def test_fine_tuning_starts_without_a_calibration(calibrated: NetworkPrior) -> None:
    module = PriorModule()
    module.adopt(calibrated, source="here")
    assert "calibration" not in module.prior.card


def test_a_card_keeps_one_calibration_of_each_recipe(calibrated: NetworkPrior) -> None:
    weights = fingerprint(calibrated)
    card = with_calibration(calibrated.card, weights, replace(CALIBRATION, recipe="another"))
    card = with_calibration(card, weights, replace(CALIBRATION, factors=(2.0, 2.0)))
    assert [(each["recipe"], each["factors"]) for each in card["calibration"]["recipes"]] == [
        ("another", [1.5, 6.0]),
        (RECIPE, [2.0, 2.0]),
    ]


def test_it_travels_with_the_file_whose_weights_keep_their_bytes(calibrated: NetworkPrior, tmp_path: Path) -> None:
    path, card = tmp_path / "tiny.safetensors", calibrated.card
    save_prior(load_like(calibrated, {"history": []}), path)
    before = path.read_bytes()
    replace_card(path, card)
    after = path.read_bytes()
    start = [8 + int.from_bytes(content[:8], "little") for content in (before, after)]
    assert before[start[0] :] == after[start[1] :]
    loaded = load_prior(path)
    assert error_bar(loaded, RECIPE, 4.0).factor == pytest.approx(3)
    save_prior(loaded, tmp_path / "again.safetensors")
    assert error_bar(load_prior(tmp_path / "again.safetensors"), RECIPE, 4.0).factor == pytest.approx(3)


@pytest.mark.parametrize(
    "entry",
    [
        "soon",
        {"weights": "0"},
        {"weights": "0", "recipes": 3},
        {"weights": "0", "recipes": [{"recipe": RECIPE}]},
        {"weights": "0", "recipes": [{**vars(CALIBRATION), "factors": ["nan", 1]}]},
        {"weights": "0", "recipes": [{**vars(CALIBRATION), "factors": 3}]},
    ],
)
def test_a_malformed_card_ends_in_one_sentence(network_prior: NetworkPrior, entry: object) -> None:
    network_prior.card["calibration"] = entry
    with pytest.raises(ValueError, match="the card's calibration must be what"):
        error_bar(network_prior, RECIPE, 4.0)


def load_like(prior: NetworkPrior, card: dict[str, object]) -> NetworkPrior:
    """Return a prior with the same weights and another card."""
    return NetworkPrior(prior.net, prior.process, prior.scaling, prior.labels, card).eval()  # type: ignore[arg-type]
