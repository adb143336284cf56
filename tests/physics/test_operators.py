import math
from dataclasses import dataclass

import pytest
import torch

from lightning_mri.physics import Composition, Damping, Fourier, Maps, Mask, Phase, acquisition, fft2c, sense
from lightning_mri.physics.operators import LinearOperator, Weights
from lightning_mri.tensors import inner
from tests.builders import noise

Y, X, COILS, BATCH = 13, 10, 3, 2


def mask_1d() -> torch.Tensor:
    return (torch.rand(X, generator=torch.Generator().manual_seed(1)) < 0.5).expand(1, Y, X).clone()


def mask_2d() -> torch.Tensor:
    return torch.rand(BATCH, 1, Y, X, generator=torch.Generator().manual_seed(1)) < 0.5


def damping() -> Damping:
    blur = Damping.gaussian((Y, X), 2.0, (1.0, 1.5))
    return Damping(blur.weights * Damping.t2star((Y, X), 0.01, 0.002).weights)


def phase() -> Phase:
    return Phase.b0(torch.randn(BATCH, Y, X, generator=torch.Generator().manual_seed(2)), 0.1)


def maps(n_sets: int) -> torch.Tensor:
    return noise(BATCH, n_sets, COILS, Y, X, seed=3)


class Dense(LinearOperator):
    """Multiplication of the last axis by a matrix."""

    def __init__(self, matrix: torch.Tensor) -> None:
        self.matrix = matrix

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        return x @ self.matrix.T

    def adjoint(self, y: torch.Tensor) -> torch.Tensor:
        return y @ self.matrix.conj()


OPERATORS = {
    "full": lambda: sense(maps(1)),
    "1d": lambda: sense(maps(1), mask_1d()),
    "2d": lambda: sense(maps(1), mask_2d()),
    "two sets": lambda: sense(maps(2), mask_1d()),
    "damped": lambda: sense(maps(1), mask_1d(), damping()),
    "damped only": lambda: sense(maps(1), None, damping()),
    "low field": lambda: sense(maps(1), mask_2d(), damping(), phase()),
    "everything": lambda: sense(maps(2), mask_2d(), damping(), phase()),
    "no Fourier": lambda: Mask(mask_2d()) @ Maps(maps(1)),
    "no maps": lambda: Mask(mask_1d()) @ Fourier(),
    "not diagonal in k-space": lambda: Mask(mask_1d()) @ Dense(noise(X, X)) @ Fourier() @ Maps(maps(1)),
}


@pytest.fixture(params=OPERATORS, name="A")
def operator(request) -> Composition:
    return OPERATORS[request.param]()


def images(A: Composition, *samples: int, seed: int = 4) -> torch.Tensor:
    return noise(*samples, *A.image_shape((BATCH, COILS, Y, X)), seed=seed)


@pytest.mark.parametrize("samples", [(), (4,)])
def test_adjoint_passes_the_dot_test(A, samples):
    x, y = images(A, *samples), noise(*samples, BATCH, COILS, Y, X, seed=5)
    left = inner(A(x).flatten(), y.flatten(), 1)
    right = inner(x.flatten(), A.H(y).flatten(), 1)
    torch.testing.assert_close(left, right, rtol=1e-5, atol=1e-3)


def test_is_linear(A):
    a, b = images(A, seed=6), images(A, seed=7)
    torch.testing.assert_close(A((2 - 1j) * a + b), (2 - 1j) * A(a) + A(b), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("samples", [(), (4,)])
def test_normal_is_the_adjoint_of_the_forward(A, samples):
    x = images(A, *samples)
    torch.testing.assert_close(A.normal(x), A.H(A(x)), rtol=1e-4, atol=1e-4)


def test_normal_of_few_coils_at_a_time_is_that_of_all(A, monkeypatch):
    x = images(A, 2)
    expected = A.normal(x)
    monkeypatch.setattr(acquisition, "BLOCK", 2 * x.numel() + 1)
    torch.testing.assert_close(A.normal(x), expected, rtol=1e-5, atol=1e-5)


def test_stays_complex64_and_keeps_image_shape(A):
    x = images(A)
    for value in (A(x), A.H(A(x)), A.normal(x)):
        assert value.dtype == torch.complex64
    assert A.H(A(x)).shape == A.normal(x).shape == x.shape


def test_samples_in_front_do_not_mix(A):
    x = images(A, 4)
    torch.testing.assert_close(A(x)[2], A(x[2]))
    torch.testing.assert_close(A.normal(x)[2], A.normal(x[2]), rtol=1e-4, atol=1e-5)


def test_double_precision_weights_do_not_promote():
    weights = torch.rand(1, Y, X, dtype=torch.float64)
    shift = torch.rand(BATCH, Y, X, dtype=torch.float64)
    A = sense(maps(1), None, Damping(weights), Phase(shift))
    assert A(images(A)).dtype == A.normal(images(A)).dtype == torch.complex64


def test_sense_of_one_pixel_by_hand():
    x = torch.zeros(1, Y, X, dtype=torch.complex64)
    x[0, Y // 2, X // 2] = math.sqrt(Y * X)
    A = sense(maps(1)[:1], mask_1d())
    expected = maps(1)[0, 0, :, Y // 2, X // 2][:, None, None] * mask_1d()
    torch.testing.assert_close(A(x)[0], expected)


def test_two_sets_add_their_images():
    x = noise(BATCH, 2, Y, X)
    both = sense(maps(2))(x)
    apart = sense(maps(2)[:, :1])(x[:, 0]) + sense(maps(2)[:, 1:])(x[:, 1])
    torch.testing.assert_close(both, apart)


def test_1d_mask_takes_the_1d_transform_and_damping_along_y_does_not():
    assert sense(maps(1), mask_1d()).gram[0].axes == (-1,)
    assert sense(maps(1), mask_1d(), damping()).gram[0].axes == (-2, -1)


def test_gaussian_damping_halves_at_the_half_width():
    # the point-spread function of a delta falls to one half at fwhm / 2 = 3 mm = 2 pixels of 1.5 mm along x
    n = 65
    delta = torch.zeros(1, n, n, dtype=torch.complex64)
    delta[0, n // 2, n // 2] = 1
    spread = (Fourier().H(Damping.gaussian((n, n), 6.0, (1.0, 1.5))(fft2c(delta)))).real[0, n // 2]
    assert spread[n // 2 + 2] / spread[n // 2] == pytest.approx(0.5, rel=1e-3)


def test_t2star_is_1_at_the_echo_and_decays_along_the_readout():
    weights = Damping.t2star((Y, X), 0.01, 0.002).weights[0]
    assert (weights[Y // 2] == 1).all()
    assert weights[Y // 2 + 5, 0] == pytest.approx(math.exp(-1))
    assert weights[Y // 2 - 5, 3] == pytest.approx(math.exp(-1))


def test_b0_phase_turns_once_per_period():
    f = torch.tensor([[0.0, 25.0, 50.0]])
    expected = torch.tensor([[1, 1j, -1]], dtype=torch.complex64)
    torch.testing.assert_close(Phase.b0(f, 0.01)(torch.ones(1, 3, dtype=torch.complex64)), expected)


def test_find_and_replace_a_factor():
    A = sense(maps(1), mask_1d())
    new = Maps(2 * maps(1))
    torch.testing.assert_close(A.replace(Maps, new)(images(A)), 2 * A(images(A)))
    assert A.find(Phase) is None
    with pytest.raises(ValueError, match=r"kind must be one of the factors \['Mask', 'Fourier', 'Maps'\]: got Phase"):
        A.replace(Phase, phase())


def test_adjoint_of_the_adjoint_and_products_of_products():
    A = sense(maps(1), mask_1d())
    assert A.H.H is A
    assert len((A @ phase()).factors) == 4
    assert torch.equal((A @ phase())(images(A)), A(phase()(images(A))))


def test_moves_every_tensor():
    A = sense(maps(1), mask_2d(), damping(), phase()).to("meta")
    assert {f.device.type for f in (A.find(Maps).maps, A.find(Mask).mask, A.find(Damping).weights)} == {"meta"}


def test_gradients_flow_through_normal():
    A = sense(maps(1), mask_1d())
    x = images(A).requires_grad_()
    inner(x, A.normal(x)).real.sum().backward()
    torch.testing.assert_close(x.grad, 2 * A.normal(x).detach(), rtol=1e-4, atol=1e-4)


@dataclass(frozen=True, eq=False)
class Gain(Weights):
    """Multiply samples by one number."""

    weights: torch.Tensor


@dataclass(frozen=True, eq=False)
class Counted(LinearOperator):
    """Coil images times two, whose normal operator is known to be times four."""

    calls: list[str]

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        """Return 2 x."""
        self.calls.append("forward")
        return 2 * x

    def adjoint(self, y: torch.Tensor) -> torch.Tensor:
        """Return 2 y."""
        self.calls.append("adjoint")
        return 2 * y

    def normal(self, x: torch.Tensor) -> torch.Tensor:
        """Return 4 x."""
        self.calls.append("normal")
        return 4 * x


@pytest.mark.parametrize("gains", [(), (3.0,), (3.0, 0.5)])
def test_an_own_normal_operator_is_used_behind_numbers_alone(gains):
    own, shape = Counted([]), (2, 5, 12, 10)
    numbers = tuple(Gain(torch.tensor(gain)) for gain in gains)
    A = Composition((*numbers, own, Maps(noise(2, 1, 5, 12, 10))))
    x = noise(2, 12, 10)
    expected = A.adjoint(A(x))
    own.calls.clear()
    torch.testing.assert_close(A.normal(x), expected)
    assert own.calls == ["normal"]
    masked = Composition((Mask(torch.rand(1, 12, 10) < 0.5), *A.factors))
    torch.testing.assert_close(masked.normal(x), masked.adjoint(masked(x)))
    only = Composition(numbers or (own,))
    torch.testing.assert_close(only.normal(noise(*shape)), only.adjoint(only(noise(*shape))))


def test_rows_are_those_of_factors_that_differ_by_slice():
    maps, mask, turn = noise(3, 1, 4, 6, 5), torch.rand(1, 6, 5) < 0.5, torch.rand(3, 6, 5)
    A = sense(maps, mask, Damping(torch.rand(3, 1, 6, 5)), Phase(turn))
    x = noise(3, 6, 5)
    torch.testing.assert_close(A.rows([2, 0])(x[[2, 0]]), A(x)[[2, 0]])
    y = A(x)
    torch.testing.assert_close(A.H.rows([1])(y[1:2]), A.H(y)[1:2])
    shared = sense(maps[:1], mask[None], phase=Phase(turn[:1]))
    torch.testing.assert_close(shared.rows([2, 0])(x[[2, 0]]), shared(x)[[2, 0]])
