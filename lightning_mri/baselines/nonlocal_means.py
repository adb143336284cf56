"""Non-local means (Buades et al. 2005) through scikit-image: a denoiser that knows no scanner."""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Complex
from torch import Tensor

from lightning_mri.baselines.baseline import Tunable
from lightning_mri.physics import GaussianLikelihood, without_degradation


@dataclass(frozen=True)
class NonLocalMeans(Tunable):
    """Average each pixel of the degraded image with those whose surroundings look alike.

    Patches are compared in real and imaginary part together, and the squared distance expected from noise alone
    is subtracted (Darbon et al. 2008). Blur and decay stay, as does the phase.

    Args:
        weight: Width of the similarity, in standard deviations of the noise.
        patch_size: Edge of the compared squares in pixels.
        patch_distance: Largest distance of two compared pixels along an axis, in pixels.
    """

    weight: float = 0.8
    patch_size: int = 5
    patch_distance: int = 9

    weights = (0.2, 0.4, 0.6, 0.8, 1.0, 1.3, 1.7)

    def reconstruct(self, likelihood: GaussianLikelihood) -> Complex[Tensor, "*batch y x"]:
        """Return the denoised image of each slice; every set by itself."""
        from skimage.restoration import denoise_nl_means

        degraded = without_degradation(likelihood).adjoint()
        noise_std = likelihood.noise_std[(...,) + (None,) * (likelihood.A.image_ndim - 2)]
        stds = noise_std.expand(degraded.shape[:-2]).flatten().tolist()
        images = degraded.reshape(-1, *degraded.shape[-2:])
        denoised = [
            denoise_nl_means(
                np.stack([image.real.numpy(force=True), image.imag.numpy(force=True)], axis=-1),
                patch_size=self.patch_size,
                patch_distance=self.patch_distance,
                h=self.weight * std,
                sigma=std,
                channel_axis=-1,
                preserve_range=True,
            )
            for image, std in zip(images, stds, strict=True)
        ]
        channels = torch.from_numpy(np.stack(denoised).astype(np.float32))
        return torch.view_as_complex(channels).reshape(degraded.shape).to(degraded.device)
