"""Augmented images are of the same kind: oriented, brightened and rotated in phase, nothing else."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy import ndimage

from lightning_mri.datasets.augmentation import Augmentation, rotate
from lightning_mri.tensors import complex_noise

NOTHING = Augmentation(flip=0, transpose=0, rotation=0, conjugate=0, gamma=0, scale_std=0, phase_std=0)


def source(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_without_changes_only_the_global_phase_differs() -> None:
    image = complex_noise((9, 13), source(0))
    ratio = NOTHING(image, source(1)) / image
    assert ratio.std() < 1e-5
    assert ratio.abs().mean().item() == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize("shape", [(9, 9), (9, 13)])
def test_reflections_and_transposition_keep_every_pixel(shape: tuple[int, int]) -> None:
    image = complex_noise(shape, source(0))
    oriented = replace(NOTHING, flip=0.5, transpose=0.5)
    results = [oriented(image, source(seed)) for seed in range(40)]
    for result in results:
        assert result.shape == shape
        torch.testing.assert_close(result.abs().flatten().sort().values, image.abs().flatten().sort().values)
    corners = {round(float(result.abs()[0, 1]), 4) for result in results}
    assert len(corners) == (8 if shape == (9, 9) else 4)  # the dihedral group of the square, of the rectangle


def test_brightness_is_log_normal() -> None:
    image = torch.ones(3, 3, dtype=torch.complex64)
    gains = torch.stack([replace(NOTHING, scale_std=0.25)(image, source(s)).abs()[0, 0] for s in range(500)])
    assert gains.log().std().item() == pytest.approx(0.25, rel=0.1)
    assert gains.log().mean().item() == pytest.approx(0, abs=0.03)


def test_another_contrast_keeps_the_order_of_intensities_and_the_dark_background() -> None:
    image = torch.linspace(0, 1.2, 35).reshape(5, 7) + 0j
    for seed in range(20):
        changed = replace(NOTHING, gamma=1, gamma_std=0.5)(image, source(seed)).abs()
        assert (changed.flatten().diff() > 0).all()
        assert changed[0, 1] < 3 * image[0, 1].abs() + 1e-6
        assert changed.flatten()[-1].item() == pytest.approx(1.2, rel=0.4)


def test_the_conjugate_reverses_the_phase() -> None:
    image = torch.polar(torch.ones(9, 13), torch.linspace(0, 1, 13).expand(9, 13).contiguous())
    plain, reversed_ = NOTHING(image, source(3)), replace(NOTHING, conjugate=1)(image, source(3))
    torch.testing.assert_close(reversed_, plain.conj().resolve_conj())


def test_the_random_source_decides() -> None:
    image = complex_noise((9, 9), source(0))
    assert Augmentation()(image, source(4)).equal(Augmentation()(image, source(4)))
    assert not Augmentation()(image, source(4)).equal(Augmentation()(image, source(5)))
    torch.manual_seed(7)
    first = Augmentation()(image)
    torch.manual_seed(7)
    assert Augmentation()(image).equal(first)


def test_what_happens_depends_on_neither_the_image_nor_its_contrast() -> None:
    """Two contrasts of one head: the same source turns, cuts and lights both alike, and is used up alike."""
    still = replace(Augmentation(), gamma=0)  # the one change that acts on each intensity by its value
    head = complex_noise((20, 17), source(0))
    for seed in range(30):
        one, two = source(seed), source(seed)
        first, second = still(head, one, size=(15, 15)), still(3 * head, two, size=(15, 15))
        torch.testing.assert_close(second, 3 * first)
        assert one.get_state().equal(two.get_state())
    one, two = source(7), source(7)
    Augmentation()(head, one)
    Augmentation()(torch.zeros(9, 9, dtype=torch.complex64), two, size=(4, 5))
    assert one.get_state().equal(two.get_state())


def test_a_rotation_agrees_with_splines_in_space() -> None:
    y, x = torch.meshgrid(torch.arange(61) - 30.0, torch.arange(74) - 37.0, indexing="ij")
    blob = torch.exp(-((y - 6) ** 2) / 60 - (x + 5) ** 2 / 30) + 0.5 * torch.exp(-(y**2 + (x - 9) ** 2) / 20)
    turned = rotate(blob + 0.3j * blob, math.radians(9))
    cos, sin = math.cos(math.radians(9)), math.sin(math.radians(9))
    matrix, centre = np.array([[cos, -sin], [sin, cos]]), np.array([30, 37])
    expected = ndimage.affine_transform(blob.numpy(), matrix, centre - matrix @ centre, order=5)
    assert np.abs(turned.real.numpy() - expected).max() < 2e-3
    torch.testing.assert_close(turned.imag, 0.3 * turned.real, atol=1e-4, rtol=1e-3)


def test_a_rotation_keeps_noise_white_and_is_undone_by_its_opposite() -> None:
    noise = complex_noise((45, 32), source(1))
    turned = rotate(noise, 0.1)
    assert torch.linalg.vector_norm(turned).item() == pytest.approx(torch.linalg.vector_norm(noise).item(), rel=1e-5)
    power = torch.fft.fft2(turned).abs().square()
    assert power[:11, :8].mean() / power[17:28, 12:20].mean() == pytest.approx(1, abs=0.3)
    torch.testing.assert_close(rotate(turned, -0.1), noise, atol=1e-4, rtol=0)


def test_a_larger_image_is_cut_anywhere_and_a_smaller_one_is_not() -> None:
    image = complex_noise((5, 9), source(0))
    corners = {round(float(NOTHING(image, source(s), (7, 6))[0, 0].abs()), 4) for s in range(60)}
    assert corners == {round(float(image[0, x].abs()), 4) for x in range(4)}
    assert NOTHING(image, source(0), (7, 6)).shape == (5, 6)
