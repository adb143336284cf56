"""Conjugate gradient and power iteration against dense linear algebra."""

import pytest
import torch

from lightning_mri.physics import conjugate_gradient, largest_eigenvalue, sense
from lightning_mri.tensors import complex_noise, norm

N = 6
SHAPE = (5, 4)


def hermitian(batch: int = 3) -> torch.Tensor:
    a = complex_noise((batch, N, N), torch.Generator().manual_seed(0))
    return a.mH @ a + 0.5 * torch.eye(N)


def apply(matrix: torch.Tensor):
    return lambda x: (matrix @ x[..., None])[..., 0]


def rhs(batch: int = 3) -> torch.Tensor:
    return complex_noise((batch, N), torch.Generator().manual_seed(1))


def test_solves_complex_hermitian_systems_like_a_dense_solver():
    # inner products without conjugation stall here at some per cent
    matrix, b = hermitian(), rhs()
    x = conjugate_gradient(apply(matrix), b, n_iterations=30, tolerance=1e-7, ndim=1)
    torch.testing.assert_close(x, torch.linalg.solve(matrix, b), rtol=1e-3, atol=1e-4)


def test_finishes_after_as_many_steps_as_there_are_distinct_eigenvalues():
    matrix = torch.diag(torch.tensor([1.0, 1, 1, 4, 4, 4])).to(torch.complex64)[None]
    x = conjugate_gradient(apply(matrix), rhs(1), n_iterations=2, tolerance=0, ndim=1)
    torch.testing.assert_close(x, torch.linalg.solve(matrix, rhs(1)), rtol=1e-5, atol=1e-5)


def test_each_sample_is_solved_as_if_alone():
    matrix, b = hermitian(), rhs() * torch.tensor([1e-3, 1.0, 1e3])[:, None]
    together = conjugate_gradient(apply(matrix), b, n_iterations=4, ndim=1)
    for i in range(3):
        alone = conjugate_gradient(apply(matrix[i : i + 1]), b[i : i + 1], n_iterations=4, ndim=1)
        torch.testing.assert_close(together[i : i + 1], alone, rtol=1e-4, atol=0)


def test_a_converged_sample_stays_as_it_is():
    matrix, b = hermitian(), rhs()
    x0 = torch.zeros_like(b)
    x0[1] = torch.linalg.solve(matrix, b)[1]
    x = conjugate_gradient(apply(matrix), b, x0, n_iterations=20, tolerance=1e-3, ndim=1)
    assert torch.equal(x[1], x0[1])
    residual = norm(b - apply(matrix)(x), 1) / norm(b, 1)
    assert (residual <= 1.1e-3).all()


def test_at_the_precision_of_the_numbers_it_has_converged():
    values = torch.linspace(0.01, 1, 64)
    b = complex_noise((64, 64), torch.Generator().manual_seed(1))
    x = conjugate_gradient(lambda u: values * u, b, n_iterations=800, tolerance=0)
    assert norm(values * x - b) < 1e-6 * norm(b)


def test_zero_right_hand_side_gives_zero_without_nan():
    b = rhs() * torch.tensor([0.0, 1.0, 1.0])[:, None]
    x = conjugate_gradient(apply(hermitian()), b, n_iterations=5, tolerance=0, ndim=1)
    assert (x[0] == 0).all()
    assert x.isfinite().all()


def test_no_iterations_return_the_start():
    x0 = rhs()
    assert conjugate_gradient(apply(hermitian()), rhs(), x0, n_iterations=0, ndim=1) is x0
    with pytest.raises(ValueError, match="n_iterations must be >= 0: got -1"):
        conjugate_gradient(apply(hermitian()), rhs(), n_iterations=-1, ndim=1)


def scan(n_sets=1):
    """Return the operator of two slices, the second with coils three times as strong."""
    maps = complex_noise((2, n_sets, 2, *SHAPE), torch.Generator().manual_seed(0))
    maps = maps * torch.tensor([1.0, 3.0])[:, None, None, None, None]
    return sense(maps, torch.rand(2, 1, *SHAPE, generator=torch.Generator().manual_seed(1)) < 0.5)


@pytest.mark.parametrize("n_sets", [1, 2])
def test_the_largest_eigenvalue_is_that_of_each_slice_by_itself(n_sets):
    A, shape = scan(n_sets), (*([n_sets] if n_sets > 1 else []), *SHAPE)
    n = torch.Size(shape).numel()

    values = largest_eigenvalue(A.normal, (2, *shape), ndim=len(shape), n_iterations=200)

    assert values.shape == (2, *[1] * len(shape))
    columns = A.normal(torch.eye(n, dtype=torch.complex64).reshape(n, 1, *shape)).reshape(n, 2, n)
    for i in range(2):
        expected = torch.linalg.eigvalsh(columns[:, i].T).max()
        assert values[i].item() == pytest.approx(expected.item(), rel=1e-3)


def test_the_largest_eigenvalue_is_approached_from_below():
    A = scan()
    values = torch.stack([largest_eigenvalue(A.normal, (2, *SHAPE), n_iterations=n) for n in (1, 3, 10, 100)])

    assert (values.diff(dim=0) >= -1e-4).all()


def test_the_largest_eigenvalue_of_nothing_is_zero():
    assert largest_eigenvalue(torch.zeros_like, SHAPE).item() == 0


def test_an_operator_that_vanishes_leaves_zero_without_nan():
    assert not conjugate_gradient(torch.zeros_like, rhs(), ndim=1).any()
