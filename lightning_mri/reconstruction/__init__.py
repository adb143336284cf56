"""A whole reconstruction: from k-space as measured to an image, its uncertainty and its warnings.

`reconstruct` does all of it; `prepare` is the first half, after which any sampler or baseline can go on.
"""

from lightning_mri.reconstruction.calibration import (
    CALIBRATION,
    Calibration,
    ErrorBar,
    error_bar,
    pooled_quantile,
    recipe_of,
    with_calibration,
)
from lightning_mri.reconstruction.fallbacks import (
    FALLBACKS,
    BaselineFallback,
    Draw,
    Estimate,
    EstimatedNoise,
    Fallback,
    SoftSense,
)
from lightning_mri.reconstruction.findings import findings_text
from lightning_mri.reconstruction.guard import Check, Guard, Verdict, check
from lightning_mri.reconstruction.inspect import Inspection, inspect, preview
from lightning_mri.reconstruction.match import match, reference_spectrum, with_match
from lightning_mri.reconstruction.null_space import null_space
from lightning_mri.reconstruction.prepare import MOST_COILS, Problem, crop_readout, prepare, prepare_low_field
from lightning_mri.reconstruction.presets import PRESETS, Pick, Preset, choose_sampler, within_budget
from lightning_mri.reconstruction.reconstruct import label_of, reconstruct, reconstruct_slices, seeds_of, solve
from lightning_mri.reconstruction.result import Reconstruction, join
from lightning_mri.reconstruction.uncertainty import Uncertainty

__all__ = [
    "CALIBRATION",
    "FALLBACKS",
    "MOST_COILS",
    "PRESETS",
    "BaselineFallback",
    "Calibration",
    "Check",
    "Draw",
    "ErrorBar",
    "Estimate",
    "EstimatedNoise",
    "Fallback",
    "Guard",
    "Inspection",
    "Pick",
    "Preset",
    "Problem",
    "Reconstruction",
    "SoftSense",
    "Uncertainty",
    "Verdict",
    "check",
    "choose_sampler",
    "crop_readout",
    "error_bar",
    "findings_text",
    "inspect",
    "join",
    "label_of",
    "match",
    "null_space",
    "pooled_quantile",
    "prepare",
    "prepare_low_field",
    "preview",
    "recipe_of",
    "reconstruct",
    "reconstruct_slices",
    "reference_spectrum",
    "seeds_of",
    "solve",
    "with_calibration",
    "with_match",
    "within_budget",
]
