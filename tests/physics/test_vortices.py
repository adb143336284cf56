"""Arrays whose strongest virtual coil is 0 in the middle of the object, where its phase turns once."""

import pytest
import torch

from lightning_mri.physics import Equispaced, NonlinearInversion, fft2c, find_acs, without_vortices
from lightning_mri.tensors import complex_noise

Y, X = torch.meshgrid(torch.linspace(-1, 1, 46), torch.linspace(-1, 1, 41), indexing="ij")
COILS = torch.stack([torch.complex(Y, X), 0.4 * torch.ones_like(Y) + 0j, 0.2 * Y + 0j])
MAPS = COILS / torch.linalg.vector_norm(COILS, dim=0)
DISC = torch.sigmoid(20 * (0.8 - torch.hypot(Y, X)))
KSPACE = fft2c(COILS * DISC)[None] + 1e-3 * complex_noise((1, 3, 46, 41), torch.Generator().manual_seed(0))
EVERYTHING = torch.ones(1, 46, 41, dtype=torch.bool)


def test_maps_take_over_the_phase_that_turns() -> None:
    turning = MAPS * torch.complex(Y, -X).sgn()  # relative to the strongest coil
    maps, phase = without_vortices(turning[None, None], KSPACE, EVERYTHING, find_acs(EVERYTHING))
    assert phase is not None
    inside = DISC > 0.5
    expected = torch.complex(Y, X).sgn()  # of the image seen with such maps
    assert float((phase[0] * expected.conj())[inside].angle().abs().max()) < 0.3
    torch.testing.assert_close(maps, turning * phase[:, None, None])


@pytest.mark.parametrize("image", [1 + 0j, torch.complex(Y, X)], ids=["smooth", "with a zero of its own"])
def test_maps_of_other_images_stay_as_they_are(image: torch.Tensor) -> None:
    maps, phase = without_vortices(MAPS[None, None], fft2c(COILS * image)[None], EVERYTHING, find_acs(EVERYTHING))
    assert phase is None
    assert torch.equal(maps[0, 0], MAPS)


def test_inversion_finds_maps_where_the_virtual_coil_is_zero() -> None:
    mask = Equispaced(3.0, 8).draw((46, 41), 0)
    found = NonlinearInversion().maps(KSPACE * mask, mask, find_acs(mask), 1e-3)[0, 0]
    inside = torch.hypot(Y, X) < 0.75
    assert float((found.conj() * MAPS).sum(0).abs()[inside].min()) > 0.999  # 0.97 from a start with the vortex
