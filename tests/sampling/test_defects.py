"""Defects seen in public code that concern a whole trajectory from k-space to image."""

import torch

from lightning_mri.physics import Equispaced, GaussianLikelihood, achieved_acceleration, conjugate_gradient, sense
from lightning_mri.reconstruction import prepare
from lightning_mri.sampling import HQS
from lightning_mri.scaling import Scaling

from .conftest import AnySize, draw


def scan(seed: int) -> GaussianLikelihood:
    maps = draw(1, 3, 9, 8, seed=seed)
    mask = torch.rand(1, 9, 8, generator=torch.Generator().manual_seed(seed)) < 0.5
    y = sense(maps, mask)(draw(9, 8, seed=seed + 1))
    return GaussianLikelihood(sense(maps, mask), y, torch.tensor(0.1))


def test_scaling_leaves_the_phase_alone():
    """Regression: methods.md, section 7, defect 2. Up to one phase, which the maps choose, brightness alone grows."""
    mask = torch.ones(1, 24, 20, dtype=torch.bool)
    y, x = torch.meshgrid(torch.linspace(-1, 1, 24), torch.linspace(-1, 1, 20), indexing="ij")
    image = torch.polar(1.0 + (y.square() + x.square() < 0.6), 2 * y + x)
    maps = torch.stack([torch.exp(-((x - u) ** 2) + 1j * u * y) for u in (-1.0, 1.0)])
    kspace = sense(maps[None])(image)[None]

    finished = []
    for factor in (1.0, 300.0):
        problem = prepare(factor * kspace, mask, Scaling(), noise_std=0.01 * factor)
        finished.append(problem.finish(HQS(n_steps=3).sample(AnySize(), problem.likelihood, [0])[0])[0])

    turn = finished[1] / finished[0]
    turn = turn * torch.exp(-1j * turn.mean().angle())
    torch.testing.assert_close(turn, torch.full_like(turn, 300.0), rtol=1e-3, atol=0)


def test_conjugate_gradients_do_not_stall_on_complex_systems():
    """Regression: methods.md, section 7, defect 5. Without the conjugate they stall at 6 to 13 %."""
    likelihood = scan(3)
    A, right = likelihood.A, likelihood.adjoint()

    def normal(x):
        return A.normal(x) + 0.3 * x

    x = conjugate_gradient(normal, right, n_iterations=60, tolerance=1e-6)

    assert (normal(x) - right).norm() < 1e-4 * right.norm()


def test_the_result_holds_the_last_update():
    """Regression: methods.md, section 7, defect 10. One step more than none changes the image, by that step."""
    likelihood, seen = scan(5), []

    x = HQS(n_steps=3).sample(AnySize(), likelihood, [0], progress=lambda progress: seen.append(progress.x))

    assert torch.equal(x, seen[-1])
    assert not torch.equal(x, seen[-2])


def test_a_nominal_acceleration_is_the_achieved_one():
    """Regression: methods.md, section 7, defect 4. Sampling with replacement gave 11.5 for 8."""
    assert abs(achieved_acceleration(Equispaced(8.0, 8).draw((16, 160), 0)) - 8) < 0.1
