"""The random numbers of a sampler: one stream for each sample, decided by that sample's seed alone."""

from collections.abc import Sequence

import torch
from jaxtyping import Complex, Float, Int
from torch import Tensor

from lightning_mri.tensors import complex_noise, generators


class NoiseStream:
    """Draws for every image of a batch from that image's own CPU generator.

    What image i sees is a function of ``seeds[i]`` and of the calls made so far: not of the other images in
    the batch, of their number, or of the device.

    Args:
        seeds: One seed an image; images with equal seeds see equal noise.
        image_shape: Shape of one image, (y, x) or (set, y, x).
        device: Where the draws are moved to.
    """

    def __init__(
        self, seeds: Int[Tensor, "*batch"], image_shape: Sequence[int], device: torch.device | str = "cpu"
    ) -> None:
        self.batch_shape = tuple(seeds.shape)
        self.image_shape = tuple(image_shape)
        self.device = device
        self._generators = generators(seeds)

    def normal(self, shape: Sequence[int] | None = None) -> Complex[Tensor, "..."]:
        """Return noise z of standard deviation 1 in each real channel, [*batch, *shape].

        Args:
            shape: Shape for one image's noise, such as that of its k-space; the image's if not given.
        """
        shape = self.image_shape if shape is None else tuple(shape)
        drawn = torch.stack([complex_noise(shape, generator) for generator in self._generators])
        return drawn.reshape(self.batch_shape + shape).to(self.device)

    def integers(self, end: int) -> Int[Tensor, "*batch"]:
        """Return one integer an image from 0 ... ``end`` - 1, on the CPU."""
        drawn = [torch.randint(end, (), generator=generator) for generator in self._generators]
        return torch.stack(drawn).reshape(self.batch_shape)

    def uniform(self) -> Float[Tensor, "*batch"]:
        """Return one number an image from [0, 1), on the CPU."""
        drawn = [torch.rand((), generator=generator, dtype=torch.float32) for generator in self._generators]
        return torch.stack(drawn).reshape(self.batch_shape)


def seeds_for(seeds: Int[Tensor, "..."] | Sequence[int], batch_shape: Sequence[int]) -> Int[Tensor, " sample *batch"]:
    """Return one seed for each (sample, slice).

    Args:
        seeds: All of them, or one a sample, which then every slice of the batch shares: a slice reconstructed
            alone equals the same slice reconstructed among others.
        batch_shape: Shape of the batch of slices, without the samples.

    Raises:
        ValueError: If there is no seed, one is no integer, or their shape is neither [sample] nor [sample, *batch].
    """
    table = torch.as_tensor(seeds if isinstance(seeds, Tensor) else list(seeds))
    if table.ndim == 0 or table.numel() == 0:
        raise ValueError(f"seeds must hold at least one sample: got shape {tuple(table.shape)}")
    if table.is_floating_point() or table.is_complex() or table.dtype == torch.bool:
        raise ValueError(f"seeds must be integers: got {table.dtype}")
    table = table.to(torch.int64)
    if table.ndim == 1:
        table = table.reshape(-1, *[1] * len(batch_shape)).expand(-1, *batch_shape)
    if tuple(table.shape[1:]) != tuple(batch_shape):
        raise ValueError(
            f"seeds must have shape [sample] or [sample, *batch] with batch {tuple(batch_shape)}: "
            f"got {tuple(table.shape)}"
        )
    return table
