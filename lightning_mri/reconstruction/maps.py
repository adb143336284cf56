"""Which coil maps a slice is reconstructed with: those of the calibration block, or of all acquired samples."""

import torch
from jaxtyping import Bool, Complex, Float
from torch import Tensor

from lightning_mri.physics import Acs, NonlinearInversion, acs_image, estimate_maps

SURE_LINES = 20
"""Calibration lines from which on ESPIRiT is not questioned: more of them made its maps as good as any."""

DISAGREEMENT = 0.02
"""Share of the object's signal on which two estimates of the maps may differ and still count as one.

On measured and simulated heads with 6 to 16 lines the inversion's images had 0.26 to 0.95 x the error where they
differed by 0.023 or more, but for three that were equal. Below, most were within 6 % of each other, and ESPIRiT was
once better by 40 %.
"""

LOST = 0.01
"""Share of the object's energy that ESPIRiT's support may miss."""

TINY = torch.finfo(torch.float32).tiny


def choose_maps(
    kspace: Complex[Tensor, "batch coil y x"],
    mask: Bool[Tensor, "1 y x"],
    acs: Acs,
    noise_std: Float[Tensor, " batch"],
    n_sets: int = 1,
) -> tuple[Complex[Tensor, "batch set coil y x"], Bool[Tensor, " batch"]]:
    """Return coil maps of each slice, and whether they are those of `NonlinearInversion` instead of ESPIRiT.

    ESPIRiT is fast, and right where the calibration block is wide. Where it has less than `SURE_LINES` lines, both are
    found, and where they disagree, the inversion is taken: it reads every acquired sample.

    Args:
        kspace: K-space of each slice, zero where not acquired.
        mask: True where a sample was acquired.
        acs: Calibration block.
        noise_std: Standard deviation of the noise in each real channel.
        n_sets: Sets of maps; of several, ESPIRiT's are taken.
    """
    maps = estimate_maps(kspace, mask, acs.limited(), noise_std, n_sets)
    inverted = torch.zeros(len(kspace), dtype=torch.bool, device=kspace.device)
    if n_sets > 1 or kspace.shape[1] == 1 or min(acs.shape) >= SURE_LINES:
        return maps, inverted
    others = NonlinearInversion().maps(kspace, mask, acs, noise_std)
    energy = acs_image(kspace, mask, others, acs).abs().square()
    difference, lost = compare_maps(maps, others, energy)
    found = (maps != 0).flatten(1).any(1)  # else there is no signal above the noise, and nothing to invert
    inverted = found & ((difference > DISAGREEMENT) | (lost > LOST))
    return torch.where(inverted[:, None, None, None, None], others, maps), inverted


def compare_maps(
    maps: Complex[Tensor, "batch 1 coil y x"],
    others: Complex[Tensor, "batch 1 coil y x"],
    energy: Float[Tensor, "batch y x"],
) -> tuple[Float[Tensor, " batch"], Float[Tensor, " batch"]]:
    """Return how far maps differ where both have support, and how much of the object the first ones do not see.

    The difference is that of signals seen by ``others`` from what ``maps`` can explain,
    sqrt(sum e (1 - abs(sum_c conj(S_c) T_c)^2) / sum e), over pixels of energy e.

    Args:
        maps: Coil maps S.
        others: Coil maps T.
        energy: Energy of the object in each pixel.
    """
    overlap = (maps.conj() * others).sum(-3)[:, 0].abs().square().clamp(max=1)
    of_others, both = ((each != 0).any(-3)[:, 0] for each in (others, maps))
    both = both & of_others
    inside, whole = ((energy * where).sum((-2, -1)) for where in (both, of_others))
    unlike = (energy * both * (1 - overlap)).sum((-2, -1))
    return (unlike / inside.clamp(min=TINY)).sqrt(), 1 - inside / whole.clamp(min=TINY)
