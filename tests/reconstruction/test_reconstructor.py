import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from lightning_mri.evaluation import nrmse
from lightning_mri.io import Scan
from lightning_mri.physics import Equispaced, ifft2c
from lightning_mri.reconstruction import (
    Guard,
    Measurement,
    Reconstruction,
    Reconstructor,
    Uncertainty,
    inspect,
    label_of,
    seeds_of,
)
from lightning_mri.sampling import DDS, HQS
from lightning_mri.weights import load_prior
from tests.builders import as_released

from .conftest import scan_of

QUICK = HQS(n_steps=4)
NOT_CALIBRATED = "std is not calibrated, and no error bar: the prior has no calibration"
QUICK_DRAWS = Uncertainty(DDS(n_steps=4, refinement=None), 3)


@pytest.fixture(scope="module")
def scan(measured) -> Scan:
    return scan_of(measured.kspace, contrast="FLAIR", stored_mask=measured.mask)


def solve(prior, kspace, mask, draws=QUICK_DRAWS, size=None, **options):
    """Reconstruct slices of the scan "head"."""
    reconstructor = Reconstructor(prior, QUICK, uncertainty=draws, **options)
    return reconstructor.solve(reconstructor.prepare(Measurement(kspace, mask, size)), "head")


@pytest.fixture(scope="module")
def whole(scan, prior):
    return Reconstructor(prior, QUICK, uncertainty=QUICK_DRAWS, batch_size=3)(scan)


def test_image_is_the_scanned_object_in_the_units_of_the_input(whole, measured) -> None:
    inside = measured.image.abs() > 0
    assert float(nrmse(whole.image, measured.image, region=inside)) < 0.05


def test_slices_sampled_differently_are_reconstructed_each_by_its_mask(prior, measured) -> None:
    lines = torch.arange(measured.mask.shape[-1])
    masks = measured.mask & torch.stack([(lines % 3 != r) | ((lines - 20).abs() < 9) for r in (0, 1, 1)])[:, None]
    several = scan_of(torch.where(masks[:, None], measured.kspace, 0), contrast="FLAIR", stored_mask=masks)
    plain = Reconstructor(prior, QUICK, uncertainty=None, batch_size=3)
    result = plain(several)
    assert result.mask.equal(masks)
    for k in range(3):
        alone = plain(replace(several, stored_mask=masks[k : k + 1]), [k]).image[0]
        torch.testing.assert_close(result.image[k], alone, rtol=1e-3, atol=1e-4 * float(alone.abs().max()))


def test_result_holds_one_of_everything_a_file_needs(whole, measured) -> None:
    assert whole.image.shape == whole.std.shape == whole.magnitude.shape == (3, 46, 40)
    assert torch.equal(whole.mask, measured.mask)
    found = {"acceleration", "acs", "noise_std", "scale", "sampler", "std_from", "seconds", "label", "noise_ratio"}
    assert found <= set(whole.attributes)
    assert len(whole.attributes["noise_std"]) == 3
    assert whole.attributes["warnings"] == [NOT_CALIBRATED]


def test_standard_deviation_is_of_draws_and_not_of_a_point_estimate(whole) -> None:
    assert whole.findings.std_from.startswith("3 samples of DDS(n_steps=4")
    assert bool(whole.std.isfinite().all())
    assert float(whole.std.mean()) > 0


def test_draws_give_image_and_standard_deviation_at_once(scan, prior) -> None:
    drawn = Reconstructor(prior, DDS(n_steps=4), n_samples=3)(scan, [1])
    assert drawn.findings.std_from == "3 samples"
    assert bool((drawn.std > 0).any())


def test_the_null_space_component_is_mapped_unless_it_is_unwanted(scan, prior, whole) -> None:
    assert whole.null_space.shape == (3, 46, 40)
    assert bool((whole.findings.null_space_share < 0.5).all())
    assert float(whole.null_space.max()) > 0.1  # units of the input, where the object has 200
    # of an image that is sampled fully, the noise hides next to nothing
    kspace = torch.as_tensor(scan.kspace.values)
    every = torch.ones(1, 46, 40, dtype=torch.bool)
    filled = torch.where(kspace == 0, 1e-3, kspace)
    full = solve(prior, filled, every)
    assert full.null_space is not None
    assert float(full.findings.null_space_share.max()) < 0.1 * float(whole.findings.null_space_share.min())
    without = replace(QUICK_DRAWS, null_space=False)
    bare = Reconstructor(prior, QUICK, uncertainty=without)(scan, [0])
    assert bare.null_space is None
    assert bare.findings.null_space_share is None
    assert bool(bare.std.isfinite().all())


def test_an_uncertainty_that_was_switched_off_is_no_warning(scan, prior) -> None:
    """Regression: every case of a page had it among its warnings."""
    bare = Reconstructor(prior, QUICK, uncertainty=None)(scan, [0])
    assert bool(bare.std.isnan().all())
    assert bare.warnings == ()
    # the spread of a point estimate over seeds is not passed off as uncertainty
    assert bool(Reconstructor(prior, QUICK, 2, None)(scan, [0]).std.isnan().all())


def test_slices_do_not_depend_on_each_other(scan, prior, whole) -> None:
    alone = Reconstructor(prior, QUICK, uncertainty=QUICK_DRAWS, batch_size=1)(scan, [2])
    torch.testing.assert_close(alone.image[0], whole.image[2], rtol=1e-3, atol=0.05)
    torch.testing.assert_close(alone.std[0], whole.std[2], rtol=1e-2, atol=0.05)
    two = Reconstructor(prior, QUICK, uncertainty=QUICK_DRAWS, batch_size=2)(scan)
    torch.testing.assert_close(two.image, whole.image, rtol=1e-3, atol=0.05)
    assert two.findings.scale.shape == (3,)


def test_same_call_gives_the_same_bits_whatever_the_default_type_of_torch(scan, prior, whole) -> None:
    """Scripts for other physics set it; random numbers of double precision are others."""
    torch.set_default_dtype(torch.float64)
    try:
        again = Reconstructor(prior, QUICK, uncertainty=QUICK_DRAWS, batch_size=3)(scan)
        noise_std = inspect(scan).findings.noise_std
        network = load_prior("brain").net
    finally:
        torch.set_default_dtype(torch.float32)
    assert torch.equal(again.image, whole.image)
    assert torch.equal(again.std, whole.std)
    assert noise_std == inspect(scan).findings.noise_std
    assert {each.dtype for each in (*network.parameters(), *network.buffers())} == {torch.float32}


def test_result_has_the_matrix_of_the_header(measured, prior) -> None:
    small = solve(prior, measured.kspace, measured.mask, None, (42, 36))
    assert small.image.shape == small.std.shape == (3, 42, 36)
    assert small.mask.shape == (1, 46, 40)
    assert small.findings.oversampling_removed_to == 42


def test_two_sets_of_maps_give_one_image(measured, prior) -> None:
    soft = solve(prior, measured.kspace[:1], measured.mask, n_sets=2)
    assert soft.image.shape == soft.std.shape == (1, 46, 40)
    inside = measured.image[:1].abs() > 0
    assert float(nrmse(soft.image, measured.image[:1], region=inside)) < 0.1


def test_seeds_differ_by_scan_slice_and_sample_and_by_nothing_else() -> None:
    seeds = seeds_of("head", range(5), 3)
    assert seeds.shape == (3, 5)
    assert len(set(seeds.flatten().tolist()) | set(seeds_of("other", range(5), 3).flatten().tolist())) == 30
    assert torch.equal(seeds_of("head", [4], 2), seeds[:2, 4:])


def test_contrast_becomes_the_priors_label_and_unknown_ones_are_reported(scan, prior) -> None:
    assert label_of("FLAIR", prior) == (1, "FLAIR")
    assert label_of("flair", prior) == (1, "FLAIR")
    assert label_of("SWI", prior) == (None, "none: the prior does not know SWI")
    assert label_of(None, prior) == (None, "none: the file does not say the contrast")
    told = Reconstructor(prior, QUICK, uncertainty=None)(replace(scan, contrast="SWI"), [0]).warnings
    assert "the prior does not know SWI" in told


def test_slices_of_several_groups_keep_their_order(measured, prior) -> None:
    order = [0, 1, 2, 0]
    kspace = measured.kspace[order]
    kspace[1:3, 0] = 0  # groups (0, 3) and (1, 2)

    reconstructor = Reconstructor(prior, HQS(n_steps=2), uncertainty=None, guard=Guard(fallbacks=()))
    result = reconstructor.reconstruct(kspace, measured.mask)

    truth = measured.image[order]
    assert float(nrmse(result.image, truth, region=truth.abs() > 0).max()) < 0.1
    assert result.findings.scale[0] == result.findings.scale[3] > result.findings.scale[2]


def test_progress_grows_to_one(scan, prior) -> None:
    seen: list[float] = []
    Reconstructor(prior, QUICK, uncertainty=QUICK_DRAWS, batch_size=2)(scan, progress=seen.append)
    assert seen == sorted(seen)
    assert seen[-1] == pytest.approx(1)
    assert len(seen) == 2 * (4 + 3 * 4 + 1)  # each batch reports its end, after the guard


def test_motion_between_the_lines_is_suspect(simulate, prior) -> None:
    scan = simulate(Equispaced(4.0, 8).draw((46, 40), 0))
    still, moved = (scan.kspace, scan.kspace * torch.polar(torch.ones(40), torch.arange(40.0) ** 2))
    for kspace, n_warnings in ((still, 0), (moved, 3)):
        result = solve(prior, kspace, scan.mask)
        assert len(result.warnings) == n_warnings + 1


def test_an_error_names_the_file(measured, prior) -> None:
    mask = measured.mask & (torch.arange(40) % 20 != 0)
    with pytest.raises(ValueError, match=r"broken\.h5: .*fully sampled block"):
        Reconstructor(prior, QUICK)(scan_of(measured.kspace, "broken", stored_mask=mask))


@pytest.mark.parametrize("slices", [[], [3], [-4], [True], [1.0], 1, slice(0, 1)])
def test_slices_that_are_not_there_are_an_error(scan, prior, slices) -> None:
    with pytest.raises(ValueError, match=r"head\.h5: slices must "), as_released():
        Reconstructor(prior, QUICK)(scan, slices)


@pytest.mark.slow
def test_a_slice_is_itself_however_it_is_named(scan, prior) -> None:
    """Regression: seeds followed from "-1" and "tensor(2)", which gave another image."""
    draw, named = Reconstructor(prior, DDS(n_steps=2), uncertainty=None), ([-1], torch.tensor([2]), np.array([2]))
    first = draw(scan, [2])
    with as_released():
        others = [draw(scan, slices) for slices in named]
        assert torch.equal(seeds_of("head", torch.tensor([2]), 1), seeds_of("head", [2], 1))
    assert all(torch.equal(other.image, first.image) and other.warnings == first.warnings for other in others)


def test_join_wants_one_matrix(whole, measured, prior) -> None:
    small = solve(prior, measured.kspace[:1], measured.mask, None, (30, 30))
    with pytest.raises(ValueError, match="must agree on"):
        Reconstruction.join([whole, small])


def test_warnings_do_not_depend_on_how_slices_are_put_into_batches(whole) -> None:
    """Regression: remarks about the whole scan stood between those about its slices, wherever a batch ended."""
    told = ("slice 2: b", "slice 2: a", "slice 10: a", "no calibration")
    one = replace(whole, warnings=(told[2], *told[:2], told[3]))
    parts = [replace(whole, warnings=(*told[:2], told[3])), replace(whole, warnings=told[2:])]
    assert Reconstruction.join([one]).warnings == Reconstruction.join(parts).warnings == told


@pytest.mark.parametrize(
    ("where", "value", "reason"),
    [(..., 0, "no signal: k-space is all zero"), ((2, 20, 20), math.nan, "NaN or infinity")],
)
def test_a_bad_slice_is_zero_filled_and_the_others_are_as_usual(measured, prior, whole, where, value, reason) -> None:
    kspace = measured.kspace.clone()
    kspace[1][where] = value
    found = scan_of(kspace, contrast="FLAIR", stored_mask=measured.mask)
    for batch_size in (3, 1):  # among others, and by itself
        result = Reconstructor(prior, QUICK, uncertainty=QUICK_DRAWS, batch_size=batch_size)(found)
        assert result.usable.tolist() == [True, False, True]
        torch.testing.assert_close(result.image[::2], whole.image[::2], rtol=1e-3, atol=0.05)
        torch.testing.assert_close(result.std[::2], whole.std[::2], rtol=1e-2, atol=0.05)
        (warning,) = (each for each in result.warnings if each.startswith("slice 1: "))
        assert reason in warning
        assert result.findings.noise_std.isfinite().tolist() == [True, False, True]
        assert result.findings.acs == (46, 12)
    zero_filled = torch.linalg.vector_norm(ifft2c(torch.where(kspace.isfinite(), kspace, 0))[1], dim=0)
    torch.testing.assert_close(result.image[1], zero_filled + 0j)
    assert bool(result.std[1].isnan().all()) == bool(zero_filled.any())


def test_a_scan_of_bad_slices_alone_is_an_error(measured, prior) -> None:
    with pytest.raises(ValueError, match=r"air\.h5: slice 0: no signal"):
        Reconstructor(prior, QUICK)(scan_of(0 * measured.kspace, "air", stored_mask=measured.mask))


@pytest.mark.parametrize("factor", [2.0**-100, 1e30])
def test_any_unit_of_kspace_gives_the_same_image_in_that_unit(measured, prior, factor: float) -> None:
    plain, scaled = (solve(prior, k, measured.mask) for k in (measured.kspace, factor * measured.kspace))
    tolerance = 0.0 if math.log2(factor).is_integer() else 0.08  # rounding of maps near their threshold
    for name in ("image", "std", "null_space"):
        expected, found = (getattr(each, name).to(torch.complex128) for each in (plain, scaled))
        assert float((found / factor - expected).norm()) <= tolerance * float(expected.norm())
    assert scaled.warnings == plain.warnings
    assert scaled.findings.null_space_share.tolist() == pytest.approx(
        plain.findings.null_space_share.tolist(), rel=0.02, abs=1e-4 * (tolerance > 0)
    )


@pytest.mark.parametrize("n_lines", [1, 2, 3])
def test_few_calibration_lines_are_never_worse_than_zero_filling_and_always_told(prior, simulate, n_lines: int) -> None:
    """One line gives no maps at all; slices of zeros stay what they are."""
    lines = torch.arange(40)
    mask = ((lines % 3 == 2) | ((lines >= 20 - n_lines // 2) & (lines < 20 + (n_lines + 1) // 2))).expand(1, 46, 40)
    measured = simulate(mask)
    kspace = measured.kspace.clone()
    kspace[1] = 0
    result = Reconstructor(prior, QUICK, batch_size=3)(scan_of(kspace, "few", stored_mask=mask))
    zero_filled = torch.linalg.vector_norm(ifft2c(kspace), dim=1)
    truth = measured.image.abs()
    errors = [(image[::2] - truth[::2]).flatten(1).norm(dim=1) for image in (result.magnitude, zero_filled)]
    for k in (0, 2):
        assert any(text.startswith(f"slice {k}: ") and "do not trust it" in text for text in result.warnings)
    if n_lines == 1:
        torch.testing.assert_close(result.image.abs(), zero_filled, rtol=1e-4, atol=1e-3)
        assert bool(result.std[::2].isnan().all())
    else:
        assert bool((errors[0] < 0.9 * errors[1]).all()), errors
    assert not result.magnitude[1].any()


@pytest.mark.slow
def test_frames_that_differ_in_their_rate_have_that_of_all_samples(prior, simulate) -> None:
    masks = torch.cat([Equispaced(rate, 12).draw((46, 40), 0) for rate in (2.0, 2.0, 3.0)])
    scan = scan_of(simulate(masks[:, None]).kspace, "frames", stored_mask=masks)
    findings = [Reconstructor(prior, QUICK, batch_size=n)(scan).findings for n in (1, 3)]
    assert [each.acceleration for each in findings] == pytest.approx([masks.numel() / int(masks.sum())] * 2)
    assert findings[0].std_factor.tolist() == [1, 1, 1]


def test_a_scan_without_the_centre_of_kspace_is_refused(prior, simulate) -> None:
    mask = (torch.arange(40) % 3 == 1).expand(1, 46, 40) & (torch.arange(40) != 20)
    with pytest.raises(ValueError, match=r"few\.h5: mask must hold a fully sampled block of at least 2 x 2"):
        Reconstructor(prior, QUICK)(scan_of(simulate(mask).kspace, "few", stored_mask=mask))


@pytest.mark.slow
def test_calibration_lines_of_one_slice_do_not_depend_on_those_of_the_others(prior, simulate) -> None:
    """One slice has eight lines for its maps where the others have 17, and one sample is zero by chance."""
    full = simulate(torch.ones(1, 46, 40, dtype=torch.bool), noise_std=0.5)
    lines = torch.arange(40) - 20
    mask = (lines % 3 == 0).expand(1, 46, 40)
    apart = torch.where(lines.abs() <= 8, full.kspace, 0)
    apart[1, ..., lines.abs() > 4] = 0
    apart[2, :, 23, 20] = 0
    reconstructor = Reconstructor(prior, QUICK, uncertainty=None, keep_samples=True)
    done: list[float] = []
    result = reconstructor.reconstruct(full.kspace, mask, calibration=apart, slices=[4, 5, 6], progress=done.append)
    assert done == sorted(done)
    assert done[-1] == pytest.approx(1)
    for row in range(3):
        one = slice(row, row + 1)
        alone = reconstructor.reconstruct(full.kspace[one], mask, calibration=apart[one], slices=[4 + row])
        torch.testing.assert_close(result.image[row], alone.image[0], rtol=1e-3, atol=0.1)
        torch.testing.assert_close(result.samples[:, row], alone.samples[:, 0], rtol=1e-3, atol=0.1)
        torch.testing.assert_close(result.findings.scale[row], alone.findings.scale[0])


def test_a_slice_without_calibration_lines_is_zero_filled_among_the_others(prior, simulate) -> None:
    full = simulate(torch.ones(1, 46, 40, dtype=torch.bool), noise_std=0.5)
    lines = torch.arange(40) - 20
    mask = (lines % 3 == 0).expand(1, 46, 40)
    apart = torch.where(lines.abs() <= 8, full.kspace, 0)
    apart[0] = 0
    result = Reconstructor(prior, QUICK, uncertainty=None).reconstruct(full.kspace, mask, calibration=apart)
    assert result.usable.tolist() == [False, True, True]
    assert "slice 0: no lines were measured for its coil maps; it is zero-filled" in result.warnings
