"""Reader study: what blinded readers get, and what their scores say; not worse than a margin, or not shown to be."""

from lightning_mri.evaluation.reader_study.analysis import Analysis, ItemResult, analyze
from lightning_mri.evaluation.reader_study.design import HALLUCINATION, ITEMS, PRIMARY, Design, Key, Reading
from lightning_mri.evaluation.reader_study.package import pair, write_pages, write_sheet
from lightning_mri.evaluation.reader_study.scores import ReaderScores, Score, read_scores
from lightning_mri.evaluation.reader_study.statistics import (
    Agreement,
    Difference,
    agreement,
    paired_difference,
    sample_size,
    weighted_kappa,
)

__all__ = [
    "HALLUCINATION", "ITEMS", "PRIMARY", "Agreement", "Analysis", "Design", "Difference", "ItemResult", "Key",
    "ReaderScores", "Reading", "Score", "agreement", "analyze", "pair", "paired_difference", "read_scores",
    "sample_size", "weighted_kappa", "write_pages", "write_sheet",
]  # fmt: skip
