"""Arrays whose strongest virtual coil is 0 in the middle of the object, where its phase turns once."""

import pytest
import torch

from lightning_mri.physics import Equispaced, NonlinearInversion, fft2c, find_acs, without_vortices
from tests.builders import array_with_a_vortex

COILS, DISC, KSPACE = array_with_a_vortex()
TURNING = COILS[0]  # y + i x
MAPS = COILS / torch.linalg.vector_norm(COILS, dim=0)
EVERYTHING = torch.ones(1, 46, 41, dtype=torch.bool)


def test_maps_take_over_the_phase_that_turns() -> None:
    turning = MAPS * TURNING.conj().sgn()  # relative to the strongest coil
    maps, phase = without_vortices(turning[None, None], KSPACE, EVERYTHING, find_acs(EVERYTHING))
    inside = DISC > 0.5
    expected = TURNING.sgn()  # of the image seen with such maps
    assert float((phase[0] * expected.conj())[inside].angle().abs().max()) < 0.3
    torch.testing.assert_close(maps, turning * phase[:, None, None])


@pytest.mark.parametrize("image", [1 + 0j, TURNING], ids=["smooth", "with a zero of its own"])
def test_maps_of_other_images_stay_as_they_are(image: torch.Tensor) -> None:
    maps, phase = without_vortices(MAPS[None, None], fft2c(COILS * image)[None], EVERYTHING, find_acs(EVERYTHING))
    assert phase is None
    assert torch.equal(maps[0, 0], MAPS)


def test_inversion_finds_maps_where_the_virtual_coil_is_zero() -> None:
    mask = Equispaced(3.0, 8).draw((46, 41), 0)
    found = NonlinearInversion().maps(KSPACE * mask, mask, find_acs(mask), 1e-3)[0, 0]
    inside = TURNING.abs() < 0.75
    assert float((found.conj() * MAPS).sum(0).abs()[inside].min()) > 0.999  # 0.97 from a start with the vortex
