"""LightningDataModules: real and synthetic subjects, each on one side, as batches for every stage."""

from lightning_mri.datasets.modules.fastmri import FastMRIBrain, FastMRIKnee
from lightning_mri.datasets.modules.fully_sampled import FullySampledScans
from lightning_mri.datasets.modules.low_field_mouse import LowFieldMouse
from lightning_mri.datasets.modules.low_field_scans import LowFieldScans
from lightning_mri.datasets.modules.scans import Scans
from lightning_mri.datasets.modules.stroke_flair import StrokeFLAIR
from lightning_mri.datasets.modules.synthetic_heads import SyntheticHeads

__all__ = [
    "FastMRIBrain",
    "FastMRIKnee",
    "FullySampledScans",
    "LowFieldMouse",
    "LowFieldScans",
    "Scans",
    "StrokeFLAIR",
    "SyntheticHeads",
]
