"""Training and test sets: caches, simulated scans, datasets and LightningDataModules."""

from lightning_mri.datasets.augmentation import Augmentation
from lightning_mri.datasets.cache import CacheEntry, ImageCache
from lightning_mri.datasets.datasets import (
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
from lightning_mri.datasets.loading import ResumableLoader, run_seed
from lightning_mri.datasets.low_field_dataset import LowFieldBatch, LowFieldDataset
from lightning_mri.datasets.modules import (
    FastMRIBrain,
    FastMRIKnee,
    FullySampledScans,
    LowFieldMouse,
    LowFieldScans,
    Scans,
    StrokeFLAIR,
    SyntheticHeads,
)
from lightning_mri.datasets.preparation import Preparation, Prepared, build_cache, prepare_folder
from lightning_mri.datasets.simulate import simulate, undersampled_slice
from lightning_mri.datasets.splits import Split, SubjectSplit

__all__ = [
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
    "LowFieldBatch",
    "LowFieldDataset",
    "LowFieldMouse",
    "LowFieldScans",
    "Preparation",
    "Prepared",
    "ResumableLoader",
    "ScanDataset",
    "Scans",
    "SliceBatch",
    "Split",
    "StrokeFLAIR",
    "SubjectSplit",
    "SyntheticHeads",
    "UndersampledDataset",
    "build_cache",
    "prepare_folder",
    "run_seed",
    "simulate",
    "simulated_mask",
    "undersample",
    "undersampled_slice",
]
