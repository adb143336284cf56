"""Settings that no reconstruction can have are named."""

import math
from collections.abc import Callable

import pytest
import torch

from lightning_mri.physics import Fourier
from lightning_mri.reconstruction import (
    Calibration,
    EstimatedNoise,
    Guard,
    Reconstructor,
    Uncertainty,
    choose_sampler,
    null_space_component,
    prepare,
)
from lightning_mri.sampling import DDS, HQS
from lightning_mri.scaling import Scaling

from .test_presets import Isotropic

ASCEND = "accelerations must ascend and have one factor each, all positive"
KSPACE = torch.ones(1, 2, 16, 16, dtype=torch.complex64)
MASK = torch.ones(1, 16, 16, dtype=torch.bool)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: Guard(unexplained=-1), "unexplained must not be negative: got -1"),
        (lambda: EstimatedNoise(0.0), "factor must be positive: got 0"),
        (lambda: prepare(KSPACE, MASK, Scaling(), noise_std=0.0), "noise_std must be positive"),
        (lambda: choose_sampler("preview", HQS(n_steps=7)), r"one: got preset 'preview' and sampler HQS\(n_s"),
        (
            lambda: choose_sampler("preview", None, 3.0),
            "give one: got preset 'preview' and budget 3",
        ),
        (lambda: Reconstructor(Isotropic(), budget=0.0), "budget must be a positive number of seconds a slice: got 0"),
        (lambda: Reconstructor(Isotropic(), batch_size=0), "batch_size must be positive: got 0"),
        (lambda: Uncertainty(DDS(), 1), "two samples or more"),
        (lambda: Uncertainty(DDS(), 2, -1.0), "smoothing and floor must not be negative: got -1"),
        (lambda: Calibration("any", (), (), 9), ASCEND),
        (lambda: Calibration("any", (2.0, 3.0), (1.0,), 9), ASCEND),
        (lambda: Calibration("any", (3.0, 2.0), (1.0, 1.0), 9), ASCEND),
        (lambda: Calibration("any", (2.0,), (0.0,), 9), ASCEND),
        (lambda: Calibration.fit("any", []), "scans must be of one subject or more: got none"),
        (lambda: Calibration.fit("any", [(2.0, torch.full((4,), math.inf))]), ASCEND),
        (lambda: null_space_component(Fourier(), KSPACE[0], -1.0), "weight must not be negative: got -1"),
    ],
)
def test_what_breaks_a_rule_is_named(call: Callable[[], object], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        call()
