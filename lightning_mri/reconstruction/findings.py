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
    "pattern": "sampling pattern",
    "snr_db": "signal to noise in dB",
    "noise_error": "its standard error, relative",
    "fwhm_mm": "blur, full width at half maximum in mm",
    "fwhm_mm_error": "its standard error",
    "r2star_hz": "decay from the echo, 1 / T2* in 1/s",
    "r2star_hz_error": "its standard error",
    "readout_decay_hz": "decay through the readout in 1/s",
    "readout_decay_hz_error": "its standard error",
    "scan": "scan",
    "contrast": "contrast",
    "label": "label asked of the prior",
    "matrix_kspace": "matrix of k-space (y, x)",
    "matrix": "matrix of the image (y, x)",
    "oversampling_removed_to": "readout cut to",
    "n_coils": "coils",
    "n_virtual_coils": "compressed to",
    "n_sets": "sets of coil maps",
    "acs": "calibration block (y, x)",
    "acceleration": "acceleration achieved",
    "whitened": "whitened",
    "noise_std_given": "noise level given",
    "noise_std": "noise level",
    "scale": "scale",
    "sampler": "sampler",
    "budget": "time budget",
    "nfe": "network evaluations",
    "n_samples": "samples",
    "std_from": "standard deviation from",
    "std_factor": "times",
    "std_calibration": "its calibration",
    "null_space_share": "share of the image that the data leave open",
    "null_space_from": "what they leave open is",
    "noise_ratio": "residual / noise",
    "signal_ratio": "residual / signal",
    "fallback": "number of the fallback taken, 0 for none",
    "seconds": "seconds a slice",
}


def findings_text(findings: dict[str, Any]) -> str:
    """Return one aligned line for each finding; of values for each slice the range.

    Args:
        findings: Facts of a `Problem` or a `Reconstruction`.
    """
    names = {name: MEANING.get(name, name) for name in findings}
    width = max(map(len, names.values()), default=0)
    return "".join(f"{names[name]:<{width}}  {_value(finding)}\n" for name, finding in findings.items())


def _value(finding: Any) -> str:
    """Return a finding in words or with three digits."""
    if isinstance(finding, Tensor):
        low, high = float(finding.min()), float(finding.max())
        return f"{low:.3g}" if f"{low:.3g}" == f"{high:.3g}" else f"{low:.3g} ... {high:.3g}"
    if isinstance(finding, bool):
        return "yes" if finding else "no"
    if isinstance(finding, float):
        return f"{finding:.3g}"
    if isinstance(finding, tuple | list):
        return " x ".join("?" if part is None else str(part) for part in finding)
    return str(finding)
