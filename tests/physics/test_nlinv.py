import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from lightning_mri.baselines import run_bart
from lightning_mri.phantoms import CoilArray
from lightning_mri.physics import (
    Acs,
    Equispaced,
    NonlinearInversion,
    PoissonDisc,
    estimate_maps,
    estimate_noise_std,
    fft2c,
    find_acs,
    ifft2c,
)
from lightning_mri.physics.nlinv import FIRST_STOP
from lightning_mri.tensors import centre_crop, centre_pad, complex_noise

from .phantom import head

SIZE, COILS, NOISE = (90, 77), 6, 1e-3
BRAIN16 = Path(__file__).parents[3] / "shared/data/real/brain16.npy"


def array_images(size: tuple[int, int] = SIZE, zoom: float = 1.0, seed: int = 3) -> torch.Tensor:
    """A head of which a simulated array sees coil images [1, coil, y, x]; a zoom above 1 makes it fill the field."""
    maps = CoilArray.draw(COILS, seed).maps(size, 240 / zoom / max(size))
    image = torch.nn.functional.interpolate(
        torch.view_as_real(head(size)).permute(2, 0, 1)[None], scale_factor=zoom, mode="bilinear"
    )
    top, left = ((image.shape[-2] - size[0]) // 2, (image.shape[-1] - size[1]) // 2)
    real, imag = image[0, :, top : top + size[0], left : left + size[1]]
    return (maps / torch.linalg.vector_norm(maps, dim=0) * torch.complex(real, imag))[None]


def measure(images: torch.Tensor, noise_std: float = NOISE) -> torch.Tensor:
    return fft2c(images) + noise_std * complex_noise(images.shape, torch.Generator().manual_seed(0))


def unexplained(images: torch.Tensor, maps: torch.Tensor) -> float:
    """Norm of what maps leave of noiseless coil images, relative to the images, where the object is bright."""
    magnitude, maps = torch.linalg.vector_norm(images, dim=1, keepdim=True), maps[:, 0]
    images = images * (magnitude > 0.2 * magnitude.max())
    return float((images - maps * (maps.conj() * images).sum(1, keepdim=True)).norm() / images.norm())


@pytest.fixture(scope="module")
def eight_lines() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, Acs]:
    images = array_images()
    mask = Equispaced(5, 8).draw(SIZE, 0)
    return images, torch.where(mask, measure(images), 0), mask, find_acs(mask)


@pytest.mark.parametrize(
    ("pattern", "zoom"),
    [(Equispaced(4, 8), 1.0), (Equispaced(4, 8), 1.4), (PoissonDisc(6, 8), 1.0), (Equispaced(2, 16), 1.4)],
)
def test_recovers_the_maps_of_a_simulated_array(pattern, zoom):
    images = array_images(zoom=zoom)
    mask = pattern.draw(SIZE, 0)
    y, acs = torch.where(mask, measure(images), 0), find_acs(mask)
    maps = NonlinearInversion().maps(y, mask, acs, NOISE)
    assert unexplained(images, maps) < 0.03
    assert unexplained(images, maps) < unexplained(images, estimate_maps(y, mask, acs.limited(), NOISE, crop=0.0))


def test_maps_have_unit_norm_about_the_object_and_are_zero_in_the_background(eight_lines):
    images, y, mask, acs = eight_lines
    power = NonlinearInversion().maps(y, mask, acs, NOISE).abs().square().sum(-3)[0, 0]
    magnitude = torch.linalg.vector_norm(images[0], dim=0)
    assert torch.logical_or((power - 1).abs() < 1e-4, power == 0).all()
    assert (power[magnitude > 0.15 * magnitude.max()] > 0.5).all()
    assert (power == 0).float().mean() > 0.7 * (magnitude < 0.02 * magnitude.max()).float().mean()


def test_a_scaled_measurement_has_the_same_maps(eight_lines):
    _, y, mask, acs = eight_lines
    expected = NonlinearInversion().maps(y, mask, acs, NOISE)
    torch.testing.assert_close(
        NonlinearInversion().maps(y * 1e-6, mask, acs, NOISE * 1e-6), expected, rtol=0, atol=2e-3
    )


def test_maps_follow_the_order_of_the_coils(eight_lines):
    _, y, mask, acs = eight_lines
    order = torch.tensor([4, 0, 5, 1, 3, 2])
    expected = NonlinearInversion().maps(y, mask, acs, NOISE)[:, :, order]
    ours = NonlinearInversion().maps(y[:, order], mask, acs, NOISE)
    overlap = (ours.conj() * expected).sum(2).abs()
    assert (overlap[expected.abs().sum(2) > 0] > 0.999).all()


def test_slices_of_a_batch_do_not_touch_each_other(eight_lines):
    _, y, mask, acs = eight_lines
    other = torch.where(mask, measure(array_images(seed=8), 0.02), 0)
    both = NonlinearInversion().maps(torch.cat([y, other]), mask, acs, torch.tensor([NOISE, 0.02]))
    torch.testing.assert_close(both[:1], NonlinearInversion().maps(y, mask, acs, NOISE), rtol=0, atol=2e-3)


@pytest.mark.parametrize("grid", [SIZE, (40, 31)])
def test_the_adjoint_of_the_basis_is_its_adjoint(grid):
    basis, generator = NonlinearInversion().basis(SIZE, grid), torch.Generator().manual_seed(1)
    d, x = complex_noise((2, *basis.gain.shape), generator), complex_noise((2, *grid), generator)
    torch.testing.assert_close((basis(d).conj() * x).sum(), (d.conj() * basis.adjoint(x)).sum(), rtol=1e-4, atol=1e-3)


def test_the_smoothness_is_that_of_the_field_of_view_at_every_resolution():
    coarse, fine = (NonlinearInversion().basis((n, n), (n, n)) for n in (32, 96))
    assert coarse.gain.shape == fine.gain.shape
    d = complex_noise(coarse.gain.shape, torch.Generator().manual_seed(2))
    # the middle of a coarse grid is the middle of a fine one, three times as fine
    torch.testing.assert_close(3 * fine(d)[::3, ::3], coarse(d), rtol=1e-3, atol=1e-4)


def test_a_field_of_view_of_any_shape_is_as_smooth_as_a_square_of_its_area():
    wide, square = (NonlinearInversion(period=1.0).basis(size, (32, 32)).gain for size in ((32, 128), (64, 64)))
    y, x, n = wide.shape[0] // 2, wide.shape[1] // 2, len(square) // 2
    assert wide[y + 1, x] == square[n + 2, n]  # one period in the height is two in a square's
    assert wide[y, x + 2] == square[n, n + 1]


def test_an_inversion_stops_at_the_noise(eight_lines):
    _, y, mask, _ = eight_lines
    stopped = NonlinearInversion(stagnation=2.0, n_coarse=32).solve(y, mask, noise_std=1e3)
    expected = NonlinearInversion(stagnation=2.0, n_coarse=32, last=FIRST_STOP - 1).solve(y, mask)
    assert all(map(torch.equal, stopped, expected))


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("bart") is None, reason="needs BART")
def test_agrees_with_bart(eight_lines):
    _, y, mask, _ = eight_lines
    square = (80, 80)  # BART's smoothness is per pixel, and its maps repeat after one field of view
    y, mask = centre_crop(y, (77, 77)), centre_crop(mask, (77, 77))
    y, mask = centre_pad(y, square), centre_pad(mask.float(), square) > 0
    theirs = torch.from_numpy(run_bart(["nlinv", "-i12"], y[0].numpy().transpose(1, 2, 0)[:, :, None]).squeeze().copy())
    like_bart = NonlinearInversion(last=11, smoothness=220 / 80**2, period=1.0, n_coarse=80, stagnation=2.0)
    x, d = like_bart.solve(y, mask)
    ours = (x.abs() * torch.linalg.vector_norm(like_bart.basis(square, square)(d), dim=1))[0]
    theirs = theirs.abs() * (ours * theirs.abs()).sum() / theirs.abs().square().sum()
    assert (ours - theirs).norm() < 0.05 * ours.norm()


@pytest.mark.skipif(not BRAIN16.exists(), reason=f"needs the measured k-space {BRAIN16}")
def test_eight_lines_of_a_measured_head_are_enough():
    kspace = torch.from_numpy(np.load(BRAIN16))[None]
    images = ifft2c(kspace)
    mask = Equispaced(6, 8).draw(kspace.shape[-2:], 0)
    y, acs = torch.where(mask, kspace, 0), find_acs(mask)
    noise_std = estimate_noise_std(y, mask)
    assert unexplained(images, NonlinearInversion().maps(y, mask, acs, noise_std)) < 0.045
    assert unexplained(images, estimate_maps(y, mask, acs.limited(), crop=0.0)) > 0.06
