"""The loss that needs the scanner's physics, and losses told apart by noise level."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Complex, Float, Int
from torch import Tensor
from torchmetrics import Metric

from lightning_mri.diffusion import NetworkPrior, mean_square
from lightning_mri.physics import LowField
from lightning_mri.tensors import complex_noise


@dataclass(frozen=True)
class SupervisedReconstruction:
    """Mean of abs(D(A^H y + sigma z; sigma) - x)^2: the denoiser also learns to undo what the scanner did.

    y is x after degradation, so that D sees at every noise level the image it will meet in a reconstruction. Noise
    levels and weight are those of the noise process (AAPM 2026 abstract on low-field mouse MRI, which names
    score matching and this loss, and not their mixture).

    Args:
        degradation: What the scanner does to an image.
    """

    degradation: LowField

    def __call__(
        self,
        prior: NetworkPrior,
        x: Complex[Tensor, "batch y x"],
        label: Int[Tensor, " batch"],
        generator: torch.Generator | None = None,
        support: Bool[Tensor, "batch y x"] | None = None,
        pixel_sizes: Sequence[tuple[float, float]] | None = None,
    ) -> Float[Tensor, ""]:
        """Return the mean loss of a batch, with fresh degradation, noise and noise level for each image.

        Args:
            prior: The network in training, with its noise process.
            x: Clean images, in image units.
            label: Index of the contrast of each image.
            generator: CPU random source; the global one if none is given.
            support: Pixels that count; all if not given.
            pixel_sizes: Size of a pixel (y, x) of each image in mm; the scanner's if not given.
        """
        filled = x.flatten(1).any(1)  # a part of an image may show air alone, which no scanner's noise refers to
        x, label, support = x[filled], label[filled], None if support is None else support[filled]
        if len(x) == 0:
            return x.real.new_zeros(())
        if pixel_sizes is not None:
            pixel_sizes = [size for size, some in zip(pixel_sizes, filled.tolist(), strict=True) if some]
        seeds = torch.randint(2**62, (len(x),), generator=generator).tolist()
        with torch.no_grad():
            degraded = self.degradation.degrade(x, seeds, pixel_sizes=pixel_sizes).adjoint()
        sigma = prior.process.draw_sigma(len(x), generator).to(x.device)
        noisy = degraded + sigma[:, None, None] * complex_noise(x.shape, generator, x.device)
        error = mean_square(prior(noisy, sigma, label) - x, support)
        return (prior.process.loss_weight(sigma) * error).mean()


class LossByLevel(Metric):
    """Mean loss in each half decade of the noise level, over all processes and since the last ``reset``.

    Which levels a prior still learns, and which it over-fits, is lost in the mean over all: low ones go first.
    """

    LOWEST, HIGHEST = -8, 5
    """Half decades, 10^(k / 2): from 1e-4 to 300; levels beyond count as the outermost."""

    sums: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.add_state("sums", torch.zeros(2, self.HIGHEST - self.LOWEST + 1), dist_reduce_fx="sum")

    def update(self, sigma: Float[Tensor, " batch"], loss: Float[Tensor, " batch"]) -> None:
        """Take the losses of a batch into account, without waiting for the device."""
        half_decade = (2 * sigma.log10()).round().clamp(self.LOWEST, self.HIGHEST).long() - self.LOWEST
        self.sums.index_add_(1, half_decade, torch.stack([loss.float(), torch.ones_like(loss, dtype=torch.float32)]))

    def load(self, of_each: Sequence[Sequence[Sequence[float]]], rank: int, n: int) -> None:
        """Take up the sums of each process of an earlier run; the first of another number of them takes all.

        Args:
            of_each: ``sums`` of its processes.
            rank: Which of the processes this is.
            n: Their number.
        """
        if len(of_each) == n:
            self.sums += self.sums.new_tensor(of_each[rank])
        elif rank == 0 and of_each:
            self.sums += self.sums.new_tensor(of_each).sum(0)

    def compute(self) -> dict[str, float]:
        """Return the means by the rounded middle of their half decade."""
        sums, counts = self.sums.tolist()
        middles = [float(f"{10 ** (k / 2):.0e}") for k in range(self.LOWEST, self.HIGHEST + 1)]
        return {f"sigma_{m:g}": s / n for m, s, n in zip(middles, sums, counts, strict=True) if n}
