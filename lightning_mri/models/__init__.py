"""Networks: the raw function F between the two channels of a noisy image and those of its estimate.

A network knows neither noise process nor scanner. `LightUNet` ships; `UNet` is DDPM, DDPM++ or ADM of the
literature, by its `Style`.
"""

from lightning_mri.models.blocks import ADM, DDPM, DDPMPP, Style
from lightning_mri.models.light import LightUNet
from lightning_mri.models.network import DenoisingNetwork, build, describe
from lightning_mri.models.unet import UNet, adm, ddpmpp

__all__ = [
    "ADM", "DDPM", "DDPMPP", "DenoisingNetwork", "LightUNet", "Style", "UNet", "adm", "build", "ddpmpp", "describe",
]  # fmt: skip
