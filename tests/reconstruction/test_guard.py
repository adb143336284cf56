import re
from collections.abc import Callable
from dataclasses import dataclass, replace

import pytest
import torch
from torch import Tensor

from lightning_mri.baselines import ZeroFilled
from lightning_mri.evaluation.pictures import flagged
from lightning_mri.physics import Acs, Damping, Maps, Mask, estimate_maps, fft2c, find_acs, sense
from lightning_mri.reconstruction import (
    BaselineFallback,
    Estimate,
    Fallback,
    Guard,
    Problem,
    Reconstructor,
    Residual,
    SoftSense,
    measure_residual,
    prepare,
)
from lightning_mri.reconstruction.guard import _split
from lightning_mri.reconstruction.symptoms import CONTRADICTED, aliased_share, block_of, contradicted_share
from lightning_mri.sampling import DDS, HQS
from lightning_mri.scaling import Scaling
from lightning_mri.tensors import complex_noise

from .conftest import SCALE

QUICK = HQS(n_steps=4)


def estimate(problem: Problem, image: Tensor) -> Estimate:
    x = image / problem.scale[: len(image), None, None]
    return Estimate(problem, x, torch.zeros_like(x.real), problem.likelihood)


def folded(measured, n_sets: int = 1) -> Problem:
    """Return the first slice in a field of view half as wide along y, onto which the rest folds."""
    images = (measured.maps * measured.image[:, None])[:1]
    folded = (images[..., 12:35, :] + torch.cat([images[..., 35:, :], images[..., :12, :]], -2)) / 2
    noise = complex_noise(folded.shape, torch.Generator().manual_seed(3))
    mask = measured.mask[:, :23]
    return prepare((fft2c(folded) + measured.noise_std * noise) * mask, mask, Scaling(), n_sets=n_sets)


def solved(problem: Problem, prior, guard: Guard, sampler: HQS = QUICK):
    return Reconstructor(prior, sampler, uncertainty=None, guard=guard).solve(problem, "scan")


def shares(reason: str) -> tuple[float, ...]:
    """Return the share of the signal that a warning says is unexplained, and the limit that it names."""
    return tuple(float(number) / 100 for number in re.findall(r"([\d.]+) %", reason))


def test_a_true_image_leaves_the_noise_and_zeros_the_whole_signal_averaged_by_power(measured, known) -> None:
    truth = measured.image / SCALE
    true, zero, both = (
        measure_residual(known.likelihood, x) for x in (truth, 0 * truth, torch.stack([truth, 0 * truth]))
    )
    assert true.noise_ratio.tolist() == pytest.approx([1, 1, 1], rel=0.03)
    assert zero.signal_ratio.tolist() == pytest.approx([1, 1, 1])
    torch.testing.assert_close(both.noise_ratio, ((true.noise_ratio**2 + zero.noise_ratio**2) / 2).sqrt())
    assert Guard().reasons(estimate(known, measured.image)) == {}


def test_what_noise_explains_does_not_count() -> None:
    checked = Residual(noise_ratio=torch.tensor([0.7, 1.0, 2.0, 1e4]), signal_ratio=torch.tensor([0.5, 0.5, 0.5, 0.03]))
    assert checked.unexplained.tolist() == pytest.approx([0, 0, 0.5 * (1 - 1.05 / 4) ** 0.5, 0.03])


def test_only_the_slice_whose_head_moved_is_suspect(measured, known) -> None:
    image = measured.image.clone()
    image[1] = image[1].roll(2, -2)
    ((row, _),) = Guard().reasons(estimate(known, image)).items()
    assert row == 1


def test_the_share_that_is_told_is_the_one_that_is_judged(measured, known) -> None:
    """Regression: what noise explains was told as unexplained, too."""
    kspace = known.likelihood.y
    noise = 20 * float(known.likelihood.noise_std[0])
    y = kspace + torch.where(
        known.likelihood.acquired, noise * complex_noise(kspace.shape, torch.Generator().manual_seed(4)), 0
    )
    noisy = replace(known, likelihood=known.likelihood.replace(y=y, noise_std=torch.tensor(noise)))
    off = estimate(noisy, 0.8 * measured.image)
    residual = measure_residual(noisy.likelihood, off.image)
    assert (residual.signal_ratio > 1.2 * residual.unexplained).all()
    told = [shares(reason) for reason in Guard(unexplained=0.025, fallbacks=()).reasons(off).values()]
    assert [limit for _, limit in told] == [0.025] * 3
    assert [share for share, _ in told] == pytest.approx(residual.unexplained.tolist(), rel=0.01)


def test_maps_that_were_refined_do_not_hide_that_they_were_wrong(measured, known) -> None:
    """Regression: refinement took in half of what a coil of the wrong sign left, and nothing was doubted."""
    signs = torch.ones(known.maps.shape[-3], 1, 1).index_fill(0, torch.tensor(0), -1)
    calibrated = known.likelihood.replace(A=known.likelihood.A.replace(Maps, Maps(signs * known.maps)))
    wrong = replace(known, likelihood=calibrated, maps=signs * known.maps)
    refined = replace(estimate(wrong, measured.image), likelihood=known.likelihood)
    assert [reason[:16] for reason in Guard().reasons(refined).values()] == ["beyond the noise"] * 3


def test_an_inversion_of_all_lines_does_not_hide_calibration_lines_of_another_sign(measured) -> None:
    acs, y = find_acs(measured.mask), measured.kspace.clone()
    y[:, 0, acs.y, acs.x] *= -1
    right, wrong = (prepare(kspace, measured.mask, Scaling()) for kspace in (measured.kspace, y))
    assert right.findings.maps_inverted.all()
    assert contradicted_share(right).max() < 0.5 * CONTRADICTED
    assert contradicted_share(wrong).min() > CONTRADICTED


def test_a_head_that_moved_during_the_scan_is_only_warned_of(measured, known, prior) -> None:
    """It moves by half a pixel before the centre of k-space; what is too little for a fallback is told.

    Maps of so few pixels would take it in, if they were refined.
    """
    columns = torch.arange(measured.image.shape[-1]) - measured.image.shape[-1] // 2
    shift = torch.polar(torch.ones(1), torch.pi * columns / len(columns))
    y = torch.where(columns < 0, shift, 1) * known.likelihood.y
    moved = replace(known, likelihood=known.likelihood.replace(y=y))
    guard = Guard(unexplained=1)
    kept = replace(QUICK, refinement=None)
    still = solved(known, prior, guard, kept)
    assert not any("contradict" in warning for warning in still.warnings)
    result = solved(moved, prior, guard, kept)
    told = [warning for warning in result.warnings if "calibration lines contradict each other by" in warning]
    assert len(told) == 3
    assert result.findings.fallback.tolist() == [0, 0, 0]


def test_coil_maps_that_were_off_until_they_were_refined_are_no_motion(measured, known) -> None:
    off = known.maps * torch.ones(known.maps.shape[-3], 1, 1).index_fill(0, torch.tensor(0), 1.05)
    likelihood = known.likelihood.replace(A=known.likelihood.A.replace(Maps, Maps(off)))
    kept = estimate(replace(known, likelihood=likelihood, maps=off), measured.image)
    guard = Guard(unexplained=1)

    def remarks(guess: Estimate) -> dict:
        return guard.review(guess, range(3), lambda *_: pytest.fail("nothing else is tried"))

    assert all("calibration lines contradict" in remark.description for remark in remarks(kept).values())
    assert len(remarks(kept)) == 3
    assert remarks(replace(kept, likelihood=known.likelihood)) == {}


def test_lines_that_each_have_a_phase_of_their_own_are_only_warned_of(measured, known, prior) -> None:
    """A seventh of the signal of the other lines is unexplained, which the calibration lines tell by little."""
    turns = torch.rand(measured.mask.shape[-1], generator=torch.Generator().manual_seed(5))
    turns[find_acs(measured.mask).x] = 0
    y = torch.polar(torch.ones(1), 2 * torch.pi * turns) * known.likelihood.y
    result = solved(replace(known, likelihood=known.likelihood.replace(y=y)), prior, Guard(unexplained=1))
    told = [warning for warning in result.warnings if "outside of the calibration block contradict" in warning]
    assert len(told) == 3
    assert result.findings.fallback.tolist() == [0, 0, 0]


def test_a_noise_level_that_is_off_by_two_percent_is_no_motion(measured, known) -> None:
    """At 5 dB the noise that is taken for signal then is as much as motion leaves at 20 dB."""
    power = known.likelihood.y.abs().square().sum((-3, -2, -1)) / known.likelihood.n_acquired
    std = (power / 2 / 10**0.5).sqrt()
    noise = complex_noise(known.likelihood.y.shape, torch.Generator().manual_seed(4)) * measured.mask
    noisy = known.likelihood.replace(y=known.likelihood.y + std[:, None, None, None] * noise, noise_std=std / 1.02)
    guess = estimate(replace(known, likelihood=noisy), measured.image)
    assert Guard().review(guess, range(3), lambda *_: pytest.fail("nothing else is tried")) == {}


def test_an_image_that_is_not_finite_is_suspect(measured, known) -> None:
    assert len(Guard().reasons(estimate(known, measured.image * float("nan")))) == 3


@pytest.mark.parametrize("factor", [0.1, 10.0])
def test_a_wrong_noise_level_is_suspect(measured, known, factor) -> None:
    noise = factor * known.likelihood.noise_std
    wrong = replace(known, likelihood=known.likelihood.replace(noise_std=noise))
    reasons = Guard(unexplained=1).reasons(estimate(wrong, measured.image))
    assert list(reasons) == [0, 1, 2]
    assert all(reason.startswith("the noise level is ") for reason in reasons.values())


def test_a_calibration_block_beside_the_centre_is_suspect(measured, known) -> None:
    turns = torch.polar(torch.ones(1), 2 * torch.pi * 9 * torch.linspace(-0.5, 0.5, measured.image.shape[-1]))
    y = fft2c(measured.maps * (turns * measured.image)[:, None]) * measured.mask / SCALE
    moved = replace(known, likelihood=known.likelihood.replace(y=y))
    reasons = Guard().reasons(estimate(moved, turns * measured.image))
    assert all("does not hold the centre" in reasons[row] for row in range(3))


def test_a_folded_field_of_view_is_reconstructed_with_two_sets_of_maps(measured, prior) -> None:
    result = solved(folded(measured), prior, Guard(fallbacks=(SoftSense(),)))
    assert result.findings.fallback.tolist() == [1]
    (told,) = (warning for warning in result.warnings if warning.startswith("slice 0: "))
    assert "two sets of coil maps, which predicts held-out lines" in told
    two = solved(folded(measured, n_sets=2), prior, Guard(fallbacks=()))
    assert float((result.magnitude - two.magnitude).norm() / two.magnitude.norm()) < 0.02


def never(problem: Problem) -> Estimate:
    raise AssertionError


@dataclass(frozen=True)
class Oracle(Fallback):
    """Knows the image."""

    image: Tensor
    calls: list[int]

    @property
    def description(self) -> str:
        return "the truth"

    def reconstruct(self, problem: Problem, draw: Callable) -> Estimate:
        self.calls.append(int(problem.likelihood.n_acquired[0]))
        return estimate(problem, self.image)


def test_the_fall_back_is_chosen_by_lines_it_has_not_seen(measured, known, prior) -> None:
    calls: list[int] = []
    problem = replace(known, likelihood=known.likelihood.replace(noise_std=50 * known.likelihood.noise_std))
    worse, better = Oracle(0 * measured.image[1:2], []), Oracle(measured.image[1:2], calls)
    guard = Guard(fallbacks=(worse, better, BaselineFallback(ZeroFilled())))
    result = solved(problem, prior, guard)
    assert result.findings.fallback[1] == 2
    torch.testing.assert_close(result.image[1], measured.image[1])
    n_all = int(problem.likelihood.n_acquired[0])
    assert set(calls) == {min(calls), n_all}
    assert min(calls) < n_all


def test_the_prior_is_kept_where_nothing_predicts_held_out_lines(measured, known) -> None:
    """Regression: a baseline that predicts no better was taken, and made an intact head's image 2.6 times worse."""
    outside = measured.mask & ~block_of(known)
    noise = complex_noise(known.likelihood.y.shape, torch.Generator().manual_seed(6)) * known.likelihood.y.abs().mean()
    problem = replace(known, likelihood=known.likelihood.replace(y=torch.where(outside, noise, known.likelihood.y)))
    suspect = estimate(problem.only(0), 0 * measured.image[:1])
    guard = Guard(fallbacks=(BaselineFallback(ZeroFilled()),))
    verdict = guard.review(suspect, [0], lambda part, *_: estimate(part, 0 * measured.image[:1]))[0]
    assert verdict.fallback == 0
    assert "do not trust this slice" in verdict.description


def test_a_slice_is_not_doubted_where_the_lines_to_compare_by_are_noise(measured, known, simulate) -> None:
    y, noise_std = simulate(measured.mask, 25.0).kspace / SCALE, torch.full((3,), 25 / SCALE)
    noisy = replace(known, likelihood=known.likelihood.replace(y=y, noise_std=noise_std))
    guard = Guard(fallbacks=(BaselineFallback(ZeroFilled()),))
    verdict = guard._verdict(noisy, 0, lambda part, *_: estimate(part, measured.image[:1]))
    assert "do not trust this slice" not in verdict.description


@pytest.mark.parametrize(("n", "expected"), [(4, [13, 36]), (1, None)])
def test_lines_to_compare_by_are_neither_beside_the_block_nor_all_at_the_edge(known, n, expected) -> None:
    away = [20 - 3 - 4 * k for k in range(n)] + [20 + 4 + 4 * k for k in range(n)]  # 3 to 16 lines from the middle
    columns = torch.zeros(40, dtype=torch.bool)
    columns[away] = True
    columns[18:23] = True
    mask = columns.expand(1, 46, 40)
    one = known.only(0)
    A = one.likelihood.A.replace(Mask, Mask(mask))
    few = one.likelihood.replace(A=A, y=one.likelihood.y * mask)
    found = _split(replace(one, likelihood=few, acs=Acs(slice(0, 46), slice(18, 23))))
    if expected is None:  # too few
        assert found is None
        return
    kept, held = found
    assert held[0, 0].nonzero().flatten().tolist() == expected
    assert torch.equal(kept, mask & ~held)


def test_a_slice_without_suspicion_costs_nothing_and_stays_as_it_is(measured, prior) -> None:
    calls: list[int] = []
    problem = prepare(measured.kspace, measured.mask, Scaling())
    result = solved(problem, prior, Guard(1.0, (Oracle(measured.image, calls),)))
    assert calls == []
    assert result.findings.fallback.tolist() == [0, 0, 0]
    plain = solved(problem, prior, Guard(fallbacks=()))
    assert torch.equal(result.image, plain.image)


def test_without_fall_backs_the_guard_only_warns(measured, prior) -> None:
    result = solved(folded(measured), prior, Guard(fallbacks=()))
    assert result.findings.fallback.tolist() == [0]
    assert any("cuts or wraps the object" in warning for warning in result.warnings)


def test_without_lines_to_spare_the_guard_only_warns(measured, prior) -> None:
    full = torch.ones_like(measured.mask)
    y = fft2c(measured.maps * measured.image[:, None])
    y = y + 0.5 * complex_noise(y.shape, torch.Generator().manual_seed(1))
    problem = prepare(y, full, Scaling(), noise_std=50.0)
    result = solved(problem, prior, Guard())
    assert sum("too few lines" in warning for warning in result.warnings) == 3


def test_a_field_of_view_is_a_remark_where_all_lines_are_there(measured, monkeypatch) -> None:
    """Regression: slices of full scans whose image left nothing unexplained were not to be trusted."""
    full = torch.ones_like(measured.mask)
    y = fft2c(measured.maps * measured.image[:, None])
    problem = prepare(y + 50 * complex_noise(y.shape, torch.Generator().manual_seed(1)), full, Scaling())
    monkeypatch.setattr("lightning_mri.reconstruction.symptoms.aliased_share", lambda problem: torch.full((3,), 0.07))
    x = problem.likelihood.proximal(torch.zeros_like(measured.image), 1e4, n_iterations=40)
    verdicts = Guard().review(estimate(problem, problem.scale[:, None, None] * x), [4, 5, 6], never)
    assert [verdict.description[-10:] for verdict in verdicts.values()] == [f"in slice {n}" for n in (4, 5, 6)]
    assert flagged([verdict.description for verdict in verdicts.values()]) == []
    wrong = Guard().review(estimate(problem, 0 * measured.image), [4, 5, 6], never)
    assert flagged([verdict.description for verdict in wrong.values()]) == [4, 5, 6]


def test_draws_of_a_slice_that_fell_back_are_replaced_too(measured, known, prior) -> None:
    problem = replace(known, likelihood=known.likelihood.replace(noise_std=50 * known.likelihood.noise_std))
    guard = Guard(fallbacks=(Oracle(measured.image[1:2], []),))
    result = Reconstructor(prior, DDS(n_steps=2), 2, None, guard, keep_samples=True).solve(problem, "scan")
    assert result.findings.fallback[1] == 1
    assert result.samples.shape == (2, 3, 46, 40)
    torch.testing.assert_close(result.samples[:, 1], measured.image[1].expand(2, -1, -1))


def test_a_scan_of_another_kind_is_only_warned_of(measured, known, prior) -> None:
    blurred = sense(known.maps, measured.mask, Damping.gaussian((46, 40), 2.0, (1.0, 1.0)))
    problem = replace(known, likelihood=known.likelihood.replace(A=blurred))
    result = solved(problem, prior, Guard(unexplained=0))
    assert result.findings.fallback.tolist() == [0, 0, 0]
    assert all("no fallback is known for this kind of scan" in warning for warning in result.warnings[:3])


def test_lines_measured_apart_serve_every_second_look_at_the_maps(simulate, prior) -> None:
    """Of another contrast, with none of the image's lines around the centre; two sets of maps come from them, too."""
    full = simulate(torch.ones(1, 46, 40, dtype=torch.bool))
    lines = torch.arange(40)
    mask, block = (lines % 3 == 20 % 3).expand(1, 46, 40), (lines - 20).abs() <= 10
    other = (full.image.abs().amax() * 1.3 - full.image.abs()) * (full.image != 0)
    apart = torch.where(block, fft2c(other[:, None] * full.maps), 0)
    problem = prepare(full.kspace, mask, Scaling(), calibration=apart)
    assert aliased_share(problem).tolist() == aliased_share(prepare(apart, block.expand(1, 46, 40), Scaling())).tolist()
    soft = SoftSense().reconstruct(problem.only(1), lambda problem: estimate(problem, full.image[:1])).problem
    expected = estimate_maps(apart[1:2], block.expand(1, 46, 40), problem.acs.limited(), 0.0, 2)
    inside = full.image[1].abs() > 0
    overlap = (soft.maps[0, 0].conj() * expected[0, 0]).sum(0).abs()[inside]
    assert float(overlap.median()) > 0.999
    assert torch.equal(soft.maps, problem.calibration.maps(problem.acs, 2)[1:2])
    x = problem.likelihood.proximal(torch.zeros_like(full.image), 1e4, n_iterations=40)
    assert Guard().reasons(Estimate(problem, x, torch.zeros_like(x.real), problem.likelihood)) == {}
