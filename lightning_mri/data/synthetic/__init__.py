"""Synthetic subjects, drawn from a seed: heads with their anatomy, contrasts and scans."""

from lightning_mri.data.synthetic.anatomy import Anatomy
from lightning_mri.data.synthetic.coils import CoilArray, correlated_noise_covariance, simulate_coil_maps
from lightning_mri.data.synthetic.contrasts import CONTRASTS
from lightning_mri.data.synthetic.heads import LABELS, Geometry, Head, SyntheticSlice, training_slices
from lightning_mri.data.synthetic.lesions import LesionKind
from lightning_mri.data.synthetic.mice import Mouse
from lightning_mri.data.synthetic.tissues import Tissue

__all__ = [
    "CONTRASTS",
    "LABELS",
    "Anatomy",
    "CoilArray",
    "Geometry",
    "Head",
    "LesionKind",
    "Mouse",
    "SyntheticSlice",
    "Tissue",
    "correlated_noise_covariance",
    "simulate_coil_maps",
    "training_slices",
]
