"""Complex tensors and their noise, seeds and shapes: the conventions that all subpackages share."""

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from jaxtyping import Complex, Float, Int, Shaped
from torch import Tensor

TINY = torch.finfo(torch.float32).tiny
"""Smallest normal number: divisors are at least that, so that zero divided by zero is zero."""


def to_channels(x: Complex[Tensor, "*batch y x"]) -> Float[Tensor, "*batch 2 y x"]:
    """Return real and imaginary part as two channels in front of (y, x)."""
    return torch.stack([x.real, x.imag], dim=-3)


def to_complex(x: Float[Tensor, "*batch 2 y x"]) -> Complex[Tensor, "*batch y x"]:
    """Return two real channels as one complex image, at least in single precision."""
    x = x.to(torch.promote_types(x.dtype, torch.float32))
    return torch.complex(x[..., 0, :, :].contiguous(), x[..., 1, :, :].contiguous())


def complex_noise(
    shape: Sequence[int], generator: torch.Generator | None = None, device: torch.device | str = "cpu"
) -> Complex[Tensor, "..."]:
    """Draw complex noise z of standard deviation 1 in each real channel, so that E abs(z)^2 = 2.

    Drawn where the source is, and from the CPU's if none is given, so that a seed gives the same noise on every device.

    Args:
        shape: Shape of the noise.
        generator: Random source; the CPU's global one if none is given.
        device: Where the noise is moved to.
    """
    where = "cpu" if generator is None else generator.device
    real, imag = torch.randn(2, *shape, generator=generator, device=where, dtype=torch.float32)
    return torch.complex(real, imag).to(device)


def local_generator(generator: torch.Generator | None, device: torch.device) -> torch.Generator | None:
    """Return a random source on a device, seeded by one of the CPU; that one itself where the device is the CPU.

    A CPU draws the noise of a batch in the time in which a GPU trains on it. What is drawn on a GPU differs from what
    the CPU would draw.
    """
    if device.type == "cpu":
        return generator
    seed = int(torch.randint(2**62, (), generator=generator))
    return torch.Generator(device).manual_seed(seed)


def derive_seed(*parts: str | int) -> int:
    """Return a 63-bit seed that depends on every part, such as (scan, slice, sample), and on nothing else."""
    digest = hashlib.sha256("\0".join(map(str, parts)).encode(errors="surrogateescape")).digest()
    return int.from_bytes(digest[:8], "big") >> 1


def generators(seeds: Int[Tensor, "..."]) -> list[torch.Generator]:
    """Return one CPU generator for each seed, in row-major order."""
    return [torch.Generator().manual_seed(int(seed)) for seed in seeds.flatten()]


def centre_crop(x: Shaped[Tensor, "*batch y x"], size: tuple[int, int]) -> Shaped[Tensor, "*batch v u"]:
    """Cut the central ``size`` from the last two axes; index n // 2 stays index m // 2."""
    rows, columns = x.shape[-2:]
    if size[0] > rows or size[1] > columns:
        raise ValueError(f"size must not exceed the image: got {tuple(size)} for an image of {(rows, columns)}")
    top, left = rows // 2 - size[0] // 2, columns // 2 - size[1] // 2
    return x[..., top : top + size[0], left : left + size[1]]


def centre_pad(x: Shaped[Tensor, "*batch y x"], size: tuple[int, int]) -> Shaped[Tensor, "*batch v u"]:
    """Surround the last two axes with zeros up to ``size``; the inverse of `centre_crop`."""
    rows, columns = x.shape[-2:]
    if size[0] < rows or size[1] < columns:
        raise ValueError(f"size must not fall below the image: got {tuple(size)} for an image of {(rows, columns)}")
    top, left = size[0] // 2 - rows // 2, size[1] // 2 - columns // 2
    return torch.nn.functional.pad(x, (left, size[1] - columns - left, top, size[0] - rows - top))


def inner(a: Tensor, b: Tensor, ndim: int = 2) -> Tensor:
    """Return <a, b> = sum conj(a) b over the last ``ndim`` axes, one value a sample, axes kept."""
    return (a.conj() * b).sum(dim=tuple(range(-ndim, 0)), keepdim=True)


def squared_norm(x: Tensor, ndim: int = 2) -> Tensor:
    """Return the sum of abs(x)^2 over the last ``ndim`` axes, one real value a sample, axes kept."""
    dims = tuple(range(-ndim, 0))
    if not x.is_complex():
        return x.square().sum(dims, keepdim=True)
    # abs(x) takes a root, and a sum over real and imaginary part alone takes twenty times as long
    return torch.view_as_real(x).square().sum((*(dim - 1 for dim in dims), -1), keepdim=True).squeeze(-1)


def norm(x: Tensor, ndim: int = 2) -> Tensor:
    """Return the Euclidean norm over the last ``ndim`` axes, one real value a sample, axes kept."""
    return torch.linalg.vector_norm(x, dim=tuple(range(-ndim, 0)), keepdim=True)


def root_sum_of_squares(x: Tensor, dim: int = -3) -> Tensor:
    """Return the root of the sum of abs(x)^2 over one axis, such as that of the coils.

    On a CPU many times as fast as `torch.linalg.vector_norm` of complex values over an axis that is not the last.
    """
    return (x.real.square() + x.imag.square()).sum(dim).sqrt()


def power_of_two(x: Tensor, ndim: int = 2) -> Tensor:
    """Return 2^k with 1 <= max abs(re, im) / 2^k < 2 over the last ``ndim`` axes, kept; 1 where x is zero.

    Divided by it, numbers of any size can be squared, and no bit of their mantissas changes.
    """
    parts = torch.view_as_real(x) if x.is_complex() else x[..., None]
    largest = parts.abs().amax((*range(-ndim - 1, -1), -1), keepdim=True).squeeze(-1)
    unit = torch.ldexp(torch.ones_like(largest), torch.frexp(largest).exponent - 1)
    return torch.where(largest > 0, unit, 1)


def without_traces(x: Tensor) -> Tensor:
    """Return numbers in units of `power_of_two` with zero for those below 2^-60, whose squares vanish beside 1.

    A Gram matrix of one huge sample among such numbers is one on which LAPACK's eigenvalues do not converge.
    """
    return torch.where(x.abs() > 2.0**-60, x, 0)


def relative_error(x_hat: Tensor, reference: Tensor, ndim: int = 2) -> Tensor:
    """Return the error of magnitudes, abs(abs(x^) - abs(x)) / abs(x), over the last ``ndim`` axes, which go.

    Not finite where the reference is zero, which `evaluation.nrmse` refuses; equal to it otherwise, but for rounding.
    """
    error = norm(x_hat.abs() - reference.abs(), ndim) / norm(reference, ndim)
    return error.flatten(-ndim).squeeze(-1)


@contextmanager
def one_thread() -> Iterator[None]:
    """Let torch compute in one thread; afterwards in as many as before."""
    n_threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(n_threads)


def spread(n: int, wanted: int) -> list[int]:
    """Return at most ``wanted`` evenly spaced slices of ``n``, the middle one if only one is wanted."""
    count = min(n, wanted)
    return [int((i + 0.5) * n / count) for i in range(count)]
