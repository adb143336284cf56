"""Training of the unrolled network: what its scans are, and that its validation stands still."""

import pytest
import torch

from lightning_mri.baselines import UnrolledNetwork
from lightning_mri.datasets import ImageBatch
from lightning_mri.phantoms import Scanner
from lightning_mri.physics import Mask, PoissonDisc, achieved_acceleration
from lightning_mri.reconstruction import UnusableSlicesError
from lightning_mri.scaling import Scaling
from lightning_mri.training import KINDS, RandomScans, UnrolledModule, pattern_of, scanned

MATRIX = (54, 48)


@pytest.fixture(scope="module")
def image():
    """An ellipse with a hole, of magnitude 7 and a smooth phase."""
    y, x = torch.meshgrid(*(torch.linspace(-1, 1, n) for n in MATRIX), indexing="ij")
    body = ((y / 0.75) ** 2 + (x / 0.6) ** 2 < 1).float() - 0.6 * ((y - 0.2) ** 2 + (x + 0.1) ** 2 < 0.04).float()
    return torch.polar(7 * body, 0.5 * y - 0.3 * x + 1)[None]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("acceleration", [2, 5.5, 8])
def test_every_pattern_keeps_its_acceleration_and_half_of_it_outside_the_centre(kind, acceleration):
    pattern = pattern_of(kind, acceleration, (97, 80))
    mask = pattern.draw((97, 80), 0)
    assert achieved_acceleration(mask) == pytest.approx(acceleration, rel=0.05)
    centre = pattern.n_center**2 if isinstance(pattern, PoissonDisc) else pattern.n_center * 97
    assert centre <= 0.5 * int(mask.sum()) + 97
    assert pattern.n_center <= (16 if isinstance(pattern, PoissonDisc) else 12)


def test_the_truth_is_the_image_in_the_units_of_the_problem(image):
    scanner = Scanner(5, snr_db=40.0, oversampling=1)
    problem, truth = scanned(image, scanner, pattern_of("equispaced", 2, MATRIX), 3, (4.0, 4.0), Scaling())
    torch.testing.assert_close(truth * problem.scale[:, None, None], image.abs())
    filled = problem.likelihood.proximal(torch.zeros_like(image), 1.0, 0.05, n_iterations=30).abs()
    assert (filled - truth).norm() < 0.15 * truth.norm()


def test_scans_follow_from_their_seed(image):
    scans = RandomScans(n_coils=(3, 5), matrices=(40, 48), accelerations=(2.0, 3.0))
    drawn = [scans.draw(image, seed) for seed in (1, 1, *range(2, 8))]
    assert torch.equal(drawn[0][0].likelihood.y, drawn[1][0].likelihood.y)
    assert {problem.maps.shape[2] for problem, _ in drawn} == {3, 5}
    assert {tuple(truth.shape) for _, truth in drawn} == {(1, 40, 40), (1, 48, 48)}
    masks = [problem.likelihood.A.find(Mask).mask for problem, _ in drawn]
    assert {bool((mask == mask[:, :1]).all()) for mask in masks} == {True, False}  # lines, and points


def test_what_gives_no_maps_is_drawn_again_but_not_for_ever():
    with pytest.raises(ValueError, match="one scan of 10 can be prepared") as found:
        RandomScans(matrices=(40,)).draw(torch.zeros(1, *MATRIX, dtype=torch.complex64), 0)
    assert isinstance(found.value.__cause__, UnusableSlicesError)


def test_training_draws_anew_and_validation_does_not(image, monkeypatch):
    module = UnrolledModule(UnrolledNetwork(1, 2, 2), RandomScans(n_coils=(4,), matrices=(48,)))
    logged = []
    monkeypatch.setattr(module, "log", lambda name, value, **_: logged.append((name, float(value.detach()))))
    steps = iter([0, 1])
    monkeypatch.setattr(UnrolledModule, "global_step", property(lambda _: next(steps)))
    batch = ImageBatch(image, ("T2w",))
    first, second = (module.training_step(batch, 0) for _ in range(2))
    assert first != second
    assert first.requires_grad
    for _ in range(2):
        module.validation_step(batch, 0)
    assert logged[-1] == logged[-2]
    assert logged[-1][0] == "val/nrmse"
