"""Settings that no training can have are named."""

from lightning_mri.training import EMA, L2SP, FineTune, Interpolate, LoRA, Pretrain, PriorModule, Replay
from tests.builders import refusals

from .conftest import Images

test_what_breaks_a_rule_is_named = refusals(
    (lambda: L2SP(0), "weight must be positive"),
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
