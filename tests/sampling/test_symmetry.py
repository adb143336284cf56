"""Random symmetries: the group, and that an equivariant denoiser does not notice them."""

import pytest
import torch

from lightning_mri.physics import GaussianLikelihood, sense
from lightning_mri.sampling import RandomSymmetry, Target
from lightning_mri.sampling.noise import NoiseStream
from lightning_mri.sampling.symmetry import denoiser, orient, restore

from .conftest import SHAPE, AnySize, draw


def target(prior, seeds, image_shape, label=None):
    return Target(prior, None, label, NoiseStream(seeds, image_shape))


def test_the_eight_orientations_differ_and_are_undone():
    image = draw(*SHAPE, seed=0)
    square = draw(5, 5, seed=1)

    for orientation in range(8):
        assert torch.equal(restore(orient(image, orientation), orientation), image)
    assert len({tuple(orient(square, orientation).real.flatten().tolist()) for orientation in range(8)}) == 8


@pytest.mark.parametrize("image_shape", [SHAPE, (2, *SHAPE), (6, 6)])
def test_an_equivariant_denoiser_does_not_notice(image_shape):
    x = draw(7, 2, *image_shape, seed=0)
    case = target(AnySize(), torch.arange(14).reshape(7, 2), image_shape)

    turned = RandomSymmetry().denoiser(case)(x, 0.3)

    torch.testing.assert_close(turned, AnySize().denoise(x, 0.3))


@pytest.mark.parametrize(("size", "shapes"), [((6, 6), {(6, 6)}), ((6, 4), {(6, 4), (4, 6)})])
def test_images_of_equal_shape_are_denoised_in_one_call(size, shapes):
    prior = AnySize()
    RandomSymmetry().denoiser(target(prior, torch.arange(16), size))(draw(16, *size, seed=0), 0.3)

    assert len(prior.seen) == len(shapes)
    assert {shape[1:] for shape, _ in prior.seen} == shapes


def test_the_network_gets_the_box_that_coils_see_and_zero_is_around_it():
    """Air costs nothing: slices of one batch have boxes of their own, and one that no coil sees has the whole."""
    n_samples, size = 3, (64, 70)
    maps = torch.zeros(3, 1, 2, *size, dtype=torch.complex64)
    maps[0, ..., 20:41, 3:12] = maps[1, ..., 30:33, 20:69] = 1
    likelihood = GaussianLikelihood(sense(maps), torch.zeros(3, 2, *size, dtype=torch.complex64), torch.ones(3))
    prior, x = AnySize(), draw(n_samples, 3, *size, seed=0)
    case = Target(prior, likelihood, None, NoiseStream(torch.arange(9).reshape(3, 3), size))

    denoised = RandomSymmetry().denoiser(case)(x, 0.3)

    boxes = [(slice(15, 47), slice(0, 32)), (slice(24, 40), slice(6, 70)), (slice(0, 64), slice(0, 70))]
    for i, (rows, columns) in enumerate(boxes):
        inside = torch.zeros(size, dtype=torch.bool)
        inside[rows, columns] = True
        torch.testing.assert_close(denoised[:, i], AnySize().denoise(x[:, i], 0.3) * inside)
    assert {tuple(sorted(shape[1:])) for shape, _ in prior.seen} <= {(32, 32), (16, 64), (64, 70)}
    support = (maps != 0).any(2)[:, 0]
    torch.testing.assert_close(denoiser(case, RandomSymmetry())(x, 0.3), AnySize().denoise(x, 0.3) * support)


def test_labels_stay_with_their_images():
    label = torch.tensor([0, 1] * 8)
    x = draw(16, *SHAPE, seed=0)

    case = target(AnySize(), torch.arange(16), SHAPE, label)  # in two shapes
    denoised = RandomSymmetry().denoiser(case)(x, 0.3)

    plain = AnySize().denoise(x, 0.3)
    torch.testing.assert_close(denoised[::2], plain[::2])
    torch.testing.assert_close((denoised - plain)[1::2].abs(), torch.full((8, *SHAPE), 0.1))
