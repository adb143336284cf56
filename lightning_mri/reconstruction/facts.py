"""What was found and chosen, as lines for a reader."""

from typing import Any

from torch import Tensor

MEANING = {
    "file": "file",
    "format": "format",
    "subject": "subject",
    "field_strength_T": "field strength in tesla",
    "voxel_mm": "voxel in mm (y, x, slice)",
    "slices": "slices",
    "volumes": "volumes",
    "position_known": "position in the patient known",
    "noise_scan": "noise scan",
    "reference_stored": "reference image stored",
    "magnitude_only": "magnitude images only",
    "acquired_fraction": "fraction acquired",
    "fully_sampled": "fully sampled",
    "pattern": "acquired are",
    "snr_db": "signal to noise in dB",
    "scan": "scan",
    "contrast": "contrast",
    "label": "label asked of the prior",
    "matrix_kspace": "matrix of k-space (y, x)",
    "matrix": "matrix of the image (y, x)",
    "readout_cut_to": "readout cut to",
    "n_coils": "coils",
    "n_sets": "sets of coil maps",
    "acs": "calibration block (y, x)",
    "acceleration": "acceleration achieved",
    "whitened": "whitened",
    "noise_std_given": "noise level given",
    "noise_std": "noise level",
    "scale": "scale",
    "sampler": "sampler",
    "n_samples": "samples",
    "std_from": "standard deviation from",
    "noise_ratio": "residual / noise",
    "signal_ratio": "residual / signal",
    "fall_back": "number of the fall-back taken, 0 for none",
    "seconds": "seconds a slice",
}


def facts_text(facts: dict[str, Any]) -> str:
    """Return one aligned line for each fact; of values for each slice the range.

    Args:
        facts: Facts of a `Problem` or a `Reconstruction`.
    """
    names = {name: MEANING.get(name, name) for name in facts}
    width = max(map(len, names.values()), default=0)
    return "".join(f"{names[name]:<{width}}  {_value(fact)}\n" for name, fact in facts.items())


def _value(fact: Any) -> str:
    """Return a fact in words or with three digits."""
    if isinstance(fact, Tensor):
        low, high = float(fact.min()), float(fact.max())
        return f"{low:.3g}" if f"{low:.3g}" == f"{high:.3g}" else f"{low:.3g} ... {high:.3g}"
    if isinstance(fact, bool):
        return "yes" if fact else "no"
    if isinstance(fact, float):
        return f"{fact:.3g}"
    if isinstance(fact, tuple | list):
        return " x ".join("?" if part is None else str(part) for part in fact)
    return str(fact)
