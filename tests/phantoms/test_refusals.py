"""Subjects and scanners that cannot be are named."""

from functools import partial

import numpy as np

from lightning_mri.phantoms import CoilArray, Geometry, Head, Mouse, Scanner, training_slices
from lightning_mri.phantoms.contrasts import draw_sequence
from lightning_mri.phantoms.tissues import TissueValues
from tests.builders import refusals, wrong

ARRAY = CoilArray.draw(2, seed=0)


test_what_breaks_a_rule_is_named = refusals(
    (lambda: CoilArray.draw(0, seed=0), "n_coils must be at least 1: got 0"),
    (lambda: ARRAY.maps((9, 9), -1.0), "must be positive"),
    (lambda: ARRAY.noise_covariance(1.0), r"in \[0, 1\): got 1.0"),
    *wrong(partial(CoilArray.draw, 2, seed=0), "radius_mm must be positive", radius_mm=0.0),
    *wrong(partial(CoilArray.draw, 2, seed=0), r"in \[0, 0.3\): got 0.5", coupling=0.5),
    *wrong(Scanner, "n_coils and oversampling must be at least 1: got", n_coils=0, oversampling=0),
    *wrong(Scanner, r"noise_correlation must be in \[0, 1\): got 1", noise_correlation=1.0),
    *wrong(Geometry, "orientation must be one of axial, sagittal, coronal: got 'oblique'", orientation="oblique"),
    *wrong(Geometry, "shape must be at least 2 x 2, pixel_size positive", pixel_size=(1.0, 0.0), shape=(1, 20)),
    *wrong(partial(Mouse(0).slice, 0.0), "must be positive", pixel_size=0.0, thickness_mm=-1.0, shape=(0, 5)),
    (lambda: TissueValues.published(0.0), "field_strength must be positive: got 0"),
    (lambda: draw_sequence("T3w", np.random.default_rng(0)), "contrast must be one of T1w, T1w-post.*got 'T3w'"),
    (lambda: Head(0).slice("CT"), "contrast must be one of"),
    (lambda: next(training_slices(0, 1, ["CT"])), "contrasts must be some of .*: got CT"),
)
