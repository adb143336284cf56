"""One picture of a reconstruction: panels side by side on black, all in one grey window."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import matplotlib
import torch
from jaxtyping import Complex, Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from lightning_mri.evaluation.metrics import SLICE, nrmse

Slice = Float[Tensor, "y x"] | Complex[Tensor, "y x"]

# of the first panel: bright vessels and fat may saturate, brain may not turn dark
WINDOW_PERCENTILE = 99.5


@dataclass(frozen=True)
class Panel:
    """One image of the picture.

    Args:
        title: First line above it.
        image: Shown as magnitude; the picture's window counts for it after multiplication by ``gain``.
        note: Second line above it, such as a score.
        gain: What the image is multiplied by, for errors.
    """

    title: str
    image: Slice
    note: str = ""
    gain: float = 1.0


def comparison(
    x_hat: Slice,
    std: Float[Tensor, "y x"] | None = None,
    reference: Slice | None = None,
    others: dict[str, Slice] | None = None,
    name: str = "reconstruction",
    acceleration: float | None = None,
    gain: float = 5.0,
) -> list[Panel]:
    """Return the panels reference, others, reconstruction, error and std; those without data are left out.

    Args:
        x_hat: Reconstruction.
        std: Its uncertainty, in the same units.
        reference: What it should be, if known; then each image's note is its NRMSE and an error is shown.
        others: Baselines by name, in the order to show them in.
        name: Title of the reconstruction.
        acceleration: Achieved R, for the note of the reconstruction.
        gain: Magnification of error and uncertainty.
    """

    def note(image: Tensor) -> str:
        if reference is None:
            return ""
        return f"NRMSE {float(nrmse(image, reference, SLICE)):.3f}"

    panels = [] if reference is None else [Panel("reference", reference, "fully sampled")]
    panels += [Panel(title, image, note(image)) for title, image in (others or {}).items()]
    speed = "" if acceleration is None else f"R = {acceleration:.1f}"
    panels.append(Panel(name, x_hat, ", ".join(filter(None, [speed, note(x_hat)]))))
    if reference is not None:
        panels.append(Panel(f"error x {gain:g}", x_hat.abs() - reference.abs(), f"of {name}", gain))
    if std is not None and bool(std.isfinite().all()):
        panels.append(Panel(f"uncertainty x {gain:g}", std, "one standard deviation", gain))
    return panels


def picture(
    path: Path, panels: Sequence[Panel], window: float | None = None, n_columns: int = 3, title: str = ""
) -> None:
    """Write panels as one PNG, black from edge to edge, all in the same grey window.

    Args:
        path: Where to.
        panels: From left to right, row by row.
        window: Magnitude shown white; the 99.5th percentile of the first panel if none is given.
        n_columns: Panels in a row.
        title: One line above everything.

    Raises:
        ValueError: If there are no panels.
        OSError: If the file cannot be written.
    """
    if not panels:
        raise ValueError("panels must not be empty: a picture shows at least one image")
    white = _white(panels[0].image) if window is None else window
    n_columns = min(n_columns, len(panels))
    n_rows = -(-len(panels) // n_columns)
    rows, columns = panels[0].image.shape
    # inches: panels 3 wide with a gap between them, two lines of text above each, one above everything
    width, gap, text, top = 3.0, 0.05, 0.46, 0.38 * bool(title)
    height = width * rows / columns
    size = (n_columns * (width + gap) - gap, n_rows * (height + text) + top)
    with matplotlib.rc_context({"font.family": "DejaVu Sans", "text.color": "white"}):
        figure = Figure(figsize=size, facecolor="black", dpi=150)
        if title:
            figure.text(0.5, 1 - 0.6 * top / size[1], title, ha="center", va="center", fontsize=12)
        for index, panel in enumerate(panels):
            row, column = divmod(index, n_columns)
            bottom = size[1] - top - (row + 1) * (height + text)
            box = (column * (width + gap) / size[0], bottom / size[1], width / size[0], height / size[1])
            axes = figure.add_axes(box)
            _draw(axes, panel, white)
        path.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(path, facecolor="black")


def _draw(axes: Axes, panel: Panel, white: float) -> None:
    """Draw one panel and its two lines of text."""
    image = (panel.gain * panel.image).abs().detach().cpu().numpy()
    axes.imshow(image, cmap="gray", vmin=0, vmax=white, interpolation="nearest", aspect="auto")
    axes.set_axis_off()
    lines = [(panel.title, 17, 10.5, "white"), (panel.note, 5, 8.5, "#b8b8b8")]
    for line, offset, fontsize, color in lines:
        axes.annotate(
            line,
            (0.5, 1),
            (0, offset),
            xycoords="axes fraction",
            textcoords="offset points",
            ha="center",
            va="baseline",
            fontsize=fontsize,
            color=color,
        )


def _white(image: Tensor) -> float:
    """Return the magnitude to show white, never zero."""
    magnitude = image.abs().flatten()
    rank = max(1, round(WINDOW_PERCENTILE / 100 * len(magnitude)))
    return max(float(torch.kthvalue(magnitude, rank).values), torch.finfo(torch.float32).tiny)
