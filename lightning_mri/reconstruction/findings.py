"""What was found or chosen: each finding with its label and unit, from which tables, attributes and texts follow."""

# ruff: noqa: RUF009 - `finding` makes fields

from collections.abc import Sequence
from dataclasses import MISSING, dataclass, field, fields
from typing import Any, ClassVar, TypeVar

import torch
from jaxtyping import Float, Int
from torch import Tensor

YES_NO = "yes or no"
"""Format of a finding that is 1 or 0 for each slice."""


def finding(label: str, unit: str = "", default: Any = MISSING, digits: str = ".3g") -> Any:
    """Return a field of `Findings`.

    Args:
        label: What it is, for a reader.
        unit: Its unit, in words.
        default: Value of a finding that not every scan has.
        digits: Format of its numbers.
    """
    return field(default=default, metadata={"label": label, "unit": unit, "format": digits})


@dataclass(frozen=True, eq=False, kw_only=True, repr=False)
class Findings:
    """A set of findings; tensors hold one value a slice, None is a finding that a scan does not have.

    Attributes:
        unknown: What a table shows for None; without it the line is left out.
    """

    unknown: ClassVar[str | None] = None

    def __repr__(self) -> str:
        return self.text()

    def shown(self) -> dict[str, str]:
        """Return each finding by its label; of values for each slice the range."""
        lines = {}
        for each in fields(self):
            value = getattr(self, each.name)
            if value is not None or self.unknown is not None:
                unit = f" in {each.metadata['unit']}" if each.metadata["unit"] else ""
                shown = self.unknown if value is None else _shown(value, each.metadata["format"])
                lines[each.metadata["label"] + unit] = str(shown)
        return lines

    def text(self) -> str:
        """Return one aligned line for each finding."""
        lines = self.shown()
        width = max(map(len, lines), default=0)
        return "".join(f"{label:<{width}}  {value}\n" for label, value in lines.items())

    def plain(self) -> dict[str, Any]:
        """Return numbers, words and lists by name, for headers of files and JSON; None only where it is shown."""
        values = {each.name: getattr(self, each.name) for each in fields(self)}
        return {
            name: value.tolist() if isinstance(value, Tensor) else value
            for name, value in values.items()
            if value is not None or self.unknown is not None
        }


Found = TypeVar("Found", bound=Findings)


def join_findings(parts: Sequence[Found], lead: int = 0) -> Found:
    """Return the findings of batches of one scan as one: values of slices are joined, the rest is that of ``lead``."""
    values = {each.name: [getattr(part, each.name) for part in parts] for each in fields(parts[0])}
    return type(parts[0])(
        **{name: torch.cat(each) if isinstance(each[0], Tensor) else each[lead] for name, each in values.items()}
    )


@dataclass(frozen=True, eq=False, kw_only=True, repr=False)
class ProblemFindings(Findings):
    """What preparing a scan found and chose."""

    matrix_kspace: tuple[int, int] | None = finding("matrix of k-space (y, x)", default=None)
    matrix: tuple[int, int] = finding("matrix of the image (y, x)")
    oversampling_removed_to: int | None = finding("rows of the readout that are used", default=None)
    n_coils: int | None = finding("coils", default=None)
    n_virtual_coils: int | None = finding("compressed to virtual coils", default=None)
    n_sets: int | None = finding("sets of coil maps", default=None)
    maps_inverted: Float[Tensor, " slice"] | None = finding(
        "coil maps inverted from all samples", default=None, digits=YES_NO
    )
    acs: tuple[int, int] | None = finding("calibration block (y, x)", default=None)
    acceleration: float = finding("acceleration achieved")
    whitened: bool | None = finding("whitened", default=None)
    noise_std_given: bool | None = finding("noise level given", default=None)
    noise_std: Float[Tensor, " slice"] = finding("noise level", "units of k-space")
    scale: Float[Tensor, " slice"] = finding("scale", "units of k-space")
    model_degradation: bool | None = finding("damping or phase modelled", default=None)


@dataclass(frozen=True, eq=False, kw_only=True, repr=False)
class ReconstructionFindings(ProblemFindings):
    """What preparing and reconstructing a scan found and chose."""

    scan: str = finding("scan")
    contrast: str = finding("contrast")
    label: str = finding("label given to the prior")
    sampler: str = finding("sampler")
    n_samples: int = finding("samples")
    nfe: Int[Tensor, " slice"] = finding("network evaluations")
    budget: str | None = finding("time budget", default=None)
    std_from: str = finding("standard deviation from")
    std_factor: Float[Tensor, " slice"] = finding("multiplied by")
    std_calibration: str = finding("its calibration")
    null_space_share: Float[Tensor, " slice"] | None = finding("share of the null-space component", default=None)
    null_space_from: str | None = finding("null-space component", default=None)
    noise_ratio: Float[Tensor, " slice"] = finding("residual / noise")
    signal_ratio: Float[Tensor, " slice"] = finding("residual / signal")
    fallback: Float[Tensor, " slice"] = finding("number of the fallback taken, 0 for none")
    seconds: Float[Tensor, " slice"] = finding("time a slice", "seconds")


@dataclass(frozen=True, eq=False, kw_only=True, repr=False)
class ScanFindings(Findings):
    """What a file says of its scan, and what its samples show; None where that is not known."""

    unknown = "not known"

    file: str = finding("file")
    format: str = finding("format")
    subject: str = finding("subject")
    contrast: str | None = finding("contrast")
    field_strength_tesla: float | None = finding("field strength", "tesla")
    matrix_kspace: tuple[int, int] = finding("matrix of k-space (y, x)")
    matrix: tuple[int, int] = finding("matrix of the image (y, x)")
    voxel_mm: tuple[float | None, ...] | None = finding("voxel (y, x, slice)", "mm")
    slices: int = finding("slices")
    volumes: int = finding("volumes")
    n_coils: int = finding("coils")
    position_known: bool = finding("position in the patient known")
    noise_scan: bool = finding("noise scan")
    reference_stored: bool = finding("reference image stored")
    magnitude_only: bool = finding("magnitude images only")
    acquired_fraction: float = finding("fraction acquired")
    acceleration: float = finding("acceleration achieved")
    fully_sampled: bool = finding("fully sampled")
    pattern: str = finding("sampling pattern")
    acs: tuple[int, int] | None = finding("calibration block (y, x)", default=None)
    noise_std: float | None = finding("noise level", "units of k-space", None)
    snr_db: float | None = finding("signal to noise", "dB", None)
    scale: float | None = finding("scale", "units of k-space", None)


@dataclass(frozen=True, eq=False, kw_only=True, repr=False)
class ScannerFindings(ScanFindings):
    """The same, and what the spectrum of k-space shows of the scanner; each error is one standard error."""

    noise_error: float | None = finding("relative error of the noise level")
    fwhm_mm: float | None = finding("blur, full width at half maximum", "mm")
    fwhm_mm_error: float | None = finding("error of the blur", "mm")
    r2star_hz: float | None = finding("R2*, decay from the echo", "1/s")
    r2star_hz_error: float | None = finding("error of R2*", "1/s")
    readout_decay_hz: float | None = finding("decay through the readout", "1/s")
    readout_decay_hz_error: float | None = finding("error of the decay through the readout", "1/s")


def _shown(value: Any, digits: str) -> str:
    """Return a finding in words or with a few digits."""
    if isinstance(value, Tensor) and digits == YES_NO:
        n_yes = int((value == 1).sum())
        return "no" if n_yes == 0 else "yes" if n_yes == len(value) else f"in {n_yes} of {len(value)} slices"
    if isinstance(value, Tensor):
        known = ~value.isnan()  # of slices that were reconstructed
        value = value[known] if bool(known.any()) else value
        low, high = (f"{float(end):{digits}}" for end in (value.min(), value.max()))
        return low if low == high else f"{low} ... {high}"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:{digits}}"
    if isinstance(value, tuple):
        return " x ".join("?" if part is None else str(part) for part in value)
    return str(value)
