"""The Langevin corrector: its step, its norms, and where its chain comes to rest."""

import math

import pytest
import torch

from lightning_mri.sampling import Langevin
from lightning_mri.tensors import complex_noise


def test_the_step_holds_the_square_of_the_ratio():
    """Regression: a public re-implementation forgets the square (methods.md, section 7, defect 3)."""
    x = torch.zeros(1, 1, 1, dtype=torch.complex64)
    score, noise = torch.full_like(x, 4.0), torch.full_like(x, 2.0j)

    stepped = Langevin(snr=0.5).step(x, score, noise)

    e = 2 * (0.5 * 2 / 4) ** 2  # 0.125; without the square 0.5
    assert stepped.item() == pytest.approx(e * 4 + math.sqrt(2 * e) * 2j)


def test_the_step_is_attenuated_by_alpha():
    x = torch.zeros(1, 1, 1, dtype=torch.complex64)
    score, noise = torch.full_like(x, 4.0), torch.full_like(x, 2.0j)

    assert Langevin(snr=0.5).step(x, score, noise, alpha=0.25).item() == pytest.approx(0.125 + 0.5j)


def test_norms_are_taken_image_by_image():
    x, score, noise = (complex_noise((3, 5, 4), torch.Generator().manual_seed(seed)) for seed in range(3))
    score = score * torch.tensor([1.0, 100.0, 1e-3])[:, None, None]

    together = Langevin().step(x, score, noise)

    for i in range(3):
        torch.testing.assert_close(together[i], Langevin().step(x[i], score[i], noise[i]))


def test_the_images_of_several_sets_take_one_step_together():
    x, score, noise = (complex_noise((2, 2, 5, 4), torch.Generator().manual_seed(seed)) for seed in range(3))

    together = Langevin().step(x, score, noise, ndim=3)

    norms = (noise.flatten(1).norm(dim=1) / score.flatten(1).norm(dim=1))[:, None, None, None]
    e = 2 * (0.16 * norms) ** 2
    torch.testing.assert_close(together, x + e * score + (2 * e).sqrt() * noise)


def test_the_chain_rests_at_the_target_widened_by_its_step():
    """For N(0, s^2) and a step e the stationary variance is s^2 / (1 - e / (2 s^2))."""
    s, snr, generator = 0.3, 0.3, torch.Generator().manual_seed(1)
    x = s * complex_noise((2, 67, 61), generator)
    for _ in range(200):
        x = Langevin(snr=snr).step(x, -x / s**2, complex_noise(x.shape, generator))

    # |z| / |score| = s^2 |z| / |x|, and |x| / |z| is the stationary std v: e = 2 snr^2 s^4 / v^2,
    # which makes v^2 = s^2 / (1 - snr^2 s^2 / v^2), so v^2 = s^2 (1 + snr^2)
    expected = s * math.sqrt(1 + snr**2)
    assert torch.view_as_real(x).std().item() == pytest.approx(expected, rel=0.01)
