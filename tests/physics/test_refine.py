import pytest
import torch

from lightning_mri.physics import (
    Damping,
    Equispaced,
    GaussianLikelihood,
    Maps,
    Mask,
    Phase,
    PoissonDisc,
    refine_maps,
    sense,
)
from lightning_mri.physics.refine import low_pass
from lightning_mri.tensors import complex_noise, inner

from .phantom import coil_maps, head

SIZE, COILS = (60, 49), 4
PATTERNS = [Equispaced(3, 12), PoissonDisc(4, 12)]


def wrong_maps() -> torch.Tensor:
    """The true maps with a smooth error of some per cent."""
    y, x = (torch.linspace(-3, 3, n) for n in SIZE)
    ripple = torch.polar(1 + 0.2 * torch.cos(y[:, None] + x), 0.2 * torch.sin(y[:, None] - 0.5 * x))
    maps = coil_maps(COILS, SIZE)
    maps = torch.cat([maps[:2] * ripple, maps[2:]])
    return (maps / torch.linalg.vector_norm(maps, dim=0))[None, None]


def problem(pattern, std: float = 1e-3) -> GaussianLikelihood:
    """Data from the true maps, low-field effects included, with an operator of wrong maps."""
    mask = pattern.draw(SIZE, 0)
    phase = Phase(torch.linspace(-1, 1, SIZE[1]).expand(1, *SIZE))
    truth = sense(coil_maps(COILS, SIZE)[None, None], mask, Damping.gaussian(SIZE, 1.0, (1.0, 1.0)), phase)
    noise = std * complex_noise((1, COILS, *SIZE), torch.Generator().manual_seed(0))
    return GaussianLikelihood(
        truth.replace(Maps, Maps(wrong_maps())), truth(head(SIZE)[None]) + noise * mask, torch.tensor([std])
    )


def map_error(likelihood: GaussianLikelihood) -> float:
    maps = likelihood.A.find(Maps).maps[0, 0]
    seen, truth = maps * head(SIZE), coil_maps(COILS, SIZE) * head(SIZE)
    return float((seen - truth).norm() / truth.norm())


@pytest.mark.parametrize("pattern", PATTERNS)
def test_true_image_corrects_the_maps(pattern):
    before = problem(pattern)
    x = head(SIZE)[None]
    after = refine_maps(before, x, n_iterations=10)
    assert map_error(after) < 0.3 * map_error(before)
    assert after.residual_std(x) < 0.3 * before.residual_std(x)


def test_refined_maps_have_unit_norm_and_the_same_support():
    likelihood = problem(PATTERNS[0])
    support = torch.rand(1, 1, 1, *SIZE, generator=torch.Generator().manual_seed(1)) < 0.7
    likelihood = likelihood.replace(A=likelihood.A.replace(Maps, Maps(wrong_maps() * support)))
    maps = refine_maps(likelihood, head(SIZE)[None]).A.find(Maps).maps
    torch.testing.assert_close(maps.abs().square().sum(-3), support[:, :, 0].float(), rtol=1e-4, atol=0)


def test_the_sum_of_squares_of_the_maps_stays_what_it_was():
    """Regression: maps of other strength came back with a sum of 1, and the image of twice the size with them."""
    given = problem(PATTERNS[0])
    double = given.replace(A=given.A.replace(Maps, Maps(2 * given.A.find(Maps).maps)))

    maps = refine_maps(double, head(SIZE)[None] / 2).A.find(Maps).maps

    power = double.A.find(Maps).maps.abs().square().sum(-3)
    torch.testing.assert_close(maps.abs().square().sum(-3), power)
    assert not torch.allclose(maps, double.A.find(Maps).maps, atol=1e-2)


def test_true_maps_stay_as_they_are():
    likelihood = problem(PATTERNS[0], std=1e-5)
    truth = coil_maps(COILS, SIZE)[None, None]
    likelihood = likelihood.replace(A=likelihood.A.replace(Maps, Maps(truth)))
    torch.testing.assert_close(refine_maps(likelihood, head(SIZE)[None]).A.find(Maps).maps, truth, rtol=0, atol=1e-3)


def test_a_phase_of_the_operator_counts_as_one_of_the_image():
    likelihood, x = problem(PATTERNS[0]), head(SIZE)[None]
    mask, damping, maps, phase = (likelihood.A.find(kind) for kind in (Mask, Damping, Maps, Phase))
    without = likelihood.replace(A=sense(maps.maps, mask.mask, damping))

    expected, found = refine_maps(without, phase(x)), refine_maps(likelihood, x)

    torch.testing.assert_close(found.A.find(Maps).maps, expected.A.find(Maps).maps)


def test_double_precision_refines_as_single_does():
    single, x = problem(PATTERNS[0]), head(SIZE)[None]
    maps = single.A.find(Maps).maps.to(torch.complex128)
    double = single.replace(A=single.A.replace(Maps, Maps(maps)), y=single.y.to(torch.complex128))
    refined = refine_maps(double, x.to(torch.complex128)).A.find(Maps).maps
    assert refined.dtype == torch.complex128
    torch.testing.assert_close(refined.to(torch.complex64), refine_maps(single, x).A.find(Maps).maps)


def test_cached_adjoint_follows_the_maps():
    before = problem(PATTERNS[0])
    old = before.adjoint()
    after = refine_maps(before, head(SIZE)[None])
    torch.testing.assert_close(after.adjoint(), after.A.H(after.y))
    assert not torch.allclose(after.adjoint(), old)


def test_each_sample_gets_its_own_maps():
    likelihood = problem(PATTERNS[1])
    x = torch.stack([head(SIZE)[None], 0.9 * head(SIZE).flip(-1)[None]])
    both = refine_maps(likelihood, x, noise_std=torch.tensor([[1e-3], [1e-2]]))
    assert both.A.find(Maps).maps.shape == (2, 1, 1, COILS, *SIZE)
    for i, std in enumerate((1e-3, 1e-2)):
        alone = refine_maps(likelihood, x[i], noise_std=std)
        torch.testing.assert_close(both.A.find(Maps).maps[i], alone.A.find(Maps).maps, rtol=1e-3, atol=1e-4)
    assert both.proximal(x, 1.0).shape == x.shape


def test_two_sets_are_refined_together():
    maps = torch.cat([wrong_maps(), coil_maps(COILS, SIZE).flip(0)[None, None]], dim=1)
    mask = PATTERNS[0].draw(SIZE, 0)
    truth = sense(torch.cat([coil_maps(COILS, SIZE)[None, None], maps[:, 1:]], dim=1), mask)
    x = torch.stack([head(SIZE), 0.3 * head(SIZE).flip(-2)])[None]
    likelihood = GaussianLikelihood(sense(maps, mask), truth(x), torch.tensor([1e-3]))
    assert refine_maps(likelihood, x).residual_std(x) < 0.5 * likelihood.residual_std(x)


def test_low_pass_filter_is_a_filter_and_has_an_exact_adjoint():
    smooth = low_pass((51, 44), torch.device("cpu"), torch.float32)
    generator = torch.Generator().manual_seed(0)
    d = complex_noise((2, *smooth.gain.shape), generator)
    image = complex_noise((2, 51, 44), generator)
    torch.testing.assert_close(inner(smooth(d), image), inner(d, smooth.adjoint(image)), rtol=1e-4, atol=1e-4)
    spectrum = torch.fft.fftshift(torch.fft.fft2(smooth(d)), dim=(-2, -1)).abs()
    assert spectrum[..., :6, :].max() < 1e-4 * spectrum.max()
    # standard normal d, abs(d)^2 = 1 on average, change a pixel by the amplitude
    many = complex_noise((500, *smooth.gain.shape), generator) / 2**0.5
    assert smooth(many).abs().square().mean().sqrt().item() == pytest.approx(0.1, rel=0.03)


def test_refuses_an_operator_without_maps():
    likelihood = problem(PATTERNS[0])
    bare = likelihood.replace(A=likelihood.A.factors[0] @ likelihood.A.factors[2])
    with pytest.raises(ValueError, match="the operator must have a factor Maps"):
        refine_maps(bare, head(SIZE)[None])
