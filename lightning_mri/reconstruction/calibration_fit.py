"""The fit of error bars: a factor for the standard deviation from some synthetic heads, checked on others."""

import time
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from lightning_mri.diffusion import NetworkPrior
from lightning_mri.evaluation import ScanErrors, Study, coverage_table, draw_coverage
from lightning_mri.files import atomic, write_whole
from lightning_mri.lazy import lazy
from lightning_mri.origin import command_line
from lightning_mri.output import OutputFolder
from lightning_mri.phantoms import Geometry, Head, Scanner
from lightning_mri.physics import Equispaced
from lightning_mri.reconstruction.calibration import Calibration, Z, recipe_of, with_calibration
from lightning_mri.reconstruction.guard import Guard
from lightning_mri.reconstruction.measurement import Measurement
from lightning_mri.reconstruction.reconstructor import Reconstructor
from lightning_mri.reconstruction.uncertainty import Uncertainty
from lightning_mri.sampling import HQS, Sampler
from lightning_mri.tensors import derive_seed, one_thread
from lightning_mri.weights import check_card_replaceable, find_prior, fingerprint, load_prior, replace_card

ndimage = lazy("scipy.ndimage")

FILES = ("error_bars.md", "error_bars.png")
AIR = 0.05
"""Part of the brightness below which a pixel outside of the head counts as air."""


@dataclass(frozen=True)
class CalibrationHeads:
    """What is scanned; the defaults take about 40 minutes on one core.

    Args:
        accelerations: Achieved R, calibration lines included.
        n_validation: Heads for each R to fit on.
        n_test: Other heads for each R to check on.
        matrix: Pixels (y, x) of a slice.
        plane_mm: Field of view (y, x).
        n_coils: Coils of the array.
        n_center: Calibration lines.
        snr_db: Range of the signal-to-noise ratio of fully sampled k-space.
        contrasts: What is scanned, in turn.
    """

    accelerations: tuple[float, ...] = (2.0, 3.0, 4.0, 6.0, 8.0)
    n_validation: int = 48
    n_test: int = 48
    matrix: tuple[int, int] = (144, 128)
    plane_mm: tuple[float, float] = (250.0, 222.0)
    n_coils: int = 8
    n_center: int = 12
    snr_db: tuple[float, float] = (15.0, 30.0)
    contrasts: tuple[str, ...] = ("T1w", "T2w", "FLAIR", "PD", "T1w-post")

    def cases(self, side: str) -> "list[CalibrationCase]":
        """Return the heads of one side, ``validation`` or ``test``: each contrast comes equally often at each R."""
        n, contrasts = self.n_test if side == "test" else self.n_validation, self.contrasts
        return [
            CalibrationCase(f"coverage-{side}-{i}-{rate:g}", contrasts[(i + k) % len(contrasts)], rate, self)
            for i in range(n)
            for k, rate in enumerate(self.accelerations)
        ]


@dataclass(frozen=True)
class CalibrationCase:
    """One head, scanned once; its noise level and place follow from its name."""

    name: str
    contrast: str
    acceleration: float
    heads: CalibrationHeads


@dataclass(frozen=True, eq=False)
class CalibrationMethod:
    """Reconstructs heads, and compares the error of their pixels with the standard deviation."""

    reconstructor: Reconstructor
    name: str = "std"

    @property
    def key(self) -> str:
        """What its results depend on."""
        made = self.reconstructor
        assert isinstance(made.prior, NetworkPrior), "others have no card to calibrate"
        return f"{fingerprint(made.prior)} {made.sampler!r} x {made.n_samples}, {made.uncertainty!r}"

    def run(self, case: CalibrationCase) -> ScanErrors:
        """Return the errors of a head."""
        heads, subject, begun = case.heads, case.name, time.process_time()
        generator = torch.Generator().manual_seed(derive_seed(subject, "protocol"))
        share, place = torch.rand(2, generator=generator).tolist()
        snr_db = heads.snr_db[0] + share * (heads.snr_db[1] - heads.snr_db[0])
        pixel = (heads.plane_mm[0] / heads.matrix[0], heads.plane_mm[1] / heads.matrix[1])
        image = Head(subject).slice(case.contrast, Geometry(heads.matrix, pixel, offset_mm=30 * place - 5)).image
        scanner = Scanner(heads.n_coils, snr_db, oversampling=1)
        mask = Equispaced(case.acceleration, heads.n_center).draw(heads.matrix, derive_seed(subject, "mask"))
        kspace = scanner.measure(image[None], derive_seed(subject), pixel) * mask
        made = self.reconstructor
        result = made.solve(made.prepare(Measurement(kspace, mask)), subject, contrast=case.contrast)
        truth, found = image.abs(), result.findings
        bright = float(truth.flatten().quantile(0.99))
        head = torch.from_numpy(ndimage.binary_fill_holes((truth > AIR * bright).numpy()))
        error, std = (result.magnitude[0] - truth).abs(), result.std[0] / float(found.std_factor)
        recipe = recipe_of(made.sampler, made.n_samples, found.std_from)
        seconds = time.process_time() - begun
        return ScanErrors(found.acceleration, error[head] / bright, std[head] / bright, recipe, seconds)


def calibrate(
    output_dir: Path,
    prior: str = "brain",
    sampler: Sampler = HQS(),  # noqa: B008 - frozen
    n_samples: int = 1,
    uncertainty: Uncertainty = Uncertainty(),  # noqa: B008 - frozen
    heads: CalibrationHeads = CalibrationHeads(),
    write: bool = False,
) -> str:
    """Fit the factor that makes ``std`` an error bar, and check it on other heads.

    Returns a table, and writes ``error_bars.md`` and ``error_bars.png``. Heads that are done are kept in
    ``output_dir``/heads, so that a run that was cut off goes on.

    Args:
        output_dir: Folder to write to.
        prior: Name of a shipped prior, or a ``.safetensors`` file.
        sampler: How to reconstruct.
        n_samples: Images drawn for each slice.
        uncertainty: Draws for the standard deviation.
        heads: What is scanned.
        write: Whether to put the calibration into the prior's file, whose weights stay as they are.

    Raises:
        ValueError: If a factor would not be positive and finite, or the prior's file cannot hold a calibration.
        OSError: If a file cannot be read or written, or another program's would be lost.
    """
    file = find_prior(prior)
    if write:
        check_card_replaceable(file)
    loaded = load_prior(file)
    with one_thread(), OutputFolder(output_dir).replacing("calibrate", FILES, ()):
        uncertainty = replace(uncertainty, null_space=False)
        method = CalibrationMethod(Reconstructor(loaded, sampler, n_samples, uncertainty, Guard(fallbacks=())))
        study = Study(output_dir / "heads", ScanErrors)
        fitted, test = (list(study.rows(heads.cases(side), [method])) for side in ("validation", "test"))
        scores = [(scan.acceleration, scan.error / (Z * scan.std)) for scan in fitted]
        calibration = Calibration.fit(fitted[0].recipe, scores)
        seconds = sum(scan.seconds for scan in (*fitted, *test))
        introduction = _introduction(calibration, heads, len(test), fingerprint(loaded), seconds)
        text = f"{introduction}\n{coverage_table(test, calibration.factor)}"
        write_whole(output_dir / FILES[0], text)
        with atomic(output_dir / FILES[1]) as part:
            draw_coverage(test, calibration.factor).savefig(part)
    if write:
        replace_card(file, with_calibration(loaded.card, fingerprint(loaded), calibration))
    return text


def _introduction(calibration: Calibration, heads: CalibrationHeads, n_test: int, weights: str, seconds: float) -> str:
    """Return what a reader of the table must know."""
    lines = [
        f"# Coverage of `std` on {n_test} synthetic test heads",
        "",
        "Share of the foreground pixels whose true magnitude lies within magnitude +- z std, before -> after"
        f" multiplication with a factor that {calibration.n_subjects} validation heads gave for 90 %. Mean over heads,"
        f" at 90 % with the standard deviation over heads. Each head is scanned once: {heads.n_coils} coils,"
        f" {heads.n_center} calibration lines, {heads.snr_db[0]:g} to {heads.snr_db[1]:g} dB,"
        f" {heads.matrix[0]} x {heads.matrix[1]} pixels, {', '.join(heads.contrasts)}."
        f" All took {seconds / 60:.1f} minutes of one core.",
        "",
        f"Recipe: {calibration.recipe}. Weights: {weights[:12]}.",
        "",
        f"Command: `{command_line()}`",
        "",
    ]
    return "\n".join(lines)
