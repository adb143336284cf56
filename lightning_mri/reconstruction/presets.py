"""Named choices between speed and quality."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Literal

from lightning_mri.sampling import HQS, Sampler

Preset = Literal["preview", "standard", "quality"]

PRESETS: Mapping[Preset, Sampler] = MappingProxyType(
    {"preview": HQS(n_steps=20), "standard": HQS(n_steps=40), "quality": HQS(n_steps=80)}
)
"""Samplers by name: time grows with their network evaluations, 20, 40 and 80."""


def choose_sampler(preset: Preset | None, sampler: Sampler | None) -> Sampler:
    """Return the sampler that was named or given; `HQS` as it is by default where neither was.

    Args:
        preset: Name in `PRESETS`.
        sampler: Sampler.

    Raises:
        ValueError: If both are given.
    """
    if preset is None:
        return sampler or HQS()
    if sampler is not None:
        raise ValueError(f"preset and sampler must not both be given: got {preset} and {sampler!r}")
    return PRESETS[preset]
