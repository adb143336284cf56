"""Synthetic subjects, drawn from a seed: heads with their anatomy, contrasts and scans."""

from lightning_mri.phantoms.anatomy import Anatomy
from lightning_mri.phantoms.coils import CoilArray
from lightning_mri.phantoms.contrasts import CONTRASTS
from lightning_mri.phantoms.geometry import Geometry
from lightning_mri.phantoms.heads import Head, SyntheticSlice
from lightning_mri.phantoms.lesions import LesionKind
from lightning_mri.phantoms.mice import Mouse
from lightning_mri.phantoms.scanner import Scanner, wrapped
from lightning_mri.phantoms.tissues import Tissue
from lightning_mri.phantoms.training import LABELS, training_slices

__all__ = [
    "CONTRASTS", "LABELS", "Anatomy", "CoilArray", "Geometry", "Head", "LesionKind", "Mouse", "Scanner",
    "SyntheticSlice", "Tissue", "training_slices", "wrapped",
]  # fmt: skip
