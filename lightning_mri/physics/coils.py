"""Fewer, virtual coils: the principal components of what the coils of an array receive.

Buehrer et al., Magn. Reson. Med. 57:1131 (2007); Huang et al., Magn. Reson. Imaging 26:133 (2008).
"""

import torch
from jaxtyping import Complex
from torch import Tensor

from lightning_mri.physics.masks import Acs
from lightning_mri.tensors import power_of_two, without_traces


def principal_coils(samples: Complex[Tensor, " coil *sample"], n_coils: int) -> Complex[Tensor, "virtual coil"]:
    """Return the orthonormal rows V that keep most of the samples' energy, max abs(V k)^2 with V V^H = 1.

    They are the leading eigenvectors of k k^H, each at the phase at which its largest entry is real and positive: which
    phase a library returns differs between CPU and GPU, and an image's own phase follows it. From whitened samples,
    such as those of the calibration block, V k is whitened as well.

    Args:
        samples: Samples of each coil.
        n_coils: Number of virtual coils; an array of no more coils keeps its number, and all of the energy.

    Raises:
        ValueError: If ``n_coils`` is not positive.
    """
    if n_coils < 1:
        raise ValueError(f"n_coils must be positive: got {n_coils}")
    flat = without_traces(samples / power_of_two(samples, samples.ndim)).flatten(1)
    vectors = torch.linalg.eigh(flat @ flat.mH).eigenvectors[:, -n_coils:].flip(-1)
    largest = vectors.gather(0, vectors.abs().argmax(0, keepdim=True))
    return (vectors * largest.conj().sgn()).mH.resolve_conj()


def virtual_coils(samples: Complex[Tensor, " coil *sample"], n_coils: int) -> Complex[Tensor, "virtual coil"]:
    """Return the rows V that `compress_coils` takes: principal coils, or those that hold anything if they are few.

    Args:
        samples: Samples of each coil, more than ``n_coils``.
        n_coils: Number of virtual coils; rows that are left over are zero.
    """
    (filled,) = (samples != 0).flatten(1).any(1).nonzero(as_tuple=True)
    if len(filled) > n_coils:
        return principal_coils(samples, n_coils)
    rows = samples.new_zeros(n_coils, len(samples))
    rows[torch.arange(len(filled), device=rows.device), filled] = 1
    return rows


def mix_coils(
    matrix: Complex[Tensor, "virtual coil"], kspace: Complex[Tensor, "*batch coil y x"]
) -> Complex[Tensor, "*batch virtual y x"]:
    """Return what virtual coils receive, sum over coils of matrix[v, c] k_c; of k-space or of images alike."""
    return (matrix @ kspace.flatten(-2)).unflatten(-1, kspace.shape[-2:])


def compress_coils(
    kspace: Complex[Tensor, "slice coil y x"],
    n_coils: int,
    acs: Acs,
    calibration: Complex[Tensor, "slice coil y x"] | None = None,
) -> Complex[Tensor, "slice _coil y x"]:
    """Return the virtual coils of each slice by itself, found in its calibration block; fewer coils stay as they are.

    Args:
        kspace: Whitened samples, zero where not acquired.
        n_coils: Number of virtual coils.
        acs: Calibration block.
        calibration: K-space that holds the block, if not ``kspace`` itself.
    """
    if n_coils >= kspace.shape[1]:
        return kspace
    sources = kspace if calibration is None else calibration
    found = (virtual_coils(acs.crop(one), n_coils) for one in sources)
    return torch.stack([mix_coils(matrix, one) for matrix, one in zip(found, kspace, strict=True)])
