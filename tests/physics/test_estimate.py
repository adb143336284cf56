"""What a scan tells of its scanner, checked on spectra and on mice whose scanner is known."""

import math

import pytest
import torch

from lightning_mri.phantoms.mice import Mouse
from lightning_mri.physics import (
    Damping,
    Estimated,
    MeasuredSpectrum,
    PowerLaw,
    ScannerEstimate,
    estimate_scanner,
    ifft2c,
)
from lightning_mri.physics.low_field import LowField
from lightning_mri.tensors import complex_noise

from .gaussian_objects import PIXEL, SHAPE, objects

READOUT = 0.0128
ALL = torch.ones(1, *SHAPE, dtype=torch.bool)


def scan(kspace: torch.Tensor, fwhm_mm=0.0, t2star_s=None, noise_std=0.05, seed=99) -> torch.Tensor:
    shape = tuple(kspace.shape[-2:])
    kspace = Damping.gaussian(shape, fwhm_mm, PIXEL)(kspace)
    if t2star_s is not None:
        kspace = Damping.t2star(shape, t2star_s, READOUT / shape[0])(kspace)
    return kspace + noise_std * complex_noise(kspace.shape, torch.Generator().manual_seed(seed))


@pytest.fixture(scope="module")
def gaussian_objects() -> MeasuredSpectrum:
    return MeasuredSpectrum.of([ifft2c(objects(3, seed)[:, 0]) for seed in range(8)], PIXEL)


def found(kspace: torch.Tensor, reference=None) -> ScannerEstimate:
    return estimate_scanner(kspace, ALL, PIXEL, READOUT, reference)


def off(estimate: Estimated, truth: float) -> float:
    return abs(estimate.value - truth) / estimate.standard_error


@pytest.mark.parametrize(("fwhm_mm", "t2star_s"), [(0.6, None), (0.4, 0.005), (0.9, 0.01)])
def test_blur_decay_and_noise_of_a_known_spectrum_are_found(gaussian_objects, fwhm_mm, t2star_s):
    result = found(scan(objects(5, 50), fwhm_mm, t2star_s), gaussian_objects)
    assert off(result.fwhm_mm, fwhm_mm) < 3
    assert off(result.r2star_hz, 0 if t2star_s is None else 1 / t2star_s) < 3
    assert result.fwhm_mm.value == pytest.approx(fwhm_mm, rel=0.15)
    torch.testing.assert_close(result.noise_std, torch.full((5,), 0.05), rtol=0.05, atol=0)


def test_standard_errors_are_what_repetition_shows(gaussian_objects):
    results = [found(scan(objects(2, 100 + i), 0.6, 0.006, seed=i), gaussian_objects) for i in range(24)]
    for name, truth in (("fwhm_mm", 0.6), ("r2star_hz", 1 / 0.006), ("readout_decay_hz", 0.0)):
        values = torch.tensor([getattr(result, name).value for result in results])
        error = torch.tensor([getattr(result, name).standard_error for result in results]).mean().item()
        assert 0.6 < values.std().item() / error < 1.5, name
        assert abs(values.mean().item() - truth) < error, name
    noise = torch.cat([result.noise_std for result in results])
    assert noise.std().item() / noise.mean().item() == pytest.approx(results[0].noise_error, rel=0.4)


def test_a_signal_that_decays_through_the_readout_is_told_without_a_reference():
    t = (torch.arange(SHAPE[0]) - SHAPE[0] // 2)[:, None] * READOUT / SHAPE[0]
    kspace = scan(objects(4, 7) * torch.exp(-t / 0.02))
    result = found(kspace)
    assert off(result.readout_decay_hz, 50) < 3
    assert result.readout_decay_hz.found
    assert any("not symmetric about the echo" in warning for warning in result.warnings)
    assert off(found(kspace.flip(-1)).readout_decay_hz, 50) < 3  # along the readout alone


def test_blur_and_decay_are_not_guessed_without_a_reference():
    result = found(scan(objects(3, 8), 0.8, 0.005))
    assert result.fwhm_mm is None
    assert result.r2star_hz is None
    assert any("blur cannot be distinguished from a smooth object" in warning for warning in result.warnings)
    assert LowField(fwhm_mm=0.3, t2star_s=0.01).matched(result) == LowField(fwhm_mm=0.3, t2star_s=0.01)


def test_a_power_law_tells_the_blur_as_well_as_its_exponent_is_known():
    kspace = scan(objects(4, 9, exponent=3.2), 0.7)
    vague, sure = (found(kspace, PowerLaw(3.0, std)).fwhm_mm for std in (0.5, 0.01))
    assert vague.standard_error > 2 * sure.standard_error
    assert off(vague, 0.7) < 2
    assert off(sure, 0.7) > 2  # it trusts a law that is not so
    assert found(kspace, PowerLaw()).r2star_hz is None


def test_what_is_not_there_is_said_to_be_indistinguishable_from_nothing(gaussian_objects):
    result = found(scan(objects(3, 11)), gaussian_objects)
    assert not result.r2star_hz.found
    assert any("no T2* decay about the echo found" in warning for warning in result.warnings)
    assert result.fwhm_mm.value < 0.15
    matched = LowField(pixel_size=0.2).matched(result)
    assert matched.t2star_s is None or matched.t2star_s > 0.05


def test_a_scan_without_noise_or_with_holes_is_no_special_case(gaussian_objects):
    for noise_std in (0.0, 1e-4, 1e-2):
        clean = found(scan(objects(2, 12), 0.6, noise_std=noise_std), gaussian_objects)
        assert clean.fwhm_mm.value == pytest.approx(0.6, rel=0.05)
        assert clean.noise_std.tolist() == pytest.approx([noise_std] * 2, rel=0.1, abs=1e-5)
    mask = torch.rand(1, *SHAPE, generator=torch.Generator().manual_seed(0)) > 0.4
    kspace = scan(objects(4, 13), 0.6)
    holes = estimate_scanner(kspace * mask, mask, PIXEL, READOUT, gaussian_objects)
    filled = estimate_scanner(kspace * mask + 7 * ~mask, mask, PIXEL, READOUT, gaussian_objects)
    assert off(holes.fwhm_mm, 0.6) < 3
    assert filled.fwhm_mm.value == pytest.approx(holes.fwhm_mm.value, rel=1e-6)  # what was not acquired does not matter


def test_noise_alone_tells_no_blur(gaussian_objects):
    """The centre of k-space is bright and the rest is noise: the blur might be as wide as one likes."""
    kspace = scan(torch.zeros(2, 1, *SHAPE, dtype=torch.complex64), noise_std=1.0)
    kspace[..., SHAPE[0] // 2, SHAPE[1] // 2] = 1000
    result = found(kspace, gaussian_objects)
    assert (result.fwhm_mm, result.r2star_hz, result.readout_decay_hz) == (None, None, None)
    assert any("hardly any signal stands out of the noise" in warning for warning in result.warnings)
    torch.testing.assert_close(result.noise_std, torch.ones(2), rtol=0.05, atol=0)
    assert LowField(fwhm_mm=0.3).matched(result) == LowField(fwhm_mm=0.3)


def test_objects_that_differ_make_the_answer_less_certain():
    alike = MeasuredSpectrum.of([ifft2c(objects(3, seed)[:, 0]) for seed in range(8)], PIXEL)
    exponents = torch.linspace(2.5, 3.5, 8).tolist()
    differ = MeasuredSpectrum.of([ifft2c(objects(3, i, p)[:, 0]) for i, p in enumerate(exponents)], PIXEL)
    kspace = scan(objects(3, 20), 0.6)
    assert found(kspace, differ).fwhm_mm.standard_error > 1.5 * found(kspace, alike).fwhm_mm.standard_error


def test_a_reference_is_of_the_object_not_of_its_matrix():
    reference = MeasuredSpectrum.of(
        [ifft2c(objects(3, seed, aspect=1.5, shape=(90, 80))[:, 0]) for seed in range(8)], PIXEL
    )
    result = found(scan(objects(4, 30, aspect=1.5), 0.6), reference)
    assert off(result.fwhm_mm, 0.6) < 3


def test_the_readout_may_run_along_either_axis_and_start_late(gaussian_objects):
    """Without the first 16 of 72 samples, the readout takes 56 / 72 of the time."""
    kspace, mask = scan(objects(3, 40), 0.4, 0.005), ALL.clone()
    mask[:, :16] = False
    part = estimate_scanner(kspace, mask, PIXEL, READOUT * 56 / 72, gaussian_objects)
    assert part.r2star_hz.value == pytest.approx(200, abs=2.5 * part.r2star_hz.standard_error)
    turned = MeasuredSpectrum.of([ifft2c(objects(3, seed)[:, 0]).mT for seed in range(8)], PIXEL[::-1])
    across = estimate_scanner(kspace.mT, mask.mT, PIXEL[::-1], READOUT * 56 / 72, turned, "x")
    for name in ("fwhm_mm", "r2star_hz", "readout_decay_hz"):
        assert getattr(across, name).value == pytest.approx(getattr(part, name).value, rel=0.02, abs=0.5), name


def test_the_phase_of_objects_is_no_decay_through_the_readout():
    """Objects whose signal is stronger on one side of the echo, as one phase or another makes it."""
    y = (torch.arange(SHAPE[0]) - SHAPE[0] // 2)[:, None]

    def uneven(seed: int) -> torch.Tensor:
        return objects(3, seed) * torch.exp(0.01 * math.sin(seed) * y)

    complex_ones = MeasuredSpectrum.of([ifft2c(uneven(seed)[:, 0]) for seed in range(8)], PIXEL)
    real_ones = MeasuredSpectrum.of([ifft2c(uneven(seed)[:, 0]).abs() + 0j for seed in range(8)], PIXEL)
    results = [found(scan(uneven(seed)), complex_ones).readout_decay_hz for seed in range(50, 62)]
    z = torch.tensor([result.value / result.standard_error for result in results])
    assert 0.4 < z.square().mean().sqrt() < 1.5
    assert found(scan(uneven(50)), real_ones).readout_decay_hz.standard_error > 0.15 / READOUT


@pytest.mark.slow
def test_mice_show_the_errors_that_are_told():
    """What is smooth of a spectrum errs alike for every mouse, and mice have phase."""
    pixel, shape, n_references = (0.3, 0.3), (64, 64), 6
    mice = [torch.stack([Mouse(i).slice(z, shape, 0.3) for z in (-2.9, -1.7)]) for i in range(n_references + 10)]
    reference = MeasuredSpectrum.of(mice[:n_references], pixel)
    scanner = LowField(snr_db=(20.0, 20.0), fwhm_mm=0.6, t2star_s=0.008, pixel_size=0.3)
    scans = [scanner.degrade(images, [2 * i, 2 * i + 1]) for i, images in enumerate(mice[n_references:])]
    results = [estimate_scanner(one.y, one.acquired, pixel, READOUT, reference) for one in scans]
    for name, truth in (("fwhm_mm", 0.6), ("r2star_hz", 125.0), ("readout_decay_hz", 0.0)):
        z = torch.tensor([(getattr(one, name).value - truth) / getattr(one, name).standard_error for one in results])
        assert z.square().mean().sqrt() < 1.6, name
        assert abs(z.mean()) < 1, name


@pytest.mark.slow
def test_a_simulated_mouse_gives_its_blur_and_its_noise():
    pixel, shape = 0.15, (96, 80)
    mice = [torch.stack([Mouse(i).slice(z, shape, pixel) for z in (-2.9, -1.7)]) for i in range(5)]
    reference = MeasuredSpectrum.of(mice[1:], (pixel, pixel))
    measured = LowField(fwhm_mm=0.4, t2star_s=0.008).degrade(mice[0], [1, 2])
    result = estimate_scanner(measured.y, torch.ones(1, *shape) > 0, (pixel, pixel), READOUT, reference)
    assert result.fwhm_mm.value == pytest.approx(0.4, rel=0.35)
    assert off(result.r2star_hz, 125) < 2.5
    torch.testing.assert_close(result.noise_std, measured.noise_std, rtol=0.03, atol=0)
