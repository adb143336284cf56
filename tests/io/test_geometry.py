"""Where an image lies is what its scan says, or assumed with a warning."""

import torch

from lightning_mri.io.geometry import place_of


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
