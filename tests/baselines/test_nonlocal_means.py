"""Non-local means against scikit-image on real images, and what it must not depend on."""

import torch
from skimage.restoration import denoise_nl_means

from lightning_mri.baselines import NonLocalMeans, ZeroFilled
from lightning_mri.tensors import norm

from .conftest import ellipse, scan


def test_a_real_image_is_denoised_as_scikit_image_does(mask):
    likelihood = scan(ellipse(), torch.ones_like(mask), noise_std=0.1)
    real = ZeroFilled().reconstruct(likelihood).real
    likelihood = likelihood.replace(y=likelihood.A(real.to(torch.complex64)))

    ours = NonLocalMeans(0.9, patch_size=3, patch_distance=4).reconstruct(likelihood)

    settings = {"patch_size": 3, "patch_distance": 4, "h": 0.09, "sigma": 0.1}
    channels = ZeroFilled().reconstruct(likelihood)
    theirs = denoise_nl_means(torch.view_as_real(channels).numpy(), channel_axis=-1, preserve_range=True, **settings)
    torch.testing.assert_close(torch.view_as_real(ours), torch.from_numpy(theirs), rtol=1e-4, atol=1e-5)


def test_it_removes_noise_and_takes_each_slice_by_itself(mask):
    images = torch.stack([ellipse(), 50 * ellipse(0.3)])
    likelihood = scan(images, torch.ones_like(mask), noise_std=0.2)
    likelihood = likelihood.replace(noise_std=torch.tensor([0.2, 0.2]))

    denoised, noisy = NonLocalMeans().reconstruct(likelihood), ZeroFilled().reconstruct(likelihood)

    errors = norm(denoised - images).flatten() / norm(noisy - images).flatten()
    assert errors[0] < 0.6
    assert errors[1] < 1.05
    alone = likelihood.replace(y=likelihood.y[:1], noise_std=likelihood.noise_std[:1])
    torch.testing.assert_close(NonLocalMeans().reconstruct(alone)[0], denoised[0])
