"""The stroke paper's claims in a synthetic world: pre-train on T1w, T1w-post and T2w, fine-tune on FLAIR with infarcts.

The source prior sees true signal equations, no FLAIR, no lesion and no random contrast. Every run is a `fit` of the
package; its checkpoint is the one that reconstructs the three validation subjects best. What is compared has the same
choice: one constant rate, and checkpoints after the same steps. Runs and reconstructions that are there are kept, and
a run that was cut off goes on; the page is written again after each.

    python experiments/stroke_transfer.py --output_dir stroke
"""

import contextlib
import json
import math
import statistics
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import h5py
import torch
from fits import phase, simulate_once
from jsonargparse import auto_cli
from methods import Row, Sampled, Slice
from stroke_page import ALL, FEW, JOINT, LONGER, SCRATCH, SOURCE_ONLY, Results
from torch import Tensor

from lightning_mri.cli.fit import fit
from lightning_mri.datasets import StrokeFLAIR, undersample
from lightning_mri.evaluation import Study
from lightning_mri.io import read_scan
from lightning_mri.phantoms import Scanner
from lightning_mri.physics import Equispaced
from lightning_mri.reconstruction import Problem, prepare
from lightning_mri.sampling import HQS
from lightning_mri.scaling import Scaling
from lightning_mri.weights import fingerprint, load_prior

HERE = Path(__file__).resolve().parent
SOURCE = ("T1w", "T1w-post", "T2w")
PROCESS = {
    "class_path": "lightning_mri.diffusion.EDM",
    "init_args": {"sigma_data": 0.25, "sigma_max": 10, "p_mean": -1.9, "p_std": 1.4},
}
RATE = 1e-3
"""Constant rate of every fine-tuning of the light source and of scratch."""
RATES = (1e-6, 1e-5, 1e-4, 3e-4, 1e-3)
"""Rates of the shipped prior's fine-tuning: of one that has learnt enough, whose gain is FLAIR and not training."""
OWN = 3e-4
"""The one of them that is also run for eight times as long."""
SHIPPED = ("brain-noflair", "brain")


@dataclass(frozen=True)
class Sizes:
    """How large the experiment is; the defaults take 1 to 3 hours of one core, 20 to 30 minutes for each further seed.

    While the longest run trains, its checkpoints take 13 GB.

    Args:
        n_source: Subjects of the source, with three contrasts each.
        n_target: Subjects with FLAIR; three of them choose checkpoints.
        n_test: Subjects to test on, one slice each.
        steps: Steps of pre-training; fine-tuning and scratch take up to half as many.
        widths: Channels of the network.
        accelerations: Nominal R of the tests.
        levels: Noise levels of a reconstruction.
    """

    n_source: int = 40
    n_target: int = 43
    n_test: int = 6
    steps: int = 2400
    widths: tuple[int, ...] = (24, 48, 96)
    accelerations: tuple[float, ...] = (2.0, 4.0, 5.0, 6.0, 8.0)
    levels: int = 12


@dataclass(frozen=True)
class Recipe:
    """One run of `fit`."""

    n: int  # FLAIR subjects to train on; 0 for the source alone
    rate: float  # learning rate
    steps: int  # steps
    start: str | Path | None  # prior it starts from; None for random weights
    batch: int = 8  # images in a batch
    share: float = 0.0  # share of source images in each batch
    final: float = 1.0  # share of the learning rate at the end of a cosine
    n_kept: int = 5  # checkpoints: after all steps, half of them, a quarter and so on


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


@cache
def _validation(folder: Path, seed: int) -> list[Path]:
    """Return the scans that choose checkpoints."""
    scans = StrokeFLAIR(folder / "data/target/multicoil_train", 1, seed=seed).scans["val"]
    return [Path(scan.source) for scan in scans]


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
            simulate_once(self.folder / "data" / name, **settings, **common)

    def cases(self, side: str, accelerations: Sequence[float]) -> list[Case]:
        """Return the cases of ``test``, or of the three subjects that choose checkpoints, ``val``."""
        paths = sorted((self.folder / "data/target/multicoil_test").glob("*.h5"))
        if side == "val":
            paths = _validation(self.folder, self.seed)
        return [Case(path, r) for r in accelerations for path in paths]

    def checkpoints(self, name: str, recipe: Recipe) -> dict[int, Path]:
        """Return the weights after some numbers of steps, trained unless they were."""
        folder = self.folder / "runs" / f"{name.replace(' ', '-')}-{self.seed}"
        ends = sorted({max(1, recipe.steps >> k) for k in range(recipe.n_kept)})
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
            phase(settings, recipe.start and str(recipe.start), "FLAIR" if recipe.n else None),
            *([] if recipe.start else random),
            *([f"--ckpt_path={last}", *(["--phase.checkpoint=null"] if recipe.start else [])] if last.exists() else []),
        ]

    def source(self) -> Path:
        """Return the source prior, which all seeds share."""
        recipe = Recipe(0, RATE, self.sizes.steps, None, 16, 0.0, 0.02, 1)
        return replace(self, seed=0).checkpoints(SOURCE_ONLY, recipe)[recipe.steps]

    def rows(self, name: str, weights: str | Path, cases: Sequence[Case]) -> list[Row]:
        """Return the reconstructions by a prior, made unless they were."""
        method = Sampled(name, load_prior(str(weights)).eval(), HQS(n_steps=self.sizes.levels))
        return list(Study(self.folder / "rows", Row).rows(cases, [method]))

    def errors(self, name: str, weights: Path, side: str) -> list[float]:
        """Return the NRMSE of each subject of one side at R = 4."""
        return [row.nrmse for row in self.rows(name, weights, self.cases(side, (4.0,)))]

    def best(self, name: str, recipe: Recipe) -> Path:
        """Return the checkpoint that reconstructs the validation subjects best."""
        tried = {
            path: self.errors(f"{name} {n} {self.seed}", path, "val")
            for n, path in self.checkpoints(name, recipe).items()
        }
        return min(tried, key=lambda path: statistics.fmean(tried[path]))

    def _fill(self, page: Results, name: str, recipe: Recipe) -> None:
        """Score the checkpoints of all rates on the test subjects; the recipe's own takes eight times as many steps."""
        long = replace(recipe, steps=8 * recipe.steps, n_kept=recipe.n_kept + 3)
        for rate in RATES:
            own = rate == recipe.rate
            run, trained = (name, long) if own else (f"{name} at {rate:g}", replace(recipe, rate=rate))
            for n, path in self.checkpoints(run, trained).items():
                page.grid[rate, n] = self.errors(f"{run} {n} {self.seed}", path, "test")

    def priors(self, page: Results) -> Iterator[tuple[str, str | Path]]:
        """Yield name and weights of each prior, trained when it is asked for; what the goals need comes first."""
        steps, n_all = self.sizes.steps // 2, self.sizes.n_target - 3
        few = Recipe(17, RATE, steps, self.source())
        if self.seed == 0:
            yield SOURCE_ONLY, self.source()
        same = {FEW: few, ALL: replace(few, n=n_all), SCRATCH: replace(few, start=None)}
        # how much of what fine-tuning gains is training and not FLAIR
        for name, recipe in (same | {LONGER: replace(few, n=0)}).items():
            yield name, self.best(name, recipe)
        name, tuned = f"{SHIPPED[0]}, {FEW}", replace(few, rate=OWN, start=SHIPPED[0])
        if self.seed == 0:
            for shipped in SHIPPED:
                yield shipped, shipped
            self._fill(page, name, tuned)  # first: what the row chooses from is the beginning of the longest run
        yield name, self.best(name, tuned)
        for n in (5, 10, 1):
            yield f"fine-tuned on {n}", self.best(f"fine-tuned on {n}", replace(few, n=n))
        # as many images as the source and 20 subjects together, at the rate and with the cosine of the source
        joint = Recipe(17, RATE, self.sizes.steps + steps // 2, None, 16, 0.5, 0.02, 4)
        yield JOINT, self.best(JOINT, joint)


ABOUT = """Synthetic heads of 96 x 80 pixels, four coils, {n_test} test subjects, one slice each, {levels} HQS steps.

- **Source prior**: T1w, T1w-post and T2w of {n_source} subjects by their signal equations; no FLAIR, no lesion and
  no random contrast. A small U-Net of widths {widths}, {steps:,} steps of 16 crops of 64 px, cosine schedule.
- **Fine-tuned on 1, 5, 10, 20 and all ({n_all}) subjects, and scratch**: a constant rate of {rate:g}, up to
  {half:,} steps of 8 crops for each.
- **Trained on as long** continues with the source's images. A gain of 20 subjects beyond it comes from FLAIR and
  not from longer training.
- **Joint training** has as many images as the source and 20 together, half of them FLAIR.
- **Shipped priors**, of a larger network and more data: {shipped}. One is
  fine-tuned like the others, at {tuned:g}.

Three of the 20 subjects choose the checkpoint by reconstruction at R = 4, 17 are for training: 8.5 steps are an epoch.
Intervals are over test subjects and not over training seeds.

Command: `python experiments/stroke_transfer.py --output_dir stroke --seeds '{seeds}'`
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
    half, shipped = sizes.steps // 2, ", ".join(f"`{name}` {fingerprint(load_prior(name))[:12]}" for name in SHIPPED)
    settings = {"n_all": sizes.n_target - 3, "rate": RATE, "half": half, "tuned": OWN, "shipped": shipped}
    about = ABOUT.format(**asdict(sizes), **settings, seeds=json.dumps(list(seeds), separators=(",", ":")))
    page = Results(about, {case.subject: case.lesions for case in test})
    for seed in seeds:
        for name, weights in replace(world, seed=seed).priors(page):
            kept = name if weights == name or name == SOURCE_ONLY else f"{name}, {seed}"
            page.rows[name, seed] = world.rows(kept, weights, test)
            page.write(results)
    page.write(results)


if __name__ == "__main__":
    auto_cli(main, as_positional=False)
