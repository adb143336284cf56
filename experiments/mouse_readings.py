"""Try what the abstract on low-field mice may mean by its sampling, on validation mice.

python experiments/mouse_readings.py [--real FOLDER]
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch
from jsonargparse import auto_cli
from methods import Classical, Row, Sampled
from mice import Knowing, real_cohort, regimes, synthetic_cohort

from lightning_mri.baselines import ZeroFilled
from lightning_mri.evaluation import Study, markdown_table, mean_std
from lightning_mri.files import write_whole
from lightning_mri.sampling import Denoise, PredictorCorrector, Relaxed, ReverseDiffusionVP, Sampler
from lightning_mri.weights import fingerprint, load_prior

HERE = Path(__file__).resolve().parent
PUBLISHED = "published method"
AMPLITUDES = "noise, dB of amplitudes"
PRINTED = dict(zip(regimes(), ("2.42 +- 0.77", "-", "-", "19.25 +- 1.56"), strict=True))


def _sampled(rule: Relaxed, n_steps: int = 25, **levels: float) -> Sampler:
    return PredictorCorrector(n_steps=n_steps, predictor=ReverseDiffusionVP(), consistency=rule, **levels)


READINGS: dict[str, Sampler] = {
    "pull of the state": _sampled(Relaxed(0.3)),
    "pull of the state, the last step without": _sampled(Relaxed(0.3, last=0)),
    "pull of the estimate": _sampled(Relaxed(0.3, of="estimate")),
    "fading pull of the state": _sampled(Relaxed(0.3, fades=True)),
    "fading pull of the estimate": _sampled(Relaxed(0.3, of="estimate", fades=True)),
    "fading pull of the state, levels from 1 to 0.1": _sampled(
        Relaxed(0.5, fades=True), 15, sigma_max=1, sigma_min=0.1
    ),
    PUBLISHED: Denoise(),
    "estimate of the network, pulled once": Denoise(weight=0.3),
}
"""Sampling with data consistency of weight 0.3, blind to the scanner; the sixth with the best weight, start and end.

`PUBLISHED`, the network's estimate, is the best of all: what other methods are compared with."""


def read(
    output_dir: Path = Path("runs/mice"),
    prior: str = "brain",
    real: Path | None = None,
    only_regimes: Sequence[str] = (*list(regimes())[::3], AMPLITUDES),
    results: Path = HERE / "results",
) -> None:
    """Run what is missing, and write ``mouse_readings.md``.

    Args:
        output_dir: Folder of data and scores.
        prior: Shipped prior, or one fine-tuned on mice.
        real: Folder of eight real, brain-extracted mice, two of which are for validation.
        only_regimes: Names of degradations, or noise whose 2 to 7 dB are 10 log10 of a ratio of amplitudes.
        results: Folder of the table.
    """
    torch.set_num_threads(1)
    data, scanners, network = output_dir.resolve() / "data", regimes(), load_prior(prior)
    scanners[AMPLITUDES] = replace(scanners["noise"], snr_db=(4.0, 14.0))
    synthetic = [synthetic_cohort(data, name, scanners[name], n_train=1, n_test=10) for name in only_regimes]
    cohorts = {"synthetic": (synthetic, ["val"])}
    if real is not None:
        cohorts["real"] = ([real_cohort(data, real, like) for like in synthetic], ["train", "val"])
    methods = [Knowing(Classical("degraded", ZeroFilled(), output_dir), "none", "T2w")]
    methods += [Knowing(Sampled(name, network, sampler), "none", "T2w") for name, sampler in READINGS.items()]
    text = f"{(HERE / 'mouse/readings.md').read_text()}\nPrior `{prior}`, `{fingerprint(network)[:12]}`.\n"
    for kind, (groups, sides) in cohorts.items():
        cases = [case for cohort in groups for case in cohort.cases(*sides)]
        rows = list(Study(output_dir / "rows", Row).rows(cases, methods))
        lines = [["*printed by the abstract, other mice*", *(PRINTED.get(name, "-") for name in only_regimes)]]
        for method in dict.fromkeys(row.method for row in rows):
            of = {name: [r for r in rows if (r.method, r.group) == (method, name)] for name in only_regimes}
            lines.append([method, *(mean_std([100 * r.nrmse**2 for r in of[name]], 2) for name in only_regimes)])
        title = f"{len({case.subject for case in cases})} {kind} mice, NMSE in % of the whole slice"
        text += f"\n## {title}\n\n{markdown_table(['reading', *only_regimes], lines)}"
    write_whole(results / "mouse_readings.md", text)


if __name__ == "__main__":
    auto_cli(read, as_positional=False)
