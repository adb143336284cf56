import pytest
import torch

from lightning_mri.phantoms.mice import SUPERSAMPLING, Mouse
from lightning_mri.phantoms.mouse_atlas import BRAIN, BRAIN_RANGE_MM, MouseTissue
from lightning_mri.physics import fft2c

SHAPE = (45, 54)
PIXEL = 0.4


def area_mm2(fractions: torch.Tensor, tissue: MouseTissue) -> float:
    return float(fractions[tissue].sum()) * (PIXEL / SUPERSAMPLING) ** 2


@pytest.fixture(scope="module")
def fractions() -> dict[float, torch.Tensor]:
    mouse = Mouse(1)
    return {z: mouse.fractions(z, SHAPE, PIXEL) for z in (4.2, 0.3, -2.2, -4.2, -6.3)}


def test_a_mouse_follows_from_its_seed_and_position_alone():
    torch.manual_seed(0)
    first = Mouse(3).slice(-1.0, SHAPE, PIXEL)
    torch.manual_seed(7)
    mouse = Mouse(3)
    mouse.slice(2.0, SHAPE, PIXEL)
    assert torch.equal(first, mouse.slice(-1.0, SHAPE, PIXEL))
    other = Mouse(4).slice(-1.0, SHAPE, PIXEL)
    assert (other.abs() - first.abs()).norm() > 0.1 * first.abs().norm()


def test_an_image_is_complex_with_smooth_phase_and_air_around_the_head():
    image = Mouse(2).slice(-1.5, SHAPE, PIXEL)
    assert image.dtype == torch.complex64
    assert image.shape == SHAPE
    tissue = image.abs() > 0.3 * image.abs().max()
    assert image.abs()[:5].max() < 0.05 * image.abs().max()
    turn = (image[1:] * image[:-1].conj()).angle()[tissue[1:] & tissue[:-1]]
    assert turn.abs().quantile(0.95) < 0.6
    assert image.angle()[tissue].std() > 0.05


def test_fractions_are_shares_of_a_pixel(fractions):
    for part in fractions.values():
        assert part.min() > -1e-4
        assert part.sum(0).max() < 1 + 1e-4
        assert part.shape == (len(MouseTissue), SUPERSAMPLING * SHAPE[0], SUPERSAMPLING * SHAPE[1])


@pytest.mark.parametrize(
    ("tissue", "present", "absent"),
    [
        (MouseTissue.STRIATUM, 0.3, -4.2),
        (MouseTissue.HIPPOCAMPUS, -2.2, 4.2),
        (MouseTissue.THALAMUS, -2.2, 0.3),
        (MouseTissue.CORTEX, 0.3, -6.3),
        (MouseTissue.MIDBRAIN, -4.2, 0.3),
        (MouseTissue.CEREBELLUM, -6.3, -2.2),
        (MouseTissue.BULB, 4.2, -2.2),
        (MouseTissue.VITREOUS, 4.2, -2.2),
    ],
)
def test_structures_are_where_an_atlas_has_them(fractions, tissue, present, absent):
    assert area_mm2(fractions[present], tissue) > 1.5
    assert area_mm2(fractions[absent], tissue) < 0.15


def test_a_brain_has_the_size_of_a_mouse_brain(fractions):
    brain = fractions[-2.2][list(BRAIN)].sum(0) > 0.5
    height, width = (int(brain.any(axis).sum()) * PIXEL / SUPERSAMPLING for axis in (1, 0))
    assert 9.5 < width < 12.5
    assert 5.3 < height < 7.5


def test_the_brain_is_dorsal_and_nearly_symmetric(fractions):
    part = fractions[-2.2]
    brain = part[list(BRAIN)].sum(0)
    head = part.sum(0)
    rows = torch.arange(len(brain), dtype=torch.float32)
    assert (brain.sum(1) @ rows) / brain.sum() < (head.sum(1) @ rows) / head.sum()
    centred = brain.roll(int(brain.shape[1] / 2 - (brain.sum(0) @ torch.arange(108.0)) / brain.sum()), 1)
    assert (centred - centred.flip(1)).abs().sum() < 0.4 * brain.sum()


@pytest.mark.parametrize("seed", range(4))
def test_fluid_is_bright_and_white_matter_dark_on_t2_weighted_images(seed):
    signal = Mouse(seed).signals
    assert signal[MouseTissue.FLUID] > 1.2 * signal[MouseTissue.CORTEX]
    assert signal[MouseTissue.WHITE] < 0.92 * signal[MouseTissue.CORTEX]
    assert signal[MouseTissue.MUSCLE] < signal[MouseTissue.WHITE]
    assert signal[MouseTissue.BONE] < 0.1 * signal[MouseTissue.CORTEX]


def test_neighbouring_slices_are_alike_and_distant_ones_are_not():
    mouse = Mouse(5)
    here, near, far = (mouse.slice(z, SHAPE, PIXEL).abs() for z in (-1.0, -1.1, -3.0))
    assert (near - here).norm() < 0.2 * here.norm() < 0.6 * (far - here).norm()


def test_pixels_are_cut_out_of_k_space():
    coarse, fine = (Mouse(1).slice(-1.0, (n, n), 19.2 / n) for n in (32, 64))
    k = fft2c(fine)[16:48, 16:48] / 2
    assert (fft2c(coarse) - k).norm() < 0.1 * k.norm()


def test_the_brain_is_in_every_slice_of_its_range():
    for z in BRAIN_RANGE_MM:
        assert Mouse(2).fractions(z, SHAPE, PIXEL)[list(BRAIN)].sum() * (PIXEL / SUPERSAMPLING) ** 2 > 3
