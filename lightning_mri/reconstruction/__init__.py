"""A whole reconstruction: from k-space as measured to an image, its uncertainty and its warnings.

`Reconstructor` does all of it; `prepare` is the first half, after which any sampler or baseline can go on.
`calibrate`, which scans synthetic heads, is imported when it is used.
"""

from typing import TYPE_CHECKING

from lightning_mri.lazy import late
from lightning_mri.reconstruction.calibration import (
    CALIBRATION,
    Calibration,
    ErrorBar,
    error_bar,
    pooled_quantile,
    recipe_of,
    with_calibration,
)
from lightning_mri.reconstruction.draws import Draws, Estimate, ShareDone, label_of, seeds_of
from lightning_mri.reconstruction.fallbacks import (
    FALLBACKS,
    BaselineFallback,
    Draw,
    EstimatedNoise,
    Fallback,
    SoftSense,
)
from lightning_mri.reconstruction.findings import (
    Findings,
    ProblemFindings,
    ReconstructionFindings,
    ScanFindings,
    join_findings,
)
from lightning_mri.reconstruction.guard import Guard, Verdict
from lightning_mri.reconstruction.inspection import Inspection, inspect, preview
from lightning_mri.reconstruction.known import KnownMeasurement, prepare_likelihood
from lightning_mri.reconstruction.measurement import Measurement
from lightning_mri.reconstruction.preparing import MAX_COILS, crop_readout, prepare
from lightning_mri.reconstruction.presets import PRESETS, Pick, Preset, choose_sampler, within_budget
from lightning_mri.reconstruction.problem import Problem
from lightning_mri.reconstruction.reconstructor import Reconstructor, keep_to_budget
from lightning_mri.reconstruction.result import Reconstruction, Residual, measure_residual
from lightning_mri.reconstruction.scanner import estimate_scanner_of, reference_spectrum, with_scanner
from lightning_mri.reconstruction.uncertainty import Uncertainty, null_space_component
from lightning_mri.reconstruction.unusable import UncalibratedError, UnusableSlicesError, zero_filled

if TYPE_CHECKING:
    from lightning_mri.reconstruction.calibration_fit import CalibrationHeads, calibrate

__all__ = [
    "CALIBRATION", "FALLBACKS", "MAX_COILS", "PRESETS", "BaselineFallback", "Calibration", "CalibrationHeads", "Draw",
    "Draws", "ErrorBar", "Estimate", "EstimatedNoise", "Fallback", "Findings", "Guard", "Inspection",
    "KnownMeasurement", "Measurement", "Pick", "Preset", "Problem", "ProblemFindings", "Reconstruction",
    "ReconstructionFindings", "Reconstructor", "Residual", "ScanFindings", "ShareDone", "SoftSense",
    "UncalibratedError", "Uncertainty", "UnusableSlicesError", "Verdict", "calibrate", "choose_sampler", "crop_readout",
    "error_bar", "estimate_scanner_of", "inspect", "join_findings", "keep_to_budget", "label_of", "measure_residual",
    "null_space_component", "pooled_quantile", "prepare", "prepare_likelihood", "preview", "recipe_of",
    "reference_spectrum", "seeds_of", "with_calibration", "with_scanner", "within_budget", "zero_filled",
]  # fmt: skip

__getattr__ = late(f"{__name__}.calibration_fit", __all__)


def __dir__() -> list[str]:
    return __all__
