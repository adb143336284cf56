"""A whole reconstruction: from k-space as measured to an image, its uncertainty and its doubts.

`reconstruct` does all of it; `prepare` is the first half, after which any sampler or baseline can go on.
"""

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
from lightning_mri.reconstruction.prepare import Problem, crop_readout, prepare, prepare_low_field
from lightning_mri.reconstruction.presets import PRESETS, Preset, choose_sampler
from lightning_mri.reconstruction.reconstruct import (
    Reconstruction,
    Uncertainty,
    join,
    label_of,
    reconstruct,
    reconstruct_slices,
    seeds_of,
    solve,
)

__all__ = [
    "FALL_BACKS",
    "PRESETS",
    "Check",
    "Draw",
    "Estimate",
    "EstimatedNoise",
    "FallBack",
    "Guard",
    "Inspection",
    "Instead",
    "Preset",
    "Problem",
    "Reconstruction",
    "TwoSets",
    "Uncertainty",
    "Verdict",
    "check",
    "choose_sampler",
    "crop_readout",
    "facts_text",
    "inspect",
    "join",
    "label_of",
    "prepare",
    "prepare_low_field",
    "preview",
    "reconstruct",
    "reconstruct_slices",
    "seeds_of",
    "solve",
]
