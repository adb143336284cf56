"""Networks: the raw function F between the two channels of a noisy image and those of its estimate.

A network knows neither noise process nor scanner. `LightUNet` ships; `UNet` is the DDPM of the literature.
"""

from lightning_mri.models.light import LightUNet
from lightning_mri.models.network import DenoisingNetwork, build, describe
from lightning_mri.models.unet import UNet

__all__ = ["DenoisingNetwork", "LightUNet", "UNet", "build", "describe"]
