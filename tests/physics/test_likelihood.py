import pytest
import torch

from lightning_mri.physics import Damping, GaussianLikelihood, Maps, sense
from tests.builders import noise

Y, X, COILS, BATCH = 7, 6, 2, 2


def likelihood(n_sets: int = 1, std: tuple[float, float] = (0.1, 0.4)) -> GaussianLikelihood:
    mask = torch.rand(BATCH, 1, Y, X, generator=torch.Generator().manual_seed(1)) < 0.6
    A = sense(noise(BATCH, n_sets, COILS, Y, X), mask, Damping.gaussian((Y, X), 1.0, (1.0, 1.0)))
    return GaussianLikelihood(A, noise(BATCH, COILS, Y, X, seed=2) * mask, torch.tensor(std))


def dense(A, shape: tuple[int, ...]) -> torch.Tensor:
    """The matrix of an operator, one column for each pixel of one slice of an image."""
    size = torch.Size(shape[1:]).numel()
    basis = torch.eye(size, dtype=torch.complex64).reshape(size, 1, *shape[1:]).expand(size, *shape)
    return A(basis).flatten(2).permute(1, 2, 0)


@pytest.mark.parametrize("n_sets", [1, 2])
def test_proximal_is_the_dense_solution(n_sets):
    problem = likelihood(n_sets)
    shape = problem.image_shape
    prior, variance = noise(*shape, seed=3), torch.tensor([0.5, 2.0])
    matrix = dense(problem.A, shape)
    weight = (problem.noise_std**2 / variance)[:, None]
    left = matrix.mH @ matrix + weight[..., None] * torch.eye(matrix.shape[-1])
    right = (matrix.mH @ problem.y.flatten(1)[..., None])[..., 0] + weight * prior.flatten(1)
    expected = torch.linalg.solve(left, right).reshape(shape)
    x = problem.proximal(prior, variance, n_iterations=200, tolerance=1e-7)
    torch.testing.assert_close(x, expected, rtol=1e-2, atol=2e-3)


def test_score_is_the_gradient_of_the_log_likelihood():
    problem = likelihood()
    x = noise(*problem.image_shape, seed=4).requires_grad_()
    power = problem.residual(x).abs().square().sum((-3, -2, -1))
    (-power / (2 * problem.noise_std**2)).sum().backward()
    torch.testing.assert_close(problem.score(x.detach()), x.grad, rtol=1e-3, atol=1e-2)


def test_residual_std_of_the_truth_is_the_noise():
    shape, std = (1, COILS, 64, 60), 0.3
    A = sense(noise(1, 1, *shape[1:]), torch.rand(1, 1, 64, 60, generator=torch.Generator().manual_seed(5)) < 0.3)
    x = noise(1, 64, 60, seed=6)
    mask = A.factors[0].mask
    problem = GaussianLikelihood(A, A(x) + std * noise(*shape, seed=7) * mask, torch.tensor([std]))
    assert problem.residual_std(x).item() == pytest.approx(std, rel=0.03)
    assert problem.n_acquired.tolist() == [COILS * int(mask.sum())]
    assert problem.replace(y=0 * problem.y).n_acquired.equal(problem.n_acquired)


def test_adjoint_is_computed_once_and_forgotten_with_the_operator():
    problem = likelihood()
    assert problem.adjoint() is problem.adjoint()
    changed = problem.replace(A=problem.A.replace(Maps, Maps(2 * problem.A.find(Maps).maps)))
    torch.testing.assert_close(changed.adjoint(), 2 * problem.adjoint())
    torch.testing.assert_close(problem.replace(y=3 * problem.y).adjoint(), 3 * problem.adjoint())


def test_samples_have_their_own_variance_and_noise():
    problem = likelihood()
    prior = noise(3, *problem.image_shape, seed=8)
    variance = torch.rand(3, BATCH, generator=torch.Generator().manual_seed(9)) + 0.1
    std = torch.rand(3, BATCH, generator=torch.Generator().manual_seed(10)) + 0.1
    together = problem.proximal(prior, variance, std)
    alone = problem.proximal(prior[1], variance[1], std[1])
    torch.testing.assert_close(together[1], alone, rtol=1e-3, atol=1e-4)
    assert problem.score(prior).shape == prior.shape
    assert problem.residual_std(prior).shape == (3, BATCH)


def test_slices_keep_their_own_maps():
    # maps of slice 0 used for every slice is a defect seen in public code
    problem = likelihood()
    x = noise(1, Y, X, seed=11).expand(BATCH, Y, X)
    assert not torch.allclose(problem.A(x)[0], problem.A(x)[1])
    second = problem.A.replace(Maps, Maps(problem.A.find(Maps).maps[1:]))
    mask = problem.A.factors[0].mask
    torch.testing.assert_close(problem.A(x)[1], second(x)[1])
    assert mask.shape[0] == BATCH


def test_double_precision_inputs_do_not_promote():
    problem = likelihood()
    problem = problem.replace(noise_std=problem.noise_std.double())
    x = noise(*problem.image_shape)
    assert problem.score(x).dtype == torch.complex64
    assert problem.proximal(x, torch.ones(BATCH, dtype=torch.float64)).dtype == torch.complex64


def test_a_weak_prior_explains_the_data_and_a_strong_one_is_returned():
    problem = likelihood()
    prior = noise(*problem.image_shape, seed=12)
    torch.testing.assert_close(problem.proximal(prior, 1e-9), prior, rtol=1e-3, atol=1e-3)
    weak = problem.proximal(prior, 1e6, n_iterations=100)
    assert (problem.residual_std(weak) < 0.5 * problem.residual_std(prior)).all()


@pytest.mark.parametrize("n_sets", [1, 2])
@pytest.mark.parametrize("std", [0.2, [0.2]])
def test_one_noise_level_stands_for_one_a_slice(n_sets: int, std: float | list[float]) -> None:
    """Regression: of one without axes, a solution for three slices had the shape (3, 3, 7, 6)."""
    each = likelihood(n_sets, (0.2, 0.2))
    one = each.replace(noise_std=torch.tensor(std))
    assert torch.equal(one.noise_std, each.noise_std)
    x, variance = noise(*each.image_shape, seed=12), torch.tensor([0.5, 2.0])
    assert torch.equal(one.proximal(x, variance), each.proximal(x, variance))
    assert torch.equal(one.score(x), each.score(x))
    assert torch.equal(one.rows([1]).noise_std, each.noise_std[1:])


def test_refuses_measurements_outside_the_mask():
    problem = likelihood()
    with pytest.raises(ValueError, match=r"y must be zero where the mask is False: got .* values"):
        problem.replace(y=problem.y + 1)
    with pytest.raises(ValueError, match=r"y and mask must agree on \(y, x\)"):
        problem.replace(y=problem.y[..., 1:])


def test_nothing_is_seen_where_every_map_is_zero():
    maps = torch.ones(2, 1, 3, 5, 4, dtype=torch.complex64)
    maps[0, :, :, :2] = 0
    maps[1, :, 1] = 0  # one coil is blind, the others see
    y = torch.zeros(2, 3, 5, 4, dtype=torch.complex64)
    likelihood = GaussianLikelihood(sense(maps, torch.ones(1, 5, 4, dtype=torch.bool)), y, torch.ones(2))
    seen = likelihood.apply_support(torch.ones(7, 2, 5, 4, dtype=torch.complex64)).real
    assert (seen[:, 0, :2] == 0).all()
    assert (seen[:, 0, 2:] == 1).all()
    assert (seen[:, 1] == 1).all()
