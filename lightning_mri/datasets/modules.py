"""The LightningDataModules, together, so that the command line knows all of them when it knows one."""

from lightning_mri.datasets.cached_scans import CachedScans
from lightning_mri.datasets.fully_sampled import FastMRIBrain, FastMRIKnee, FullySampledScans, StrokeFLAIR
from lightning_mri.datasets.low_field_mouse import LowFieldMouse
from lightning_mri.datasets.low_field_scans import LowFieldScans
from lightning_mri.datasets.operator_scans import OperatorScans, WithOperator
from lightning_mri.datasets.reference_scans import ReferenceScans
from lightning_mri.datasets.scans import Scans
from lightning_mri.datasets.synthetic_heads import SyntheticHeads

__all__ = [
    "CachedScans", "FastMRIBrain", "FastMRIKnee", "FullySampledScans", "LowFieldMouse", "LowFieldScans",
    "OperatorScans", "ReferenceScans", "Scans", "StrokeFLAIR", "SyntheticHeads", "WithOperator",
]  # fmt: skip
