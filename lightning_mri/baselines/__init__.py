"""What a user would pick instead of a prior: zero-filled, CG-SENSE and L1-wavelet.

Each sees what a sampler sees: the same operator, k-space and noise level, as one likelihood.
"""

from lightning_mri.baselines.baseline import Baseline
from lightning_mri.baselines.cg_sense import CGSense
from lightning_mri.baselines.l1_wavelet import DEFAULT_WEIGHTS, L1Wavelet, tune
from lightning_mri.baselines.zero_filled import ZeroFilled

__all__ = ["DEFAULT_WEIGHTS", "Baseline", "CGSense", "L1Wavelet", "ZeroFilled", "tune"]
