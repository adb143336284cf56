"""Scans as files: what a file says (`Scan`), readers, writers, synthetic subjects, caches and DataModules."""

from lightning_mri.data.augmentation import Augmentation
from lightning_mri.data.cache import CacheEntry, ImageCache
from lightning_mri.data.combine import combine
from lightning_mri.data.datasets import (
    UNKNOWN_CONTRAST,
    Failed,
    ImageBatch,
    ImageDataset,
    LabelledImage,
    ScanDataset,
    SliceBatch,
    UndersampledDataset,
    simulated_mask,
    undersample,
)
from lightning_mri.data.loading import ResumableLoader, run_seed
from lightning_mri.data.low_field import (
    NOISE,
    NOISE_BLUR,
    NOISE_BLUR_T2STAR,
    NOISE_BLUR_T2STAR_B0,
    REGIMES,
    LowField,
    Misjudged,
    Volume,
    blind,
    scaled,
)
from lightning_mri.data.low_field_dataset import LowFieldBatch, LowFieldDataset
from lightning_mri.data.modules import (
    FastMRIBrain,
    FastMRIKnee,
    FullySampledScans,
    LowFieldMouse,
    LowFieldScans,
    Scans,
    StrokeFLAIR,
    SyntheticHeads,
)
from lightning_mri.data.preparation import Preparation, Prepared, build_cache, prepare_folder
from lightning_mri.data.readers import find_scans, read_scan
from lightning_mri.data.scan import Scan, StoredArray, acquired, is_fully_sampled
from lightning_mri.data.simulate import Scanner, simulate, undersampled_slice
from lightning_mri.data.splits import Split, SubjectSplit
from lightning_mri.data.writers import atomic, write_fastmri, write_preview, write_result

__all__ = [
    "NOISE",
    "NOISE_BLUR",
    "NOISE_BLUR_T2STAR",
    "NOISE_BLUR_T2STAR_B0",
    "REGIMES",
    "UNKNOWN_CONTRAST",
    "Augmentation",
    "CacheEntry",
    "Failed",
    "FastMRIBrain",
    "FastMRIKnee",
    "FullySampledScans",
    "ImageBatch",
    "ImageCache",
    "ImageDataset",
    "LabelledImage",
    "LowField",
    "LowFieldBatch",
    "LowFieldDataset",
    "LowFieldMouse",
    "LowFieldScans",
    "Misjudged",
    "Preparation",
    "Prepared",
    "ResumableLoader",
    "Scan",
    "ScanDataset",
    "Scanner",
    "Scans",
    "SliceBatch",
    "Split",
    "StoredArray",
    "StrokeFLAIR",
    "SubjectSplit",
    "SyntheticHeads",
    "UndersampledDataset",
    "Volume",
    "acquired",
    "atomic",
    "blind",
    "build_cache",
    "combine",
    "find_scans",
    "is_fully_sampled",
    "prepare_folder",
    "read_scan",
    "run_seed",
    "scaled",
    "simulate",
    "simulated_mask",
    "undersample",
    "undersampled_slice",
    "write_fastmri",
    "write_preview",
    "write_result",
]
