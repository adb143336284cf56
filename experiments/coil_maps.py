"""Do simulated arrays rank settings of the coil maps as measured ones do? One table, NRMSE in the head.

python experiments/coil_maps.py [--root ../shared/data/real]
"""

from dataclasses import dataclass, replace
from pathlib import Path
from statistics import geometric_mean

from heads import Scenario, heads
from jsonargparse import auto_cli
from measured import Case, Pattern
from methods import Slice, write

from lightning_mri.diffusion import NetworkPrior
from lightning_mri.evaluation import SLICE, Study, head_of, markdown_table, nrmse
from lightning_mri.physics import Equispaced, NonlinearInversion, estimate_maps, sense, without_vortices
from lightning_mri.sampling import HQS, MapRefinement
from lightning_mri.weights import fingerprint, load_prior

HERE = Path(__file__).resolve().parent
EQUISPACED: Pattern = "equispaced"
MEASURED = (
    ("brain16", 6, 8),
    ("brain16", 8, 8),
    ("ucb8", 6, 8),
    ("brain16", 4, 16),
    ("ucb8", 6, 12),
    ("phantom16", 6, 8),
)
TIGHT = Scenario("head fills the field", 16, (96, 96), (205.0, 180.0), Equispaced(6, 8), 40.0, contrasts=("T1w",))
SIMULATED = (
    TIGHT,
    replace(TIGHT, name="R = 8", pattern=Equispaced(8, 8), plane_mm=(200.0, 175.0), contrasts=("T2w",)),
    Scenario("8 coils, wide field", pattern=Equispaced(6, 8), snr_db=25.0, contrasts=("T1w",)),
    replace(TIGHT, name="16 lines", pattern=Equispaced(4, 16)),
    Scenario("8 coils, 16 lines", 8, (128, 128), (215.0, 185.0), Equispaced(4, 16), 30.0),
    Scenario("12 coils, 12 lines", 12, (160, 128), (220.0, 180.0), Equispaced(6, 12), 30.0, contrasts=("PD",)),
)


@dataclass(frozen=True)
class Setting:
    """One way to find coil maps, then HQS."""

    name: str  # for the table
    prior: NetworkPrior  # what is known of images
    inverted: bool  # whether maps are inverted from all samples; else ESPIRiT's
    crop: float = 0.95  # smallest eigenvalue of ESPIRiT's maps
    refinement: MapRefinement | None = MapRefinement()  # noqa: RUF009 - frozen; levels at which maps are refined

    @property
    def key(self) -> str:
        """What its results depend on."""
        return f"{fingerprint(self.prior)} {self.inverted} {self.crop} {self.refinement}"

    def run(self, case: Slice) -> "Score":
        """Return the error of a scan."""
        problem = case.problem(self.prior.scaling)
        y, noise = problem.likelihood.y, problem.likelihood.noise_std
        maps = estimate_maps(y, problem.acquired, problem.acs.limited(), noise, crop=self.crop)
        if self.inverted:
            support = (maps != 0).any(2)[:, 0]
            maps = NonlinearInversion().maps(y, problem.acquired, problem.acs, noise, support)
        maps, _ = without_vortices(maps, y, problem.acquired, problem.acs)
        likelihood = problem.likelihood.replace(A=sense(maps, problem.acquired))
        x = HQS(refinement=self.refinement).sample(self.prior, likelihood, [0])[0]
        image = problem.finish(x).abs()
        return Score(float(nrmse(image, case.truth, SLICE, head_of(case.truth))))


@dataclass(frozen=True)
class Score:
    """NRMSE in the head."""

    nrmse: float


def coil_maps(
    root: Path = Path("../shared/data/real"),
    prior: str = "brain",
    work_dir: Path = Path("runs/coil_maps"),
    output: Path = HERE / "results/coil_maps.md",
) -> None:
    """Run what is missing, and write the table.

    Args:
        root: Folder of fully sampled k-space, see `measured.py`.
        prior: Shipped prior or checkpoint.
        work_dir: Folder of what is done.
        output: Table to write.
    """
    if not root.is_dir():
        print(f"Skipped: there is no folder {root}.")
        return
    loaded, every = load_prior(prior), MapRefinement(0.3, 0.018)
    settings = [
        Setting("ESPIRiT", loaded, inverted=False),
        Setting("ESPIRiT, no crop, refined at all levels", loaded, inverted=False, crop=0.0, refinement=every),
        Setting("inverted, refined below 0.03", loaded, inverted=True, refinement=MapRefinement(0.03)),
        Setting("inverted, refined below 0.1 (ships)", loaded, inverted=True),
        Setting("inverted, refined at all levels", loaded, inverted=True, refinement=every),
        Setting("inverted, not refined", loaded, inverted=True, refinement=None),
    ]
    paths = [root / f"{name}.npy" for name, _, _ in MEASURED]
    scans = [(path, path.stat().st_mtime_ns, EQUISPACED) for path in paths]
    measured = [Case(*scan, float(rate), n) for scan, (_, rate, n) in zip(scans, MEASURED, strict=True)]
    simulated = [heads("coil_maps", "validation", scenario, 1)[0] for scenario in SIMULATED]
    study, lines = Study(work_dir, Score), []
    for kind, cases in (("measured", measured), ("simulated", simulated)):
        errors = [[study.row(case, setting).nrmse for setting in settings] for case in cases]
        lines += [[kind, case.name, *(f"{e:.4f}" for e in row)] for case, row in zip(cases, errors, strict=True)]
        ratios = [geometric_mean(row[i] / row[3] for row in errors) for i in range(len(settings))]
        ranks = [1 + sum(other < ratio for other in ratios) for ratio in ratios]
        cells = [f"{ratio:.3f} ({rank})" for ratio, rank in zip(ratios, ranks, strict=True)]
        lines.append([kind, "geometric mean / ships (rank)", *cells])
    table = markdown_table(["array", "scan", *(setting.name for setting in settings)], lines, n_words=2)
    write(output, f"Prior `{prior}`. Command: `python experiments/coil_maps.py`\n\n{table}")


if __name__ == "__main__":
    auto_cli(coil_maps, as_positional=False)
