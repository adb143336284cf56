"""Do the error bars of the shipped prior hold on measured scans? Share of the head within magnitude +- z std.

The reference is noisy, too: its noise is added to the variance, although what both share of it makes no difference.

    python experiments/measured_coverage.py [--root ../shared/data/real]
"""

from collections.abc import Sequence
from pathlib import Path

from jsonargparse import auto_cli
from measured import Case, usual_lines
from methods import write

from lightning_mri.evaluation import markdown_table
from lightning_mri.reconstruction import Reconstructor, Uncertainty
from lightning_mri.weights import load_prior

HERE = Path(__file__).resolve().parent
LEVELS = {"50 %": 0.674, "80 %": 1.282, "90 %": 1.645, "95 %": 1.960}


def measured_coverage(
    root: Path = Path("../shared/data/real"),
    scans: Sequence[str] = ("brain16", "ucb8"),
    accelerations: Sequence[float] = (2, 3, 4, 6, 8),
    prior: str = "brain",
    output: Path = HERE / "results/measured_coverage.md",
) -> None:
    """Reconstruct the scans with error bars, and write the table.

    Args:
        root: Folder of fully sampled k-space, see `measured.py`.
        scans: Names of its files without ``.npy``.
        accelerations: Nominal R.
        prior: Shipped prior or checkpoint.
        output: Table to write.
    """
    loaded, lines = load_prior(prior), []
    reconstructor = Reconstructor(loaded, uncertainty=Uncertainty(null_space=False))
    for path in (root / f"{name}.npy" for name in scans):
        for rate in accelerations:
            n_lines = usual_lines(path, rate)
            case = Case(path, path.stat().st_mtime_ns, "equispaced", float(rate), n_lines)
            result = reconstructor.solve(case.problem(loaded.scaling), case.subject)
            error = (result.magnitude - case.truth).abs()[case.head]
            std = (result.std.square() + case.noise_std**2).sqrt()[case.head]
            shares = [f"{100 * float((error <= z * std).float().mean()):.1f}" for z in LEVELS.values()]
            lines.append([case.subject, f"{rate:g}", str(n_lines), f"{float(result.findings.std_factor):.2f}", *shares])
    table = markdown_table(["scan", "R", "lines", "factor", *LEVELS], lines)
    about = f"Prior `{prior}`. Share of the pixels of the head, in per cent, whose error lies within the interval."
    write(output, f"{about}\n\nCommand: `python experiments/measured_coverage.py`\n\n{table}")


if __name__ == "__main__":
    auto_cli(measured_coverage, as_positional=False)
