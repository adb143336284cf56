"""The exact inverse of A^H A + w undoes it where whole readouts are sampled, and is None elsewhere."""

import math

import pytest
import torch

from lightning_mri.phantoms.coils import CoilArray
from lightning_mri.physics import Damping, Equispaced, Fourier, Mask, Phase, exact, sense
from lightning_mri.physics.exact import NormalInverse
from lightning_mri.tensors import norm
from tests.builders import noise

Y, X, BATCH = 7, 10, 2
LINES = torch.rand(BATCH, 1, 1, X, generator=torch.Generator().manual_seed(1)) < 0.5
MASK = LINES.repeat(1, 1, Y, 1)
MAPS = noise(BATCH, 1, 3, Y, X)
ALONG_X = Damping(torch.linspace(1, 0.1, X).repeat(1, Y, 1))
ALONG_Y = Damping(torch.linspace(1, 0.1, Y)[:, None].repeat(1, 1, X))
PHASE = Phase(torch.linspace(0, 3, Y * X).reshape(1, Y, X))

APART = {
    "a mask each": sense(MAPS, MASK),
    "one mask": sense(MAPS, MASK[0]),
    "one array": sense(MAPS[:1], MASK),
    "damping and phase": sense(MAPS, MASK, ALONG_X, PHASE),
}
MIXED = {
    "points": sense(MAPS, torch.rand(1, Y, X, generator=torch.Generator().manual_seed(2)) < 0.5),
    "decay along the readout": sense(MAPS, MASK, ALONG_Y),
    "two sets": sense(noise(BATCH, 2, 3, Y, X), MASK),
    "no mask": sense(MAPS),
    "no maps": Mask(MASK[0]) @ Fourier(),
    "one factor": Fourier(),
}


@pytest.mark.parametrize("samples", [(), (4,)])
@pytest.mark.parametrize("A", APART.values(), ids=APART)
def test_it_undoes_the_normal_operator(A, samples):
    x, weight = noise(*samples, BATCH, Y, X), torch.tensor([0.01, 0.5])[:, None, None]
    b = A.normal(x) + weight * x
    torch.testing.assert_close(NormalInverse.of(A)(b, weight), x, rtol=1e-4, atol=1e-4)


def test_an_image_is_itself_to_the_last_bit_whatever_is_beside_it():
    shape = (48, 64)
    A = sense(noise(3, 1, 4, *shape), Equispaced(2, 8).draw(shape, 1))
    b, weight = noise(5, 3, *shape), torch.full((3, 1, 1), 0.01)
    found = NormalInverse.of(A)(b, weight)
    alone = NormalInverse.of(A.rows([1]))
    assert torch.equal(found[2, 1], alone(b[2, 1:2], weight[:1])[0])


@pytest.mark.parametrize("A", MIXED.values(), ids=MIXED)
def test_there_is_none_where_rows_of_the_image_mix(A):
    assert NormalInverse.of(A) is None


def test_there_is_none_that_would_not_fit_into_memory(monkeypatch):
    monkeypatch.setattr(exact, "MOST", BATCH * Y * X * X - 1)
    assert NormalInverse.of(APART["a mask each"]) is None


def test_little_noise_and_coils_that_hardly_tell_lines_apart():
    """R = 4 with four smooth coils: directions seen by a thousandth of others, errors in units of the spread."""
    noise_std, variance, shape = 1e-3, 0.06, (2, 48)
    maps = CoilArray.draw(4, 3).maps(shape, (120.0, 5.0), 0.0).to(torch.complex64)
    A = sense((maps / norm(maps, 3) * math.sqrt(96))[None, None], Equispaced(4, 4).draw(shape, 1))
    x, weight = math.sqrt(variance) * noise(1, *shape), noise_std**2 / variance
    b = A.normal(x) + weight * x
    found = NormalInverse.of(A)(b, torch.tensor(weight))
    error = found - x
    power = (error.conj() * (A.normal(error) + weight * error)).sum().real / noise_std**2  # e^H P^-1 e
    assert power / (2 * error.numel()) < 0.05**2
