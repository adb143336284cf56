"""Options that cannot be are named before anything is read or drawn."""

from functools import partial
from pathlib import Path

from lightning_mri.datasets import LowFieldMouse, LowFieldScans, SyntheticHeads, simulate
from lightning_mri.physics.low_field import LowField
from tests.builders import refusals, wrong

MEASURED = partial(LowFieldScans, Path("mouse.nii"))

test_what_breaks_a_rule_is_named = refusals(
    *wrong(LowFieldMouse, "must be (positive|0, 1 or 2): got", n_val=0, slices_per_subject=0, coronal_axis=3),
    *wrong(MEASURED, "b0_hz must be 0 for measured scans.*: got 40.0", degradation=LowField(b0_hz=40.0)),
    *wrong(MEASURED, "noise_std must be finite and positive: got 0.0", noise_std=0.0),
    *wrong(MEASURED, "batch_size must be positive: got 0", batch_size=0),
    *(row for n in (0, 9) for row in wrong(SyntheticHeads, f"between 1 and 8: got {n}", slices_per_subject=n)),
    (lambda: simulate(Path("none"), n_train=0, n_test=0), "there must be at least one subject, contrast and slice"),
)
