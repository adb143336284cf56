"""One picture of a reconstruction: panels side by side on black, all in one grey window."""

import math
import re
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Complex, Float
from torch import Tensor

from lightning_mri.evaluation.metrics import SLICE, nrmse
from lightning_mri.files import PROGRAM, atomic
from lightning_mri.lazy import lazy
from lightning_mri.tensors import spread

matplotlib = lazy("matplotlib")
figures = lazy("matplotlib.figure")

Slice = Float[Tensor, "y x"] | Complex[Tensor, "y x"]

WINDOW_PERCENTILE = 99.5
"""Of the magnitudes, shown white: bright vessels and fat may saturate, brain may not turn dark."""

GAINS = (50, 20, 10, 5, 2, 1)
"""How many times as bright a standard deviation is shown: the first one that leaves it below white."""

PLAIN: dict[Any, Any] = {"font.family": "DejaVu Sans", "text.parse_math": False}
"""How text is drawn: as it is, since names may hold dollars."""
AMBER = "#ffb454"
N_SHOWN = 4
REFERENCE = "reference"
UNCERTAINTY = "uncertainty"


@dataclass(frozen=True)
class Panel:
    """One image of the picture.

    Args:
        title: First line above it.
        image: Shown as magnitude; the picture's window counts for it after multiplication by ``gain``.
        note: Second line above it, such as a score.
        gain: What the image is multiplied by, for errors.
        warned: Whether to frame it in amber: it should not be trusted.
    """

    title: str
    image: Slice
    note: str = ""
    gain: float = 1.0
    warned: bool = False


def comparison(
    x_hat: Slice,
    std: Float[Tensor, "y x"] | None = None,
    reference: Slice | None = None,
    others: dict[str, Slice] | None = None,
    name: str = "reconstruction",
    acceleration: float | None = None,
) -> list[Panel]:
    """Return the panels reference, others, reconstruction, error and std; those without data are left out.

    Args:
        x_hat: Reconstruction.
        std: Its uncertainty, in the same units.
        reference: What it should be, if known; then each image's note is the NRMSE of the slice and an error is shown.
        others: Baselines by name, in the order to show them in.
        name: Title of the reconstruction.
        acceleration: Achieved R, for the note of the reconstruction.
    """

    def note(image: Tensor) -> str:
        if reference is None:
            return ""
        return f"NRMSE of the slice {float(nrmse(image, reference, SLICE)):.3f}"

    panels = [] if reference is None else [Panel("reference", reference, "fully sampled")]
    panels += [Panel(title, image, note(image)) for title, image in (others or {}).items()]
    speed = "" if acceleration is None else f"R = {acceleration:.1f}"
    panels.append(Panel(name, x_hat, ", ".join(filter(None, [speed, note(x_hat)]))))
    if reference is not None:
        panels.append(Panel("error x 5", x_hat.abs() - reference.abs(), f"of {name}", 5.0))
    if std is not None and bool(std.isfinite().all()):
        panels.append(Panel("uncertainty x 5", std, "one standard deviation", 5.0))
    return panels


def slice_panels(
    images: Mapping[str, Float[Tensor, "slice y x"]],
    std: Float[Tensor, "slice y x"] | None = None,
    warnings: Sequence[str] = (),
    n_volumes: int = 1,
) -> list[Panel]:
    """Return four slices or fewer, one row for each image and one for the uncertainty.

    Slices that warnings name are among them, with one of the others at least; each of both are evenly spaced.

    Args:
        images: Magnitudes by name, all in one unit.
        std: Standard deviation of the last one, in the same unit; nan where it is not known.
        warnings: As in `flagged`: slices that they name are framed.
        n_volumes: How many volumes, such as time frames, follow each other along the slices.
    """
    n = len(next(iter(images.values())))
    warned = [k for k in flagged(warnings) if k < n]
    others = [k for k in range(n) if k not in warned]
    marked = [warned[k] for k in spread(len(warned), N_SHOWN - bool(others))]
    chosen = sorted(marked + [others[k] for k in spread(len(others), N_SHOWN - len(marked))])
    rows = [(name, image, 1.0) for name, image in images.items()]
    if std is not None and is_known(std):
        gain = gain_of(std, white_of(rows[-1][1]))
        rows.append((f"{UNCERTAINTY} x {gain}", std.nan_to_num(), float(gain)))
    notes = {k: f"slice {k}" for k in chosen}
    if n_volumes > 1:
        n_of_frame = n // n_volumes
        notes = {k: f"slice {k}: slice {k % n_of_frame} of frame {k // n_of_frame}" for k in chosen}
    return [Panel(name, x[k], notes[k], gain, k in warned) for name, x, gain in rows for k in chosen]


def picture(
    path: Path,
    panels: Sequence[Panel],
    window: float | None = None,
    n_columns: int = 3,
    title: str = "",
    pixel_size: tuple[float, float] | None = None,
    warnings: Sequence[str] = (),
) -> None:
    """Write panels as one PNG, black from edge to edge, all in the same grey window.

    Args:
        path: Where to.
        panels: From left to right, row by row.
        window: Magnitude shown white; that of `white_of` of the first panel if none is given.
        n_columns: Panels in a row.
        title: One line above everything.
        pixel_size: Size of a pixel (y, x) in mm, for shape and a scale bar.
        warnings: What a reader should know, below everything in amber.

    Raises:
        ValueError: If there are no panels.
    """
    if not panels:
        raise ValueError("panels must not be empty: a picture shows at least one image")
    white = white_of(panels[0].image) if window is None else window
    n_columns = min(n_columns, len(panels))
    n_rows = -(-len(panels) // n_columns)
    rows, columns = panels[0].image.shape
    dy, dx = pixel_size or (1.0, 1.0)
    # inches: panels 3 wide with a gap between them, two lines of text above each, one above everything
    width, gap, text = 3.0, 0.05, 0.46
    height, across = width * rows * dy / (columns * dx), n_columns * (width + gap) - gap
    above, below = _wrapped([title], across, 9), _wrapped(warnings, across, 12)
    top, bottom = 0.14 * bool(above) + 0.24 * len(above), 0.08 * bool(below) + 0.18 * len(below)
    size = (across, n_rows * (height + text) + top + bottom)
    with matplotlib.rc_context({**PLAIN, "text.color": "white"}):
        figure = figures.Figure(figsize=size, facecolor="black", dpi=150)
        figure.text(0.5, 1 - 0.07 / size[1], "\n".join(above), ha="center", va="top", fontsize=12)
        figure.text(0.06 / size[0], 0.06 / size[1], "\n".join(below), va="bottom", fontsize=9, color=AMBER)
        for index, panel in enumerate(panels):
            row, column = divmod(index, n_columns)
            low = size[1] - top - (row + 1) * (height + text)
            box = (column * (width + gap) / size[0], low / size[1], width / size[0], height / size[1])
            axes = figure.add_axes(box)
            _draw(axes, panel, white)
            if index == 0 and pixel_size is not None:
                _draw_scale(axes, panel, pixel_size)
        with atomic(path) as part:
            figure.savefig(part, facecolor="black", format="png", metadata={"Software": PROGRAM.decode()})


def flagged(warnings: Sequence[str]) -> list[int]:
    """Return the slices that warnings name, as ``slice 3: what is wrong with it``."""
    found = (re.match(r"slice (\d+):", warning) for warning in warnings)
    return sorted({int(match[1]) for match in found if match})


def white_of(image: Tensor) -> float:
    """Return the magnitude to show white, never zero; what is not finite does not count."""
    magnitude = image.abs().flatten()
    magnitude = magnitude[magnitude.isfinite()]
    rank = max(1, round(WINDOW_PERCENTILE / 100 * len(magnitude)))
    found = float(torch.kthvalue(magnitude, rank).values) if len(magnitude) else 0.0
    if found == 0 and len(magnitude):
        found = float(magnitude.max())  # of what fills less of the image than may saturate
    return max(found, torch.finfo(torch.float32).tiny)


def is_known(std: Tensor) -> bool:
    """Return whether there is an uncertainty of anything but air, where it is 0 without any."""
    return bool((std.isfinite() & (std > 0)).any())


def gain_of(std: Tensor, white: float) -> int:
    """Return how many times as bright as the image a standard deviation is shown."""
    return next((gain for gain in GAINS if gain * white_of(std) <= white), GAINS[-1])


def _draw(axes: "figures.Axes", panel: Panel, white: float) -> None:
    """Draw one panel and its two lines of text."""
    image = (panel.gain * panel.image).abs().detach().cpu().numpy()
    axes.set_facecolor("black")  # the image may be a pixel narrower than its axes
    axes.imshow(image, cmap="gray", vmin=0, vmax=white, interpolation="nearest", aspect="auto")
    axes.set_xticks([])
    axes.set_yticks([])
    axes.spines[:].set(visible=panel.warned, color=AMBER, linewidth=4)
    note = f"{panel.note}, see the warning" if panel.warned else panel.note
    above = {"xycoords": "axes fraction", "textcoords": "offset points", "ha": "center", "va": "baseline"}
    axes.annotate(panel.title, (0.5, 1), (0, 17), fontsize=10.5, color="white", **above)
    axes.annotate(note, (0.5, 1), (0, 5), fontsize=8.5, color=AMBER if panel.warned else "#b8b8b8", **above)


def _draw_scale(axes: "figures.Axes", panel: Panel, pixel_size: tuple[float, float]) -> None:
    """Draw a bar of a round number of mm in the lower left corner, a fifth to a half of a third of the width."""
    rows, columns = panel.image.shape
    longest = columns * pixel_size[1] / 3
    unit = 10 ** math.floor(math.log10(longest))
    length = next(factor * unit for factor in (5, 2, 1) if factor * unit <= longest)
    left, low = 0.03 * columns, 0.96 * rows
    axes.plot([left, left + length / pixel_size[1]], [low, low], color="white", linewidth=3, solid_capstyle="butt")
    axes.annotate(f"{length:g} mm", (left, low), (0, 4), textcoords="offset points", fontsize=8.5, va="bottom")


def _wrapped(lines: Sequence[str], width: float, per_inch: int) -> list[str]:
    """Return lines that fit a width in inches."""
    return [part for line in lines for part in textwrap.wrap(line, int(per_inch * width))]
