"""Spikes in k-space, single samples far above their neighbourhood: found, and replaced by linear prediction.

Sparks, gradient or converter faults put the energy of the whole image into one sample. Neighbouring samples of k-space
are correlated, since the object fills only part of the field of view and coils are smooth; what is missing follows from
them (Griswold et al., Magn. Reson. Med. 47:1202, 2002).
"""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Complex
from torch import Tensor
from torch.nn.functional import avg_pool2d

from lightning_mri.tensors import power_of_two

WINDOW = (8, 2)  # rows and columns to either side that a sample is compared with: a lone readout has neighbours, too
MIN_NEIGHBOURS = 12  # of the window's 84, below which nothing is said
N_OUTLIERS = 2  # largest neighbours that are left out, as a spark may last for several samples
RATIO = 10.0  # to the largest other neighbour. Measured scans of five arrays reach 3.5 and synthetic heads 4.2
RATIO_ON_AXES = 100.0  # edges of an object that fills the field of view reach 53 on the two axes of k-space
STRUCTURE = 20.0  # an image without structure is one sample on noise: near the centre, neighbours exceed the median so
ROUNDING = 1e-6  # of the largest sample, which is no signal
FINEST = 2.0**-30  # of the largest sample, below which it is no rounding either, but what a spike stands upon
MAX_SPIKES = 32  # in a slice, above which samples are something else than spikes
REACH = (2, 2)  # rows and columns to either side that a sample is predicted from
TRAINED_ON = (32, 16)  # rows and columns to either side in which the prediction is fitted
RIDGE = 1e-3  # of the mean eigenvalue: at R = 4 the centre was predicted to 4 to 12 % of it, 12 to 250 % with 1e-6


@dataclass(frozen=True)
class Spikes:
    """Outlying samples of one slice.

    Args:
        where: Their (y, x), in any coil.
        replaced: Whether they were replaced; too many are not.
    """

    where: tuple[tuple[int, int], ...]
    replaced: bool

    def __bool__(self) -> bool:
        return bool(self.where)

    def __str__(self) -> str:
        places = ", ".join(map(str, self.where[:3])) + (" ..." if len(self.where) > 3 else "")
        done = "replaced by prediction from their neighbours" if self.replaced else "too many to be replaced"
        return f"{len(self.where)} samples of k-space stand far above their neighbours, at (y, x) {places}: {done}"


def replace_spikes(
    kspace: Complex[Tensor, "slice coil y x"], mask: Bool[Tensor, "#slice y x"]
) -> tuple[Complex[Tensor, "slice coil y x"], tuple[Spikes, ...]]:
    """Return k-space without spikes, and those of each slice; slices without any keep every bit.

    A sample is a spike where a coil has more than ten times the magnitude of its neighbours, and is replaced in all
    coils: by what the least-squares prediction from its 24 neighbours in all coils says, or by zero where too few
    samples are acquired to fit it.

    Args:
        kspace: Measured samples, zero where not acquired.
        mask: True where a sample was acquired.
    """
    found, slices = [], []
    for data, acquired in zip(kspace, mask.expand(len(kspace), *mask.shape[1:]), strict=True):
        where = find_spikes(data, acquired)
        replaced = 0 < len(where) <= MAX_SPIKES
        found.append(Spikes(tuple((int(y), int(x)) for y, x in where.tolist()), replaced))
        slices.append(_filled(data, acquired, where) if replaced else data)
    return (torch.stack(slices) if any(spikes.replaced for spikes in found) else kspace), tuple(found)


def find_spikes(kspace: Complex[Tensor, "coil y x"], acquired: Bool[Tensor, "y x"]) -> Tensor:
    """Return the places [spike, (y, x)] of samples that no neighbourhood explains."""
    kspace = torch.where(acquired, kspace, 0)
    a = (kspace / power_of_two(kspace, 3)).abs()
    filled = acquired & (kspace != 0).any(0)  # what is zero in all coils was not measured
    total, count = _box_sum(a), _box_sum(filled[None].float()).round()
    # three times the mean of the others is rare: only those few are compared with each neighbour
    likely = (a > 3 * (total - a) / (count - 1).clamp(min=1)) & (count > MIN_NEIGHBOURS) & (a > ROUNDING * a.amax())
    coil, y, x = likely.nonzero(as_tuple=True)
    offsets = torch.cartesian_prod(*(torch.arange(-n, n + 1, device=a.device) for n in WINDOW))
    near = torch.nn.functional.pad(a, (WINDOW[1],) * 2 + (WINDOW[0],) * 2)[
        coil[:, None], y[:, None] + WINDOW[0] + offsets[:, 0], x[:, None] + WINDOW[1] + offsets[:, 1]
    ]
    near[:, len(offsets) // 2] = 0
    reference = near.topk(N_OUTLIERS + 1, dim=1).values[:, -1]
    rows, columns = acquired.shape
    on_axis = (y == rows // 2) | (x == columns // 2)
    ratio = a[coil, y, x] / reference.clamp(min=torch.finfo(a.dtype).tiny)
    is_spike = ratio > torch.where(on_axis, RATIO_ON_AXES, RATIO)
    # at the ends of its row, an axis has two neighbours of its own alone
    is_spike &= ~((y == rows // 2) & ((x < WINDOW[1]) | (x >= columns - WINDOW[1])))
    near_centre = ((y - rows // 2).abs() <= 2) & ((x - columns // 2).abs() <= 2)
    for i in (is_spike & near_centre).nonzero().flatten().tolist():
        median = a[coil[i]][acquired].median()
        is_rounding = FINEST * a.amax() < reference[i] < ROUNDING * a.amax()  # of the transform of a uniform object
        is_spike[i] = bool(reference[i] > STRUCTURE * median > 0) and not is_rounding
    return torch.unique(torch.stack([y, x], 1)[is_spike], dim=0)


def _box_sum(x: Tensor) -> Tensor:
    """Return the sum over the window around each place of [coil, y, x], zeros beyond the edges."""
    height, width = (2 * n + 1 for n in WINDOW)
    rows = avg_pool2d(x[:, None], (height, 1), 1, (WINDOW[0], 0), divisor_override=1)
    return avg_pool2d(rows, (1, width), 1, (0, WINDOW[1]), divisor_override=1)[:, 0]


def _filled(kspace: Tensor, acquired: Tensor, where: Tensor) -> Tensor:
    """Return a slice [coil, y, x] with the samples of these places predicted from their neighbours."""
    kspace, good = kspace.clone(), acquired.clone()
    good[where[:, 0], where[:, 1]] = False
    kspace[:, where[:, 0], where[:, 1]] = 0
    unit = power_of_two(kspace, 3)
    kspace = kspace / unit
    values = [_predicted(kspace, good, int(y), int(x)) for y, x in where]
    kspace[:, where[:, 0], where[:, 1]] = torch.stack(values, 1)
    return kspace * unit


def _predicted(kspace: Tensor, good: Tensor, y: int, x: int) -> Tensor:
    """Return the sample [coil] at one place from those of its neighbours that are good; zero if they do not suffice."""
    n_coils, rows, columns = kspace.shape
    offsets = torch.cartesian_prod(*(torch.arange(-n, n + 1, device=kspace.device) for n in REACH))
    places = offsets + torch.tensor([y, x], device=kspace.device)
    inside = ((places >= 0) & (places < torch.tensor([rows, columns], device=kspace.device))).all(1)
    offsets = offsets[inside][good[places[inside, 0], places[inside, 1]]]
    window = [slice(max(0, at - n), at + n + 1) for at, n in zip((y, x), TRAINED_ON, strict=True)]
    margin = [max(REACH)] * 4
    k, g = (torch.nn.functional.pad(part[..., window[0], window[1]], margin) for part in (kspace, good))

    def shifted(part: Tensor, dy: int, dx: int) -> Tensor:
        top, left = max(REACH) + dy, max(REACH) + dx
        return part[..., top : top + part.shape[-2] - 2 * max(REACH), left : left + part.shape[-1] - 2 * max(REACH)]

    pairs = offsets.tolist()
    usable = torch.stack([shifted(g, 0, 0), *(shifted(g, *pair) for pair in pairs)]).all(0)
    if not pairs or int(usable.sum()) < 2 * len(pairs):
        return kspace.new_zeros(n_coils)
    sources = torch.cat([shifted(k, *pair)[:, usable] for pair in pairs])  # [offset coil, sample]
    targets = shifted(k, 0, 0)[:, usable]
    gram = sources @ sources.mH
    gram.diagonal().add_(RIDGE * gram.diagonal().real.mean() + torch.finfo(torch.float32).tiny)
    here = torch.cat([kspace[:, y + dy, x + dx] for dy, dx in pairs])
    return targets @ sources.mH @ torch.linalg.solve(gram, here)
