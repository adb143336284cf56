"""One evaluation of the network on the image as measured: the estimate of a denoiser or of a supervised network."""

from dataclasses import dataclass

from torch import Tensor

from lightning_mri.described import check_fields
from lightning_mri.sampling.consistency import Relaxed
from lightning_mri.sampling.sampler import EstimateType, Progress, Sampler, Target


@dataclass(frozen=True)
class Denoise(Sampler):
    """D(A^H y; c noise_std), and one pull of it towards the data.

    For one coil and every sample acquired, A^H y is the image with white noise of that level, and D the mean of the
    posterior: nothing is drawn. A network that was trained with `SupervisedReconstruction` has met degraded images at
    every noise level, and also takes out blur and decay; the smaller c, the more it does so by itself.

    Args:
        level: Noise level c that the network is given, in units of ``noise_std``.
        weight: Relaxation of the result, as in `Relaxed`; 0 for none.

    Raises:
        ValueError: If ``level`` is not positive, or the weight is not in [0, 1].
    """

    level: float = 1.0
    weight: float = 0.0

    estimate_type = EstimateType.POINT

    def __post_init__(self) -> None:
        check_fields(self, int, float)
        if not self.level > 0:
            raise ValueError(f"level must be positive: got {self.level}")
        Relaxed(self.weight)  # has the same rule

    @property
    def nfe(self) -> int:
        """One network evaluation."""
        return 1

    def _run(self, target: Target) -> Tensor:
        likelihood = target.measurement()
        x = likelihood.adjoint().expand(target.n_samples, *likelihood.image_shape)
        sigma = (self.level * likelihood.noise_std).clamp(target.prior.sigma_min, target.prior.sigma_max)
        of_sets = sigma[(..., *[None] * (target.image_ndim - 2))]  # one level for the sets of maps of a slice
        denoised = target.estimate(x, of_sets, target.label)
        result = Relaxed(self.weight).constraint(likelihood).result(denoised)
        target.report(Progress(1, 1, float(sigma.mean()), result, likelihood))
        return result
