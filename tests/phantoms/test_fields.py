"""Random fields: their statistics, and that they are functions of space alone."""

import numpy as np
import pytest
import torch

from lightning_mri.phantoms.fields import Plane, SmoothField, field, length, log_uniform, trilinear


def plane(origin: tuple[float, float, float] = (0.0, 0.0, 0.0), spacing: float = 1.0) -> Plane:
    y, x = torch.arange(37) * spacing, torch.arange(52) * spacing
    points = torch.stack([x.expand(37, 52), y[:, None].expand(37, 52), torch.zeros(37, 52)])
    return Plane(points + torch.tensor(origin)[:, None, None], (spacing, spacing))


def test_trilinear_is_exact_for_a_linear_function_and_continues_the_edge() -> None:
    i, j, k = torch.meshgrid(torch.arange(5.0), torch.arange(6.0), torch.arange(7.0), indexing="ij")
    index = torch.tensor([[1.25, 9.0], [2.5, 0.0], [3.75, 0.0]])[:, None]
    torch.testing.assert_close(trilinear((i + 10 * j + 100 * k)[None], index), torch.tensor([[[401.25, 4.0]]]))


def test_a_field_has_mean_0_and_standard_deviation_near_1() -> None:
    values = torch.stack([SmoothField(seed, cell=6.0, n_channels=2)(plane().points) for seed in range(20)])
    assert abs(values.mean()) < 0.15
    assert 0.75 < values.std() < 1.05  # interpolation between the nodes takes a little


def test_a_field_is_correlated_over_its_cell_and_hardly_beyond_twice_that() -> None:
    values = torch.stack([SmoothField(seed, cell=8.0)(plane().points)[0] for seed in range(60)])
    here, near, far = values[..., 0, 0], values[..., 0, 2], values[..., 0, 20]
    correlation = [float(torch.corrcoef(torch.stack([here, other]))[0, 1]) for other in (near, far)]
    assert correlation[0] > 0.75
    assert abs(correlation[1]) < 0.4


def test_a_field_repeats_after_its_period() -> None:
    wave = SmoothField(3, cell=6.0, n_nodes=16)
    period = 16 * 6.0 / 3
    torch.testing.assert_close(
        wave(plane((0, 0, 5)).points), wave(plane((period, -period, 5 + 2 * period)).points), atol=1e-3, rtol=0
    )


def test_a_field_computed_on_a_coarser_grid_is_the_same_field() -> None:
    wave, fine = SmoothField(1, cell=60.0), plane(spacing=0.7)
    assert (wave.on(fine) - wave(fine.points)).abs().max() < 0.05


def test_a_field_depends_on_seed_and_name_and_on_nothing_else() -> None:
    state = torch.get_rng_state()
    points = plane().points
    first = field(7, "bias", 20.0)(points)
    assert torch.equal(first, field(7, "bias", 20.0)(points))
    assert not torch.equal(first, field(8, "bias", 20.0)(points))
    assert not torch.equal(first, field(7, "phase", 20.0)(points))
    assert torch.equal(state, torch.get_rng_state())


def test_length_of_3_4_12_is_13() -> None:
    assert length(torch.tensor([[3.0], [4.0], [12.0]])).tolist() == [13.0]


def test_log_uniform_has_the_geometric_mean_as_median() -> None:
    rng = np.random.default_rng(0)
    drawn = [log_uniform(rng, 0.1, 10) for _ in range(2000)]
    assert min(drawn) >= 0.1
    assert max(drawn) <= 10
    assert np.median(drawn) == pytest.approx(1, rel=0.2)
