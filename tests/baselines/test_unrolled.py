import json
import pickle

import pytest
import safetensors.torch
import torch

from lightning_mri.baselines import CGSense, Unrolled, UnrolledNetwork, load_unrolled, save_unrolled
from lightning_mri.physics import Damping, GaussianLikelihood, Maps, Mask, sense
from lightning_mri.tensors import complex_noise

from .conftest import ellipse, scan, smooth_maps

ODD = (35, 27)


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(3)
    network = UnrolledNetwork(n_cascades=2, width=3, n_levels=2).eval().requires_grad_(False)
    for weight in network.parameters():
        weight += 0.1 * torch.randn_like(weight)  # as if it had been trained
    return network


@pytest.fixture(scope="module")
def file(network, tmp_path_factory):
    path = tmp_path_factory.mktemp("networks") / "varnet.safetensors"
    save_unrolled(network, path, {"subjects": 20})
    return path


def test_the_cascades_are_the_published_step_by_this_packages_operators(network):
    """Other code for transform, mask and maps, on odd sizes, whose centre is where conventions differ."""

    def draw(*shape, seed):
        return complex_noise(shape, torch.Generator().manual_seed(seed))

    maps = draw(2, 1, 3, *ODD, seed=0)
    mask = torch.rand(2, 1, *ODD, generator=torch.Generator().manual_seed(1)) < 0.4
    y = draw(2, 3, *ODD, seed=2) * mask
    full = sense(maps)

    likelihood = GaussianLikelihood(sense(maps, mask), y, torch.ones(2))
    k = full(CGSense().reconstruct(likelihood))
    for block in network.cascades:
        update = torch.view_as_complex(block.model(torch.view_as_real(full.H(k))[:, None]))[:, 0]
        k = k - block.dc_weight * mask * (k - y) - full(update)

    image = network(likelihood)
    assert image.shape == (2, *ODD)
    torch.testing.assert_close(image, full.H(k), rtol=1e-4, atol=1e-4)


def test_an_untrained_network_returns_cg_sense_with_the_samples_as_measured(mask):
    likelihood = scan(ellipse()[None], mask)
    full = sense(likelihood.A.find(Maps).maps)
    filled = torch.where(mask, likelihood.y, full(CGSense().reconstruct(likelihood)))
    untrained = UnrolledNetwork(1, 4, 2)(likelihood)
    torch.testing.assert_close(untrained, full.H(filled), rtol=1e-5, atol=1e-6)


def test_an_empty_slice_stays_empty(network, mask):
    likelihood = scan(ellipse()[None], mask)
    empty = likelihood.replace(y=torch.zeros_like(likelihood.y))
    assert network(empty).abs().max() < 1e-20


def test_training_beats_cg_sense(mask):
    torch.manual_seed(0)
    network, truth = UnrolledNetwork(n_cascades=2, width=4, n_levels=2), ellipse()[None]
    likelihood = scan(truth, mask)
    optimizer = torch.optim.Adam(network.parameters(), 3e-3)
    for _ in range(25):
        loss = (network(likelihood) - truth).abs().square().mean()
        optimizer.zero_grad()
        loss.backward()
        assert all(weight.grad is not None for weight in network.parameters())
        optimizer.step()
    assert loss < 0.5 * (CGSense().reconstruct(likelihood) - truth).abs().square().mean()


def test_unit_and_company_of_a_slice_do_not_matter(network, mask):
    images = torch.stack([ellipse(), 5 * ellipse(0.2)])
    together = network(scan(images, mask))
    # the conftest's noise follows from the shape, so slices are cut out of the same scan
    both = scan(images, mask)
    alone = GaussianLikelihood(both.A, both.y[1:], both.noise_std[1:])
    torch.testing.assert_close(network(alone)[0], together[1], rtol=1e-4, atol=1e-4)
    scaled = both.replace(y=1e-3 * both.y)
    torch.testing.assert_close(1e3 * network(scaled), together, rtol=1e-3, atol=1e-3)


def test_a_file_gives_the_same_image_and_its_card(network, file, mask):
    likelihood = scan(ellipse()[None], mask)
    baseline = Unrolled(file)
    assert baseline.card == {"subjects": 20}
    assert torch.equal(baseline.reconstruct(likelihood), network(likelihood))


def test_other_operators_are_refused(file, mask):
    baseline, image = Unrolled(file), ellipse()
    likelihood = scan(image[None], mask)
    damped = likelihood.replace(A=sense(smooth_maps(), mask, Damping(torch.ones(1, *image.shape))))
    with pytest.raises(ValueError, match="Mask @ Damping @ Fourier @ Maps"):
        baseline.reconstruct(damped)
    with pytest.raises(ValueError, match="one set for an unrolled network: got 2"):
        baseline.reconstruct(scan(torch.stack([image, image])[None], mask, n_sets=2))
    whole = likelihood.replace(A=sense(likelihood.A.find(Maps).maps), y=likelihood.y)
    assert whole.A.find(Mask) is None
    with pytest.raises(ValueError, match="got Fourier @ Maps"):
        baseline.reconstruct(whole)


@pytest.mark.parametrize("damage", ["cut", "empty", "pickle", "prior", "sizes", "endless", "words", "list"])
def test_a_hostile_or_broken_file_is_refused(file, tmp_path, damage):
    path, whole = tmp_path / "other.safetensors", file.read_bytes()
    weights = safetensors.torch.load(whole)

    def described(text):
        return safetensors.torch.save(weights, {"unrolled": text})

    def sized(**sizes):
        return described(json.dumps({"arguments": {"n_cascades": 2, "width": 3, "n_levels": 2} | sizes, "card": {}}))

    contents = {
        "cut": whole[: len(whole) // 2],
        "empty": b"",
        "pickle": pickle.dumps(print),
        "prior": safetensors.torch.save(weights, {"prior": "{}"}),
        "sizes": sized(width=4),
        "endless": sized(n_cascades=10**9),
        "words": sized(width="wide"),
        "list": described("[]"),
    }
    path.write_bytes(contents[damage])
    with pytest.raises(ValueError, match=r"other\.safetensors must"):
        load_unrolled(path)


def test_a_missing_file_is_told_where_it_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="there is none"):
        Unrolled(tmp_path / "none.safetensors")


def test_what_cannot_be_written_is_refused(network, tmp_path):
    with pytest.raises(ValueError, match=r"end in \.safetensors"):
        save_unrolled(network, tmp_path / "varnet.pt")
    with pytest.raises(ValueError, match="plain values"):
        save_unrolled(network, tmp_path / "varnet.safetensors", {"loss": float("nan")})
    assert not list(tmp_path.iterdir())
