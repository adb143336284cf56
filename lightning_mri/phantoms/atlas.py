"""The averaged brain that every synthetic head starts from: the MNI152 maps that nilearn ships.

ICBM 152, non-linear symmetric 2009a (Fonov et al. 2011): grey and white matter probability and T1-weighted
intensity on a grid of 1 mm, brain only. Coordinates are in mm: x to the right, y to the front, z up.
"""

from functools import cache
from importlib.resources import files
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from lightning_mri.lazy import lazy
from lightning_mri.phantoms.fields import trilinear

nibabel = lazy("nibabel")
ndimage = lazy("scipy.ndimage")

ATLAS_FILE = "mni_icbm152_{}_tal_nlin_sym_09a_converted.nii.gz"
BRAIN_CENTRE = torch.tensor([0.0, -18.0, 8.0])
MARGIN = 48  # mm around the atlas in which distances are known
COARSE = 2  # mm between the points at which distances are known


class Atlas(NamedTuple):
    """Tissue on the grid of the atlas, and distances on a coarser, larger one; the origins are in mm."""

    tissue: Float[Tensor, "3 i j k"]
    tissue_origin: Float[Tensor, "3"]
    distance: Float[Tensor, "2 l m n"]
    distance_origin: Float[Tensor, "3"]

    def tissue_at(self, points: Float[Tensor, "3 y x"]) -> Float[Tensor, "3 y x"]:
        """Return grey matter, white matter and T1-weighted intensity, each in 0..1, at points in mm."""
        return trilinear(self.tissue, points - self.tissue_origin[:, None, None])

    def distance_at(self, points: Float[Tensor, "3 y x"]) -> Float[Tensor, "2 y x"]:
        """Return the signed distance outwards from the brain's hull and the depth below the pia, in mm."""
        return trilinear(self.distance, (points - self.distance_origin[:, None, None]) / COARSE)


@cache
def load_atlas() -> Atlas:
    """Read the maps from nilearn and measure distances in them; takes a few seconds, once in a process."""
    folder = files("nilearn").joinpath("datasets", "data")
    maps = []
    for kind in ("gm", "wm", "t1"):
        path = folder.joinpath(ATLAS_FILE.format(kind))
        if not path.is_file():
            raise FileNotFoundError(f"nilearn must ship {path.name} for synthetic heads: not found in {folder}")
        image = nibabel.Nifti1Image.from_filename(str(path))
        maps.append(np.asarray(image.dataobj))
    tissue = np.stack(maps).astype(np.float32) / 255
    origin = torch.tensor(image.affine[:3, 3], dtype=torch.float32)
    distance = _distances(*(np.pad(m[::COARSE, ::COARSE, ::COARSE], MARGIN // COARSE) for m in tissue))
    return Atlas(torch.from_numpy(tissue), origin, torch.from_numpy(distance), origin - MARGIN)


def _distances(grey: np.ndarray, white: np.ndarray, t1: np.ndarray) -> np.ndarray:
    """Return the signed distance from the brain's closed hull and the depth below the pia, in mm."""
    brain = ndimage.binary_closing((t1 > 0.02) | (grey + white > 0.1), iterations=3)
    hull = (ndimage.gaussian_filter(brain.astype(np.float32), 2.5) > 0.42) | brain
    hull |= _vault(hull)
    outside = ndimage.distance_transform_edt(~hull) - ndimage.distance_transform_edt(hull)
    solid = ndimage.binary_closing(grey + white > 0.45) | _around_ventricles(hull.shape)
    depth = ndimage.distance_transform_edt(solid)
    smooth = [ndimage.gaussian_filter(d, 0.7) for d in (outside, depth)]
    return COARSE * np.stack(smooth).astype(np.float32)


def _vault(hull: np.ndarray, reach: float = 40.0, above: float = 15.0, bottom: float = -72.0 - MARGIN) -> np.ndarray:
    """Return the hull, closed by a ball of radius ``reach`` where z > ``above``: bone bridges all clefts."""
    steps = reach / COARSE
    closed = ndimage.distance_transform_edt(ndimage.distance_transform_edt(~hull) < steps) >= steps
    closed[:, :, : round((above - bottom) / COARSE)] = False
    return np.asarray(closed)


def _around_ventricles(shape: tuple[int, ...]) -> np.ndarray:
    """Return an ellipsoid about the ventricles, whose walls are not covered by cortex."""
    index = np.indices(shape, dtype=np.float32) * COARSE - MARGIN
    centre, radius = np.array([[98.0, 124.0, 84.0], [36.0, 50.0, 24.0]])[:, :, None, None, None]
    return np.asarray((((index - centre) / radius) ** 2).sum(0) < 1)
