"""A simulated receive array and its noise."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Complex, Shaped
from torch import Tensor

from lightning_mri.phantoms.coils import CoilArray
from lightning_mri.physics import fft2c, mix_coils, noise_covariance
from lightning_mri.tensors import centre_pad, complex_noise, derive_seed

NOISE_SAMPLES = 8192


@dataclass(frozen=True)
class Scanner:
    """A receive array and its noise.

    Args:
        n_coils: Number of coils.
        snr_db: Signal-to-noise ratio of k-space, 10 log10(mean abs(k)^2 / mean abs(eta)^2), in dB; .inf for
            no noise.
        oversampling: Field of view along the readout over that of the image.
        noise_correlation: Largest correlation of the noise of two loops that see the same tissue, in [0, 1); coils
            also differ in how noisy they are. None for white noise, equal in all coils.
        field_of_view: Part of the image's width along x that is acquired; what is outside wraps around. A head fills
            about 0.75 of the default field of `simulate`.
    """

    n_coils: int = 8
    snr_db: float = 20.0
    oversampling: int = 2
    noise_correlation: float | None = None
    field_of_view: float = 1.0

    def __post_init__(self) -> None:
        """Validate the settings."""
        if self.n_coils < 1 or self.oversampling < 1:
            raise ValueError(f"n_coils and oversampling must be at least 1: got {self.n_coils} and {self.oversampling}")
        if math.isnan(self.snr_db):
            raise ValueError("snr_db must be a number, .inf for no noise: got nan")
        if self.noise_correlation is not None and not 0 <= self.noise_correlation < 1:
            raise ValueError(f"noise_correlation must be in [0, 1): got {self.noise_correlation}")
        if not 0.25 <= self.field_of_view <= 1:
            raise ValueError(f"field_of_view must be in [0.25, 1]: got {self.field_of_view}")

    def measure(
        self,
        images: Complex[Tensor, "slice y x"],
        seed: int,
        pixel_size: tuple[float, float],
        spacing_mm: float = 5.0,
    ) -> Complex[Tensor, "slice coil v u"]:
        """Return fully sampled k-space k = F S x + eta, with sum_c abs(S_c)^2 = 1.

        The images already carry the brightness that an array gives to what is near it, so the maps do not.

        Args:
            images: Slices, in any unit.
            seed: Of the array and the noise.
            pixel_size: Size of a pixel (y, x), in mm.
            spacing_mm: Distance between slices, in mm; their middle is at the isocentre.
        """
        n_slices, rows, columns = images.shape
        shape = (self.oversampling * rows, columns)
        array = CoilArray.draw(self.n_coils, derive_seed(seed, "array"))
        padded = centre_pad(images, shape)
        slices = []
        for k in range(n_slices):
            maps = array.maps(shape, pixel_size, (k - (n_slices - 1) / 2) * spacing_mm)
            maps = maps / torch.linalg.vector_norm(maps, dim=0, keepdim=True)
            slices.append(fft2c(wrapped(maps * padded[k], self.field_of_view)))
        kspace = torch.stack(slices)
        noise_std = (kspace.abs().square().mean() / (2 * 10 ** (self.snr_db / 10))).sqrt()
        return kspace + noise_std * self.noise(seed, kspace.shape)

    def noise(self, seed: int, shape: Sequence[int], part: str = "noise") -> Complex[Tensor, "*batch coil v x"]:
        """Return the array's noise, whose standard deviation in each real channel is 1 in the mean over coils.

        Args:
            seed: Of the array and the noise.
            shape: Shape of the noise.
            part: Which noise it is; that of a scan, or of a noise scan before it.
        """
        white = complex_noise(shape, torch.Generator().manual_seed(derive_seed(seed, part)))
        if self.noise_correlation is None:
            return white
        array = CoilArray.draw(self.n_coils, derive_seed(seed, "array"))
        return mix_coils(torch.linalg.cholesky(array.noise_covariance(self.noise_correlation)), white)

    def noise_scan(self, seed: int, kspace: Complex[Tensor, "slice coil v x"]) -> Complex[Tensor, "coil coil"] | None:
        """Return the covariance of the noise in a scan, as a noise scan finds it; None where it is white or nothing.

        Args:
            seed: Of the array and the noise, as given to `measure`.
            kspace: What `measure` returned.
        """
        if self.noise_correlation is None or self.snr_db == math.inf:
            return None
        # snr_db is the ratio of clean k-space to noise; the power that was measured is the sum of both
        power = kspace.abs().square().mean() / (1 + 10 ** (self.snr_db / 10)) / 2
        samples = self.noise(seed, (1, self.n_coils, NOISE_SAMPLES, 1), "noise scan")[0]
        return power * noise_covariance(samples)


def wrapped(images: Shaped[Tensor, "*batch y x"], part: float) -> Shaped[Tensor, "*batch y _x"]:
    """Return images in a central part of their field of view along x, onto which the rest wraps around."""
    n = images.shape[-1]
    width = round(part * n)
    columns = (torch.arange(n) - n // 2 + width // 2) % width
    return images.new_zeros(*images.shape[:-1], width).index_add(-1, columns, images)
