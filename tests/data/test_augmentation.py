"""Augmented images are of the same kind: oriented, brightened and rotated in phase, nothing else."""

from dataclasses import replace

import pytest
import torch

from lightning_mri.data import Augmentation
from lightning_mri.tensors import complex_noise

NOTHING = Augmentation(flip=0, transpose=0, conjugate=0, gamma=0, scale_std=0, phase_std=0)


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
