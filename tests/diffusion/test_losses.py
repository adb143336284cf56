import pytest
import torch
from torch import Tensor

from lightning_mri.diffusion import EDM, VE, VP, DenoisingScoreMatching, NetworkPrior, NoiseProcess
from lightning_mri.models import LightUNet
from lightning_mri.tensors import complex_noise


def images(*shape: int, std: float, seed: int = 0) -> Tensor:
    return std * complex_noise(shape, torch.Generator().manual_seed(seed))


def small_prior() -> NetworkPrior:
    torch.manual_seed(0)
    return NetworkPrior(LightUNet(widths=(8,), n_blocks=1, embedding=16), EDM(sigma_data=0.25))


def test_a_perfect_denoiser_pays_the_posterior_variance(perfect_prior: NetworkPrior) -> None:
    x, sigma = images(4, 61, 70, std=0.4), torch.tensor([0.05, 0.3, 1.0, 6.0])
    scored = DenoisingScoreMatching().at(sigma, perfect_prior, x, None, torch.Generator().manual_seed(1))
    posterior_variance = 0.16 * sigma**2 / (0.16 + sigma**2)
    expected = perfect_prior.process.loss_weight(sigma) * posterior_variance
    torch.testing.assert_close(scored.loss, expected, rtol=0.06, atol=0)
    assert torch.equal(scored.sigma, sigma)
    assert scored.denoised.shape == x.shape


def test_an_untrained_edm_network_pays_one_at_every_level() -> None:
    prior, x = small_prior(), images(8, 48, 48, std=0.25)
    loss = DenoisingScoreMatching()(prior, x, generator=torch.Generator().manual_seed(2)).loss
    torch.testing.assert_close(loss, torch.ones(8), rtol=0.06, atol=0)


def test_everything_drawn_follows_the_generator() -> None:
    prior, x, label = small_prior(), images(5, 8, 10, std=0.25), torch.arange(5)
    torch.nn.init.normal_(prior.net.leave.weight)
    first, again, other = (
        DenoisingScoreMatching()(prior, x, label, torch.Generator().manual_seed(seed)) for seed in (3, 3, 4)
    )
    assert torch.equal(first.loss, again.loss)
    assert torch.equal(first.sigma, again.sigma)
    assert torch.equal(first.denoised, again.denoised)
    assert not torch.equal(first.sigma, other.sigma)


def test_pixels_without_support_cost_nothing() -> None:
    prior, x, support = small_prior(), images(2, 8, 10, std=0.25), torch.ones(2, 8, 10, dtype=torch.bool)
    support[1] = False
    whole, part = (
        DenoisingScoreMatching()(prior, x, None, torch.Generator().manual_seed(3), s) for s in (None, support)
    )
    assert part.loss.tolist() == pytest.approx([whole.loss[0].item(), 0])


@pytest.mark.parametrize(("dropout", "share"), [(0.0, 0.0), (0.3, 0.3), (1.0, 1.0)])
def test_a_share_of_the_labels_is_withheld(dropout: float, share: float) -> None:
    prior, label = small_prior(), torch.full((2000,), 4)
    seen: list[Tensor] = []
    prior.net.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[2]))
    loss, generator = DenoisingScoreMatching(dropout), torch.Generator().manual_seed(5)
    with torch.inference_mode():
        loss(prior, images(2000, 2, 2, std=0.25), label, generator)
    assert (seen[0] == 10).float().mean().item() == pytest.approx(share, abs=0.03)
    assert set(seen[0].tolist()) <= {4, 10}
    assert label.eq(4).all()


@pytest.mark.parametrize("process", [EDM(p_mean=-0.5, p_std=0.8), VE(sigma_min=0.02, sigma_max=2.0), VP()])
def test_a_process_is_trained_on_its_published_levels(process: NoiseProcess) -> None:
    """Log-normal for EDM, log-uniform for VE, and of a uniform time for VP."""
    uniform = torch.tensor([0.02, 0.25, 0.5, 0.75, 0.98])
    expected = {
        EDM: -0.5 + 0.8 * torch.special.ndtri(uniform),
        VE: torch.tensor(0.02).log() + torch.tensor(100.0).log() * uniform,
        VP: ((0.1 * uniform + 19.9 / 2 * uniform**2).exp() - 1).sqrt().log(),
    }[type(process)]
    drawn = process.draw_sigma(40_000, torch.Generator().manual_seed(6)).log()
    torch.testing.assert_close(torch.quantile(drawn, uniform), expected, rtol=0, atol=0.06)


def test_training_on_gaussian_images_finds_their_denoiser() -> None:
    """sigma_data is off by a factor of three, so that the network starts at 2.4 times the least loss."""
    torch.manual_seed(0)
    prior = NetworkPrior(LightUNet((16,), n_blocks=1, embedding=8, stem=1), EDM(sigma_data=0.25))
    loss = DenoisingScoreMatching()
    optimizer = torch.optim.Adam(prior.parameters(), 2e-2, betas=(0.9, 0.95))
    for step in range(80):
        optimizer.zero_grad()
        generator = torch.Generator().manual_seed(step)
        loss(prior, images(16, 8, 8, std=0.75, seed=1000 + step), None, generator).loss.mean().backward()
        optimizer.step()
    sigma, x = torch.full((64,), 0.4), images(64, 8, 8, std=0.75, seed=500)
    with torch.inference_mode():
        scored = loss.at(sigma, prior, x, None, torch.Generator().manual_seed(2000))
    least = prior.process.loss_weight(sigma)[0] * 0.75**2 * 0.4**2 / (0.75**2 + 0.4**2)
    assert 0.98 * least < scored.loss.mean() < 1.1 * least
