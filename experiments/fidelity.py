"""What the shipped prior does to data that no simulator made, on one page; scans that are not there are left out.

Held-out samples of an undersampled scan; fully sampled scans, undersampled here; a FLAIR volume behind a simulated
array, with two infarcts of known place in each slice (kept? others invented?); mice in the hardest low-field regime.

    python experiments/fidelity.py --data ../shared/data --output_dir runs/fidelity
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import brain8
import magnitude
import measured
import mice
import numpy as np
import torch
from jsonargparse import auto_cli
from methods import L1, Classical, Guarded, Row, Sampled, Slice, write
from mouse_comparison import N_DRAWS, PHYSICS, TV
from scipy import ndimage
from torch import Tensor

from lightning_mri.baselines import L1Wavelet, TotalVariation, ZeroFilled
from lightning_mri.diffusion import NetworkPrior
from lightning_mri.evaluation import (
    SLICE,
    Panel,
    Study,
    head_of,
    lesion_scores,
    markdown_table,
    nrmse,
    picture,
    write_page,
)
from lightning_mri.io import read_scan
from lightning_mri.phantoms import Scanner
from lightning_mri.sampling import HQS
from lightning_mri.weights import fingerprint, load_prior

HERE = Path(__file__).resolve().parent
LESIONS = ((8, 0.5), (3, 0.5))
"""Radius in pixels, and how much brighter than the tissue they replace."""
PRIOR = "prior"


@dataclass(frozen=True)
class WithInfarcts(magnitude.Case):
    """A slice of the volume with two infarcts, far from the skull and from each other."""

    @property
    def lesions(self) -> Tensor:
        """True in an infarct, [1, y, x]."""
        rng = np.random.default_rng(self.slice_index)
        inside = ndimage.binary_erosion(head_of(super().image.abs())[0].numpy(), iterations=28)
        mask = np.zeros_like(inside)
        for radius, _ in LESIONS:
            free = inside & (ndimage.distance_transform_edt(~mask) > 4 * radius if mask.any() else True)
            centre = rng.choice(np.argwhere(free))
            distance = np.hypot(*(np.indices(inside.shape) - centre[:, None, None]))
            ragged = ndimage.gaussian_filter(rng.normal(size=inside.shape), 2) * 12
            mask |= distance + ragged.clip(-2, 2) < radius
        return torch.from_numpy(mask)[None]

    @property
    def image(self) -> Tensor:
        """The slice with a phase and the infarcts."""
        soft = torch.from_numpy(ndimage.gaussian_filter(self.lesions[0].float().numpy(), 0.6))
        return super().image * (1 + LESIONS[0][1] * soft)


@dataclass(frozen=True)
class Section:
    """A part of the page: what it is about, a table and pictures."""

    title: str
    about: str
    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    panels: Sequence[Panel] = ()


def undersampled(folder: Path, prior: NetworkPrior, work: Path) -> Section:
    """Return errors in the head of fully sampled scans at R = 4."""
    scans = {name: folder / "real" / f"{name}.npy" for name in ("brain16", "ucb8")}
    cases = [
        measured.Case(path, path.stat().st_mtime_ns, "equispaced", 4, 16 if name == "brain16" else 24)
        for name, path in scans.items()
    ]
    rows, lines, panels = _rows(cases, prior, work), list[list[str]](), list[Panel]()
    for case, (theirs, ours) in zip(cases, rows, strict=True):
        errors = [float(nrmse(each.magnitude[None], case.truth, SLICE, case.head)) for each in (theirs, ours)]
        lines.append([case.subject, *(f"{error:.4f}" for error in errors), "; ".join(ours.remarks) or "-"])
        panels += _panels(case.subject, theirs, ours)
    header = ["scan", L1, PRIOR, "warnings of the prior's guard"]
    return Section("Fully sampled scans at R = 4", "NRMSE in the head.", header, lines, panels)


def held_out(folder: Path, prior: NetworkPrior, work: Path) -> Section:
    """Return how well samples are predicted that were held out."""
    path = folder / "brain8" / "kspace.npy"
    scan, study = read_scan(path), Study(work, brain8.Row)
    key = f"{path} {path.stat().st_mtime_ns} {fingerprint(prior)}"
    draws = [
        study.keep(f"brain8, draw {k}", key, lambda: brain8.predict(scan.kspace[:1], scan.mask, prior, HQS(), k))  # noqa: B023
        for k in range(2)
    ]
    rows = [[str(k), f"{row.theirs:.4f}", f"{row.ours:.4f}", f"{row.floor:.4f}"] for k, row in enumerate(draws)]
    header = ["draw", f"{L1}, best weight", PRIOR, "noise alone"]
    return Section(
        "Held-out samples of brain8", "Relative error of the 20 % of the samples that were held out.", header, rows
    )


def infarcts(folder: Path, prior: NetworkPrior, work: Path) -> Section:
    """Return whether infarcts of known place are kept and others invented, in a real volume."""
    path = folder / "flair" / "flair_above_orbits.nii.gz"
    version, scanner = path.stat().st_mtime_ns, Scanner(snr_db=25.0, oversampling=1)
    cases = [WithInfarcts(path, version, r, scanner, 18, index) for r in (4.0, 6.0, 8.0) for index in (14, 27, 41)]
    lines, panels, counts = list[list[str]](), list[Panel](), {name: np.zeros(3, int) for name in (PRIOR, L1)}
    for case, pair in zip(cases, _rows(cases, prior, work), strict=True):
        for row in pair:
            found = lesion_scores(row.magnitude[None], row.truth[None], case.lesions)
            assert found is not None
            missed = f"{found.n_missed} of {found.n_lesions}"
            counts[row.method] += (found.n_lesions, found.n_missed, found.n_invented)
            cells = [f"{row.nrmse:.4f}", f"{found.contrast_to_noise:.2f}", f"{found.dice:.2f}", missed]
            lines.append([case.group, str(case.slice_index), row.method, *cells, str(found.n_invented)])
        panels += _panels(f"{case.group}, slice {case.slice_index}", *pair) if case.slice_index == 27 else []
    header = ["R", "slice", "method", "NRMSE", "contrast to noise", "Dice", "missed", "invented"]
    about = "Infarcts of 8 and 3 mm radius, half brighter than the tissue; simulated array and noise. "
    about += f"{counts[PRIOR][0]} infarcts in {len(cases)} cases. Missed, and others invented: " + ", ".join(
        f"{name} {missed} and {invented}" for name, (_, missed, invented) in counts.items()
    )
    about += ". A ragged border may count as another infarct."
    return Section("Inserted infarcts in a real FLAIR volume", about, header, lines, panels)


def low_field(folder: Path, prior: NetworkPrior, work: Path) -> Section:
    """Return errors in the brain of mice, degraded by noise, blur, T2* and B0."""
    name, scanner = list(mice.regimes().items())[-1]
    like = mice.synthetic_cohort(work / "data", name, scanner, 2, 1)
    cases = mice.real_cohort(work / "data", folder / "mouse", like).cases("test")
    methods: list[Any] = [Classical("degraded", ZeroFilled(), work), Classical(TV, TotalVariation(), work)]
    chosen = [mice.Knowing(method) for method in (*methods, Sampled(PRIOR, prior, PHYSICS, N_DRAWS))]
    lines, panels = list[list[str]](), list[Panel]()
    for case in cases:
        rows = [Study(work, Row).row(case, method) for method in chosen]
        errors = [float(nrmse(row.magnitude[None], case.truth, SLICE, case.regions["brain"])) for row in rows]
        lines.append([case.subject, *(f"{error:.4f}" for error in errors)])
        panels = panels or _panels(case.subject, rows[1], rows[2])
    header = ["mouse", *(method.name for method in chosen)]
    return Section(
        f"Mice, {name}", "NRMSE in the brain; all methods use the model of the scanner.", header, lines, panels
    )


SECTIONS: dict[str, Callable[[Path, NetworkPrior, Path], Section]] = {
    "real": undersampled,
    "flair": infarcts,
    "brain8": held_out,
    "mouse": low_field,
}


def _rows(cases: Sequence[Slice], prior: NetworkPrior, work: Path) -> Iterator[tuple[Row, Row]]:
    """Yield L1-wavelet with its default weight, and the prior as `predict` uses it."""
    methods: list[Any] = [Classical(L1, L1Wavelet(), work, ()), Guarded(PRIOR, prior, HQS())]
    for case in cases:
        theirs, ours = (Study(work, Row).row(case, method) for method in methods)
        yield theirs, ours


def _panels(name: str, theirs: Row, ours: Row) -> list[Panel]:
    pair = [Panel(each.method, each.image, f"NRMSE {each.nrmse:.3f}") for each in (theirs, ours)]
    return [Panel(name, ours.truth, "truth"), *pair, Panel("error x 5", ours.magnitude - ours.truth, "of the prior", 5)]


def fidelity(
    data: Path = Path("../shared/data"),
    prior: str = "brain",
    output_dir: Path = Path("runs/fidelity"),
    results: Path = HERE / "results",
) -> None:
    """Write ``fidelity.md`` and its pictures, and a page of both.

    Args:
        data: Folder of `real`, `brain8`, `flair` and `mouse`; what is missing is left out, and the page says so.
        prior: Name of a shipped prior, or a checkpoint.
        output_dir: Folder of what is done, and of the page.
        results: Folder of the tables and of the picture of `flair`.
    """
    torch.set_num_threads(1)
    loaded = load_prior(prior)
    text = f"# `{prior}` on real data\n\nFingerprint {fingerprint(loaded)[:12]}. "
    text += "Command: `python experiments/fidelity.py`\n"
    there = [name for name in SECTIONS if (data / name).is_dir()]
    if not there:
        raise ValueError(f"{data}: data must hold at least one of {', '.join(SECTIONS)}: got none")
    text += "".join(f"\nNot there, and left out: `{name}`.\n" for name in SECTIONS if name not in there)
    output_dir.mkdir(parents=True, exist_ok=True)
    tables, figures = list[dict[str, Any]](), dict[str, Path]()
    for name in there:
        section = SECTIONS[name](data, loaded, output_dir / "rows")
        text += f"\n## {section.title}\n\n{section.about}\n\n{markdown_table(section.header, section.rows)}"
        shown = {"title": section.title, "caption": section.about, "best": [], "n_words": 1}
        tables.append({**shown, "header": list(section.header), "rows": [list(row) for row in section.rows]})
        if section.panels:
            # licences let the images of this volume alone be passed on
            path = figures[section.title] = (results if name == "flair" else output_dir) / f"fidelity_{name}.png"
            picture(path, section.panels, n_columns=4, title=section.title)
            text += f"\n![{section.title}]({path.name})\n" if name == "flair" else ""
        write(results / "fidelity.md", text)
        write_page(output_dir / "index.html", f"{prior} on real data", tables=tables, figures=figures)


if __name__ == "__main__":
    auto_cli(fidelity, as_positional=False)
