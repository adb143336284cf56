"""Receive arrays: the field of circular loops around an object, their coupling and correlated noise."""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Complex, Float
from torch import Tensor

FIELD_OF_VIEW_MM = 240.0
RADII_MM = 105.0, 140.0  # of helmets: the closer of them see as much structure as a measured array of 16 loops
WIRE = 0.1  # conductor's half width over the loop's radius; keeps the field finite on the wire


@dataclass(frozen=True, eq=False)
class CoilArray:
    """Circular loops around an object at the isocentre; B0 points along z.

    Channels are numbered around each ring, ring by ring along z. A channel is one loop, except that an array
    of one channel is a pair of facing loops in series, which sees all of the object.

    Args:
        centres: Centre of each loop, in mm.
        normals: Axis of each loop, unit length.
        radii: Radius of each loop, in mm.
        coupling: What each port receives of each loop: port = coupling @ loops.
    """

    centres: Float[Tensor, "coil loop 3"]
    normals: Float[Tensor, "coil loop 3"]
    radii: Float[Tensor, "coil loop"]
    coupling: Complex[Tensor, "coil coil"]

    @classmethod
    def draw(
        cls, n_coils: int, seed: int, radius_mm: float | None = None, coupling: float = 0.1, jitter: float = 0.07
    ) -> "CoilArray":
        """Place loops on the rings of a helmet, then move, tilt, resize and couple them at random.

        Neighbours in a ring overlap at 1.5 radii, where real arrays null their mutual inductance.

        Args:
            n_coils: Number of channels.
            seed: Seed of every random number drawn here.
            radius_mm: Radius of the helmet; if not given, drawn from 105 to 140, those for a human head, and 140 for a
                single channel.
            coupling: Magnitude of the residual coupling of neighbours.
            jitter: Random displacement over ``radius_mm``; tilt (rad) and relative size vary twice as much.
        """
        if n_coils < 1:
            raise ValueError(f"n_coils must be at least 1: got {n_coils}")
        if radius_mm is not None and not radius_mm > 0:
            raise ValueError(f"radius_mm must be positive: got {radius_mm}")
        if not 0 <= coupling < 0.3 or not 0 <= jitter < 0.3:
            raise ValueError(f"coupling and jitter must be in [0, 0.3): got {coupling} and {jitter}")
        generator = torch.Generator().manual_seed(seed)
        if radius_mm is None:
            closeness = 0.0 if n_coils == 1 else float(torch.rand((), generator=generator))
            radius_mm = RADII_MM[1] - (RADII_MM[1] - RADII_MM[0]) * closeness
        centres, normals, radii = _volume_coil(generator) if n_coils == 1 else _helmet(n_coils, generator)
        centres = centres + jitter * torch.randn(centres.shape, generator=generator)
        normals = normals + 2 * jitter * torch.randn(normals.shape, generator=generator)
        radii = radii * torch.exp(2 * jitter * torch.randn(radii.shape, generator=generator))
        return cls(
            centres=radius_mm * centres,
            normals=normals / torch.linalg.vector_norm(normals, dim=-1, keepdim=True),
            radii=radius_mm * radii,
            coupling=_coupling(centres[:, 0], radii[:, 0], coupling, generator),
        )

    def field(self, points: Float[Tensor, "*point 3"]) -> Complex[Tensor, " coil *point"]:
        """Return the sensitivity Bx - i By of each port at ``points``, in mm from the isocentre.

        The root sum of squares over ports is 1 at the isocentre, so an image keeps the brightening towards
        the array that real images have.
        """
        centre = points.new_zeros(1, 3)
        received = torch.cat([self._transverse(points.reshape(-1, 3)), self._transverse(centre)], dim=-1)
        received = self.coupling.to(received.dtype) @ received
        received = received / torch.linalg.vector_norm(received[:, -1])
        return received[:, :-1].reshape(-1, *points.shape[:-1]).to(torch.complex64)

    def maps(
        self,
        shape: tuple[int, int],
        pixel_size: float | tuple[float, float] | None = None,
        offset_mm: float = 0.0,
    ) -> Complex[Tensor, "coil y x"]:
        """Return the coil maps of one axial slice, not normalised point by point (see `field`).

        Args:
            shape: Image size (y, x); the isocentre is pixel (y // 2, x // 2).
            pixel_size: Edge of a pixel in mm, one or (y, x); by default the longer side covers 240 mm.
            offset_mm: Distance of the slice from the isocentre.
        """
        if pixel_size is None:
            pixel_size = FIELD_OF_VIEW_MM / max(shape)
        step_y, step_x = (pixel_size, pixel_size) if isinstance(pixel_size, int | float) else pixel_size
        if min(shape) < 1 or not (step_y > 0 and step_x > 0):
            raise ValueError(f"shape and pixel_size must be positive: got {tuple(shape)} and {pixel_size}")
        y = (torch.arange(shape[0], dtype=torch.float64) - shape[0] // 2) * step_y
        x = (torch.arange(shape[1], dtype=torch.float64) - shape[1] // 2) * step_x
        rows, columns = torch.meshgrid(y, x, indexing="ij")
        # scanner coordinates: x to the left, y to the back, z along B0
        return self.field(torch.stack([columns, rows, torch.full_like(rows, offset_mm)], dim=-1))

    def noise_covariance(self, correlation: float = 0.3) -> Complex[Tensor, "coil coil"]:
        """Return the covariance of the ports' noise: Hermitian, positive definite, mean of the diagonal 1.

        Noise = noise_std * L z with L the Cholesky factor and z of `complex_noise`. Loops that look at the
        same tissue share its noise (a Gaussian of their distance times the cosine between their axes), larger
        loops receive more of it, and the ports mix it by the same coupling as the signal.

        Args:
            correlation: Largest correlation between two loops before coupling, in [0, 1).
        """
        if not 0 <= correlation < 1:
            raise ValueError(f"correlation must be in [0, 1): got {correlation}")
        centre, normal, radius = (value[:, 0].double() for value in (self.centres, self.normals, self.radii))
        shared = torch.exp(-((torch.cdist(centre, centre) / (3 * radius.mean())) ** 2)) * (normal @ normal.T)
        loops = correlation * shared + (1 - correlation) * torch.eye(len(centre), dtype=torch.float64)
        spread = (radius / radius.mean()) ** 1.5
        mixing = self.coupling.to(torch.complex128) * spread
        covariance = mixing @ loops.to(torch.complex128) @ mixing.mH
        return (covariance / covariance.diagonal().real.mean()).to(torch.complex64)

    def _transverse(self, points: Float[Tensor, "point 3"]) -> Complex[Tensor, "coil point"]:
        points = points.double()
        channels = []
        for centres, normals, radii in zip(self.centres.double(), self.normals.double(), self.radii, strict=True):
            loops = zip(centres, normals, radii.tolist(), strict=True)
            b = torch.stack([loop_field(points - centre, normal, radius) for centre, normal, radius in loops]).sum(0)
            channels.append(torch.complex(b[:, 0], -b[:, 1]))
        return torch.stack(channels)


def loop_field(points: Float[Tensor, "point 3"], normal: Float[Tensor, "3"], radius: float) -> Float[Tensor, "point 3"]:
    """Return the magnetic field of a current loop at the origin, in units of mu0 I / (2 mm).

    In cylinder coordinates (r, h) around the loop's axis, with a the radius, p^2 = (a - r)^2 + h^2,
    q^2 = (a + r)^2 + h^2 and the elliptic integrals K, E of parameter 1 - p^2 / q^2,
    B_r = h ((a^2 + r^2 + h^2) E - p^2 K) / (pi p^2 q r), B_h = ((a^2 - r^2 - h^2) E + p^2 K) / (pi p^2 q)
    (Simpson et al., NASA/TM-2013-217919).
    """
    height = points @ normal
    radial = points - height[:, None] * normal
    # 1 / r^2 times a bracket that vanishes as r^2: finite on the axis once r is kept off zero
    r2 = radial.square().sum(-1).clamp(min=(1e-3 * radius) ** 2)
    r, distance2 = r2.sqrt(), r2 + height.square()
    p2 = ((radius - r).square() + height.square()).clamp(min=(WIRE * radius) ** 2)
    q2 = (radius + r).square() + height.square()
    k, e = _elliptic_integrals(p2 / q2)
    factor = 1 / (math.pi * p2 * q2.sqrt())
    along = factor * ((radius**2 - distance2) * e + p2 * k)
    outward = factor * height / r2 * ((radius**2 + distance2) * e - p2 * k)
    return along[:, None] * normal + outward[:, None] * radial


def _elliptic_integrals(m1: Tensor) -> tuple[Tensor, Tensor]:
    """Return K and E at the complementary parameter 1 - m by the arithmetic-geometric mean (DLMF 19.8)."""
    a, b = torch.ones_like(m1), m1.sqrt()
    total, weight = (1 - m1) / 2, 0.5
    for _ in range(6):
        a, b, c = (a + b) / 2, (a * b).sqrt(), (a - b) / 2
        weight *= 2
        total = total + weight * c.square()
    k = math.pi / (2 * a)
    return k, k * (1 - total)


def _volume_coil(generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
    """Return centres, normals and radii of two facing loops, in units of the helmet's radius."""
    angle = float(2 * math.pi * torch.rand((), generator=generator))
    axis = torch.tensor([math.cos(angle), math.sin(angle), 0.0])
    # separated by 1.25 radii: near the Helmholtz distance, where the field between two loops is flattest
    return torch.stack([-axis, axis])[None], torch.stack([axis, axis])[None], torch.full((1, 2), 1.6)


def _helmet(n_coils: int, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
    """Return centres, normals and radii of loops on rings, in units of the helmet's radius.

    Each ring is an ellipse, longer from front to back; the rings above the isocentre close towards a dome.
    """
    n_rings = max(1, round(math.sqrt(n_coils / 5)))
    sizes = [n_coils // n_rings + (i < n_coils % n_rings) for i in range(n_rings)]
    heights = torch.linspace(-0.45, 0.75, n_rings + 2)[1:-1] if n_rings > 1 else torch.tensor([0.0])
    centres, normals, radii = [], [], []
    for size, height in zip(sizes, heights.tolist(), strict=True):
        start = float(2 * math.pi * torch.rand((), generator=generator))
        angle = start + 2 * math.pi * torch.arange(size) / size
        tilt = math.asin(max(0.0, height)) if n_rings > 1 else 0.0
        outward = torch.stack([0.93 * torch.cos(angle), 1.07 * torch.sin(angle)], dim=-1)
        up = torch.full((size, 1), height)
        centres.append(torch.cat([math.cos(tilt) * outward, up], dim=-1))
        normals.append(-torch.cat([math.cos(tilt) * outward, torch.full((size, 1), math.sin(tilt))], dim=-1))
        radii.append(torch.full((size,), min(0.6, math.cos(tilt) * 2 * math.pi / max(size, 2) / 1.5)))
    return torch.cat(centres)[:, None], torch.cat(normals)[:, None], torch.cat(radii)[:, None]


def _coupling(
    centres: Float[Tensor, "coil 3"],
    radii: Float[Tensor, " coil"],
    strength: float,
    generator: torch.Generator,
) -> Complex[Tensor, "coil coil"]:
    """Return 1 on the diagonal and a symmetric (reciprocal) leak of random phase that fades with distance."""
    distance = torch.cdist(centres, centres)
    leak = strength * torch.exp(1 - distance / (1.5 * radii.mean())).clamp(max=1)
    phase = 2 * math.pi * torch.rand(distance.shape, generator=generator)
    leak = torch.polar(leak, phase).triu(diagonal=1)
    return torch.eye(len(centres), dtype=torch.complex64) + leak + leak.mT
