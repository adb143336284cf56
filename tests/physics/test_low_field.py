import math

import pytest
import torch

from lightning_mri.physics import (
    Damping,
    Equispaced,
    GaussianLikelihood,
    Maps,
    Mask,
    Phase,
    fft2c,
    ifft2c,
    sense,
    without_degradation,
)
from lightning_mri.physics.low_field import LowField, ModelMismatch, Volume, b0_offset, scaled
from lightning_mri.scaling import Scaling
from lightning_mri.tensors import complex_noise
from tests.regimes import NOISE, NOISE_BLUR, NOISE_BLUR_T2STAR, NOISE_BLUR_T2STAR_B0

SHAPE = (36, 45)
EXACT = (100.0, 100.0)


def images(n: int = 2) -> torch.Tensor:
    z = complex_noise((n, *SHAPE), torch.Generator().manual_seed(0))
    y, x = (torch.linspace(-1, 1, m) for m in SHAPE)
    window = torch.exp(-4 * (y[:, None] ** 2 + x**2))
    return ifft2c(window * z) + 3 * window


def snr_db(likelihood) -> list[float]:
    """Signal-to-noise ratio of names.md, from the noise itself."""
    noise = likelihood.y - likelihood.A(images(len(likelihood.y)))
    signal = likelihood.y - noise
    mask = likelihood.A.find(Mask).mask
    parts = zip(signal, noise, mask, strict=True)
    return [10 * math.log10(s[m].abs().square().mean() / n[m].abs().square().mean()) for s, n, m in parts]


@pytest.mark.parametrize("regime", [NOISE, NOISE_BLUR, NOISE_BLUR_T2STAR, NOISE_BLUR_T2STAR_B0])
def test_noise_has_the_signal_to_noise_ratio_that_is_asked_for(regime):
    for low, high in ((2.0, 2.0), (7.0, 7.0)):
        likelihood = LowField(**{**vars(regime), "snr_db": (low, high)}).degrade(images(), seeds=[1, 2])
        assert snr_db(likelihood) == pytest.approx([low] * 2, abs=0.3)
    between = snr_db(regime.degrade(images(5), seeds=range(5)))
    assert all(1.7 < value < 7.3 for value in between)
    assert max(between) - min(between) > 1


@pytest.mark.parametrize("unit", [1e-30, 1e30])
def test_images_may_have_any_unit(unit):
    one, other = (NOISE_BLUR.degrade(c * images(), seeds=[1, 2]) for c in (1.0, unit))
    torch.testing.assert_close(other.y / unit, one.y)
    torch.testing.assert_close(other.noise_std / unit, one.noise_std)


def test_the_likelihood_knows_its_noise():
    likelihood = NOISE_BLUR_T2STAR_B0.degrade(images(), seeds=[3, 4])
    torch.testing.assert_close(likelihood.residual_std(images()), likelihood.noise_std, rtol=0.05, atol=0)


def test_noise_is_measured_on_acquired_samples_only():
    field = LowField(snr_db=(4.0, 4.0), pattern=Equispaced(3.0, 9))
    likelihood = field.degrade(images(), seeds=[1, 2])
    assert snr_db(likelihood) == pytest.approx([4.0] * 2, abs=0.4)
    mask = likelihood.A.find(Mask).mask
    assert mask.float().mean().item() == pytest.approx(1 / 3, abs=0.02)
    assert not likelihood.y[~mask].any()


def test_each_effect_is_a_factor_that_can_be_switched():
    x = images()
    factors = {kind: regime.operator(SHAPE, [1]).find(kind) for regime in [NOISE] for kind in (Damping, Phase)}
    assert factors == {Damping: None, Phase: None}
    torch.testing.assert_close(NOISE.operator(SHAPE, [1, 2])(x)[:, 0], fft2c(x))
    assert NOISE_BLUR_T2STAR.operator(SHAPE, [1]).find(Phase) is None
    assert NOISE_BLUR_T2STAR_B0.operator(SHAPE, [1]).find(Phase) is not None


def test_images_of_several_pixel_sizes_need_no_blur_and_no_decay():
    """Regression: a TypeError of `damping`, which got the sizes one after the other."""
    assert NOISE.operator(SHAPE, [1, 2], pixel_sizes=[(0.1, 0.1), (0.2, 0.2)]).find(Damping) is None


def test_blur_has_the_width_that_is_asked_for():
    field = LowField(snr_db=EXACT, fwhm_mm=0.9, pixel_size=0.15)
    point = torch.zeros(1, *SHAPE, dtype=torch.complex64)
    point[0, 18, 22] = 1
    spread = ifft2c(field.operator(SHAPE, [0])(point))[0, 0].real
    assert (spread[18, 22 + 3] / spread[18, 22]).item() == pytest.approx(0.5, abs=0.01)
    assert (spread[18 + 3, 22] / spread[18, 22]).item() == pytest.approx(0.5, abs=0.01)


def test_decay_is_along_the_readout_and_none_at_the_echo():
    weights = LowField(t2star_s=0.004, readout_s=0.012).operator(SHAPE, [0]).find(Damping).weights[0]
    across = LowField(t2star_s=0.004, readout_s=0.012, readout="x").damping((SHAPE[1], SHAPE[0])).weights[0]
    assert torch.equal(across, weights.mT.expand(across.shape))
    assert weights[18].eq(1).all()
    # 18 of 36 samples from the echo are half of 12 ms
    torch.testing.assert_close(weights[0], torch.full((45,), math.exp(-6 / 4)))


def test_blur_and_decay_multiply():
    parts = [LowField(fwhm_mm=0.4), LowField(t2star_s=0.004), LowField(fwhm_mm=0.4, t2star_s=0.004)]
    blur, decay, both = (part.operator(SHAPE, [0]).find(Damping).weights for part in parts)
    torch.testing.assert_close(blur * decay, both)


def volume_offset(seed, n=9):
    return torch.stack([b0_offset(SHAPE, seed, -1 + 2 * k / (n - 1)) for k in range(n)])


def test_the_offset_peaks_where_it_is_told_to():
    offset = volume_offset(3)
    assert offset.abs().max().item() == pytest.approx(1)
    assert offset.mean().item() == pytest.approx(0, abs=1e-6)
    assert not torch.equal(offset, volume_offset(4))
    volume = Volume(3, tuple(torch.linspace(-1, 1, 9).tolist()))
    phase = LowField(b0_hz=50.0, te_s=0.01).operator(SHAPE, range(9), volume).find(Phase).phase
    assert phase.abs().max().item() <= math.pi * 1.0001


def test_the_offset_is_smooth_in_all_three_directions():
    for seed in range(5):
        offset = volume_offset(seed, 33)
        assert max(offset.diff(dim=axis).abs().max() for axis in (1, 2)) < 1
        steps = offset.diff(dim=0).abs().amax((1, 2))
        assert steps.max() < 0.4
        # halved distances halve the steps: no jump from slice to slice
        assert volume_offset(seed, 65).diff(dim=0).abs().max() < 0.6 * steps.max()


def test_slices_of_one_volume_share_their_field_whatever_their_noise():
    x = images()
    first, other = (NOISE_BLUR_T2STAR_B0.degrade(x, [5, seed], Volume(8, (0.3, 0.3))) for seed in (6, 7))
    fields = [likelihood.A.find(Phase).phase for likelihood in (first, other)]
    assert torch.equal(fields[0][0], fields[0][1])
    assert torch.equal(fields[0], fields[1])
    assert not torch.equal(first.y[1], other.y[1])
    apart = NOISE_BLUR_T2STAR_B0.degrade(x, [5, 6], Volume(8, (0.3, 0.9))).A.find(Phase).phase
    assert torch.equal(apart[0], fields[0][0])
    assert not torch.equal(apart[1], fields[0][1])


def test_a_misjudged_scanner_is_wrong_in_every_effect_and_the_measurement_stays():
    likelihood = NOISE_BLUR_T2STAR_B0.degrade(images(), [1, 2], Volume(4, (0.0, 0.5)))
    wrong = ModelMismatch(1.25).apply(likelihood, NOISE_BLUR_T2STAR_B0, [1, 2], Volume(4, (0.0, 0.5)))
    assert torch.equal(wrong.y, likelihood.y)
    torch.testing.assert_close(wrong.noise_std, 1.25 * likelihood.noise_std)
    phase, assumed = (one.A.find(Phase).phase for one in (likelihood, wrong))
    torch.testing.assert_close(assumed, 1.25 * phase)
    # the logarithm of the gain is quadratic in the width of the blur, and linear in the rate of the decay
    blur, decay = (ModelMismatch(1.25).of(one) for one in (NOISE_BLUR, LowField(t2star_s=0.01)))
    gains = [one.operator(SHAPE, [1]).find(Damping).weights[0, 9:27, 11:34].log() for one in (NOISE_BLUR, blur)]
    torch.testing.assert_close(gains[1], 1.25**2 * gains[0])
    gains = [one.operator(SHAPE, [1]).find(Damping).weights.log() for one in (LowField(t2star_s=0.01), decay)]
    torch.testing.assert_close(gains[1], 1.25 * gains[0], rtol=1e-4, atol=1e-5)
    right = ModelMismatch(1.0).apply(likelihood, NOISE_BLUR_T2STAR_B0, [1, 2], Volume(4, (0.0, 0.5)))
    torch.testing.assert_close(right.A(images()), likelihood.A(images()))


def test_a_seed_decides_about_one_image_alone():
    x = images()
    both = NOISE_BLUR_T2STAR_B0.degrade(x, seeds=[5, 6])
    alone = NOISE_BLUR_T2STAR_B0.degrade(x[1:], seeds=[6])
    torch.testing.assert_close(both.y[1:], alone.y)
    torch.testing.assert_close(both.noise_std[1:], alone.noise_std)
    torch.manual_seed(1)
    first = NOISE.degrade(x)
    torch.manual_seed(1)
    assert torch.equal(first.y, NOISE.degrade(x).y)
    assert not torch.equal(first.y, NOISE.degrade(x).y)


def test_a_blind_likelihood_keeps_the_measurement_and_forgets_the_degradation():
    likelihood = NOISE_BLUR_T2STAR_B0.degrade(images(), seeds=[1, 2])
    other = without_degradation(likelihood)
    assert [type(part) for part in other.A.factors if isinstance(part, Damping | Phase)] == []
    assert other.A.find(Maps) is not None
    assert torch.equal(other.y, likelihood.y)
    torch.testing.assert_close(other.adjoint(), ifft2c(likelihood.y)[:, 0])


def test_the_scale_comes_from_the_measurement_and_scales_it():
    likelihood = LowField(snr_db=(20.0, 20.0)).degrade(images(), seeds=[1, 2])
    in_image_units, scale = scaled(likelihood, Scaling())
    torch.testing.assert_close(in_image_units.y * scale[:, None, None, None], likelihood.y)
    torch.testing.assert_close(in_image_units.noise_std * scale, likelihood.noise_std)
    torch.testing.assert_close(scale, Scaling().of(images()), rtol=0.2, atol=0)
    tenfold, larger = scaled(likelihood.replace(y=10 * likelihood.y), Scaling())
    torch.testing.assert_close(larger, 10 * scale)
    torch.testing.assert_close(tenfold.y, in_image_units.y)


def one_coil(kspace, mask) -> GaussianLikelihood:
    A = sense(torch.ones(1, 1, 1, *kspace.shape[-2:], dtype=torch.complex64), mask)
    return GaussianLikelihood(A, kspace * mask, torch.ones(len(kspace)))


def test_each_slice_is_scaled_by_the_block_of_its_own_mask():
    mask = torch.ones(2, 1, *SHAPE, dtype=torch.bool)
    mask[0, ..., :15] = mask[0, ..., 30:] = False
    both = one_coil(fft2c(images())[:, None], mask)
    each = [scaled(both.rows([i]), Scaling())[1] for i in range(2)]
    torch.testing.assert_close(scaled(both, Scaling())[1], torch.cat(each))
    assert each[0].item() != pytest.approx(each[1].item(), rel=1e-3)


def test_the_scale_is_that_of_the_centre_of_kspace():
    noise = complex_noise((1, 1, 96, 96), torch.Generator().manual_seed(0))
    louder = noise * torch.where(torch.arange(96) < 10, 5, 1)[:, None]
    mask = torch.ones(1, 96, 96, dtype=torch.bool)
    assert scaled(one_coil(noise, mask), Scaling())[1].equal(scaled(one_coil(louder, mask), Scaling())[1])
