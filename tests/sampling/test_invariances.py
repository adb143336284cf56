"""What may not matter to a reconstruction, does not: phase, scale, order and rotation of coils, flips, company."""

import pytest
import torch

from lightning_mri.diffusion import GaussianPrior
from lightning_mri.physics import GaussianLikelihood, Maps, Mask, sense
from lightning_mri.reconstruction import prepare
from lightning_mri.sampling import DAPS, DDS, DPS, HQS, PULA, AnnealedLangevin, PosteriorScore, PredictorCorrector
from lightning_mri.weights import load_prior

from .conftest import draw

SIZE, N_COILS = (6, 5), 4
SAMPLERS = {
    "HQS": HQS(n_steps=5, symmetry=None),
    "DDS": DDS(n_steps=5, symmetry=None),
    "DAPS": DAPS(n_steps=5),
    "pULA": PULA(n_steps=5, n_langevin=2),
    "DPS": DPS(n_steps=6, sigma_max=1.0),
    "PC": PredictorCorrector(
        n_steps=5, corrector=AnnealedLangevin(), consistency=PosteriorScore(), sigma_max=1.0, sigma_min=0.05
    ),
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


@pytest.mark.parametrize("name", ["HQS", "DPS"])
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


@pytest.mark.parametrize("name", ["HQS", "DPS"])
def test_the_order_of_the_coils_does_not_matter(prior, name):
    likelihood, order = scan(), torch.tensor([2, 0, 3, 1])
    maps = likelihood.A.find(Maps).maps

    shuffled = likelihood.replace(A=likelihood.A.replace(Maps, Maps(maps[:, :, order])), y=likelihood.y[:, order])

    close(SAMPLERS[name].sample(prior, likelihood, ONE), SAMPLERS[name].sample(prior, shuffled, ONE))


@pytest.mark.parametrize("name", ["HQS", "DDS", "DPS", "PC"])
def test_a_rotation_of_the_coils_does_not_matter(prior, name):
    """White noise stays white under a unitary mix: estimates, and draws whose noise is that of the image, agree."""
    likelihood = scan()
    Q = torch.linalg.qr(draw(N_COILS, N_COILS, seed=9)).Q
    maps = torch.einsum("dc,bscyx->bsdyx", Q, likelihood.A.find(Maps).maps)
    mixed = torch.einsum("dc,bcyx->bdyx", Q, likelihood.y)

    rotated = likelihood.replace(A=likelihood.A.replace(Maps, Maps(maps)), y=mixed)

    close(SAMPLERS[name].sample(prior, likelihood, ONE), SAMPLERS[name].sample(prior, rotated, ONE))


@pytest.mark.parametrize("axis", [-1, -2])
def test_a_flipped_object_gives_the_flipped_estimate(prior, axis):
    """Flipped maps and a k-space reversed about its centre; odd sizes have one."""
    maps = draw(1, 1, N_COILS, 7, 5, seed=0)
    mask = torch.rand(1, 1, 7, 5, generator=torch.Generator().manual_seed(1)) < 0.5
    y = sense(maps, mask)(draw(1, 7, 5, seed=2))
    even = GaussianPrior(torch.zeros(7, 5, dtype=torch.complex64), 0.2)
    straight = GaussianLikelihood(sense(maps, mask), y, torch.tensor([0.1]))
    flipped = GaussianLikelihood(sense(maps.flip(axis), mask.flip(axis)), y.flip(axis), torch.tensor([0.1]))

    close(SAMPLERS["HQS"].sample(even, straight, ONE).flip(axis), SAMPLERS["HQS"].sample(even, flipped, ONE))


@EVERY
def test_slices_may_come_in_any_order(prior, sampler):
    likelihood, seeds = scan(), torch.tensor([[3, 4]])
    A = sense(likelihood.A.find(Maps).maps.flip(0), likelihood.A.find(Mask).mask.flip(0))
    reversed_ = likelihood.replace(A=A, y=likelihood.y.flip(0))

    close(sampler.sample(prior, likelihood, seeds).flip(1), sampler.sample(prior, reversed_, seeds.flip(1)))


@pytest.fixture(scope="module")
def network():
    return load_prior("brain")


def kspace() -> tuple[torch.Tensor, torch.Tensor]:
    """Return k-space of an ellipse of 32 x 28 pixels seen by four smooth coils, every second line and eight more."""
    y, x = torch.meshgrid(torch.linspace(-1, 1, 32), torch.linspace(-1, 1, 28), indexing="ij")
    image = torch.polar(((y / 0.8) ** 2 + (x / 0.7) ** 2 < 1) * (1 + 0.3 * torch.sin(6 * y * x)), x)
    places = [(-1, -1), (-1, 1), (1, -1), (1, 1)]
    maps = torch.stack([torch.exp(-((y - v) ** 2 + (x - u) ** 2) / 2 + 1j * (u * y + v)) for v, u in places])
    mask = (torch.arange(28) % 2 == 0) | ((torch.arange(28) - 14).abs() < 6)
    mask = mask.expand(1, 32, 28).clone()
    full = sense(maps[None].to(torch.complex64))(image.to(torch.complex64)) + 0.01 * draw(N_COILS, 32, 28, seed=1)
    return torch.where(mask, full, 0)[None], mask


def reconstructed(network, y, mask):
    problem = prepare(y, mask, network.scaling)
    return problem.finish(HQS(n_steps=4, symmetry=None).sample(network, problem.likelihood, ONE))


@pytest.fixture(scope="module")
def plain(network):
    return reconstructed(network, *kspace())


@pytest.mark.parametrize("factor", [1e-6, 1e-3, 1e3, 1e6])
def test_the_unit_of_kspace_does_not_matter(network, plain, factor):
    """With the shipped network, maps, noise and scale estimated: measured 5e-7 relative."""
    y, mask = kspace()

    close(plain, reconstructed(network, factor * y, mask) / factor, 1e-5)


def test_the_order_of_measured_coils_does_not_matter(network, plain):
    """The maps' phase refers to a coil, and the network is not exactly equivariant: measured 0.23 %."""
    y, mask = kspace()

    close(plain.abs(), reconstructed(network, y[:, [2, 0, 3, 1]], mask).abs(), 0.01)


def test_a_phase_of_measured_kspace_does_not_matter_to_the_magnitude(network, plain):
    """Measured 0.21 %."""
    y, mask = kspace()

    close(plain.abs(), reconstructed(network, y * torch.polar(torch.tensor(1.0), torch.tensor(2.2)), mask).abs(), 0.01)


def test_a_unitary_mix_of_measured_coils_does_not_matter_to_the_magnitude(network, plain):
    """Measured 0.13 %."""
    y, mask = kspace()
    Q = torch.linalg.qr(draw(N_COILS, N_COILS, seed=9)).Q

    close(plain.abs(), reconstructed(network, torch.einsum("dc,bcyx->bdyx", Q, y), mask).abs(), 0.01)
