"""Settings that no reconstruction can have are named."""

import math
import pickle
from collections.abc import Sequence
from functools import partial
from typing import Any

import pytest
import torch

from lightning_mri.io import Scan
from lightning_mri.physics import Fourier, GaussianLikelihood, sense
from lightning_mri.reconstruction import (
    Calibration,
    EstimatedNoise,
    Guard,
    Measurement,
    Reconstructor,
    UncalibratedError,
    Uncertainty,
    UnusableSlicesError,
    choose_sampler,
    null_space_component,
    prepare,
)
from lightning_mri.sampling import DDS, HQS
from lightning_mri.scaling import Scaling
from tests.builders import refusals, wrong

from .conftest import Isotropic

ASCEND = "accelerations must ascend and have one factor each, all positive"
KSPACE = torch.ones(1, 2, 16, 16, dtype=torch.complex64)
MASK = torch.ones(1, 16, 16, dtype=torch.bool)
NOISE = torch.tensor([0.5])
SIZES: tuple[Any, ...] = ((0, 10), (64,), "a", (32.5, 20), (8, -1), 8)


def measured(kspace: Any = KSPACE, mask: Any = MASK, **options: Any) -> object:
    return Reconstructor(Isotropic()).reconstruct(kspace, mask, **options)


def known(
    y: Any = KSPACE, maps: Any = KSPACE[:, None], mask: Any = MASK, noise_std: Any = NOISE, size: Any = None
) -> object:
    likelihood = GaussianLikelihood(sense(maps, mask), y, noise_std)
    return Reconstructor(Isotropic()).reconstruct_known(likelihood, size=size)


LIMITS = ("unexplained", "contradicted", "contradicted_outside")


def of_noise(noise_std: float, slices: Sequence[int] | None = None) -> object:
    likelihood = GaussianLikelihood(sense(KSPACE[:, None]), KSPACE, torch.tensor([noise_std]))
    return Reconstructor(Isotropic()).reconstruct_known(likelihood, slices=slices)


test_what_breaks_a_rule_is_named = refusals(
    (lambda: Guard(unexplained=-1), "unexplained must not be negative: got -1"),
    (lambda: Guard(fallbacks=("x",)), "fallbacks must each be a Fallback: got 'x'"),
    *((partial(Guard, **{name: math.nan}), f"{name} must not be negative: got nan") for name in LIMITS),
    (lambda: EstimatedNoise(0.0), "factor must be positive: got 0"),
    (lambda: prepare(KSPACE, MASK, Scaling(), noise_std=0.0), "noise_std must be finite and positive"),
    (lambda: prepare(KSPACE, MASK, Scaling(), noise_std=math.inf), "noise_std must be finite and positive"),
    (lambda: of_noise(-1.0), r"noise_std must be finite and not negative: got \[-1.0\]"),
    (lambda: of_noise(math.nan), "noise_std must be finite and not negative"),
    (lambda: choose_sampler("preview", HQS(n_steps=7)), r"one: got preset 'preview' and sampler HQS\(n_s"),
    (lambda: choose_sampler("preview", None, 3.0), "give one: got preset 'preview' and budget 3"),
    (lambda: Reconstructor(Isotropic(), budget=0.0), "budget must be a positive number of seconds a slice: got 0"),
    (lambda: Reconstructor(Isotropic(), batch_size=0), "batch_size must be a positive whole number: got 0"),
    *wrong(
        partial(Reconstructor, Isotropic()),
        "must be a positive (whole number|number of seconds a slice): got (1.5|0|True)",
        **{"n_sets": 1.5, "n_coils": 0, "n_samples": True, "batch_size": 1.5, "budget": True},
    ),
    *wrong(partial(Reconstructor, Isotropic()), "n_coils must be a positive whole number: got 2.5", n_coils=2.5),
    *wrong(partial(Reconstructor, Isotropic()), "uncertainty must be a Uncertainty: got 5", uncertainty=5),
    *wrong(partial(Reconstructor, Isotropic()), "uncertainty must be a Uncertainty: got True", uncertainty=True),
    *wrong(Reconstructor, "prior must be a Prior: got 'brain'", prior="brain"),
    *wrong(partial(Reconstructor, Isotropic()), "sampler must be a Sampler: got 'HQS'", sampler="HQS"),
    *wrong(partial(Reconstructor, Isotropic()), "keep_samples must be True or False: got 'no'", keep_samples="no"),
    *wrong(partial(Reconstructor, Isotropic()), "guard must be a Guard: got None", guard=None),
    *wrong(partial(Reconstructor, Isotropic()), "budget must be a positive number .*: got '2'", budget="2"),
    *wrong(Reconstructor(Isotropic()), r"scan must be a Scan, as of .*read_scan\(path\).*: got str", scan="head.h5"),
    (lambda: Reconstructor(Isotropic())(Scan.from_array(0 * KSPACE)), "^memory: kspace must hold acquired samples"),
    (lambda: prepare(KSPACE, MASK, Scaling(), noise_std=torch.ones(2)), "noise_std must be one number, or one for"),
    (lambda: measured(KSPACE[0]), r"kspace must be complex \[batch, coil, y, x\], .*: got .* \(2, 16, 16\)"),
    (lambda: measured(KSPACE[:0]), r"kspace must be .* not empty: got torch.complex64 \(0, 2, 16, 16\)"),
    (lambda: measured(KSPACE[:, :0]), r"kspace must be .* not empty: got torch.complex64 \(1, 0, 16, 16\)"),
    (lambda: measured(KSPACE.real), "kspace must be complex .*: got torch.float32"),
    (lambda: measured(KSPACE.real.int()), "kspace must be complex .*: got torch.int32"),
    *wrong(
        measured, r"noise_covariance must be .* kspace \(1, 2, 16, 16\): got \(3, 3\)", noise_covariance=torch.eye(3)
    ),
    *wrong(measured, "noise_covariance must be a tensor: got float", noise_covariance=1.0),
    *(
        (partial(measured, calibration=lines), r"calibration must be .* kspace \(1, 2, 16, 16\): got torch.c.* \(")
        for lines in (KSPACE[:, :1], KSPACE.expand(3, -1, -1, -1), KSPACE[..., 1:])
    ),
    *((partial(measured, size=size), r"size must be two positive integers \(y, x\): got") for size in SIZES),
    (lambda: prepare(KSPACE.real, MASK, Scaling()), "kspace must be complex .*: got torch.float32"),
    (lambda: known(KSPACE[0]), r"y must be complex \[batch, coil, y, x\], .*: got torch.complex64 \(2, 16, 16\) and 2"),
    (lambda: known(KSPACE.real), "y must be complex .*: got torch.float32"),
    (lambda: known(KSPACE[:0]), r"y must be .* not empty.*: got torch.complex64 \(0, 2, 16, 16\)"),
    (lambda: known(maps=KSPACE[:, None, :1]), r"of the coils of the maps: got .* \(1, 2, 16, 16\) and 1 coils"),
    (lambda: known(maps=KSPACE[:, None].expand(3, -1, -1, -1, -1)), r"maps must be one for all of 1 .*: got \(3, "),
    (lambda: known(noise_std=torch.ones(2)), r"noise_std must be one value, or one for each slice \(1,\): got \(2,\)"),
    (lambda: known(mask=MASK.float()), "mask must be bool: got .* of torch.float32"),
    (
        lambda: known(KSPACE.expand(3, -1, -1, -1), mask=MASK.expand(2, 1, -1, -1)),
        r"y and mask must .* mask \(2, 1, 16",
    ),
    (lambda: known(size=(0, 3)), r"size must be two positive integers \(y, x\): got \(0, 3\)"),
    (lambda: measured(KSPACE.numpy()), "kspace must be a tensor: got ndarray"),
    (lambda: Measurement(KSPACE.numpy(), MASK), "kspace must be a tensor: got ndarray"),
    (lambda: measured(mask=MASK.to(torch.uint8)), r"mask must be bool \[1, y, x\] of kspace .*: got torch.uint8"),
    (lambda: measured(mask=MASK.float()), "mask must be bool .*: got torch.float32"),
    (lambda: measured(slices=[]), r"slices must be .* of each of 1 slices: got \[\]"),
    (lambda: measured(slices=[-1]), r"slices must be the number, from 0, of each of 1 slices: got \[-1\]"),
    (lambda: of_noise(1.0, [0, 1]), r"slices must be .* of each of 1 slices: got \[0, 1\]"),
    (lambda: Uncertainty(DDS(), 1), "two samples or more"),
    (lambda: Uncertainty(DDS(), 2, -1.0), "smoothing and floor must not be negative: got -1"),
    *wrong(Uncertainty, "smoothing and floor must not be negative: got .*nan", smoothing=math.nan, floor=math.nan),
    (lambda: Uncertainty(null_space="no"), "null_space must be True or False: got 'no'"),
    (lambda: Calibration("any", (), (), 9), ASCEND),
    (lambda: Calibration("any", (2.0, 3.0), (1.0,), 9), ASCEND),
    (lambda: Calibration("any", (3.0, 2.0), (1.0, 1.0), 9), ASCEND),
    (lambda: Calibration("any", (2.0,), (0.0,), 9), ASCEND),
    (lambda: Calibration.fit("any", []), "scans must be of one subject or more: got none"),
    (lambda: Calibration.fit("any", [(2.0, torch.full((4,), math.inf))]), ASCEND),
    (lambda: null_space_component(Fourier(), KSPACE[0], -1.0), "weight must not be negative: got -1"),
)


def test_errors_survive_the_trip_from_another_process() -> None:
    """Regression: a pool waited for ever for the answer of a process that met a slice of air."""
    with pytest.raises(UnusableSlicesError) as found:
        prepare(0 * KSPACE, MASK, Scaling())
    for error in (found.value, UncalibratedError("too few lines")):
        again = pickle.loads(pickle.dumps(error))
        assert (type(again), str(again), vars(again)) == (type(error), str(error), vars(error))
