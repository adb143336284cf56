"""A prior that draws its training images is caught, one that draws new ones is not."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from lightning_mri.diffusion import Prior
from lightning_mri.evaluation import Memorisation, nearest_distance
from lightning_mri.evaluation.memorisation import COPY
from lightning_mri.sampling import Karras, Langevin, PredictorCorrector
from lightning_mri.sampling.predictors import AncestralVE
from lightning_mri.scaling import Scaling

SHAPE = (40, 33)
DRAWS = PredictorCorrector(30, AncestralVE(), Langevin(n_steps=0), schedule=Karras())


class Mixture(Prior):
    """The optimal denoiser of a finite set of images: all that can be learnt from them, and nothing else."""

    sigma_data, sigma_min, sigma_max, scaling, labels = 0.5, 0.01, 20.0, Scaling(), ()

    def __init__(self, images: Tensor) -> None:
        self.images = images

    def denoise(self, x: Tensor, sigma: Tensor | float, label: Tensor | int | None = None) -> Tensor:
        distances = (x[..., None, :, :] - self.images).abs().square().sum((-2, -1))
        weights = torch.softmax(-distances / (2 * torch.as_tensor(sigma)[..., None] ** 2), -1)
        return torch.einsum("...n,nyx->...yx", weights.to(x.dtype), self.images)


def heads(n: int, seed: int) -> Tensor:
    """Ellipses with their own insides and a smooth phase: as unlike each other as slices of different subjects."""
    generator = torch.Generator().manual_seed(seed)
    y, x = torch.meshgrid(torch.linspace(-1, 1, SHAPE[0]), torch.linspace(-1, 1, SHAPE[1]), indexing="ij")
    images = []
    for _ in range(n):
        a, b = 0.7 + 0.2 * torch.rand(2, generator=generator)
        coarse = torch.rand(1, 1, 7, 6, generator=generator)
        inside = torch.nn.functional.interpolate(coarse, SHAPE, mode="bicubic")[0, 0]
        slope, shift, mean = torch.randn(3, generator=generator)
        phase = torch.exp(1j * (slope * y + shift * x + mean))
        images.append((((y / a) ** 2 + (x / b) ** 2) < 1) * (0.5 + inside) * phase)
    return torch.stack(images).to(torch.complex64)


TRAINING, HELD_OUT = heads(12, seed=0), heads(10, seed=1)


@pytest.mark.parametrize(
    ("images", "n_copies", "text"),
    [
        (TRAINING, 8, "The prior has memorised training images: 8 of 8 draws"),
        (heads(60, seed=2), 0, "No memorisation found: 0 of 8 draws"),
    ],
    ids=["memorised", "images of its own"],
)
def test_a_prior_that_has_memorised_is_caught_and_another_passes(images: Tensor, n_copies: int, text: str) -> None:
    draws = DRAWS.sample(Mixture(images), None, range(8), shape=SHAPE)
    found = Memorisation(nearest_distance(draws, TRAINING), nearest_distance(HELD_OUT, TRAINING))
    assert (found.n_copies, found.memorised) == (n_copies, n_copies > 0)
    assert found.text().startswith(text)


def test_one_copy_in_eight_is_told() -> None:
    found = Memorisation(torch.tensor([0.01] + 7 * [0.5]), torch.linspace(0.4, 0.6, 21))
    assert found.threshold == pytest.approx(0.205)
    assert found.memorised
    assert not Memorisation(found.draws[1:], found.held_out).memorised
    one_in_twenty = torch.tensor([0.01] + 19 * [0.5])  # 5 %, and not more
    assert not Memorisation(one_in_twenty, found.held_out).memorised


@pytest.mark.parametrize(
    "change",
    [
        lambda x: x * 3.7,
        lambda x: x * torch.exp(torch.tensor(2.1j)),
        lambda x: x.conj(),
        lambda x: x.flip(-1),
        lambda x: x.flip(-2),
        lambda x: x.roll((3, -2), (-2, -1)),
    ],
    ids=["scale", "phase", "conjugate", "mirrored", "upside down", "shifted"],
)
def test_a_copy_stays_a_copy(change: Callable[[Tensor], Tensor]) -> None:
    as_it_is = nearest_distance(HELD_OUT, TRAINING)
    assert nearest_distance(change(TRAINING[:3]), TRAINING).max() < COPY * as_it_is.min()


def test_transposed_copies_are_copies() -> None:
    square = torch.nn.functional.pad(TRAINING, (3, 4))
    assert nearest_distance(square.mT[:3].contiguous(), square).max() < 1e-3


def test_images_of_new_subjects_are_no_copies() -> None:
    assert nearest_distance(HELD_OUT, TRAINING).min() > 0.2


def test_nothing_to_compare_is_refused() -> None:
    with pytest.raises(ValueError, match="got 0 and 12"):
        nearest_distance(HELD_OUT[:0], TRAINING)
