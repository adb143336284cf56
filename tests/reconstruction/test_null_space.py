"""What the data leave open, against the null space as it is known without iterations."""

import pytest
import torch

from lightning_mri.physics import Damping, Equispaced, fft2c, ifft2c, sense
from lightning_mri.reconstruction import null_space_component
from tests.analytic import Matrix
from tests.builders import noise

from .conftest import coils

SHAPE = (6, 9)


@pytest.fixture
def dense() -> Matrix:
    """Twenty data of fifty-four pixels, none of singular value near zero."""
    return Matrix(noise(20, 54, seed=1), SHAPE)


def test_a_single_coil_leaves_open_exactly_the_lines_that_were_not_measured() -> None:
    x, mask = noise(2, 10, 7, seed=2), Equispaced(2.0, 2).draw((10, 7), 0)
    A = sense(torch.ones(2, 1, 1, 10, 7, dtype=torch.complex64), mask)
    missing = ifft2c(torch.where(mask[0], 0, fft2c(x)))
    torch.testing.assert_close(null_space_component(A, x), missing, rtol=0, atol=1e-5)


def test_full_sampling_leaves_nothing_open() -> None:
    x, maps = noise(3, 12, 9, seed=3), torch.stack([coils(4, turn, (12, 9)) for turn in (0.0, 0.5, 1.0)])
    A = sense(maps[:, None], torch.ones(1, 12, 9, dtype=torch.bool))
    assert float(null_space_component(A, x).abs().max()) < 1e-4


def test_without_weight_it_is_the_null_space_of_a_matrix(dense: Matrix) -> None:
    x = noise(3, *SHAPE, seed=4)
    row_space = torch.linalg.pinv(dense.matrix.to(torch.complex128)) @ dense.matrix.to(torch.complex128)
    expected = x.flatten(1) - (row_space @ x.flatten(1).T.to(torch.complex128)).T.to(torch.complex64)
    open_part = null_space_component(dense, x, tolerance=1e-6)
    torch.testing.assert_close(open_part.flatten(1), expected, rtol=0, atol=1e-3)
    # the data do not change with what they do not determine
    assert float(dense(open_part).abs().max()) < 1e-2


def test_a_weight_leaves_open_what_the_noise_hides_direction_by_direction(dense: Matrix) -> None:
    _, values, directions = torch.linalg.svd(dense.matrix, full_matrices=False)
    x = directions.conj().unflatten(-1, SHAPE)[:: len(values) - 1]
    weight = torch.tensor([30.0, 50.0])
    share = weight / (values[:: len(values) - 1].square() + weight)
    expected = share[:, None, None] * x
    torch.testing.assert_close(null_space_component(dense, x, weight, tolerance=1e-6), expected, rtol=0, atol=1e-4)


def test_at_low_noise_weakly_measured_directions_are_not_lost() -> None:
    weights = torch.logspace(0, -3, 180).reshape(1, 12, 15)
    A = sense(torch.ones(1, 1, 12, 15, dtype=torch.complex64), torch.ones(1, 12, 15) > 0, Damping(weights))
    x = noise(12, 15, seed=7)
    expected = ifft2c(1e-4 / (weights[0].square() + 1e-4) * fft2c(x))
    torch.testing.assert_close(null_space_component(A, x, 1e-4), expected, rtol=0, atol=0.05)


def test_it_works_with_low_field_damping_and_several_sets_of_maps() -> None:
    x, maps = noise(1, 2, 8, 6, seed=5), noise(1, 2, 3, 8, 6, seed=6)
    A = sense(maps, Equispaced(2.0, 2).draw((8, 6), 0), Damping.gaussian((8, 6), 1.0, (1.0, 1.0)))
    eye = torch.eye(96, dtype=torch.complex64).reshape(96, 1, 2, 8, 6)
    normal = A.normal(eye).reshape(96, 96).T
    seen = torch.linalg.solve(normal + 0.01 * torch.eye(96), normal @ x.flatten())
    expected = x.flatten() - seen
    torch.testing.assert_close(
        null_space_component(A, x, 0.01, n_iterations=300, tolerance=0).flatten(), expected, rtol=0, atol=1e-3
    )
