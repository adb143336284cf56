"""Scores: metrics with named conventions, held-out k-space, intervals, the study harness; tables, pictures and pages.

Every number that the package prints about image quality comes from here, and states its convention.
"""

from lightning_mri.evaluation.coverage import ScanErrors, coverage_table, draw_coverage
from lightning_mri.evaluation.held_out import hold_out, noise_floor, prediction_error
from lightning_mri.evaluation.lesions import LesionScores, lesion_scores
from lightning_mri.evaluation.memorisation import Memorisation, nearest_distance
from lightning_mri.evaluation.metrics import FASTMRI, SLICE, Convention, Scores, head_of, nmse, nrmse, psnr, score, ssim
from lightning_mri.evaluation.page import interval_sections, table_section, write_page
from lightning_mri.evaluation.paired import Interval, Ratio, bootstrapped_mean, mean_of
from lightning_mri.evaluation.pictures import REFERENCE, Panel, comparison, picture, slice_panels, white_of
from lightning_mri.evaluation.study import Case, Method, Study, code_version
from lightning_mri.evaluation.table_files import read_tables, write_tables
from lightning_mri.evaluation.tables import Row, Summary, Table, markdown_table, mean_std
from lightning_mri.evaluation.viewer import View, read_case

__all__ = [
    "FASTMRI", "REFERENCE", "SLICE", "Case", "Convention", "Interval", "LesionScores", "Memorisation", "Method",
    "Panel", "Ratio", "Row", "ScanErrors", "Scores", "Study", "Summary", "Table", "View", "bootstrapped_mean",
    "code_version", "comparison", "coverage_table", "draw_coverage", "head_of", "hold_out",
    "interval_sections", "lesion_scores", "markdown_table", "mean_of", "mean_std", "nearest_distance", "nmse",
    "noise_floor", "nrmse", "picture", "prediction_error", "psnr", "read_case", "read_tables", "score", "slice_panels",
    "ssim", "table_section", "white_of", "write_page", "write_tables",
]  # fmt: skip
