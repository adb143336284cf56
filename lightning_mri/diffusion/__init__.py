"""Diffusion: the noise process, the preconditioned denoiser, its training loss, and the `Prior` made of them.

A prior takes any network, and knows neither scanner nor sampler.
"""

from lightning_mri.diffusion.ddpm import DDPM
from lightning_mri.diffusion.edm import EDM
from lightning_mri.diffusion.losses import Denoising, DenoisingScoreMatching, mean_square
from lightning_mri.diffusion.prior import DEFAULT_LABELS, SPARE, NetworkPrior, Prior, fast_precision
from lightning_mri.diffusion.process import NoiseProcess, Preconditioning, build, describe
from lightning_mri.diffusion.ve import VE
from lightning_mri.diffusion.vp import VP

__all__ = [
    "DDPM", "DEFAULT_LABELS", "EDM", "SPARE", "VE", "VP", "Denoising", "DenoisingScoreMatching", "NetworkPrior",
    "NoiseProcess", "Preconditioning", "Prior", "build", "describe", "fast_precision", "mean_square",
]  # fmt: skip
