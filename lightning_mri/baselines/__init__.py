"""What a user would pick instead of a prior: filters, denoisers and compressed sensing.

Each sees what a sampler sees: the same operator, k-space and noise level, as one likelihood.
"""

from lightning_mri.baselines.bart import BartPICS, run_bart
from lightning_mri.baselines.baseline import Baseline, Tunable
from lightning_mri.baselines.cg_sense import CGSense
from lightning_mri.baselines.l1_wavelet import DEFAULT_WEIGHTS, L1Wavelet
from lightning_mri.baselines.nonlocal_means import NonLocalMeans
from lightning_mri.baselines.total_variation import TotalVariation
from lightning_mri.baselines.tuning import tune
from lightning_mri.baselines.unrolled import Unrolled, UnrolledNetwork, load_unrolled, save_unrolled
from lightning_mri.baselines.wiener import Wiener
from lightning_mri.baselines.zero_filled import ZeroFilled

__all__ = [
    "DEFAULT_WEIGHTS", "BartPICS", "Baseline", "CGSense", "L1Wavelet", "NonLocalMeans", "TotalVariation", "Tunable",
    "Unrolled", "UnrolledNetwork", "Wiener", "ZeroFilled", "load_unrolled", "run_bart", "save_unrolled", "tune",
]  # fmt: skip
