"""Total variation against scikit-image where its operator is the identity, and its invariances."""

import torch
from skimage.restoration import denoise_tv_chambolle

from lightning_mri.baselines import CGSense, TotalVariation
from lightning_mri.physics import GaussianLikelihood, sense
from lightning_mri.tensors import complex_noise, norm

from .conftest import ellipse, scan, smooth_maps


def cost(x, y, weight):
    gradient = torch.stack([x.roll(-1, -2) - x, x.roll(-1, -1) - x])
    return float((x - y).abs().square().sum() / 2 + weight * gradient.abs().square().sum(0).sqrt().sum())


def test_of_an_image_seen_through_the_identity_it_finds_the_minimum():
    """Against Chambolle's algorithm in scikit-image, whose edges do not wrap: of an object on a wide zero border."""
    inside = ellipse().abs() + 0.1 * torch.randn(ellipse().shape, generator=torch.Generator().manual_seed(0))
    noisy = torch.nn.functional.pad(inside, (6, 6, 6, 6))
    A = sense(torch.ones(1, 1, *noisy.shape, dtype=torch.complex64))
    likelihood = GaussianLikelihood(A, A(noisy.to(torch.complex64)), torch.tensor(0.1))

    ours = TotalVariation(weight=2.0, n_iterations=400).reconstruct(likelihood)

    theirs = torch.from_numpy(denoise_tv_chambolle(noisy.double().numpy(), weight=0.2, eps=1e-8, max_num_iter=2000))
    assert norm(ours.real - theirs).item() < 0.02 * norm(theirs).item()
    assert cost(ours, noisy, 0.2) < 1.001 * cost(theirs, noisy, 0.2)


def test_several_coils_and_gaps_are_the_operators_matter(mask):
    image = ellipse()
    likelihood = scan(image, mask, noise_std=0.05)
    errors = [norm(one.reconstruct(likelihood) - image).item() for one in (TotalVariation(0.7), CGSense())]
    assert errors[0] < 0.7 * errors[1]


def test_slices_share_nothing_but_the_call(mask):
    images = torch.stack([ellipse(), 30 * ellipse(0.3)])
    likelihood = scan(images, mask, noise_std=0.05).replace(noise_std=torch.tensor([0.05, 1.5]))
    together = TotalVariation(n_iterations=30).reconstruct(likelihood)
    alone = likelihood.replace(y=likelihood.y[1:], noise_std=likelihood.noise_std[1:])
    torch.testing.assert_close(TotalVariation(n_iterations=30).reconstruct(alone)[0], together[1], rtol=1e-3, atol=1e-2)


def test_a_brighter_operator_elsewhere_in_the_batch_changes_no_step(mask):
    maps = smooth_maps()[None] * torch.tensor([1.0, 4.0])[:, None, None, None, None]
    A = sense(maps, mask)
    likelihood = GaussianLikelihood(A, A(torch.stack([ellipse(), ellipse(0.3)])), torch.tensor([0.05, 0.05]))
    together = TotalVariation(n_iterations=9).reconstruct(likelihood)
    alone = [TotalVariation(n_iterations=9).reconstruct(likelihood.rows([row])) for row in (0, 1)]
    torch.testing.assert_close(together, torch.cat(alone), rtol=1e-4, atol=1e-4)


def test_without_noise_and_gaps_the_image_comes_back():
    image = complex_noise((9, 7), torch.Generator().manual_seed(0))
    A = sense(torch.ones(1, 1, 9, 7, dtype=torch.complex64))
    likelihood = GaussianLikelihood(A, A(image), torch.tensor(0.0))
    torch.testing.assert_close(TotalVariation().reconstruct(likelihood), image, rtol=1e-3, atol=1e-3)
