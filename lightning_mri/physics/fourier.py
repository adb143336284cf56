"""The one Fourier transform of the package: centred, orthonormal, over the last two axes."""

import torch
from jaxtyping import Complex
from torch import Tensor

AXES = (-2, -1)


def fft2c(x: Complex[Tensor, "*batch y x"]) -> Complex[Tensor, "*batch y x"]:
    """Transform an image to k-space, k = F x, with F^H F = 1 and both origins at index n // 2."""
    return torch.fft.fftshift(torch.fft.fft2(torch.fft.ifftshift(x, AXES), norm="ortho"), AXES)


def ifft2c(k: Complex[Tensor, "*batch y x"]) -> Complex[Tensor, "*batch y x"]:
    """Transform k-space to an image, x = F^H k; inverse and adjoint of `fft2c`."""
    return torch.fft.fftshift(torch.fft.ifft2(torch.fft.ifftshift(k, AXES), norm="ortho"), AXES)
