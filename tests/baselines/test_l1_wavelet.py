"""L1-wavelet against sigpy's own application, a closed form, and its invariances."""

import numpy as np
import pytest
import pywt
import torch

from lightning_mri.baselines import CGSense, L1Wavelet, TotalVariation, ZeroFilled
from lightning_mri.physics import GaussianLikelihood, Maps, sense
from lightning_mri.scaling import Scaling
from lightning_mri.tensors import complex_noise, norm

from .conftest import ellipse, scan


def nrmse(x_hat, reference):
    return (norm(x_hat - reference) / norm(reference)).flatten()


@pytest.mark.slow
def test_it_agrees_with_sigpys_own_application(mask):
    from sigpy.mri.app import L1WaveletRecon

    likelihood = scan(ellipse(), mask)
    maps = likelihood.A.find(Maps).maps[0]
    threshold = 0.01 * float(Scaling().of(likelihood.adjoint()))
    theirs = L1WaveletRecon(
        likelihood.y.numpy(), maps.numpy(), threshold, weights=mask.numpy(), max_iter=300, show_pbar=False
    ).run()

    ours = L1Wavelet(weight=0.01, n_iterations=300).reconstruct(likelihood)

    assert nrmse(ours, torch.from_numpy(theirs)).item() < 1e-3


@pytest.mark.parametrize("baseline", [L1Wavelet(), TotalVariation()])
def test_nothing_is_drawn_where_no_coil_sees_anything(mask, baseline):
    """Regression: wavelets left ringing outside of the maps, which spoilt the comparison."""
    likelihood = scan(ellipse(), mask)
    maps = likelihood.A.find(Maps).maps.clone()
    maps[..., :7] = 0
    blinkered = likelihood.replace(A=likelihood.A.replace(Maps, Maps(maps)))

    x = baseline.reconstruct(blinkered)

    assert bool((x[..., :7] == 0).all())
    assert bool((x[..., 7:] != 0).any())


def test_one_flat_coil_fully_sampled_is_soft_thresholding():
    """argmin abs(x - a)^2 / 2 + l abs(W x)_1 = W^H soft(W a, l), for the orthonormal Haar transform."""
    image = complex_noise((16, 8), torch.Generator().manual_seed(0))
    A = sense(torch.ones(1, 1, 16, 8, dtype=torch.complex64))
    likelihood = GaussianLikelihood(A, A(image), torch.tensor(1.0))

    x_hat = L1Wavelet(weight=0.3, n_iterations=3, wavelet="haar").reconstruct(likelihood)

    threshold = 0.3 * float(Scaling().of(image))
    coefficients, slices = pywt.coeffs_to_array(pywt.wavedecn(image.numpy(), "haar", mode="zero"))
    shrunk = coefficients * np.maximum(1 - threshold / np.abs(coefficients), 0)
    expected = pywt.waverecn(pywt.array_to_coeffs(shrunk, slices, output_format="wavedecn"), "haar", mode="zero")
    torch.testing.assert_close(x_hat, torch.from_numpy(expected).to(torch.complex64), rtol=1e-4, atol=1e-4)


def test_it_beats_the_adjoint_and_cg_sense_on_a_piecewise_constant_object(mask):
    image = ellipse()
    likelihood = scan(image, mask, noise_std=0.05)

    ours, *others = (nrmse(each.reconstruct(likelihood), image) for each in (L1Wavelet(0.02), CGSense(), ZeroFilled()))

    assert ours < 0.9 * min(others)


def test_a_slice_gives_the_same_result_alone_and_in_any_unit(mask):
    images = torch.stack([ellipse(), 300 * ellipse(0.3), 1e-4 * ellipse(-0.2)])
    together = L1Wavelet(n_iterations=20).reconstruct(scan(images, mask, noise_std=0.0))

    for image, x_hat in zip(images, together, strict=True):
        likelihood = scan(image, mask, noise_std=0.0)
        alone = L1Wavelet(n_iterations=20).reconstruct(likelihood)
        scaled = L1Wavelet(n_iterations=20).reconstruct(likelihood.replace(y=1e6 * likelihood.y)) * 1e-6
        assert nrmse(x_hat, alone).item() < 1e-4
        assert nrmse(scaled, alone).item() < 1e-4


def test_two_map_sets_give_two_images_that_explain_the_data(mask):
    image = torch.stack([ellipse(), 0.2 * ellipse(0.3)])
    likelihood = scan(image, mask, n_sets=2)

    x_hat = L1Wavelet().reconstruct(likelihood)

    assert x_hat.shape == image.shape
    assert likelihood.residual_std(x_hat) < 0.5 * likelihood.residual_std(0 * image)


def test_empty_data_give_an_empty_image(mask):
    assert not L1Wavelet(n_iterations=2).reconstruct(scan(0 * ellipse(), mask, noise_std=0.0)).any()


def test_a_negative_weight_is_refused():
    with pytest.raises(ValueError, match="weight must not be negative"):
        L1Wavelet(weight=-0.1)
