"""The stroke paper's claims in a synthetic world: pre-train on T1w, T1w-post and T2w, fine-tune on FLAIR with infarcts.

The source prior sees true signal equations, no FLAIR, no lesion and no random contrast. Every run is a `fit` of the
package; its checkpoint is the one that reconstructs the three validation subjects best. Runs and reconstructions that
are there are kept, and a run that was cut off goes on; the page is written again after each.

    python experiments/stroke_transfer.py --output_dir stroke
"""

import contextlib
import json
import math
import shutil
import statistics
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import h5py
import torch
from fits import phase
from jsonargparse import auto_cli
from methods import Row, Sampled, Slice
from stroke_page import ALL, FEW, JOINT, SCRATCH, SOURCE_ONLY, Results
from torch import Tensor

from lightning_mri.cli.fit import fit
from lightning_mri.datasets import StrokeFLAIR, simulate, undersample
from lightning_mri.evaluation import Study
from lightning_mri.io import read_scan
from lightning_mri.phantoms import Scanner
from lightning_mri.physics import Equispaced
from lightning_mri.reconstruction import Problem, prepare
from lightning_mri.sampling import HQS
from lightning_mri.scaling import Scaling
from lightning_mri.weights import load_prior

HERE = Path(__file__).resolve().parent
SOURCE = ("T1w", "T1w-post", "T2w")
PROCESS = {
    "class_path": "lightning_mri.diffusion.EDM",
    "init_args": {"sigma_data": 0.25, "sigma_max": 10, "p_mean": -1.9, "p_std": 1.4},
}
RATES = (3e-5, 3e-4, 1e-3, 3e-3)
SHIPPED = {name: name for name in ("brain-noflair", "brain")}


@dataclass(frozen=True)
class Sizes:
    """How large the experiment is; the defaults take about 15 minutes of one core.

    Args:
        n_source: Subjects of the source, with three contrasts each.
        n_target: Subjects with FLAIR; three of them choose checkpoints.
        n_test: Subjects to test on, one slice each.
        steps: Steps of pre-training and joint training; fine-tuning takes a quarter.
        widths: Channels of the network.
        accelerations: Nominal R of the tests.
        levels: Noise levels of a reconstruction.
    """

    n_source: int = 40
    n_target: int = 43
    n_test: int = 6
    steps: int = 2400
    widths: tuple[int, ...] = (24, 48, 96)
    accelerations: tuple[float, ...] = (2, 4, 6)
    levels: int = 12


@dataclass(frozen=True)
class Recipe:
    """One run of `fit`.

    Args:
        n: FLAIR subjects to train on; 0 for the source alone.
        rate: Learning rate.
        steps: Steps.
        starts: Whether it starts from the source prior.
        batch: Images in a batch.
        share: Share of source images in each batch.
        final: Share of the learning rate at the end of a cosine.
    """

    n: int
    rate: float
    steps: int
    starts: bool = True
    batch: int = 8
    share: float = 0.0
    final: float = 1.0


@dataclass(frozen=True)
class Case(Slice):
    """The slice of a FLAIR scan that shows most of a lesion, at one acceleration."""

    path: Path
    acceleration: float
    contrast: str = "FLAIR"

    @property
    def group(self) -> str:
        """The acceleration."""
        return f"R = {self.acceleration:g}"

    @property
    def subject(self) -> str:
        """Name of the scan."""
        return self.path.stem

    @property
    def lesions(self) -> Tensor:
        """True in an acute infarct, [1, y, x]."""
        return _lesions(self.path)[1]

    @property
    def truth(self) -> Tensor:
        """Magnitude of the fully sampled scan [1, y, x]."""
        return _prepared(self, Scaling())[1]

    def problem(self, scaling: Scaling) -> Problem:
        """Return the undersampled slice, prepared."""
        return _prepared(self, scaling)[0]


@cache
def _lesions(path: Path) -> tuple[int, Tensor]:
    """Return the slice of a scan with most of an infarct, and where that is."""
    with h5py.File(path) as file:
        mask = torch.from_numpy(file["lesion_mask"][:]) == 1
    index = int(mask.sum((1, 2)).argmax())
    return index, mask[index : index + 1]


@cache
def _prepared(case: Case, scaling: Scaling) -> tuple[Problem, Tensor]:
    index = _lesions(case.path)[0]
    batch = undersample(read_scan(case.path), (index,), Equispaced(4, 8), case.acceleration)
    assert batch.reference is not None
    return prepare(batch.kspace, batch.mask, scaling, batch.reconstruction_size), batch.reference.abs()


@dataclass(frozen=True)
class Experiment:
    """Data, runs and reconstructions below one folder."""

    folder: Path
    sizes: Sizes
    seed: int = 0

    def simulate(self) -> None:
        """Write the scans."""
        common: dict[str, Any] = {"n_slices": 4, "matrix": (96, 80), "pixel_size": (2.6, 2.6), "spacing_mm": 8.0}
        common |= {"scanner": Scanner(4, 35.0), "n_processes": 1}
        sizes = self.sizes
        worlds: dict[str, dict[str, Any]] = {
            "source": {"n_train": sizes.n_source, "n_val": 2, "n_test": 0, "contrasts": SOURCE, "lesions": False},
            "target": {"n_train": sizes.n_target, "n_test": sizes.n_test, "lesions": True, "seed": 1},
        }
        for name, settings in worlds.items():
            if not (folder := self.folder / "data" / name).exists():
                shutil.rmtree(part := folder.with_suffix(".part"), ignore_errors=True)
                simulate(part, **settings, **common)
                part.rename(folder)

    def cases(self, side: str, accelerations: Sequence[float]) -> list[Case]:
        """Return the cases of ``test``, or of the three subjects that choose checkpoints, ``val``."""
        paths = sorted((self.folder / "data/target/multicoil_test").glob("*.h5"))
        if side == "val":
            scans = StrokeFLAIR(self.folder / "data/target/multicoil_train", 1, seed=self.seed).scans["val"]
            paths = [Path(scan.source) for scan in scans]
        return [Case(path, r) for r in accelerations for path in paths]

    def checkpoints(self, name: str, recipe: Recipe) -> dict[int, Path]:
        """Return the weights after an eighth, a quarter, half and all of the steps, trained unless they were."""
        folder = self.folder / "runs" / f"{name.replace(' ', '-')}-{self.seed}"
        ends = sorted({max(1, recipe.steps * k // 8) for k in (1, 2, 4, 8)})
        every, paths = math.gcd(*ends), {n: folder / f"fit/step={n}.ckpt" for n in ends}
        if not all(path.exists() for path in paths.values()):
            folder.mkdir(parents=True, exist_ok=True)
            with contextlib.chdir(folder):
                fit(self._arguments(recipe, every, folder / "fit/last.ckpt"))
            for path in {*(folder / "fit").glob("*.ckpt")} - {*paths.values()}:
                path.unlink()
        return paths

    def _arguments(self, recipe: Recipe, every: int, last: Path) -> list[str]:
        common = {"crop": [64, 64], "batch_size": recipe.batch, "resident": True, "n_processes": 1}
        common |= {"cache_dir": str(self.folder / "data"), "augmentation": {"gamma": 0.0}}
        source = {
            "class_path": "lightning_mri.datasets.FastMRIBrain",
            "init_args": {"root": str(self.folder / "data/source"), **common},
        }
        target = {
            "root": str(self.folder / "data/target/multicoil_train"),
            "n_subjects": recipe.n,
            "seed": self.seed,
            **common,
        }
        data = source if recipe.n == 0 else {"class_path": "lightning_mri.datasets.StrokeFLAIR", "init_args": target}
        settings: dict[str, Any] = {"learning_rate": recipe.rate, "steps": recipe.steps, "final": recipe.final}
        if recipe.share:
            strategy = {"data": source, "share": recipe.share}
            settings["strategy"] = {"class_path": "lightning_mri.training.Replay", "init_args": strategy}
        labels = [*SOURCE, *([] if recipe.n == 0 else ["FLAIR"]), *(f"spare-{k}" for k in range(1, 4))]
        net = {
            "class_path": "lightning_mri.models.LightUNet",
            "init_args": {"widths": self.sizes.widths, "n_blocks": 1, "embedding": 64, "n_labels": len(labels)},
        }
        random = [
            f"--model.net={json.dumps(net)}",
            f"--model.process={json.dumps(PROCESS)}",
            f"--model.labels={json.dumps(labels)}",
        ]
        return [
            f"--config={HERE / 'stroke/cpu.yaml'}",
            f"--seed_everything={self.seed}",
            f"--data={json.dumps(data)}",
            f"--checkpoint.every_n_train_steps={every}",
            phase(settings, str(self.source()) if recipe.starts else None, "FLAIR"),
            *([] if recipe.starts else random),
            *([f"--ckpt_path={last}", *(["--phase.checkpoint=null"] * recipe.starts)] if last.exists() else []),
        ]

    def source(self) -> Path:
        """Return the source prior, which all seeds share."""
        steps = self.sizes.steps
        return replace(self, seed=0).checkpoints(SOURCE_ONLY, Recipe(0, 1e-3, steps, False, 16, 0.0, 0.02))[steps]

    def rows(self, name: str, weights: str | Path, cases: Sequence[Case]) -> list[Row]:
        """Return the reconstructions by a prior, made unless they were."""
        method = Sampled(name, load_prior(str(weights)).eval(), HQS(n_steps=self.sizes.levels))
        return list(Study(self.folder / "rows", Row, version="1").rows(cases, [method]))

    def errors(self, name: str, weights: Path, side: str) -> list[float]:
        """Return the NRMSE of each subject of one side at R = 4."""
        return [row.nrmse for row in self.rows(name, weights, self.cases(side, (4.0,)))]

    def best(self, name: str, recipe: Recipe) -> tuple[float, Path]:
        """Return the checkpoint that reconstructs the validation subjects best, after their mean error."""
        paths = self.checkpoints(name, recipe)
        return min(
            (statistics.fmean(self.errors(f"{name} {n} {self.seed}", path, "val")), path) for n, path in paths.items()
        )

    def _fill(self, page: Results, grid: dict[float, Recipe]) -> None:
        """Score every checkpoint of the grid on the test subjects."""
        for rate, recipe in grid.items():
            for n, path in self.checkpoints(f"rate {rate:g}", recipe).items():
                page.grid[rate, n] = self.errors(f"rate {rate:g} {n} {self.seed}", path, "test")

    def priors(self, page: Results) -> Iterator[tuple[str, str | Path]]:
        """Yield name and weights of each prior, trained when it is asked for."""
        steps, few = self.sizes.steps, self.sizes.steps // 4
        if self.seed == 0:
            yield SOURCE_ONLY, self.source()
        grid = {rate: Recipe(17, rate, few) for rate in RATES}
        _, weights, rate = min((*self.best(f"rate {rate:g}", recipe), rate) for rate, recipe in grid.items())
        yield FEW, weights
        recipes = {
            SCRATCH: Recipe(17, 1e-3, 2 * few, False, 8, 0.0, 0.02),
            ALL: Recipe(self.sizes.n_target - 3, 1e-3, 2 * few, True, 8, 0.0, 0.02),
            "fine-tuned on 1": Recipe(1, rate, few // 2),
            "fine-tuned on 10": Recipe(10, rate, few),
            "fine-tuned on 5": Recipe(5, rate, few),
            JOINT: Recipe(17, 1e-3, steps, False, 16, 0.5, 0.02),
        }
        for name, recipe in recipes.items():
            yield name, self.best(name, recipe)[1]
            if name == ALL and self.seed == 0:  # what the claims need stands before what completes the table
                yield from SHIPPED.items()
                self._fill(page, grid)


ABOUT = """Synthetic heads of 96 x 80 pixels, four coils, {n_test} test subjects, one slice each, {levels} HQS steps.
The source prior saw T1w, T1w-post and T2w of {n_source} subjects by their signal equations, but no FLAIR, no lesion and
no random contrast: a light U-Net of widths {widths}, {steps:,} steps of 16 crops of 64 px. Fine-tuning takes
up to {few:,} steps of 8 crops at a constant rate, scratch and all ({n_all} subjects) up to twice as many with a cosine,
joint as many as the source. Three of the 20 subjects choose checkpoint and rate by reconstruction at R = 4.

Command: `python experiments/stroke_transfer.py --output_dir stroke`
"""


def main(
    output_dir: Path, sizes: Sizes = Sizes(), seeds: Sequence[int] = (0,), results: Path = HERE / "results"
) -> None:
    """Run what is missing.

    Args:
        output_dir: Folder of data, runs and reconstructions.
        sizes: How large the experiment is.
        seeds: Each decides which subjects train, their order and noise.
        results: Folder of the page, which is written again after each run.
    """
    torch.set_num_threads(1)
    world = Experiment(output_dir.resolve(), sizes)
    world.simulate()
    test = world.cases("test", sizes.accelerations)
    about = ABOUT.format(**asdict(sizes), few=sizes.steps // 4, n_all=sizes.n_target - 3)
    page = Results(about, {case.subject: case.lesions for case in test})
    for seed in seeds:
        for name, weights in replace(world, seed=seed).priors(page):
            kept = name if weights == name or name == SOURCE_ONLY else f"{name}, {seed}"
            page.rows[name, seed] = world.rows(kept, weights, test)
            page.write(results)
    page.write(results)


if __name__ == "__main__":
    auto_cli(main, as_positional=False)
