import math

import numpy as np
import pytest
import torch
from scipy.special import ellipe, ellipk

from lightning_mri.phantoms.coils import CoilArray, _elliptic_integrals, loop_field

SHAPE = (31, 24)


def test_the_field_on_the_axis_of_a_loop_is_the_textbook_formula():
    radius, heights = 3.0, torch.tensor([-2.0, 0.0, 1.0, 7.0], dtype=torch.float64)
    points = torch.stack([torch.zeros(4), torch.zeros(4), heights], dim=-1).double()
    field = loop_field(points, torch.tensor([0.0, 0.0, 1.0], dtype=torch.float64), radius)
    expected = radius**2 / (radius**2 + heights**2) ** 1.5
    torch.testing.assert_close(field[:, 2], expected, rtol=1e-5, atol=0)
    torch.testing.assert_close(field[:, :2], torch.zeros(4, 2, dtype=torch.float64))


def test_the_field_of_a_tilted_loop_is_the_sum_over_its_segments():
    radius, normal = 2.0, torch.tensor([2.0, -1.0, 2.0], dtype=torch.float64) / 3
    points = torch.tensor([[1.0, 0.5, 0.3], [-3.0, 2.0, 1.0], [0.2, 4.0, -1.5]], dtype=torch.float64)
    u = torch.linalg.cross(normal, torch.tensor([1.0, 0.0, 0.0], dtype=torch.float64))
    u = u / torch.linalg.vector_norm(u)
    v = torch.linalg.cross(normal, u)
    angle = 2 * math.pi * torch.arange(2000, dtype=torch.float64)[:, None] / 2000
    wire = radius * (torch.cos(angle) * u + torch.sin(angle) * v)
    segment = radius * (torch.cos(angle) * v - torch.sin(angle) * u) * 2 * math.pi / 2000
    away = points[:, None] - wire
    field = torch.linalg.cross(segment.expand_as(away), away) / away.norm(dim=-1, keepdim=True) ** 3
    torch.testing.assert_close(loop_field(points, normal, radius), field.sum(1) / (2 * math.pi))


def test_elliptic_integrals_agree_with_scipy():
    m1 = torch.tensor([1.0, 0.9, 0.3, 1e-3, 1e-6], dtype=torch.float64)
    k, e = _elliptic_integrals(m1)
    np.testing.assert_allclose(k, ellipk(1 - m1.numpy()), rtol=1e-9)
    np.testing.assert_allclose(e, ellipe(1 - m1.numpy()), rtol=1e-9)


@pytest.mark.parametrize("n_coils", [1, 2, 5, 16, 33])
def test_the_root_sum_of_squares_is_one_at_the_isocentre(n_coils):
    maps = CoilArray.draw(n_coils, seed=4).maps(SHAPE)
    assert maps.shape == (n_coils, *SHAPE)
    assert maps.dtype == torch.complex64
    assert torch.linalg.vector_norm(maps[:, 15, 12]).item() == pytest.approx(1, abs=1e-5)


def test_the_seed_alone_decides_about_the_array():
    torch.manual_seed(0)
    first = CoilArray.draw(6, seed=1).maps(SHAPE)
    torch.manual_seed(5)
    assert torch.equal(first, CoilArray.draw(6, seed=1).maps(SHAPE))
    assert not torch.allclose(first, CoilArray.draw(6, seed=2).maps(SHAPE), atol=0.1)


def test_an_array_brightens_the_scalp_and_a_volume_coil_does_not():
    scalp = torch.tensor([[80.0, 0, 0], [-80.0, 0, 0], [0, 90.0, 0], [0, -90.0, 0]])
    brightening = torch.linalg.vector_norm(CoilArray.draw(16, seed=3).field(scalp), dim=0)
    assert ((brightening > 1.2) & (brightening < 6)).all()
    volume_coil = CoilArray.draw(1, seed=3).field(scalp).abs()
    assert ((volume_coil > 0.7) & (volume_coil < 1.3)).all()


def test_maps_change_smoothly_from_slice_to_slice_and_pixel_to_pixel():
    array = CoilArray.draw(8, seed=2)
    inside = (slice(None), slice(30, 66), slice(30, 66))
    here, next_slice, far = (array.maps((96, 96), offset_mm=z)[inside] for z in (0.0, 1.0, 40.0))
    size = here.norm()
    assert 0 < (next_slice - here).norm() < 0.03 * size
    assert (far - here).norm() > 0.1 * size
    assert here.diff(dim=-1).norm() < 0.1 * size


def test_pixels_sample_the_field():
    array = CoilArray.draw(5, seed=8)
    maps = array.maps(SHAPE, pixel_size=(4.0, 3.0), offset_mm=7.0)
    torch.testing.assert_close(maps[:, 20, 10], array.field(torch.tensor([-2 * 3.0, 5 * 4.0, 7.0])))


def test_coupling_mixes_the_channels():
    alone, coupled = (CoilArray.draw(4, seed=5, coupling=c) for c in (0.0, 0.2))
    torch.testing.assert_close(alone.coupling, torch.eye(4, dtype=torch.complex64))
    mixed = torch.einsum("ij,jyx->iyx", coupled.coupling, alone.maps(SHAPE))
    ratio = coupled.maps(SHAPE) / mixed
    torch.testing.assert_close(ratio, ratio[0, 0, 0].expand_as(ratio))


@pytest.mark.parametrize("n_coils", [1, 3, 32])
def test_the_noise_covariance_is_hermitian_positive_definite_of_mean_power_one(n_coils):
    covariance = CoilArray.draw(n_coils, seed=3).noise_covariance(0.5)
    torch.testing.assert_close(covariance, covariance.mH)
    assert torch.linalg.eigvalsh(covariance).min() > 0.01
    assert covariance.diagonal().real.mean().item() == pytest.approx(1, abs=1e-5)
    assert n_coils == 1 or (covariance - torch.diag(covariance.diagonal())).abs().max() > 0.1
