"""What a scan is and warnings about it, before anything is reconstructed."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Bool, Complex
from torch import Tensor

from lightning_mri.evaluation import Panel, picture, white_of
from lightning_mri.io import Scan, is_fully_sampled
from lightning_mri.io.geometry import for_readers, shear
from lightning_mri.io.scan import shared_mask
from lightning_mri.physics import replace_spikes
from lightning_mri.reconstruction.findings import ScanFindings
from lightning_mri.reconstruction.measurement import Measurement
from lightning_mri.reconstruction.preparing import prepare_measured
from lightning_mri.reconstruction.problem import Problem
from lightning_mri.reconstruction.symptoms import ALIASED, aliased_share
from lightning_mri.reconstruction.unusable import UncalibratedError, zero_filled
from lightning_mri.scaling import Scaling
from lightning_mri.tensors import centre_crop, spread

N_CLIPPED = 8
"""Samples equal to the largest value, to the last bit, above which it looks like the end of a range."""
N_PREVIEWED = 4
N_MAPS = 8


@dataclass(frozen=True, eq=False)
class Inspection:
    """What was found in one scan.

    Args:
        scan: The scan.
        findings: What the file says and its samples show.
        warnings: What had to be guessed or looks wrong, one sentence each.
    """

    scan: Scan
    findings: ScanFindings
    warnings: tuple[str, ...] = ()

    def text(self) -> str:
        """Return one screen for a reader."""
        return self.findings.text() + "".join(f"warning: {warning}\n" for warning in self.warnings)

    def plain(self) -> dict[str, Any]:
        """Return everything as plain values, for JSON."""
        return {**self.findings.plain(), "warnings": list(self.warnings)}


def inspect(scan: Scan) -> Inspection:
    """Read a scan once, a few slices at a time, and return what is in it.

    Noise level, scale and coil maps are those of the middle slice, found as a reconstruction finds them, from the
    acquired samples alone; the scale is that of the default contract.

    Raises:
        OSError: If the file is truncated or cannot be read.
        ValueError: If k-space holds no signal at all.
    """
    contents = _read_through(scan)
    middle = scan.n_slices // 2
    bad = {*contents.empty_slices, *contents.broken_slices}
    middle = min(set(range(scan.n_slices)) - bad, key=lambda k: (abs(k - middle), k), default=middle)
    scan = replace(scan, stored_mask=contents.mask)  # spares a second reading of the file to find it
    problem, refusal = _prepared(scan, middle)
    shares = None if problem is None else aliased_share(problem)
    aliased = None if shares is None else float(shares[0])
    findings = ScanFindings(**_header(scan), **_sampling(contents.mask), **_measured(problem))
    noisy = () if problem is None else tuple(f"slice {middle}: {text}" for text in problem.warnings[0])
    warnings = dict.fromkeys((*_warnings(scan, contents, refusal, aliased), *contents.spikes, *noisy))
    return Inspection(scan, findings, tuple(warnings))


def preview(scan: Scan, path: str | Path) -> None:
    """Draw coil-combined slices, the mask and the coil maps of the middle slice."""
    chosen = spread(scan.n_slices, N_PREVIEWED)
    middle = chosen[len(chosen) // 2]
    panels, problem = [], None
    for k in chosen:
        prepared, _ = _prepared(scan, k)
        panels.append(Panel(f"slice {k}", _combined(scan, k, prepared), f"of {scan.n_slices}"))
        problem = prepared if k == middle else problem  # of the others nothing is kept: they are large
    white = white_of(torch.stack([panel.image.abs() for panel in panels]))
    size = panels[0].image.shape
    panels.append(Panel("mask", _fit(scan.mask_of([middle])[0].float(), size), "acquired samples are white", white))
    if problem is not None and scan.n_coils > 1:
        maps = centre_crop(problem.maps[0, 0].abs(), (size[0], size[1]))
        panels += [Panel(f"map {c}", maps[c], f"of {scan.n_coils} coils", white) for c in range(len(maps[:N_MAPS]))]
    images = torch.stack([panel.image.abs() for panel in panels])  # the mask's axes turn with those of the image
    images, pixel_size, orientation = for_readers(images, scan.affine, scan.pixel_size)
    panels = [replace(panel, image=image) for panel, image in zip(panels, images, strict=True)]
    title = f"{scan.name}: {scan.format}, {scan.contrast or 'contrast?'}, {orientation}"
    picture(Path(path), panels, window=white, n_columns=4, title=title, pixel_size=pixel_size)


@dataclass(frozen=True)
class _Contents:
    """What reading all of k-space showed."""

    mask: Bool[Tensor, "_masks y x"]
    empty_slices: tuple[int, ...]
    broken_slices: tuple[int, ...]
    spikes: tuple[str, ...]
    n_largest: int
    peak: tuple[int, int]


def _read_through(scan: Scan) -> _Contents:
    masks: list[Tensor] = []
    empty, broken, spikes = [], [], []
    largest, n_largest, power, first = 0.0, 0, torch.zeros(scan.matrix), 0
    for stored in scan.kspace.chunks(gaps=True):
        finite = stored.isfinite()
        filled = (stored != 0) & finite
        masks.append(filled.any(1))
        broken += [first + k for k in range(len(stored)) if not finite[k].all()]
        empty += [first + k for k in range(len(stored)) if not filled[k].any() and finite[k].all()]
        kspace, found = replace_spikes(torch.where(finite, stored, 0), masks[-1])
        spikes += [f"slice {first + k}: {one}" for k, one in enumerate(found) if one]
        first += len(stored)
        values = torch.view_as_real(kspace).abs()
        peak = float(values.max())
        if peak > largest:
            largest, n_largest = peak, 0
        n_largest += int((values == largest).sum())
        power += kspace.abs().square().sum((0, 1))
    mask = shared_mask(torch.cat(masks))
    if not mask.any():
        raise ValueError(f"{scan.source}: kspace must hold acquired samples: got zeros or NaN only")
    y, x = divmod(int(power.argmax()), scan.matrix[1])
    mask = mask if scan.stored_mask is None else scan.stored_mask
    return _Contents(mask, tuple(empty), tuple(broken), tuple(spikes), n_largest, (y, x))


def _prepared(scan: Scan, index: int) -> tuple[Problem | None, str | None]:
    """Return what a reconstruction of one slice would start from, or why it could not."""
    try:
        return prepare_measured(Measurement.of(scan, [index]), Scaling(), n_coils=None), None
    except UncalibratedError as error:
        return None, f"it is zero-filled, not reconstructed: {error}"
    except ValueError as error:
        return None, f"it cannot be reconstructed as it is: {error}"


def _header(scan: Scan) -> dict[str, Any]:
    """Return what the file says."""
    voxel = None if scan.pixel_size is None else (*scan.pixel_size, scan.slice_spacing)
    return {
        "file": str(scan.source),
        "format": scan.format,
        "subject": scan.subject,
        "contrast": scan.contrast,
        "field_strength_tesla": scan.field_strength,
        "matrix_kspace": scan.matrix,
        "matrix": scan.reconstruction_size,
        "voxel_mm": None if voxel is None else tuple(n and round(n, 4) for n in voxel),
        "slices": scan.n_slices,
        "volumes": scan.n_volumes,
        "n_coils": scan.n_coils,
        "position_known": scan.affine is not None,
        "noise_scan": scan.noise_covariance is not None,
        "reference_stored": scan.reference is not None,
        "magnitude_only": scan.magnitude_only,
    }


def _sampling(mask: Tensor) -> dict[str, Any]:
    n_acquired = int(mask.sum())
    return {
        "acquired_fraction": n_acquired / mask.numel(),
        "acceleration": mask.numel() / n_acquired,
        "fully_sampled": is_fully_sampled(mask),
        "pattern": "whole lines" if bool((mask == mask.any(1, keepdim=True)).all()) else "points or part of lines",
    }


def _measured(problem: Problem | None) -> dict[str, Any]:
    """Return what the middle slice shows."""
    if problem is None:
        return {}
    likelihood = problem.likelihood
    signal = float(likelihood.y.abs().square().sum() / likelihood.n_acquired.sum())
    noise = 2 * float(likelihood.noise_std.square().mean())
    return {
        "acs": problem.acs.shape,
        "noise_std": float(problem.noise_std),
        "snr_db": round(10 * float(torch.tensor(max(signal / noise, 1e-30)).log10()), 1),
        "scale": float(problem.scale),
    }


def _warnings(scan: Scan, contents: _Contents, refusal: str | None, aliased: float | None) -> Iterator[str]:
    yield from scan.warnings
    if scan.affine is not None and (cosine := shear(scan.affine)) is not None:
        yield f"rows and columns are not at right angles (cosine {cosine:.3g}): it cannot be written as DICOM"
    if refusal is not None:
        yield refusal
    if contents.empty_slices:
        yield f"all zero {_plural('is slice', 'are slices', contents.empty_slices)}"
    if contents.broken_slices:
        yield f"NaN or infinity is in {_plural('slice', 'slices', contents.broken_slices)}"
    if contents.n_largest > N_CLIPPED:
        yield f"values may be clipped: {contents.n_largest} are exactly as large as the largest"
    if not scan.magnitude_only and scan.noise_covariance is None and scan.n_coils > 1:
        yield "there is no noise scan: coils are taken to be equally noisy and independent, the level is estimated"
    centre = (scan.matrix[0] // 2, scan.matrix[1] // 2)
    if max(abs(a - b) for a, b in zip(contents.peak, centre, strict=True)) > max(2, min(scan.matrix) // 16):
        yield f"the strongest sample is at {contents.peak}, far from the centre {centre}: is k-space centred?"
    mask = contents.mask
    if not is_fully_sampled(mask) and bool((mask == mask.any(2, keepdim=True)).all()):
        yield "lines are left out along y, which should be the readout: are the axes swapped?"
    if aliased is not None and aliased > ALIASED:
        yield (
            f"{100 * aliased:.0f} % of the object needs a second set of coil maps, as where the field of view cuts or "
            "wraps it: reconstruct with --model.n_sets 2"
        )


def _plural(one: str, many: str, numbers: Sequence[int]) -> str:
    shown = ", ".join(map(str, numbers[:8])) + (" ..." if len(numbers) > 8 else "")
    return f"{one if len(numbers) == 1 else many} {shown}"


def _combined(scan: Scan, index: int, problem: Problem | None) -> Complex[Tensor, "y x"]:
    """Return one slice: coils combined by their maps where these could be found, else root of the sum of squares."""
    if problem is None:
        return zero_filled(scan.kspace.with_gaps([index]), scan.mask_of([index]), scan.reconstruction_size)[0]
    x = problem.finish(problem.likelihood.adjoint())[0]
    assert x.is_complex()
    return x


def _fit(image: Tensor, size: Sequence[int]) -> Tensor:
    """Return an image at another matrix, by nearest neighbours, for pictures only."""
    rows, columns = (torch.arange(n) * m // n for n, m in zip(size, image.shape, strict=True))
    return image[rows][:, columns]
