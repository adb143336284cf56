import pytest
import torch

from lightning_mri.evaluation import hold_out, noise_floor, prediction_error
from lightning_mri.physics import Equispaced, GaussianLikelihood, PoissonDisc, fft2c, sense
from lightning_mri.tensors import complex_noise
from tests.builders import refusals

SHAPE = (34, 40)


def centre(n_lines: int) -> torch.Tensor:
    columns = torch.arange(SHAPE[1])
    inside = (columns >= 20 - n_lines // 2) & (columns < 20 + n_lines - n_lines // 2)
    return inside.expand(1, *SHAPE)


def generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_kept_and_held_are_the_mask_and_the_centre_stays() -> None:
    mask = PoissonDisc(3.0, 10).draw(SHAPE, 0)
    kept, held = hold_out(mask, centre(10) & mask, generator(1))
    assert torch.equal(kept | held, mask)
    assert not bool((kept & held).any())
    assert not bool((held & centre(10)).any())
    outside = int((mask & ~centre(10)).sum())
    assert int(held.sum()) == round(0.2 * outside)


def test_whole_lines_are_held_back_from_whole_lines() -> None:
    mask = Equispaced(2.0, 10).draw(SHAPE, 0)
    _, held = hold_out(mask, centre(10), generator(1), fraction=0.3)
    assert bool((held == held[:, :1]).all())
    assert int(held[0, 0].sum()) == 3  # of 20 - 10 lines


def test_lines_beside_a_square_centre_are_held_back_outside_of_it() -> None:
    centre = torch.zeros(1, 12, 16, dtype=torch.bool)
    centre[:, 3:9] = True
    _, held = hold_out(torch.ones_like(centre), centre, generator(0), 0.5)
    assert int(held[0].any(0).sum()) == 8
    assert not bool((held & centre).any())


def test_draws_follow_the_generator() -> None:
    mask = PoissonDisc(3.0, 10).draw(SHAPE, 0)
    (_, a), (_, b), (_, c) = (hold_out(mask, centre(10) & mask, generator(seed)) for seed in (1, 1, 2))
    assert torch.equal(a, b)
    assert not torch.equal(a, c)


def test_true_image_predicts_to_the_noise_and_zero_not_at_all() -> None:
    x = complex_noise((2, *SHAPE), generator(0)) * torch.tensor([1.0, 4.0])[:, None, None]
    maps = torch.full((2, 1, 4, *SHAPE), 0.5 + 0j)
    mask = PoissonDisc(3.0, 10).draw(SHAPE, 0)
    _, held = hold_out(mask, centre(10) & mask, generator(1))
    noise = 0.3 * complex_noise((2, 4, *SHAPE), generator(2))
    y = (fft2c(maps[:, 0] * x[:, None]) + noise) * held
    likelihood = GaussianLikelihood(sense(maps, held), y, torch.full((2,), 0.3))
    assert prediction_error(0 * x, likelihood).tolist() == pytest.approx([1, 1])
    floor = noise_floor(likelihood)
    assert prediction_error(x, likelihood).tolist() == pytest.approx(floor.tolist(), rel=0.1)
    assert float(floor[0] / floor[1]) == pytest.approx(4, rel=0.35)


test_what_leaves_nothing_on_one_side_is_refused = refusals(
    (lambda: hold_out(centre(40), centre(10), generator(0), 0.0), r"fraction must be in \(0, 1\): got 0"),
    (lambda: hold_out(centre(40), centre(10), generator(0), 1.0), r"fraction must be in \(0, 1\): got 1"),
    (lambda: hold_out(centre(10), centre(10), generator(0)), "outside the centre"),
    (lambda: hold_out(centre(10), centre(10)[:, 1:], generator(0)), "must have one shape"),
)
