"""Training and test sets: caches, simulated scans, datasets and LightningDataModules.

These are imported when the first of them is used: Lightning alone takes longer to start than `simulate` of a subject.
"""

from typing import TYPE_CHECKING

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
from lightning_mri.datasets.images import ImageDataset, image_loader
from lightning_mri.datasets.loading import ResumableLoader, WholeBatches, run_seed
from lightning_mri.datasets.parallel import run_jobs
from lightning_mri.datasets.preparation import Preparation, Prepared, build_cache, prepare_folder
from lightning_mri.datasets.simulation import simulate
from lightning_mri.datasets.slices import (
    LowFieldDataset,
    ScanDataset,
    UndersampledDataset,
    simulated_mask,
    undersample,
    undersampled_slice,
)
from lightning_mri.datasets.splits import TRAINED, NamedSplit, SubjectSplit, subject_digest, trained_on
from lightning_mri.lazy import late

if TYPE_CHECKING:
    from lightning_mri.datasets.modules import (
        CachedScans,
        FastMRIBrain,
        FastMRIKnee,
        FullySampledScans,
        LowFieldMouse,
        LowFieldScans,
        OperatorScans,
        ReferenceScans,
        Scans,
        StrokeFLAIR,
        SyntheticHeads,
        WithOperator,
    )

__all__ = [
    "TRAINED", "UNKNOWN_CONTRAST", "Augmentation", "CacheEntry", "CachedScans", "Failed", "FastMRIBrain",
    "FastMRIKnee", "FullySampledScans", "ImageBatch", "ImageCache", "ImageDataset", "LabelledImage",
    "LowFieldBatch", "LowFieldDataset", "LowFieldMouse", "LowFieldScans", "NamedSplit", "OperatorScans",
    "Preparation", "Prepared", "ReferenceScans", "ResumableLoader", "ScanDataset", "Scans", "SliceBatch",
    "StrokeFLAIR", "SubjectSplit", "SyntheticHeads", "UndersampledDataset", "WholeBatches", "WithOperator",
    "build_cache", "check_images", "image_loader", "prepare_folder", "run_jobs", "run_seed", "simulate",
    "simulated_mask", "subject_digest", "trained_on", "undersample", "undersampled_slice",
]  # fmt: skip

__getattr__ = late(f"{__name__}.modules", __all__)


def __dir__() -> list[str]:
    return __all__
