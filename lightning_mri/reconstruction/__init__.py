"""A whole reconstruction: from k-space as measured to an image, its uncertainty and its doubts.

`reconstruct` does all of it; `prepare` is the first half, after which any sampler or baseline can go on.
"""

from lightning_mri.reconstruction.facts import facts_text
from lightning_mri.reconstruction.guard import Check, Guard, check
from lightning_mri.reconstruction.inspect import Inspection, inspect, preview
from lightning_mri.reconstruction.prepare import Problem, crop_readout, prepare, prepare_low_field
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
    "Check",
    "Guard",
    "Inspection",
    "Problem",
    "Reconstruction",
    "Uncertainty",
    "check",
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
