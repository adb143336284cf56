"""Spikes in k-space are found, nothing else is, and what takes their place is close to what was there."""

import pytest
import torch

from lightning_mri.phantoms import Scanner
from lightning_mri.physics import Equispaced, PoissonDisc, fft2c, replace_spikes
from lightning_mri.tensors import complex_noise

SHAPE = (65, 58)
CENTRE = (32, 29)
MASKS = {
    "full": torch.ones(1, *SHAPE, dtype=torch.bool),
    "lines": Equispaced(3.0, 10).draw(SHAPE, 0),
    "points": PoissonDisc(3.0, 14).draw(SHAPE, 0),
}


def head(n_coils: int = 4) -> torch.Tensor:
    """Return k-space [slice, coil, y, x] of an ellipse with structure, 25 dB."""
    y, x = torch.meshgrid(*(torch.linspace(-1, 1, n) for n in SHAPE), indexing="ij")
    image = (y**2 / 0.7 + x**2 / 0.5 < 1) * (1 + 0.3 * torch.sin(9 * y) * torch.cos(11 * x))
    return Scanner(n_coils, snr_db=25, oversampling=1).measure(image[None].to(torch.complex64), 0, (3.0, 3.0))


@pytest.mark.parametrize("mask", MASKS.values(), ids=MASKS)
@pytest.mark.parametrize("unit", [1e-30, 1.0, 1e30])
def test_data_without_spikes_keep_every_bit(mask: torch.Tensor, unit: float) -> None:
    kspace = unit * head() * mask

    kept, found = replace_spikes(kspace, mask)

    assert kept is kspace
    assert found[0].where == ()


@pytest.mark.parametrize(
    "image",
    [
        lambda y, x: 1 + 0 * y * x,
        lambda y, x: 1 + 0.2 * x + 0 * y,
        lambda y, x: 1.0 * (y**2 + x**2 < 0.99),
        lambda y, x: torch.exp(-((x - 1) ** 2 + y**2) / 2),
    ],
    ids=["uniform", "ramp", "disc", "surface coil"],
)
@pytest.mark.parametrize("noise", [0.0, 1e-4, 1e-2])
def test_objects_that_fill_the_field_of_view_have_none(image, noise: float) -> None:
    """Their edges are lines on the axes of k-space, and a uniform one is a single sample."""
    y, x = torch.linspace(-1, 1, SHAPE[0])[:, None], torch.linspace(-1, 1, SHAPE[1])
    kspace = fft2c(image(y, x).to(torch.complex64))[None, None]
    kspace = kspace + noise * complex_noise(kspace.shape, torch.Generator().manual_seed(0))

    assert replace_spikes(kspace, MASKS["full"])[1][0].where == ()


@pytest.mark.parametrize("mask", MASKS.values(), ids=MASKS)
@pytest.mark.parametrize("gain", [100.0, 1000.0, 1e30])
def test_a_wrong_centre_is_predicted_from_its_neighbours(mask: torch.Tensor, gain: float) -> None:
    kspace = head() * mask
    wrong = kspace.clone()
    wrong[..., CENTRE[0], CENTRE[1]] *= gain

    mended, found = replace_spikes(wrong, mask)

    assert found[0].where == (CENTRE,)
    assert found[0].replaced
    assert (mended - kspace).norm() < 0.25 * kspace[..., CENTRE[0], CENTRE[1]].norm()  # measured 0.01 to 0.2
    others = torch.ones(SHAPE, dtype=torch.bool)
    others[CENTRE] = False
    assert torch.equal(mended[..., others], kspace[..., others])


@pytest.mark.parametrize(("place", "coils"), [((35, 30), [1]), ((36, 27), [0, 1, 2, 3]), ((7, 29), [2])])
def test_sparks_of_one_coil_or_all_are_replaced_in_all(place: tuple[int, int], coils: list[int]) -> None:
    kspace = head()
    wrong = kspace.clone()
    wrong[0, coils, place[0], place[1]] += 50 * kspace.abs().max()
    wrong[0, coils, place[0] + 1, place[1]] += 30 * kspace.abs().max()

    mended, found = replace_spikes(wrong, MASKS["full"])

    assert found[0].where == (place, (place[0] + 1, place[1]))
    assert (mended - kspace).norm() < 0.03 * kspace.norm()


def test_slices_are_looked_at_one_by_one_and_too_many_spikes_are_left() -> None:
    clean = head()
    sparks = clean.clone()
    for i in range(40):
        sparks[0, :, 5 + 18 * (i // 10), 3 + 5 * (i % 10)] += 100 * clean.abs().max()

    mended, found = replace_spikes(torch.cat([clean, sparks]), MASKS["full"])

    assert torch.equal(mended, torch.cat([clean, sparks]))
    assert found[0].where == ()
    assert len(found[1].where) > 32
    assert not found[1].replaced
