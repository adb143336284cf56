"""Does the field of view hold the object? Where it cuts or folds it, one set of coil maps is not enough."""

from jaxtyping import Float
from torch import Tensor

from lightning_mri.physics import Mask, estimate_maps, find_acs
from lightning_mri.reconstruction.prepare import Problem
from lightning_mri.tensors import centre_crop

COARSE = 64
"""Samples of k-space an axis to look for a second set of maps with: as much as smooth maps need."""

ALIASED = 0.05
"""Share of the object on which a second set of maps means that the field of view folds or cuts it.

On six slices of simulated heads: at most 0.025 where the head fits, 0.06 to 0.18 where a quarter of the width is
missing.
"""


def aliased_share(problem: Problem) -> Float[Tensor, " batch"] | None:
    """Return the share of the object that a second set of coil maps sees, slice by slice, on a coarse grid.

    None where a second set was asked for already, or there is one coil.
    """
    n_sets, n_coils = problem.maps.shape[1:3]
    factor = problem.likelihood.A.find(Mask)
    if n_sets > 1 or n_coils < 2 or factor is None:
        return None
    y, mask = problem.likelihood.y, factor.mask
    size = (min(COARSE, y.shape[-2]), min(COARSE, y.shape[-1]))
    y, mask = centre_crop(y, size), centre_crop(mask, size)
    maps = estimate_maps(y, mask, find_acs(mask).limited(), problem.likelihood.noise_std, 2)
    n_first, n_second = (maps != 0).any(2).sum((-2, -1)).unbind(1)
    return n_second / n_first.clamp(min=1)
