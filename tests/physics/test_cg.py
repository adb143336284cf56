import pytest
import torch

from lightning_mri.physics import conjugate_gradient
from lightning_mri.tensors import complex_noise, norm

N = 6


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


def test_a_converged_sample_stands_still():
    matrix, b = hermitian(), rhs()
    x0 = torch.zeros_like(b)
    x0[1] = torch.linalg.solve(matrix, b)[1]
    x = conjugate_gradient(apply(matrix), b, x0, n_iterations=20, tolerance=1e-3, ndim=1)
    assert torch.equal(x[1], x0[1])
    residual = norm(b - apply(matrix)(x), 1) / norm(b, 1)
    assert (residual <= 1.1e-3).all()


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
