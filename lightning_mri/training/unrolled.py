"""Training of an unrolled network: images become scans at random, and the network finds the images again."""

import math
from dataclasses import dataclass
from typing import Any, Literal

import torch
from jaxtyping import Complex, Float
from pytorch_lightning import LightningModule
from torch import Tensor

from lightning_mri.baselines import UnrolledNetwork
from lightning_mri.datasets import ImageBatch, run_seed
from lightning_mri.evaluation import SLICE, nrmse
from lightning_mri.phantoms import Scanner
from lightning_mri.physics import Equispaced, PoissonDisc, RandomUniform, SamplingPattern, fft2c, ifft2c
from lightning_mri.reconstruction import Problem, prepare
from lightning_mri.scaling import Scaling
from lightning_mri.tensors import centre_crop, derive_seed
from lightning_mri.training.rate import cosine, warmed

Kind = Literal["equispaced", "random", "Poisson disc"]
KINDS: tuple[Kind, ...] = ("equispaced", "random", "Poisson disc")

MOST_LINES, MOST_ROWS = 12, 16
PLANE_MM = 240.0
ATTEMPTS = 10
WARM_UP = 50


def pattern_of(kind: Kind, acceleration: float, matrix: tuple[int, int]) -> SamplingPattern:
    """Return a pattern whose centre takes half of the samples at most, and no more than 12 lines or 16 x 16 points.

    Args:
        kind: Lines at equal distance or at random, or points in two dimensions.
        acceleration: All samples divided by acquired ones, centre included.
        matrix: Samples (y, x) of k-space.
    """
    n_center = min(MOST_LINES, round(matrix[1] / (2 * acceleration)))
    edge = min(MOST_ROWS, int(math.sqrt(matrix[0] * matrix[1] / (2 * acceleration))))
    match kind:
        case "equispaced":
            return Equispaced(acceleration, n_center)
        case "random":
            return RandomUniform(acceleration, n_center)
        case "Poisson disc":
            return PoissonDisc(acceleration, edge)


def scanned(
    images: Complex[Tensor, "batch y x"],
    scanner: Scanner,
    pattern: SamplingPattern,
    seed: int,
    pixel_size: tuple[float, float],
    scaling: Scaling,
) -> tuple[Problem, Float[Tensor, "batch y x"]]:
    """Scan images with one array and one mask, and prepare them as a measurement would be.

    Args:
        images: What is scanned, in any unit.
        scanner: Receive array and noise.
        pattern: Which samples are acquired.
        seed: Of array, noise and mask.
        pixel_size: Size of a pixel (y, x), in mm.
        scaling: Scale contract.

    Returns:
        The problem, and the true magnitudes in its image units.
    """
    kspace = scanner.measure(images, seed, pixel_size, spacing_mm=0.0)
    mask = pattern.draw((kspace.shape[-2], kspace.shape[-1]), derive_seed(seed, "mask"))
    problem = prepare(kspace, mask, scaling)
    return problem, images.abs() / problem.scale[:, None, None]


@dataclass(frozen=True)
class RandomScans:
    """Scans of images with array, noise, acceleration and mask at random.

    A scan whose calibration lines give no coil maps is drawn again.

    Args:
        n_coils: Numbers of coils to choose among.
        snr_db: Signal-to-noise ratio of fully sampled k-space.
        accelerations: Lowest and highest.
        matrices: Pixels along both axes to choose among; smaller ones than the images' are a lower resolution.

    Raises:
        ValueError: If nothing is there to choose among, or a scan cannot have one of the numbers.
    """

    n_coils: tuple[int, ...] = (4, 6, 8)
    snr_db: float = 20.0
    accelerations: tuple[float, float] = (2.0, 8.0)
    matrices: tuple[int, ...] = (96, 96, 144)

    def __post_init__(self) -> None:
        if (
            not self.n_coils
            or not self.matrices
            or min(self.matrices) < 1
            or self.accelerations[0] > self.accelerations[1]
        ):
            raise ValueError(
                "n_coils and matrices must name positive numbers, accelerations the lowest and the highest: got "
                f"{self.n_coils}, {self.matrices} and {self.accelerations}"
            )
        for acceleration in self.accelerations:  # else drawn in vain again and again
            Equispaced(acceleration, 0)
        for n_coils in self.n_coils:
            Scanner(n_coils, self.snr_db)

    def draw(self, images: Complex[Tensor, "batch y x"], seed: int) -> tuple[Problem, Float[Tensor, "batch v u"]]:
        """Return a scan of the images, and their true magnitudes in its image units.

        Raises:
            ValueError: If no scan of ten can be prepared.
        """
        for attempt in range(ATTEMPTS):
            try:
                return self._draw(images, derive_seed(seed, attempt))
            except ValueError as error:
                last = error
        raise ValueError(f"images must be such that one scan of {ATTEMPTS} can be prepared: {last}") from last

    def _draw(self, images: Tensor, seed: int) -> tuple[Problem, Tensor]:
        generator = torch.Generator().manual_seed(seed)

        def one_of(choices: tuple[Any, ...]) -> Any:
            return choices[int(torch.randint(len(choices), (), generator=generator))]

        low, high = self.accelerations
        acceleration = low + (high - low) * float(torch.rand((), generator=generator))
        matrix = one_of(self.matrices)
        size = (min(matrix, images.shape[-2]), min(matrix, images.shape[-1]))
        images = ifft2c(centre_crop(fft2c(images), size))
        pattern = pattern_of(one_of(KINDS), acceleration, size)
        scanner = Scanner(one_of(self.n_coils), self.snr_db, oversampling=1)
        return scanned(images, scanner, pattern, seed, (PLANE_MM / size[0], PLANE_MM / size[1]), Scaling())


class UnrolledModule(LightningModule):
    """Minimise the NRMSE of the magnitude, by which it is judged, over scans that are drawn anew for every batch.

    It trains on what a prior trains on, any data module of images. Validation scans are always the same.

    Args:
        network: What is trained.
        scans: How images become scans.
        learning_rate: After a warm-up of 50 steps; from there it falls to 0 as a cosine over the trainer's steps.
    """

    def __init__(
        self,
        network: UnrolledNetwork,
        scans: RandomScans = RandomScans(),
        learning_rate: float = 1e-3,
    ) -> None:
        super().__init__()
        self.network, self.scans, self.learning_rate = network, scans, learning_rate

    def configure_optimizers(self) -> Any:
        """Return Adam and its schedule."""
        optimizer = torch.optim.Adam(self.network.parameters(), self.learning_rate)
        schedule = warmed(optimizer, self.trainer.estimated_stepping_batches, WARM_UP, cosine)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def training_step(self, batch: ImageBatch, batch_idx: int) -> Float[Tensor, ""]:
        """Return the NRMSE of the magnitude."""
        problem, truth = self.scans.draw(batch.image, derive_seed("train", run_seed(), self.global_step))
        loss = self._nrmse(problem, truth)
        self.log("train/loss", loss, batch_size=len(truth), prog_bar=True)
        return loss

    def validation_step(self, batch: ImageBatch, batch_idx: int) -> None:
        """Log the NRMSE of held-out images."""
        problem, truth = self.scans.draw(batch.image, derive_seed("validation", batch_idx))
        error = self._nrmse(problem, truth)
        self.log("val/nrmse", error, batch_size=len(truth), prog_bar=True, sync_dist=True)

    def _nrmse(self, problem: Problem, truth: Float[Tensor, "batch y x"]) -> Float[Tensor, ""]:
        return nrmse(self.network(problem.likelihood), truth, SLICE).mean()
