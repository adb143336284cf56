"""Seeds, shapes and errors of complex tensors, by hand."""

import pytest

from lightning_mri.tensors import centre_crop, centre_pad, derive_seed, relative_error, spread
from tests.builders import noise


def test_a_seed_knows_where_its_parts_end_and_takes_names_that_are_no_unicode() -> None:
    assert derive_seed("scan", 1, 11) != derive_seed("scan", 11, 1)
    assert derive_seed("scan\udcff") != derive_seed("scan")


@pytest.mark.parametrize("size", [(3, 4), (4, 5), (6, 7)])
def test_a_crop_undoes_padding(size: tuple[int, int]) -> None:
    x = noise(2, 3, 4)
    assert centre_crop(centre_pad(x, size), (3, 4)).equal(x)


def test_the_error_of_magnitudes_does_not_see_the_phase() -> None:
    assert relative_error(1j * noise(5, 4), noise(5, 4)).item() < 1e-6


def test_slices_are_spread_around_the_middle() -> None:
    assert (spread(9, 1), spread(8, 4), spread(2, 5)) == ([4], [1, 3, 5, 7], [0, 1])
