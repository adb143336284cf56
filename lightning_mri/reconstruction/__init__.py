"""A whole reconstruction: from k-space as measured to an image, its uncertainty and its doubts.

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
from lightning_mri.reconstruction.facts import facts_text
from lightning_mri.reconstruction.fall_backs import (
    FALL_BACKS,
    Draw,
    Estimate,
    EstimatedNoise,
    FallBack,
    Instead,
    TwoSets,
)
from lightning_mri.reconstruction.guard import Check, Guard, Verdict, check
from lightning_mri.reconstruction.inspect import Inspection, inspect, preview
from lightning_mri.reconstruction.match import match, reference_spectrum, with_match
from lightning_mri.reconstruction.prepare import MOST_COILS, Problem, crop_readout, prepare, prepare_low_field
from lightning_mri.reconstruction.presets import PRESETS, Pick, Preset, choose_sampler, within_budget
from lightning_mri.reconstruction.reconstruct import label_of, reconstruct, reconstruct_slices, seeds_of, solve
from lightning_mri.reconstruction.result import Reconstruction, join
from lightning_mri.reconstruction.uncertainty import Uncertainty
from lightning_mri.reconstruction.undetermined import undetermined

__all__ = [
    "CALIBRATION",
    "FALL_BACKS",
    "MOST_COILS",
    "PRESETS",
    "Calibration",
    "Check",
    "Draw",
    "ErrorBar",
    "Estimate",
    "EstimatedNoise",
    "FallBack",
    "Guard",
    "Inspection",
    "Instead",
    "Pick",
    "Preset",
    "Problem",
    "Reconstruction",
    "TwoSets",
    "Uncertainty",
    "Verdict",
    "check",
    "choose_sampler",
    "crop_readout",
    "error_bar",
    "facts_text",
    "inspect",
    "join",
    "label_of",
    "match",
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
    "undetermined",
    "with_calibration",
    "with_match",
    "within_budget",
]
