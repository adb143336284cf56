"""Lightning: what `fit` trains (`PriorModule`, its phases and their average) and what `predict` and `test` run."""

from lightning_mri.training.checkpoint import Checkpoint
from lightning_mri.training.ema import EMA
from lightning_mri.training.losses import SupervisedReconstruction
from lightning_mri.training.metrics_file import MetricsFile
from lightning_mri.training.phases import FineTune, Pretrain, TrainingPhase
from lightning_mri.training.prior_module import PriorModule
from lightning_mri.training.reconstruction_module import Predicted, ReconstructionModule
from lightning_mri.training.results import Results
from lightning_mri.training.strategies import L2SP, Full, Interpolate, LoRA, Replay, ScaleShift, Strategy
from lightning_mri.training.unrolled import KINDS, RandomScans, UnrolledModule, pattern_of, scanned
from lightning_mri.training.validation import MemorisationCheck, ReconstructHeldOut

__all__ = [
    "EMA", "KINDS", "L2SP", "Checkpoint", "FineTune", "Full", "Interpolate", "LoRA", "MemorisationCheck", "MetricsFile",
    "Predicted", "Pretrain", "PriorModule", "RandomScans", "ReconstructHeldOut", "ReconstructionModule", "Replay",
    "Results", "ScaleShift", "Strategy", "SupervisedReconstruction", "TrainingPhase", "UnrolledModule", "pattern_of",
    "scanned",
]  # fmt: skip
