"""Scores: metrics with named conventions, held-back measurements; tables, pictures and pages of them.

Every number that the package prints about image quality comes from this room, and states its convention.
"""

from lightning_mri.evaluation.held_out import hold_out, noise_floor, prediction_error
from lightning_mri.evaluation.memorisation import Memorisation, nearest_distance
from lightning_mri.evaluation.metrics import FASTMRI, SLICE, Convention, Scores, nmse, nrmse, psnr, score, ssim
from lightning_mri.evaluation.page import html_page
from lightning_mri.evaluation.paired import paired_ratio
from lightning_mri.evaluation.picture import Panel, comparison, picture
from lightning_mri.evaluation.report import Row, Summary, Table

__all__ = [
    "FASTMRI",
    "SLICE",
    "Convention",
    "Memorisation",
    "Panel",
    "Row",
    "Scores",
    "Summary",
    "Table",
    "comparison",
    "hold_out",
    "html_page",
    "nearest_distance",
    "nmse",
    "noise_floor",
    "nrmse",
    "paired_ratio",
    "picture",
    "prediction_error",
    "psnr",
    "score",
    "ssim",
]
