"""Inference with a prior: noise schedules, predictors, correctors and the samplers made of them.

Every sampler has one signature, `Sampler.sample(prior, likelihood, seeds, label, shape, progress)`, works
on whole batches of slices and samples, and gives each sample its own stream of random numbers. `Sampler.estimate_type`
says what its results are:

- draws from the posterior, in the limit of many steps: `PULA`, and `PredictorCorrector` with
  `PosteriorScore`;
- approximate draws: `DAPS`, `DDS`, and `PredictorCorrector` with `Projection` or `Relaxed`;
- point estimates: `HQS`, the default, `DPS`, and `Denoise`, a single evaluation.
"""

from lightning_mri.sampling.adaptation import MapRefinement, NoiseReestimation
from lightning_mri.sampling.consistency import Consistency, PosteriorScore, Projection, Relaxed
from lightning_mri.sampling.correctors import Langevin
from lightning_mri.sampling.daps import DAPS
from lightning_mri.sampling.dds import DDS
from lightning_mri.sampling.denoise import Denoise
from lightning_mri.sampling.dps import DPS, TUNED_DPS
from lightning_mri.sampling.hqs import HQS
from lightning_mri.sampling.noise import NoiseStream
from lightning_mri.sampling.pc import PredictorCorrector
from lightning_mri.sampling.predictors import (
    AncestralVE,
    AncestralVP,
    DiscreteReverseDiffusionVP,
    Predictor,
    ReverseDiffusionVE,
    ReverseDiffusionVP,
)
from lightning_mri.sampling.pula import PULA
from lightning_mri.sampling.sampler import EstimateType, Posterior, Progress, Sampler, Target, posterior
from lightning_mri.sampling.schedules import Geometric, Karras, LinearBeta, Schedule
from lightning_mri.sampling.symmetry import RandomSymmetry

__all__ = [
    "DAPS", "DDS", "DPS", "HQS", "PULA", "TUNED_DPS", "AncestralVE", "AncestralVP", "Consistency", "Denoise",
    "DiscreteReverseDiffusionVP", "EstimateType", "Geometric", "Karras", "Langevin", "LinearBeta", "MapRefinement",
    "NoiseReestimation", "NoiseStream", "Posterior", "PosteriorScore", "Predictor", "PredictorCorrector", "Progress",
    "Projection", "RandomSymmetry", "Relaxed", "ReverseDiffusionVE", "ReverseDiffusionVP", "Sampler", "Schedule",
    "Target", "posterior",
]  # fmt: skip
