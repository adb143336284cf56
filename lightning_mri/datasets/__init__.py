"""Training and test sets: caches, simulated scans, datasets and LightningDataModules."""

from lightning_mri.datasets.augmentation import Augmentation
from lightning_mri.datasets.batches import (
    UNKNOWN_CONTRAST,
    Failed,
    ImageBatch,
    LabelledImage,
    LowFieldBatch,
    SliceBatch,
    check_images,
)
from lightning_mri.datasets.cache import CacheEntry, ImageCache
from lightning_mri.datasets.cached_scans import CachedScans
from lightning_mri.datasets.fully_sampled import FastMRIBrain, FastMRIKnee, FullySampledScans, StrokeFLAIR
from lightning_mri.datasets.images import ImageDataset, image_loader
from lightning_mri.datasets.loading import ResumableLoader, WholeBatches, run_seed
from lightning_mri.datasets.low_field_mouse import LowFieldMouse
from lightning_mri.datasets.low_field_scans import LowFieldScans
from lightning_mri.datasets.operator_scans import OperatorScans
from lightning_mri.datasets.parallel import run_jobs
from lightning_mri.datasets.preparation import Preparation, Prepared, build_cache, prepare_folder
from lightning_mri.datasets.reference_scans import ReferenceScans
from lightning_mri.datasets.scans import Scans
from lightning_mri.datasets.simulate import simulate
from lightning_mri.datasets.slices import (
    LowFieldDataset,
    ScanDataset,
    UndersampledDataset,
    simulated_mask,
    undersample,
    undersampled_slice,
)
from lightning_mri.datasets.splits import TRAINED, SubjectSplit, subject_digest, trained_on
from lightning_mri.datasets.synthetic_heads import SyntheticHeads

__all__ = [
    "TRAINED",
    "UNKNOWN_CONTRAST",
    "Augmentation",
    "CacheEntry",
    "CachedScans",
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
    "OperatorScans",
    "Preparation",
    "Prepared",
    "ReferenceScans",
    "ResumableLoader",
    "ScanDataset",
    "Scans",
    "SliceBatch",
    "StrokeFLAIR",
    "SubjectSplit",
    "SyntheticHeads",
    "UndersampledDataset",
    "WholeBatches",
    "build_cache",
    "check_images",
    "image_loader",
    "prepare_folder",
    "run_jobs",
    "run_seed",
    "simulate",
    "simulated_mask",
    "subject_digest",
    "trained_on",
    "undersample",
    "undersampled_slice",
]
