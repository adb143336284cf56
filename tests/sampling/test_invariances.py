"""What may not matter to a reconstruction, does not: phase, scale, order and rotation of coils, flips, company."""

import pytest
import torch

from lightning_mri.physics import GaussianLikelihood, Maps, Mask, sense
from lightning_mri.reconstruction import Measurement, Reconstructor, Uncertainty, prepare, seeds_of
from lightning_mri.sampling import DAPS, DDS, DPS, HQS, PULA, PosteriorScore, PredictorCorrector
from lightning_mri.weights import load_prior

from ..analytic import GaussianPrior
from .conftest import draw

SIZE, N_COILS = (6, 5), 4
SAMPLERS = {
    "HQS": HQS(n_steps=5, symmetry=None),
    "DDS": DDS(n_steps=5, symmetry=None),
    "DAPS": DAPS(n_steps=5),
    "pULA": PULA(n_steps=5, n_langevin=2),
    "DPS": DPS(n_steps=6, sigma_max=1.0),
    "PC": PredictorCorrector(n_steps=5, consistency=PosteriorScore(), sigma_max=1.0, sigma_min=0.05),
}
EVERY = pytest.mark.parametrize("sampler", SAMPLERS.values(), ids=SAMPLERS)
ONE = [5]


def scan() -> GaussianLikelihood:
    maps = draw(2, 1, N_COILS, *SIZE, seed=0)
    maps = maps / maps.abs().square().sum(2, keepdim=True).sqrt()
    mask = torch.rand(2, 1, *SIZE, generator=torch.Generator().manual_seed(1)) < 0.5
    A = sense(maps, mask)
    y = A(0.5 * draw(2, *SIZE, seed=2)) + 0.05 * draw(2, N_COILS, *SIZE, seed=3) * mask
    return GaussianLikelihood(A, y, torch.full((2,), 0.05))


def close(a, b, tolerance=2e-5):
    assert (a - b).norm() < tolerance * a.norm()


@pytest.fixture
def prior() -> GaussianPrior:
    """Images of mean 0 whose pixels differ in variance, alike under flips."""
    y, x = (torch.linspace(-1, 1, n).square() for n in SIZE)
    return GaussianPrior(torch.zeros(SIZE, dtype=torch.complex64), 0.05 + 0.3 * torch.exp(-y[:, None] - x))


# the others draw noise of the data, coil by coil
FROM_IMAGES = ["HQS", "DDS", "DPS", "PC"]


@pytest.mark.parametrize("name", FROM_IMAGES)
def test_a_phase_of_the_receiver_turns_the_estimate(prior, name):
    """The maps take up a phase common to all coils, so that the image keeps its own."""
    likelihood, turn = scan(), torch.polar(torch.tensor(1.0), torch.tensor(2.2))
    maps = likelihood.A.find(Maps).maps

    turned = likelihood.replace(A=likelihood.A.replace(Maps, Maps(turn * maps)), y=turn * likelihood.y)

    close(SAMPLERS[name].sample(prior, likelihood, ONE), SAMPLERS[name].sample(prior, turned, ONE))


def test_the_phase_of_the_object_is_that_of_the_estimate(prior):
    likelihood, turn = scan(), torch.polar(torch.tensor(1.0), torch.tensor(2.2))

    x = SAMPLERS["HQS"].sample(prior, likelihood, ONE)

    close(turn * x, SAMPLERS["HQS"].sample(prior, likelihood.replace(y=turn * likelihood.y), ONE))


@pytest.mark.parametrize("name", FROM_IMAGES)
def test_the_order_of_the_coils_does_not_matter(prior, name):
    likelihood, order = scan(), torch.tensor([2, 0, 3, 1])
    maps = likelihood.A.find(Maps).maps

    shuffled = likelihood.replace(A=likelihood.A.replace(Maps, Maps(maps[:, :, order])), y=likelihood.y[:, order])

    close(SAMPLERS[name].sample(prior, likelihood, ONE), SAMPLERS[name].sample(prior, shuffled, ONE))


@pytest.mark.parametrize("name", FROM_IMAGES)
def test_a_rotation_of_the_coils_does_not_matter(prior, name):
    """White noise stays white under a unitary mix: estimates, and draws whose noise is that of the image, agree."""
    likelihood = scan()
    Q = torch.linalg.qr(draw(N_COILS, N_COILS, seed=9)).Q
    maps = torch.einsum("dc,bscyx->bsdyx", Q, likelihood.A.find(Maps).maps)
    mixed = torch.einsum("dc,bcyx->bdyx", Q, likelihood.y)

    rotated = likelihood.replace(A=likelihood.A.replace(Maps, Maps(maps)), y=mixed)

    close(SAMPLERS[name].sample(prior, likelihood, ONE), SAMPLERS[name].sample(prior, rotated, ONE))


@pytest.mark.parametrize("axis", [-1, -2])
def test_a_flipped_object_gives_the_flipped_estimate(axis):
    """Flipped maps and a k-space reversed about its centre; odd sizes have one."""
    maps = draw(1, 1, N_COILS, 7, 5, seed=0)
    mask = torch.rand(1, 1, 7, 5, generator=torch.Generator().manual_seed(1)) < 0.5
    y = sense(maps, mask)(draw(1, 7, 5, seed=2))
    even = GaussianPrior(torch.zeros(7, 5, dtype=torch.complex64), 0.2)
    straight = GaussianLikelihood(sense(maps, mask), y, torch.tensor([0.1]))
    flipped = GaussianLikelihood(sense(maps.flip(axis), mask.flip(axis)), y.flip(axis), torch.tensor([0.1]))

    close(SAMPLERS["HQS"].sample(even, straight, ONE).flip(axis), SAMPLERS["HQS"].sample(even, flipped, ONE))


@EVERY
def test_the_image_is_zero_where_no_coil_is_sensitive_and_nowhere_else(prior, sampler):
    likelihood = scan()
    seen = torch.ones(2, *SIZE, dtype=torch.bool)
    seen[0, :2], seen[1, :, 4] = False, False
    A = likelihood.A.replace(Maps, Maps(likelihood.A.find(Maps).maps * seen[:, None, None]))

    x = sampler.sample(prior, likelihood.replace(A=A), ONE)

    assert torch.equal(x[0] != 0, seen)


@EVERY
def test_slices_may_come_in_any_order(prior, sampler):
    likelihood, seeds = scan(), torch.tensor([[3, 4]])
    A = sense(likelihood.A.find(Maps).maps.flip(0), likelihood.A.find(Mask).mask.flip(0))
    reversed_ = likelihood.replace(A=A, y=likelihood.y.flip(0))

    close(sampler.sample(prior, likelihood, seeds).flip(1), sampler.sample(prior, reversed_, seeds.flip(1)))


@pytest.fixture(scope="module")
def network():
    prior = load_prior("brain")
    prior.precision = torch.float32  # which processors multiply half of it decides what rounding is
    return prior


def kspace(rows: int = 32, columns: int = 28, width: float = 0.7) -> tuple[torch.Tensor, torch.Tensor]:
    """Return k-space of an ellipse seen by four smooth coils: every second line, and eleven in the centre."""
    y, x = torch.meshgrid(torch.linspace(-1, 1, rows), torch.linspace(-1, 1, columns), indexing="ij")
    image = torch.polar(((y / 0.8) ** 2 + (x / width) ** 2 < 1) * (1 + 0.3 * torch.sin(6 * y * x)), x)
    places = [(-1, -1), (-1, 1), (1, -1), (1, 1)]
    maps = torch.stack([torch.exp(-((y - v) ** 2 + (x - u) ** 2) / 2 + 1j * (u * y + v)) for v, u in places])
    mask = (torch.arange(columns) % 2 == 0) | ((torch.arange(columns) - columns // 2).abs() < 6)
    mask = mask.expand(1, rows, columns).clone()
    noise = 0.01 * draw(N_COILS, rows, columns, seed=1)
    full = sense(maps[None].to(torch.complex64))(image.to(torch.complex64)) + noise
    return torch.where(mask, full, 0)[None], mask


def reconstructed(network, y, mask):
    problem = prepare(y, mask, network.scaling)
    return problem.finish(HQS(n_steps=4, symmetry=None).sample(network, problem.likelihood, ONE))


@pytest.fixture(scope="module")
def plain(network):
    return reconstructed(network, *kspace())


@pytest.mark.parametrize("factor", [1e-6, 1e6])
def test_the_unit_of_kspace_does_not_matter(network, plain, factor):
    """With the shipped network, maps, noise and scale estimated: measured 5e-7 to 1.3e-5 relative, by processor."""
    y, mask = kspace()

    close(plain, reconstructed(network, factor * y, mask) / factor, 5e-5)


def test_the_unit_of_kspace_hardly_matters_in_half_precision(network):
    """Rounding to eight bits takes differences up: measured 5e-5 relative."""
    y, mask = kspace()
    half = load_prior("brain")
    half.precision = torch.bfloat16

    close(reconstructed(half, y, mask), reconstructed(half, 1e3 * y, mask) / 1e3, 1e-3)


def test_the_order_of_measured_coils_does_not_matter(network, plain):
    """The maps' phase refers to the first virtual coil at a phase that no order changes: measured 5e-7."""
    y, mask = kspace()

    close(plain, reconstructed(network, y[:, [2, 0, 3, 1]], mask), 1e-5)


def test_a_phase_of_measured_kspace_does_not_matter_to_the_magnitude(network, plain):
    """Measured 0.18 %."""
    y, mask = kspace()

    close(plain.abs(), reconstructed(network, y * torch.polar(torch.tensor(1.0), torch.tensor(2.2)), mask).abs(), 0.01)


def test_a_unitary_mix_of_measured_coils_does_not_matter_to_the_magnitude(network, plain):
    """Measured 0.004 %."""
    y, mask = kspace()
    Q = torch.linalg.qr(draw(N_COILS, N_COILS, seed=9)).Q

    close(plain.abs(), reconstructed(network, torch.einsum("dc,bcyx->bdyx", Q, y), mask).abs(), 0.01)


@pytest.mark.parametrize("axis", [-1, -2])
def test_a_flip_of_the_measured_object_flips_the_magnitude(network, axis):
    """The network was trained on flipped images, too, but is not exactly equivariant: measured 0.23 %."""
    y, mask = kspace(33, 29)

    straight, flipped = reconstructed(network, y, mask), reconstructed(network, y.flip(axis), mask.flip(axis))

    close(straight.abs().flip(axis), flipped.abs(), 0.01)


def test_company_and_order_of_measured_slices_do_not_matter(network):
    """With the sampler's symmetries, whose draws follow from each slice's seed: measured 1e-7 relative."""
    (first, mask), (second, _) = kspace(), kspace(width=0.5)
    seeds = seeds_of("head", [0, 1], 1)

    def image(y, seeds):
        problem = prepare(y, mask, network.scaling)
        return problem.finish(HQS(n_steps=3).sample(network, problem.likelihood, seeds))[0]

    together = image(torch.cat([first, second]), seeds)

    close(together[:1], image(first, seeds[:, :1]), 1e-4)
    close(together[1:], image(second, seeds[:, 1:]), 1e-4)
    close(together.flip(0), image(torch.cat([second, first]), seeds.flip(1)), 1e-4)


def test_what_was_not_acquired_changes_no_bit(network):
    """The whole of a reconstruction with the shipped network, guard and uncertainty."""
    y, mask = kspace()
    spoilt = torch.where(mask, y, complex(1e6, float("nan")))
    draws = Uncertainty(DDS(n_steps=2, refinement=None), 2)
    reconstructor = Reconstructor(network, HQS(n_steps=2), uncertainty=draws)

    clean, other = (
        reconstructor.solve(reconstructor.prepare(Measurement(one, mask)), "head", contrast=network.labels[0])
        for one in (y, spoilt)
    )

    assert torch.equal(clean.image, other.image)
    assert torch.equal(clean.std, other.std)
    assert clean.warnings == other.warnings


WHOLE = {
    "unit 1e-30": lambda y: (1e-30 * y, lambda x: x / 1e-30),
    "unit 1e30": lambda y: (1e30 * y, lambda x: x / 1e30),
    "phase": lambda y: (y * torch.polar(torch.tensor(1.0), torch.tensor(2.2)), torch.abs),
    "order of coils": lambda y: (y[:, [2, 0, 3, 1]], torch.abs),
    "mixed coils": lambda y: (torch.einsum("dc,bcyx->bdyx", torch.linalg.qr(draw(4, 4, seed=9)).Q, y), torch.abs),
    "flip along x": lambda y: (y.flip(-1), lambda x: x.abs().flip(-1)),
    "flip along y": lambda y: (y.flip(-2), lambda x: x.abs().flip(-2)),
}


@pytest.mark.parametrize("change", WHOLE.values(), ids=WHOLE)
def test_with_a_gaussian_prior_the_whole_reconstruction_agrees(change):
    """Maps, noise level and scale found in the data, without a network: measured 1e-6 to 5e-4.

    Steps of the inversion of maps are solved to a tolerance, and rounding may decide on one iteration more.
    """
    y, mask = kspace(33, 29)
    even = GaussianPrior(torch.zeros(33, 29, dtype=torch.complex64), 0.2)
    changed, back = change(y)
    mask_too = mask.flip(-1) if torch.equal(changed, y.flip(-1)) else mask

    straight, other = reconstructed(even, y, mask), back(reconstructed(even, changed, mask_too))

    close(straight if other.is_complex() else straight.abs(), other, 2e-3)
