"""Where an image lies is what its scan says, or assumed with a warning."""

import numpy as np
import pytest
import torch

from lightning_mri.io.geometry import (
    Place,
    as_shown,
    for_readers,
    greatest_distance,
    misplacement,
    place_of,
    stack_geometry,
)


def test_a_known_place_is_kept() -> None:
    affine = torch.diag(torch.tensor([1.0, 2.0, 3.0, 1.0]))
    place = place_of(affine, None, None, (4, 5, 7))
    assert place.affine.equal(affine)
    assert (place.is_known, place.warnings) == (True, ())


def test_an_unknown_place_is_axial_around_the_origin() -> None:
    place = place_of(None, (2.0, 1.5), 4.0, (3, 5, 7))
    voxel = torch.tensor([[3.0, 2.0, 1.0, 1.0], [4.0, 2.0, 1.0, 1.0], [3.0, 3.0, 1.0, 1.0], [3.0, 2.0, 2.0, 1.0]])
    centre, along_x, along_y, along_slices = (place.affine @ voxel.T).T[:, :3]
    assert centre.tolist() == [0, 0, 0]
    assert along_x.tolist() == [-1.5, 0, 0]  # RAS: to the left
    assert along_y.tolist() == [0, -2, 0]  # to the back
    assert along_slices.tolist() == [0, 0, 4]  # to the head
    assert not place.is_known
    assert len(place.warnings) == 1


def test_unknown_sizes_are_told() -> None:
    warnings = place_of(None, None, None, (3, 5, 7)).warnings
    assert warnings[1] == "the pixel size and the slice spacing are not known: 1 mm is written"


def test_a_stack_takes_each_index_to_where_its_slice_lies() -> None:
    x, y = np.array([0.8, 0.6, 0.0]), np.array([0.0, 0.0, -1.0])
    positions = np.array([[10.0, -20, 30], [13.0, -24, 30], [16.0, -28, 30]])
    geometry = stack_geometry(x, y, positions, (2.0, 1.5), None)
    assert (geometry.pixel_size, geometry.slice_spacing, geometry.warnings) == ((2.0, 1.5), 5.0, ())
    # LPS (10, -20, 30) + 4 * 1.5 x + 3 * 2 y + 2 (3, -4, 0), right and front positive
    assert (geometry.affine @ torch.tensor([4.0, 3, 2, 1])).tolist() == pytest.approx([-20.8, 24.4, 24, 1], rel=1e-6)
    single = stack_geometry(x, y, positions[:1], (2.0, 1.5), 5.0)
    assert single.affine[:3, 2].tolist() == pytest.approx([3, -4, 0])  # x cross y, right and front positive
    uneven = stack_geometry(x, y, positions[[0, 1, 2, 2]], (2.0, 1.5), None)
    assert (uneven.affine, uneven.slice_spacing) == (None, None)
    assert uneven.warnings == ("slices are not equally spaced (0 ... 5 mm): orientation is not known",)


def test_a_sagittal_image_is_shown_with_the_front_on_the_left_and_the_head_on_top() -> None:
    affine = torch.tensor([[0.0, 0, 1, 5], [0, 2, 0, 6], [3, 0, 0, 7], [0, 0, 0, 1]])  # x to the head, y to the front
    images = torch.arange(24.0).reshape(2, 3, 4)
    shown, place = as_shown(images, Place(affine))
    assert shown.shape == (2, 4, 3)
    assert shown[1, 0, 0] == images[1, 2, 3]
    assert place.affine[:3, 0].tolist() == [0, -2, 0]
    assert place.affine[:3, 1].tolist() == [0, 0, -3]
    assert (place.affine @ torch.tensor([0.0, 0, 1, 1])).equal(affine @ torch.tensor([3.0, 2, 1, 1]))
    assert greatest_distance(affine, images.shape, place.affine, shown.shape) == 0
    drawn, pixel_size, orientation = for_readers(images[1], affine, (2.0, 3.0))
    assert drawn.equal(shown[1])
    assert (pixel_size, orientation) == ((3.0, 2.0), "as in radiology")
    drawn, pixel_size, orientation = for_readers(images, None, (2.0, 3.0))
    assert drawn.equal(images)
    assert (pixel_size, orientation) == ((2.0, 3.0), "as stored: it is not known where left is")
    moved = place.affine.clone()
    moved[0, 3] += 4
    assert greatest_distance(affine, images.shape, moved, shown.shape) == 4


@pytest.mark.parametrize("shapes", [((1, 1, 1), (1, 1, 4)), ((1, 1, 4), (1, 1, 1))])
def test_a_volume_that_is_longer_reaches_further_whichever_comes_first(shapes: tuple[tuple[int, ...], ...]) -> None:
    assert greatest_distance(torch.eye(4), shapes[0], torch.eye(4), shapes[1]) == 3


@pytest.mark.parametrize(("shift", "expected"), [(0.6, 0.6), (0.4, None)])
def test_voxels_are_misplaced_by_more_than_half_of_the_smaller_side(shift: float, expected: float | None) -> None:
    affine = torch.diag(torch.tensor([1.0, 3, 5, 1]))
    moved = affine.clone()
    moved[0, 3] = shift
    assert misplacement(affine, moved, (2, 3, 4)) == pytest.approx(expected)
