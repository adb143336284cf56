"""Coil sensitivity maps and a low-resolution image from the calibration block: ESPIRiT.

Uecker et al., Magn. Reson. Med. 71:990 (2014). Signals of one object seen by smooth coils lie in a small
subspace of all k-space patches. The projection on that subspace acts in the image as one small matrix a
pixel, whose eigenvectors of eigenvalue 1 are the maps.
"""

import math

import torch
from einops import rearrange
from jaxtyping import Bool, Complex, Float
from torch import Tensor

from lightning_mri.physics.coils import principal_coils
from lightning_mri.physics.fourier import ifft2c
from lightning_mri.physics.masks import Acs, find_acs
from lightning_mri.tensors import power_of_two, root_sum_of_squares, without_traces

COARSE = 40  # pixels a side with exact eigenvectors, where iterations start; 20 took 1.7 x the time on a head
MIN_KERNEL, MAX_KERNEL = 3, 6  # 6 as in Uecker et al. 2014; 3 where a block of 4 lines must do
THRESHOLD = 0.02  # smallest singular value of the signal subspace, relative to the largest
CROP, CROP_OF_SETS = 0.95, 0.8  # chosen on synthetic heads; see the argument ``crop`` of `estimate_maps`
N_ITERATIONS = 4  # 2, 4 and 10 took 0.9, 0.6 and 0.5 s for a measured head of 230 x 180 pixels and 8 coils
TOLERANCE = 1e-3  # residual of a unit eigenvector at which its iteration has converged
CHUNK, CHUNK_GPU = 2**18, 2**25  # matrix entries at a time: 2 MB, a CPU's cache, and 256 MB


def estimate_maps(
    kspace: Complex[Tensor, "*batch coil y x"],
    mask: Bool[Tensor, "*mask_batch 1 y x"],
    acs: Acs | None = None,
    noise_std: Float[Tensor, "*batch"] | float = 0.0,
    n_sets: int = 1,
    crop: float | None = None,
) -> Complex[Tensor, "*batch set coil y x"]:
    """Estimate coil sensitivity maps, sum over coils of abs(S)^2 = 1 where there is signal, and 0 elsewhere.

    The phase of each map is relative to a virtual coil, the first principal component of the calibration
    data: sum over coils of conj(u_c) S_c >= 0. A single coil needs no calibration: its map is 1 everywhere. Maps of
    coils that are all zero in a slice are zero, and change no other.

    Args:
        kspace: K-space of each slice; only the calibration block is read.
        mask: True where a sample was acquired.
        acs: Block to calibrate on, fully sampled. Without it the largest one in the mask, up to 32 lines of a
            readout four times as long: more of a readout helps when lines are few.
        noise_std: Standard deviation of the noise in each real channel: singular values that noise alone would
            give are not taken for signal. With 0 only `THRESHOLD` keeps noise out, which is not enough for
            noisy scans or large blocks.
        n_sets: Number of sets of maps; two where the field of view cuts or wraps the object (soft-SENSE).
        crop: Smallest eigenvalue where there is a map; 0 keeps all of the background. Without it 0.95, or 0.8 for
            several sets. What is cut is known to be empty, which helps every reconstruction; but above 0.95 holes were
            cut into heads where lines were few.

    Raises:
        ValueError: If the mask holds no calibration block, or one too small for the kernel, or more sets are
            asked for than there are coils.
    """
    kspace = kspace.to(torch.complex64)
    *batch, n_coils, rows, columns = kspace.shape
    if not 1 <= n_sets <= n_coils:
        raise ValueError(f"n_sets must be between 1 and the number of coils, {n_coils}: got {n_sets}")
    if n_coils == 1:
        return torch.ones(*batch, 1, 1, rows, columns, dtype=kspace.dtype, device=kspace.device)
    block = find_acs(mask).limited() if acs is None else acs
    kernel = _kernel(block)
    crop = (CROP if n_sets == 1 else CROP_OF_SETS) if crop is None else crop
    calibration = block.crop(kspace).reshape(-1, n_coils, *block.shape)
    unit = power_of_two(calibration, 3)
    noise = torch.as_tensor(noise_std, dtype=torch.float32, device=kspace.device).expand(batch).flatten()
    calibration, noise = without_traces(calibration / unit), noise / unit.flatten()
    maps = []
    for data, std in zip(calibration, noise, strict=True):
        filled = (data != 0).flatten(1).any(1)
        if n_sets <= int(filled.sum()) < n_coils:
            found = kspace.new_zeros(n_sets, n_coils, rows, columns)
            found[:, filled] = _maps_of_coils(data[filled], (rows, columns), kernel, std, n_sets, crop)
            maps.append(found)
        else:
            maps.append(_maps_of_coils(data, (rows, columns), kernel, std, n_sets, crop))
    return torch.stack(maps).reshape(*batch, n_sets, n_coils, rows, columns)


def _kernel(block: Acs) -> tuple[int, int]:
    """Return the shape (y, x) of the patches of k-space, one less than half of the block.

    Few lines hold few patches, and a wide kernel then leaves no null space.
    """
    height, width = (min(MAX_KERNEL, max(MIN_KERNEL, n // 2 - 1)) for n in block.shape)
    if block.shape[0] < height or block.shape[1] < width:
        raise ValueError(
            f"the calibration block must be at least as wide as the kernel, {height} x {width}: got {block.shape}"
        )
    return height, width


def _maps_of_coils(
    calibration: Tensor, size: tuple[int, int], kernel: tuple[int, int], noise_std: Tensor, n_sets: int, crop: float
) -> Tensor:
    """Maps [set, coil, y, x] of the coils of one slice; that of a single one is 1."""
    if len(calibration) == 1:
        return calibration.new_ones(1, 1, *size)
    projection = _signal_projection(calibration, kernel, noise_std)
    return _maps_of_slice(calibration, _KernelGram(projection, len(calibration), kernel, size), n_sets, crop)


def _maps_of_slice(calibration: Tensor, gram: "_KernelGram", n_sets: int, crop: float) -> Tensor:
    """Maps [set, coil, y, x] of one slice, in chunks of rows that fit a processor's cache."""
    rows, columns = size = gram.size
    n_coils, device = len(calibration), calibration.device
    (virtual,) = principal_coils(calibration, 1)
    coarse = [torch.arange(min(n, COARSE), dtype=torch.float32, device=device) for n in size]
    places = [(i + 0.5) * (n / len(i)) - 0.5 for i, n in zip(coarse, size, strict=True)]
    start = torch.linalg.eigh(gram.at(*places).permute(2, 3, 0, 1)).eigenvectors[..., -n_sets:].flip(-1)
    start = start.permute(3, 2, 0, 1)
    nearest = [torch.arange(n, device=device) * len(i) // n for i, n in zip(coarse, size, strict=True)]
    parts = []
    n_entries = CHUNK if device.type == "cpu" else CHUNK_GPU
    for chunk in torch.arange(rows, device=device).split(max(1, n_entries // (n_coils**2 * columns))):
        matrix = gram.at(chunk, torch.arange(columns, device=device))
        near = start[:, :, nearest[0][chunk]][..., nearest[1]]
        vectors, values = _leading_eigenvectors(matrix, near, crop)
        phase = torch.einsum("c,sc...->s...", virtual, vectors).conj().sgn()
        parts.append(vectors * (phase * (values > crop))[:, None])
    return torch.cat(parts, dim=-2)


def _leading_eigenvectors(matrix: Tensor, start: Tensor, crop: float) -> tuple[Tensor, Tensor]:
    """Leading eigenvectors [set, coil, y, x] and eigenvalues [set, y, x] of matrices [coil, coil, y, x].

    By subspace iteration; pixels with a map that have not converged, because the next eigenvalue is close, are
    solved exactly.
    """
    vectors, values = list(start), [torch.zeros_like(start[0, 0].real)] * len(start)
    stuck = torch.zeros_like(values[0], dtype=torch.bool)
    for iteration in range(N_ITERATIONS):
        for i, vector in enumerate(vectors):
            image = (matrix * vector).sum(1)
            for other in vectors[:i]:
                image = image - other * (other.conj() * image).sum(0)
            values[i] = root_sum_of_squares(image, 0)
            vectors[i] = image / values[i].clamp(min=torch.finfo(torch.float32).tiny)
            if iteration == N_ITERATIONS - 1:
                off = root_sum_of_squares(image - values[i] * vector, 0)
                stuck |= (off > TOLERANCE) & (values[i] > crop - TOLERANCE)
    found, sizes = torch.stack(vectors), torch.stack(values)
    exact_sizes, exact = torch.linalg.eigh(matrix[:, :, stuck].permute(2, 0, 1))
    found[:, :, stuck] = exact[..., -len(start) :].flip(-1).permute(2, 1, 0)
    sizes[:, stuck] = exact_sizes[:, -len(start) :].flip(-1).T
    return found, sizes


def _signal_projection(calibration: Tensor, kernel: tuple[int, int], noise_std: Tensor) -> Tensor:
    """Projection P [coil k k, coil k k] on the signal subspace of all patches of the calibration block.

    The largest singular value of m x n complex noise is noise_std sqrt(2) (sqrt(m) + sqrt(n)), the edge of
    the Marchenko-Pastur law, which holds for overlapping patches too.
    """
    patches = calibration.unfold(1, kernel[0], 1).unfold(2, kernel[1], 1)
    matrix = rearrange(patches, "coil y x v u -> (y x) (coil v u)")
    wide = len(matrix) < matrix.shape[1]
    power, vectors = torch.linalg.eigh(matrix @ matrix.mH if wide else matrix.mH @ matrix)
    edge = math.sqrt(2) * (math.sqrt(matrix.shape[0]) + math.sqrt(matrix.shape[1])) * noise_std
    kept = power > torch.maximum(THRESHOLD**2 * power[-1], edge.square())
    # the patches are U s V^H: rows of V^H from the smaller of the two Gram matrices, in sigpy's convention
    signal = matrix.mH @ (vectors[:, kept] / power[kept].sqrt()) if wide else vectors[:, kept]
    return signal @ signal.mH


class _KernelGram:
    """The Gram matrix of all kernels in each pixel, as a short Fourier series.

    Two places in a kernel differ by less than its width, so that summing the projection over pairs of equal
    distance gives 2 k - 1 coefficients an axis, and no kernel needs a transform of its own.
    """

    def __init__(self, projection: Tensor, n_coils: int, kernel: tuple[int, int], size: tuple[int, int]) -> None:
        height, width = kernel
        lengths = {"v": kernel[0], "y": kernel[0], "u": kernel[1], "x": kernel[1]}
        pairs = rearrange(projection.conj(), "(a v u) (b y x) -> a b v u y x", **lengths)
        self.series = projection.new_zeros(n_coils, n_coils, 2 * height - 1, 2 * width - 1)
        for i in range(height):
            for j in range(width):
                self.series[:, :, i : i + height, j : j + width] += pairs[:, :, i, j].flip(-2, -1)
        self.series /= height * width
        self.size = size

    def at(self, y: Tensor, x: Tensor) -> Tensor:
        """Return the matrices [coil, coil, y, x] at these rows and columns, whole or between."""
        widths = self.series.shape[-2:]
        waves_y, waves_x = map(_waves, (y, x), self.size, widths)
        return torch.einsum("yd,abde->abye", waves_y, self.series) @ waves_x.T


def _waves(place: Tensor, n: int, width: int) -> Tensor:
    """Waves [place, frequency] of the ``width`` lowest frequencies of a field of view of n pixels."""
    frequency = torch.arange(width, device=place.device) - width // 2
    angle = 2 * math.pi / n * (place[:, None].to(torch.float32) - n // 2) * frequency
    return torch.polar(torch.ones_like(angle), angle)


def acs_image(
    kspace: Complex[Tensor, "*batch coil y x"],
    mask: Bool[Tensor, "*mask_batch 1 y x"],
    maps: Complex[Tensor, "*batch set coil y x"] | None = None,
    acs: Acs | None = None,
) -> Complex[Tensor, "*batch y x"]:
    """Return the coil-combined image of the calibration block, low-pass filtered with a Hamming window.

    The window spans the block along each axis on which it is shorter than k-space. With one set of maps the
    coils are combined as sum over coils of conj(S_c) x_c; with several sets, or none, as root of the sum of
    squares over sets, or coils, without phase.

    Args:
        kspace: K-space of each slice; only the calibration block is read.
        mask: True where a sample was acquired.
        maps: Coil sensitivities.
        acs: The block; without it the largest one in the mask.

    Raises:
        ValueError: If the mask holds no calibration block.
    """
    block = find_acs(mask) if acs is None else acs
    windowed, unit = torch.zeros_like(kspace), power_of_two(block.crop(kspace), 3)
    window = [
        _hamming(part, n).to(kspace.device) for part, n in zip((block.y, block.x), kspace.shape[-2:], strict=True)
    ]
    windowed[..., block.y, block.x] = block.crop(kspace) / unit * window[0][:, None] * window[1]
    images = ifft2c(windowed)
    if maps is not None:
        images = (maps.conj() * images[..., None, :, :, :]).sum(-3)
        if maps.shape[-4] == 1:
            return images[..., 0, :, :] * unit[..., 0, :, :]
    return (root_sum_of_squares(images) * unit[..., 0, :, :]).to(kspace.dtype)


def _hamming(block: slice, n: int) -> Float[Tensor, " m"]:
    """Hamming window over a block, 1 at the centre n // 2; all 1 where the block is the whole axis."""
    width = block.stop - block.start
    offset = torch.arange(block.start, block.stop, dtype=torch.float32) - n // 2
    return torch.ones_like(offset) if width == n else 0.54 + 0.46 * torch.cos(2 * math.pi * offset / width)
