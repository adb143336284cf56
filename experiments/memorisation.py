"""Whether shipped priors repeat themselves, new heads of their generator, or the atlas that those are drawn from.

Their training slices were not kept, so that copies of them cannot be looked for: new slices of the generator stand for
them, and others for what was never seen. What can be found are draws that are alike, as they are where a network knows
few images by heart, and draws that lie nearer to the atlas than new heads do.

    python experiments/memorisation.py
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from itertools import product
from pathlib import Path

import torch
from jsonargparse import auto_cli
from methods import write
from torch import Tensor

from lightning_mri.diffusion import NetworkPrior
from lightning_mri.evaluation import Memorisation, Panel, Study, markdown_table, nearest_distance, picture
from lightning_mri.phantoms import Geometry, training_slices
from lightning_mri.phantoms.atlas import BRAIN_CENTRE, load_atlas
from lightning_mri.phantoms.geometry import ORIENTATIONS
from lightning_mri.tensors import derive_seed
from lightning_mri.training.validation import DRAWS
from lightning_mri.weights import fingerprint, load_prior

HERE = Path(__file__).resolve().parent
SIZE = 144
ABOUT = """# Draws of {} and what they might repeat

{} draws from each prior, and as many new slices of the generator, {} px. Distances are sqrt(1 - r^2), see
`nearest_distance`. A draw counts as a copy if it is nearer than half of the distance that 95 % of the new slices
exceed, see `Memorisation`.

Command: `python experiments/memorisation.py`

{}
This can show two things: draws that are alike, as from a prior that has memorised few images (if it were 1,000, {:.1f}
pairs among these draws would be the same), and draws that copy the atlas. It cannot show copies of the training slices,
which were not kept, or of parts of them. The draws themselves are tissue without the shape of a head. The prior was
trained on crops; without data it knows the neighbourhood of a pixel, but not anatomy.

![draws and nearest slices](memorisation.png)
"""


@dataclass(frozen=True, eq=False)
class Images:
    """Images of one origin, complex [image, y, x]."""

    images: Tensor


def atlas_slices() -> Tensor:
    """Return slices of the atlas every 4 mm in three orientations: T1-weighted, grey matter and white matter."""
    atlas, slices = load_atlas(), list[Tensor]()
    for orientation, offset in product(ORIENTATIONS, range(-48, 61, 4)):
        points = Geometry((SIZE // 2, SIZE // 2), offset_mm=offset, orientation=orientation).plane().points
        slices += atlas.tissue_at(points + BRAIN_CENTRE[:, None, None])
    found = torch.stack(slices)
    return found[found.amax((1, 2)) > 0.5] + 0j


def alone(images: Tensor) -> Tensor:
    """Return each image's distance to the nearest of the others."""
    others = [torch.cat([images[:k], images[k + 1 :]]) for k in range(len(images))]
    return torch.cat([nearest_distance(images[k : k + 1], rest) for k, rest in enumerate(others)])


def check(
    priors: Sequence[str] = ("brain", "brain-noflair"),
    n_draws: int = 96,
    n_new: int = 200,
    output_dir: Path = Path("runs/memorisation"),
    results: Path = HERE / "results",
) -> None:
    """Write ``memorisation.md`` and its picture.

    Args:
        priors: Names of shipped priors; the first one is drawn.
        n_draws: Images to draw.
        n_new: New slices that stand for those trained on.
        output_dir: Folder of what was drawn.
        results: Folder of the page.
    """
    torch.set_num_threads(1)
    lines, atlas = [], atlas_slices()
    for prior in priors:
        loaded = load_prior(prior).eval()
        draws, unseen, new = images_of(loaded, n_draws, n_new, Study(output_dir / prior, Images))
        sets = {"one another": Memorisation(alone(draws), alone(unseen))}
        for name, images in ((f"{n_new} other new slices", new), ("slices of the atlas", atlas)):
            sets[name] = Memorisation(nearest_distance(draws, images), nearest_distance(unseen, images))
        if prior == priors[0]:
            illustrate(draws, new, sets["one another"].draws, results / "memorisation.png")
        for name, found in sets.items():
            values = (float(value) for each in (found.draws, found.held_out) for value in (each.min(), each.median()))
            cells = [f"{value:.3f}" for value in (*values, found.threshold)]
            about = f"`{prior}` {fingerprint(loaded)[:12]}"
            lines.append([about, name, *cells, f"{found.n_copies} of {n_draws}"])
    header = [
        "prior",
        "nearest of",
        "draws, least",
        "median",
        "new slices, least",
        "median",
        "a copy is below",
        "copies",
    ]
    names, pairs = " and ".join(f"`{prior}`" for prior in priors), n_draws * (n_draws - 1) / 2000
    write(results / "memorisation.md", ABOUT.format(names, n_draws, SIZE, markdown_table(header, lines), pairs))


def images_of(prior: NetworkPrior, n_draws: int, n_new: int, study: Study[Images]) -> list[Tensor]:
    """Return draws without data, as many new slices of the generator, and others that stand for those trained on."""
    labels = [label for label in prior.labels if not label.startswith("spare")]

    def draw(k: int) -> Tensor:
        seeds, label = [derive_seed("memorisation", k)], torch.tensor(k % len(labels))
        with torch.no_grad():
            return DRAWS.sample(prior, None, seeds, label, (SIZE, SIZE))

    def head(side: str, k: int) -> Tensor:
        # one slice of each subject
        return next(iter(training_slices(derive_seed(side, k), 1, labels, SIZE))).image[None]

    ways = (("draw", n_draws, draw), ("unseen", n_draws, partial(head, "unseen")), ("new", n_new, partial(head, "new")))
    made = []
    for name, n, one in ways:
        version = fingerprint(prior) if name == "draw" else ""
        kept = [study.keep(f"{name} {k}", version, lambda k=k, one=one: Images(one(k))) for k in range(n)]
        made.append(torch.cat([each.images for each in kept]))
    return made


def illustrate(draws: Tensor, new: Tensor, distances: Tensor, path: Path) -> None:
    """Draw the draws that are most alike, and the new slices nearest to them."""
    closest = [int(k) for k in distances.argsort()[:4]]
    panels = [Panel(f"draw {k}", draws[k]) for k in closest]
    panels += [Panel("nearest new", new[_nearest(draws[k : k + 1], new)]) for k in closest]
    picture(path, panels, n_columns=4, title="Draws most alike, and the new slices nearest to them")


def _nearest(image: Tensor, among: Tensor) -> int:
    return min(range(len(among)), key=lambda k: float(nearest_distance(image, among[k : k + 1])))


if __name__ == "__main__":
    auto_cli(check, as_positional=False)
