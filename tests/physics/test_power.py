"""The largest eigenvalue of A^H A against dense linear algebra."""

import pytest
import torch

from lightning_mri.physics import largest_eigenvalue, sense
from lightning_mri.tensors import complex_noise

SHAPE = (5, 4)


def scan(n_sets=1):
    """Return the operator of two slices, the second with coils three times as strong."""
    maps = complex_noise((2, n_sets, 2, *SHAPE), torch.Generator().manual_seed(0))
    maps = maps * torch.tensor([1.0, 3.0])[:, None, None, None, None]
    return sense(maps, torch.rand(2, 1, *SHAPE, generator=torch.Generator().manual_seed(1)) < 0.5)


@pytest.mark.parametrize("n_sets", [1, 2])
def test_it_is_that_of_each_slice_by_itself(n_sets):
    A, shape = scan(n_sets), (*([n_sets] if n_sets > 1 else []), *SHAPE)
    n = torch.Size(shape).numel()

    values = largest_eigenvalue(A.normal, (2, *shape), ndim=len(shape), n_iterations=200)

    assert values.shape == (2, *[1] * len(shape))
    columns = A.normal(torch.eye(n, dtype=torch.complex64).reshape(n, 1, *shape)).reshape(n, 2, n)
    for i in range(2):
        expected = torch.linalg.eigvalsh(columns[:, i].T).max()
        assert values[i].item() == pytest.approx(expected.item(), rel=1e-3)


def test_it_is_approached_from_below():
    A = scan()
    values = torch.stack([largest_eigenvalue(A.normal, (2, *SHAPE), n_iterations=n) for n in (1, 3, 10, 100)])

    assert (values.diff(dim=0) >= -1e-4).all()


def test_an_operator_that_sees_nothing_has_none():
    assert largest_eigenvalue(torch.zeros_like, SHAPE).item() == 0


def test_no_iteration_is_refused():
    with pytest.raises(ValueError, match="n_iterations must be at least 1: got 0"):
        largest_eigenvalue(scan().normal, (2, *SHAPE), n_iterations=0)
