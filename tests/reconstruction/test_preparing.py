import pytest
import torch

from lightning_mri.physics import Equispaced, PoissonDisc, cg_sense, fft2c, ifft2c
from lightning_mri.reconstruction import MAX_COILS, crop_readout, prepare
from lightning_mri.scaling import Scaling
from lightning_mri.tensors import centre_crop, centre_pad, complex_noise
from tests.builders import array_with_a_vortex, noise


def overlap(a: torch.Tensor, b: torch.Tensor, where: torch.Tensor) -> float:
    """Return the mean of abs(<a, b>) over coils, for normalised maps [coil, y, x] at some pixels."""
    return float((a.conj() * b).sum(0).abs()[where].mean())


@pytest.mark.parametrize("size", [None, (40, 40)])  # the latter cuts the readout
def test_what_was_not_acquired_cannot_leak(measured, size) -> None:
    # defect 6: scale, maps or noise from fully sampled data
    spoilt = torch.where(measured.mask, measured.kspace, complex(1e6, float("nan")))
    clean, other = (prepare(kspace, measured.mask, Scaling(), size) for kspace in (measured.kspace, spoilt))
    for name in ("maps", "scale", "noise_std"):
        assert torch.equal(getattr(clean, name), getattr(other, name)), name
    assert torch.equal(clean.likelihood.y, other.likelihood.y)
    assert torch.equal(clean.likelihood.noise_std, other.likelihood.noise_std)


def test_problem_holds_what_is_true_of_the_scan(measured) -> None:
    problem = prepare(measured.kspace, measured.mask, Scaling())
    assert problem.acceleration == pytest.approx(2.0)
    assert problem.acs.shape == (46, 12)
    assert problem.noise_std.tolist() == pytest.approx([measured.noise_std] * 3, rel=0.25)
    for found, true, image in zip(problem.maps[:, 0], measured.maps, measured.image, strict=True):
        assert overlap(found, true, image.abs() > 0) > 0.99
    # the 99th percentile of a disc of magnitude 200, seen at the resolution of 12 lines
    assert ((problem.scale > 120) & (problem.scale < 260)).all()


def test_maps_are_those_of_each_slice(measured) -> None:
    # defect 11: coil maps of slice 0 used for all slices
    problem = prepare(measured.kspace, measured.mask, Scaling())
    alone = prepare(measured.kspace[2:], measured.mask, Scaling())
    torch.testing.assert_close(problem.maps[2:], alone.maps)
    torch.testing.assert_close(problem.scale[2:], alone.scale)
    inside = measured.image[2].abs() > 0
    assert overlap(problem.maps[2, 0], problem.maps[0, 0], inside) < 0.9


@pytest.mark.parametrize("n_coils", [None, 3])
def test_lines_measured_apart_give_maps_and_scale_though_their_contrast_differs(simulate, n_coils) -> None:
    """The image by every third line alone; the block for calibration of another contrast, three times as strong."""
    full = simulate(torch.ones(1, 46, 40, dtype=torch.bool), noise_std=0.05)
    lines = torch.arange(40)
    mask = (lines % 3 == 20 % 3).expand(1, 46, 40)
    other = 3 * full.image * (1.5 + torch.linspace(-1, 1, 46)[:, None])
    block = (lines - 20).abs() <= 8
    apart = torch.where(block, fft2c(other[:, None] * full.maps), 0)
    problem = prepare(full.kspace, mask, Scaling(), n_coils=n_coils, calibration=apart)
    whole = prepare(full.kspace, full.mask, Scaling(), n_coils=n_coils)
    ratio = problem.scale / whole.scale
    assert ((ratio > 0.7) & (ratio < 1.4)).all()
    x = problem.finish(problem.likelihood.proximal(torch.zeros_like(full.image), 1e4, n_iterations=40))
    error = torch.linalg.vector_norm(x.abs() - full.image.abs()) / torch.linalg.vector_norm(full.image)
    assert float(error) < 0.15
    with pytest.raises(ValueError, match="fully sampled block of at least"):
        prepare(full.kspace, mask, Scaling())


def test_finished_image_is_in_the_units_of_the_input(measured, simulate) -> None:
    full = simulate(torch.ones_like(measured.mask), noise_std=0.01)
    problem = prepare(full.kspace, full.mask, Scaling())
    x = problem.likelihood.proximal(torch.zeros_like(full.image), 1e6, n_iterations=20)
    inside = full.image.abs() > 0
    finished = problem.finish(x)
    assert finished.abs()[inside].tolist() == pytest.approx(full.image.abs()[inside].tolist(), rel=0.02)


def test_a_zero_of_the_virtual_coil_leaves_no_vortex_in_the_image(measured) -> None:
    """The strongest coil is 0 in the middle, where its phase turns once; the object's own phase is 0."""
    _, disc, kspace = array_with_a_vortex()
    problem = prepare(kspace, torch.ones(1, 46, 41, dtype=torch.bool), Scaling())
    image = problem.likelihood.adjoint()
    inside = disc[None] > 0.5
    assert float(image[inside].angle().abs().max()) < 0.5
    finished = problem.finish(image)
    assert float((finished - image * problem.scale).abs().max()) > 0.5 * float(problem.scale)  # its phase is back
    torch.testing.assert_close(problem.to_image_units(finished), image)
    assert prepare(measured.kspace, measured.mask, Scaling()).phase is None  # where nothing turns, nothing changes


def test_unit_of_kspace_does_not_reach_the_likelihood(measured) -> None:
    problem = prepare(measured.kspace, measured.mask, Scaling())
    small = prepare(1e-6 * measured.kspace, measured.mask, Scaling())
    torch.testing.assert_close(small.likelihood.y, problem.likelihood.y, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(1e6 * small.scale, problem.scale, rtol=1e-4, atol=0)
    torch.testing.assert_close(1e6 * small.noise_std, problem.noise_std, rtol=1e-3, atol=0)


def test_scale_and_maps_come_from_the_calibration_lines_alone_where_they_are_many(simulate) -> None:
    measured = simulate(Equispaced(1.6, 20).draw((46, 40), 0))
    problem = prepare(measured.kspace, measured.mask, Scaling(), noise_std=1.0)
    columns = torch.arange(40)
    outside = (columns < problem.acs.x.start) | (columns >= problem.acs.x.stop)
    louder = prepare(torch.where(outside, 3 * measured.kspace, measured.kspace), measured.mask, Scaling())
    assert torch.equal(louder.scale, problem.scale)
    assert torch.equal(louder.maps, problem.maps)


def test_given_noise_is_used_in_image_units(measured) -> None:
    problem = prepare(measured.kspace, measured.mask, Scaling(), noise_std=4.0)
    assert problem.noise_std.tolist() == [4.0] * 3
    torch.testing.assert_close(problem.likelihood.noise_std, 4.0 / problem.scale)


def test_fewer_calibration_lines_can_be_asked_for(measured) -> None:
    assert prepare(measured.kspace, measured.mask, Scaling(), n_center=8).acs.x == slice(16, 24)
    with pytest.raises(ValueError, match="n_center must be 1"):
        prepare(measured.kspace, measured.mask, Scaling(), n_center=13)


def test_readout_is_cut_exactly(measured) -> None:
    # an object inside the central rows: the cut scan is the scan of the cut image
    coil_images = complex_noise((5, 46, 40), torch.Generator().manual_seed(0))
    coil_images[:, :8] = coil_images[:, 38:] = 0
    kspace, mask = crop_readout(fft2c(coil_images) * measured.mask, measured.mask, 30)
    assert mask.shape == (1, 30, 40)
    torch.testing.assert_close(kspace, fft2c(centre_crop(coil_images, (30, 40))) * mask, rtol=0, atol=1e-5)


def test_readout_of_a_two_dimensional_mask_is_cut_in_the_image_instead(simulate) -> None:
    scan = simulate(PoissonDisc(2.0, 14).draw((46, 40), 0))
    kspace, mask = crop_readout(scan.kspace, scan.mask, 30)
    assert kspace is scan.kspace
    assert mask is scan.mask
    problem = prepare(scan.kspace, scan.mask, Scaling(), size=(30, 32))
    assert problem.likelihood.image_shape == (3, 46, 40)
    x = complex_noise((3, 46, 40))
    torch.testing.assert_close(problem.finish(x), centre_crop(x, (30, 32)) * problem.scale[:, None, None])


def test_cut_scan_gives_the_middle_of_the_whole_image(measured) -> None:
    # both by least squares with the same weak prior; the object ends inside the 40 rows
    whole, cut = (prepare(measured.kspace, measured.mask, Scaling(), size=(n, 36)) for n in (46, 40))
    assert cut.likelihood.image_shape == (3, 40, 40)
    image, other = (
        problem.finish(problem.likelihood.proximal(torch.zeros(problem.likelihood.image_shape) + 0j, 1.0))
        for problem in (whole, cut)
    )
    middle = centre_crop(image, (40, 36)).abs()
    assert other.shape == (3, 40, 36)
    assert torch.dist(other.abs(), middle) < 0.02 * middle.norm()


def test_matrix_larger_than_kspace_keeps_that_of_kspace(measured) -> None:
    assert prepare(measured.kspace, measured.mask, Scaling(), size=(64, 32)).size == (46, 32)


def test_sets_of_maps_are_combined_to_one_image(measured) -> None:
    problem = prepare(measured.kspace, measured.mask, Scaling(), n_sets=2)
    assert problem.likelihood.image_shape == (3, 2, 46, 40)
    x = torch.zeros(3, 2, 46, 40, dtype=torch.complex64)
    x[:, 0], x[:, 1] = 3j, 4
    expected = 5j * problem.scale[:, None, None].expand(3, 46, 40)
    torch.testing.assert_close(problem.finish(x), expected)
    torch.testing.assert_close(problem.finish(x.abs()), expected.imag)


def test_whitening_weighs_a_noisy_coil_less(measured) -> None:
    covariance = torch.diag(torch.tensor([1.0, 1, 1, 1, 16])) + 0j
    problem = prepare(measured.kspace, measured.mask, Scaling(), noise_covariance=covariance)
    plain = prepare(measured.kspace, measured.mask, Scaling())
    # relative to coil 0, whose weight is that of the mean noise, in one slice, where the scale cancels
    power = (problem.likelihood.y[0] / problem.likelihood.y[0, 0].abs().max()).abs().square().sum((1, 2))
    before = (plain.likelihood.y[0] / plain.likelihood.y[0, 0].abs().max()).abs().square().sum((1, 2))
    assert (power / before).tolist() == pytest.approx([1, 1, 1, 1, 1 / 16], rel=1e-3)


def test_noise_free_data_keep_a_noise_level(simulate, measured) -> None:
    problem = prepare(simulate(measured.mask, noise_std=0.0).kspace, measured.mask, Scaling())
    assert (problem.likelihood.noise_std >= 1e-4).all()


def _three_bits(kspace, mask):
    step = torch.view_as_real(kspace * mask).abs().max() / 4
    return torch.view_as_complex((torch.view_as_real(kspace) / step).round() * step), mask


SLICES = torch.arange(3)[:, None, None, None]
SPOILT = {
    "fully sampled block": lambda k, m: (k, m & (torch.arange(40) % 20 != 0)),
    r"mask must be bool \[1, y, x\] of kspace \(3, 5, 46, 40\): got .* \(1, 46, 39\)": lambda k, m: (k, m[:, :, 1:]),
    "slice 1 .*: NaN or infinity among acquired samples": lambda k, m: (k + torch.where(SLICES == 1, torch.nan, 0), m),
    "slice 2 of the batch .*: no signal: k-space is all zero": lambda k, m: (k * (SLICES != 2), m),
    "must agree on what was acquired": lambda k, m: (k * (torch.arange(40) > 24), m),
    "no signal above the noise": lambda k, m: (noise(*k.shape), m),
    "digitised too coarsely: multiples of one step up to 4": _three_bits,
}


@pytest.mark.parametrize(("sentence", "spoil"), SPOILT.items())
def test_what_cannot_be_reconstructed_is_said_in_one_sentence(measured, spoil, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence) as told:
        prepare(*spoil(measured.kspace, measured.mask), Scaling())
    assert "\n" not in str(told.value)


def test_whole_scan_and_its_image_agree_on_the_centre(measured) -> None:
    # the transform of the package, so that a cut image is where the whole one is
    problem = prepare(measured.kspace, measured.mask, Scaling(), size=(30, 40))
    coil_images = ifft2c(problem.likelihood.y) * problem.scale[:, None, None, None]
    torch.testing.assert_close(coil_images, centre_crop(ifft2c(measured.kspace), (30, 40)), rtol=1e-4, atol=1e-3)


def test_a_large_array_is_compressed_and_shows_the_same(measured) -> None:
    """Twice the coils that see the same: half as many virtual ones lose nothing, and their noise is as white."""
    turned = torch.cat([measured.kspace, 1j * measured.kspace], 1) / 2**0.5
    few = prepare(turned, measured.mask, Scaling(), n_coils=measured.kspace.shape[1])
    assert few.maps.shape[2] == measured.kspace.shape[1]
    assert (few.findings.n_coils, few.findings.n_virtual_coils) == (turned.shape[1], measured.kspace.shape[1])
    plain = prepare(measured.kspace, measured.mask, Scaling())
    torch.testing.assert_close(few.scale, plain.scale, rtol=1e-3, atol=0)
    both = ((few.maps != 0) & (plain.maps != 0)).any(2)[:, 0]  # a pixel of the rim may be in one support alone
    x, other = (both * problem.likelihood.adjoint().abs() for problem in (few, plain))
    torch.testing.assert_close(x, other, rtol=0, atol=0.02 * float(other.max()))


@pytest.mark.slow
def test_coils_are_kept_on_request(measured) -> None:
    many = measured.kspace.repeat(1, 5, 1, 1)
    assert many.shape[1] > MAX_COILS
    assert prepare(many, measured.mask, Scaling()).maps.shape[2] == MAX_COILS
    assert prepare(many, measured.mask, Scaling(), n_coils=None).maps.shape[2] == many.shape[1]


def image_of(kspace, mask, **options) -> torch.Tensor:
    """Return the image by CG-SENSE, in units of k-space; two sets combined."""
    problem = prepare(kspace, mask, Scaling(), **options)
    return problem.finish(cg_sense(problem.likelihood)).abs()


@pytest.mark.parametrize("options", [{}, {"n_sets": 2}, {"n_coils": 3}])
def test_a_noisy_coil_is_named_and_hardly_spoils_the_image(measured, options) -> None:
    """Unit and shading stay; without whitening, as with a given noise level, the error is twice as large and more."""
    spoilt = measured.kspace.clone()
    spoilt[:, 1] += 50 * measured.noise_std * noise(3, 46, 40) * measured.mask

    plain, other = (image_of(k, measured.mask, **options) for k in (measured.kspace, spoilt))
    worse = image_of(spoilt, measured.mask, noise_std=20 * measured.noise_std, **options)

    assert (other - plain).norm() < 0.5 * (worse - plain).norm()
    assert float(other[plain > 100].median()) == pytest.approx(float(plain[plain > 100].median()), rel=0.02)
    problem = prepare(spoilt, measured.mask, Scaling(), **options)
    assert all("coils noisier than the others" in texts[0] and "1 (" in texts[0] for texts in problem.warnings)
    assert problem.findings.whitened


@pytest.mark.parametrize("wrong", [lambda k: 1000 * k, lambda k: 2e38 + 0 * k])
def test_a_wrong_sample_in_the_calibration_block_is_named_and_replaced(measured, wrong) -> None:
    spoilt = measured.kspace.clone()
    spoilt[1, :, 23, 20] = wrong(spoilt[1, :, 23, 20])

    problem = prepare(spoilt, measured.mask, Scaling())

    plain, other = (image_of(k, measured.mask) for k in (measured.kspace, spoilt))
    assert (other - plain)[1].norm() < 0.1 * plain[1].norm()
    assert torch.equal(other[[0, 2]], plain[[0, 2]])
    assert "(23, 20): replaced" in problem.warnings[1][0]
    assert problem.warnings[0] == problem.warnings[2] == ()


def test_k_space_without_noise_is_told(measured) -> None:
    finer = fft2c(ifft2c(centre_pad(measured.kspace, (92, 80))))
    problem = prepare(finer, torch.ones(1, 92, 80, dtype=torch.bool), Scaling())
    assert all(texts[-1].startswith("no noise was found") for texts in problem.warnings)
    assert not any(prepare(measured.kspace, measured.mask, Scaling()).warnings)
