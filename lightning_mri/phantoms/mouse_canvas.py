"""Points of a slice through a mouse's head, and the tissue fractions painted on them."""

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from lightning_mri.lazy import lazy
from lightning_mri.phantoms.canvas import Canvas
from lightning_mri.phantoms.mouse_atlas import Body, Levels, MouseTissue

ndimage = lazy("scipy.ndimage")

Window = tuple[slice, slice]


class MouseCanvas(Canvas):
    """Points of one slice and the tissue fractions painted on them so far."""

    def __init__(
        self,
        points: Float[Tensor, "3 y x"],
        spacing: float,
        fractions: Float[Tensor, "tissue y x"] | None = None,
    ) -> None:
        """Start with air everywhere, or continue with what was painted."""
        self.points = points
        self.x, self.y, self.z = points
        self.a = self.x.abs()
        self.spacing = spacing
        super().__init__(points.new_zeros(len(MouseTissue), *points.shape[1:]) if fractions is None else fractions)

    def window(self, levels: Levels) -> Window:
        """Return the rows and columns that a body can reach."""
        cx, cy, across, along, _ = levels.between(float(self.z.min()), float(self.z.max()))
        reach = float(torch.maximum(across, along).max()) * 2.2 + 2 * self.spacing
        near = (self.y > float(cy.min()) - reach) & (self.y < float(cy.max()) + reach)
        near &= (self.a > float(cx.min()) - reach) & (self.a < float(cx.max()) + reach)
        rows, columns = (near.any(axis).nonzero()[:, 0] for axis in (1, 0))
        if len(rows) < 2 or len(columns) < 2:
            return slice(0), slice(0)
        return slice(int(rows[0]), int(rows[-1]) + 1), slice(int(columns[0]), int(columns[-1]) + 1)

    def within(self, window: Window) -> "MouseCanvas":
        """Return a part of the canvas; what is painted on it is painted here."""
        return MouseCanvas(self.points[:, *window], self.spacing, self.fractions[:, *window])

    def cover(self, level: Float[Tensor, "y x"]) -> Float[Tensor, "y x"]:
        """Return the share of each pixel where ``level`` is negative, by its value over its slope."""
        # far outside (level >= 1) a steep change of size along the head must not pass for an edge
        return (0.5 - level / slope(level)).clamp(0, 1) * (level < 1)

    def below(self, level: Float[Tensor, "y x"]) -> Float[Tensor, "y x"]:
        """Return the depth in mm below a surface, to first order, also where it lies outside the image."""
        return -level / slope(level) * self.spacing

    def depth(self, cover: Float[Tensor, "y x"]) -> Float[Tensor, "y x"]:
        """Return the distance in mm from the edge of a region: positive inside, negative outside."""
        inside = cover.numpy() > 0.5
        distance = ndimage.distance_transform_edt(inside) - ndimage.distance_transform_edt(~inside)
        return torch.from_numpy(ndimage.gaussian_filter(distance, 0.7).astype(np.float32)) * self.spacing

    def ellipse(self, levels: Levels, widening: float = 1.0) -> Float[Tensor, "y x"]:
        """Return a level that is 0 on the edge of a body, -1 in its centre."""
        cx, cy, across, along, tilt = levels.at(self.z)
        dx, dy = self.a - cx, self.y - cy
        u, v = dx * tilt.cos() - dy * tilt.sin(), dx * tilt.sin() + dy * tilt.cos()
        return torch.hypot(u / (across * widening).clamp(min=1e-3), v / along.clamp(min=1e-3)) - 1

    def dome(
        self,
        levels: Levels,
        waist: float,
        roundness: float,
        y: Float[Tensor, "y x"] | None = None,
        base: float = 0.0,
    ) -> Float[Tensor, "y x"]:
        """Return a level that is 0 on a closed outline of given half width, top and bottom.

        Args:
            levels: Rows (z, half width, top, bottom).
            waist: Where it is widest: 0 = bottom, 1 = top.
            roundness: Exponent of the superellipse, 2 = ellipse.
            y: Height of each point; its own by default.
            base: Lowers the bottom by this, in mm.
        """
        y = self.y if y is None else y
        width, top, bottom = levels.at(self.z)
        middle = bottom + waist * (top - bottom)
        height = torch.where(y > middle, top - middle, middle - bottom + base)
        across, along = self.a / width, (y - middle).abs() / height
        return (across**roundness + along**roundness) ** (1 / roundness) - 1

    def paint_body(self, body: Body, within: Float[Tensor, "y x"] | None = None, widening: float = 1.0) -> None:
        """Cover the inside of a body, and of a region, where it reaches this slice."""
        if not body.levels.reaches(self.z):
            return
        window = self.window(body.levels)
        part = self.within(window)
        if part.a.numel():
            cover = body.strength * part.cover(part.ellipse(body.levels, widening))
            part.paint(body.tissue, cover if within is None else cover * within[window])


def slope(level: Tensor) -> Tensor:
    """Return the length of the gradient, in units of a pixel."""
    along_y, along_x = torch.gradient(level)
    return torch.hypot(along_y, along_x).clamp(min=1e-6)


def band(value: Tensor, low: Tensor | float, high: Tensor | float, softness: float) -> Tensor:
    """Return 1 between two values, with edges of a given softness."""
    return torch.sigmoid((value - low) / softness) * torch.sigmoid((high - value) / softness)
