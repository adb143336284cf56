"""Scans as files: what a file says (`Scan`), readers, writers, synthetic subjects, caches and DataModules."""

from lightning_mri.data.augmentation import Augmentation
from lightning_mri.data.cache import CacheEntry, ImageCache, build_cache
from lightning_mri.data.combine import combine
from lightning_mri.data.datasets import (
    ImageBatch,
    ImageDataset,
    LabelledImage,
    ScanDataset,
    SliceBatch,
    UndersampledDataset,
    simulated_mask,
    undersample,
)
from lightning_mri.data.low_field import (
    NOISE,
    NOISE_BLUR,
    NOISE_BLUR_T2STAR,
    NOISE_BLUR_T2STAR_B0,
    LowField,
    LowFieldBatch,
    LowFieldDataset,
    blind,
    scaled,
)
from lightning_mri.data.modules import (
    FastMRIBrain,
    FullySampledScans,
    LowFieldMouse,
    Scans,
    StrokeFLAIR,
    SyntheticHeads,
)
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
    "Augmentation",
    "CacheEntry",
    "FastMRIBrain",
    "FullySampledScans",
    "ImageBatch",
    "ImageCache",
    "ImageDataset",
    "LabelledImage",
    "LowField",
    "LowFieldBatch",
    "LowFieldDataset",
    "LowFieldMouse",
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
    "acquired",
    "atomic",
    "blind",
    "build_cache",
    "combine",
    "find_scans",
    "is_fully_sampled",
    "read_scan",
    "scaled",
    "simulate",
    "simulated_mask",
    "undersample",
    "undersampled_slice",
    "write_fastmri",
    "write_preview",
    "write_result",
]
