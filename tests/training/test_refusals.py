"""Settings that no training can have are named."""

import math
from functools import partial

from lightning_mri.training import EMA, L2SP, FineTune, Interpolate, LoRA, Pretrain, PriorModule, RandomScans, Replay
from tests.builders import refusals, wrong

from .conftest import Images

NUMBERS = (
    *((L2SP, "weight"), (Interpolate, "share"), (PriorModule, "reconstruction_weight"), (EMA, "half_life")),
    *((partial(Pretrain, steps=9), name) for name in ("learning_rate", "weight_decay", "final")),
)

test_what_breaks_a_rule_is_named = refusals(
    (lambda: L2SP(0), "weight must be positive"),
    *((partial(kind, **{name: math.nan}), name) for kind, name in NUMBERS),
    *wrong(RandomScans, "acceleration must be finite and at least 1", accelerations=(0.5, 8.0)),
    *wrong(RandomScans, "acceleration must be finite and at least 1", accelerations=(2.0, math.nan)),
    *wrong(RandomScans, "snr_db must be a number", snr_db=math.nan),
    *wrong(RandomScans, "n_coils and matrices must name", n_coils=(), matrices=(96, 0), accelerations=(8.0, 2.0)),
    (lambda: LoRA(0), "rank must be positive"),
    (lambda: Replay(Images(), 1.0), "share must be between 0 and 1"),
    (lambda: Interpolate(0), r"share must be in \(0, 1\]"),
    (lambda: PriorModule(reconstruction_weight=-1), "reconstruction_weight"),
    (lambda: PriorModule(compile_backend="indctor"), "compile_backend must be one of .*inductor"),
    (lambda: EMA(decay=1.0), "decay"),
    (lambda: EMA(half_life=0.0), "half_life"),
    (lambda: Pretrain(epochs=1, steps=1), "one of epochs, steps and images"),
    (lambda: FineTune("brain"), "one of epochs, steps and images"),
    (lambda: Pretrain(steps=100, final=1.5), "final"),
)
