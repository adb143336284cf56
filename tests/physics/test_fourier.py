import pytest
import sigpy
import torch

from lightning_mri.physics import fft2c, ifft2c
from lightning_mri.tensors import complex_noise, inner, norm

SIZES = [(13, 10), (8, 15), (6, 4), (7, 9)]


@pytest.mark.parametrize("size", SIZES)
def test_equals_sigpys_centred_transform(size):
    x = complex_noise((3, *size), torch.Generator().manual_seed(0))
    torch.testing.assert_close(fft2c(x), torch.from_numpy(sigpy.fft(x.numpy(), axes=(-2, -1))), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("size", SIZES)
def test_is_unitary(size):
    x, k = complex_noise((2, *size), torch.Generator().manual_seed(0))
    torch.testing.assert_close(ifft2c(fft2c(x)), x)
    torch.testing.assert_close(norm(fft2c(x)), norm(x))
    torch.testing.assert_close(inner(fft2c(x), k), inner(x, ifft2c(k)), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("size", SIZES)
def test_constant_image_is_one_point_in_the_centre(size):
    k = fft2c(torch.ones(size, dtype=torch.complex64))
    expected = torch.zeros(size, dtype=torch.complex64)
    expected[size[0] // 2, size[1] // 2] = (size[0] * size[1]) ** 0.5
    torch.testing.assert_close(k, expected, rtol=1e-5, atol=1e-5)
