"""Options that cannot be are named before anything is read or drawn."""

from functools import partial
from pathlib import Path

from lightning_mri.datasets import LowFieldMouse, LowFieldScans, SubjectSplit, SyntheticHeads, simulate
from lightning_mri.physics.low_field import LowField
from tests.builders import refusals, wrong

MEASURED = partial(LowFieldScans, Path("mouse.nii"))
SUBJECTS = {f"{k % 22}-{k}": str(k % 22) for k in range(44)}


test_what_breaks_a_rule_is_named = refusals(
    *wrong(LowFieldMouse, "must be (positive|0, 1 or 2): got", n_val=0, slices_per_subject=0, coronal_axis=3),
    *wrong(MEASURED, "b0_hz must be 0 for measured scans.*: got 40.0", degradation=LowField(b0_hz=40.0)),
    *wrong(MEASURED, "noise_std must be finite and positive: got 0.0", noise_std=0.0),
    *wrong(MEASURED, "batch_size must be positive: got 0", batch_size=0),
    *wrong(SyntheticHeads, "slices_per_subject must be between 1 and 8: got 0", slices_per_subject=0),
    *wrong(SyntheticHeads, "slices_per_subject must be between 1 and 8: got 9", slices_per_subject=9),
    (lambda: simulate(Path("none"), n_train=0, n_test=0), "there must be at least one subject, contrast and slice"),
    (lambda: SubjectSplit(3, 20).divide(SUBJECTS), "n_val 3 and n_train .* 20 must not exceed .*: got 22"),
)
