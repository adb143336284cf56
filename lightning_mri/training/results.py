"""What `predict` and `test` leave behind: images, tables, pictures; by any number of processes, nothing lost."""

import json
import shutil
import sys
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Literal

import torch
from pytorch_lightning import Callback, LightningModule, Trainer
from tqdm import tqdm

import lightning_mri
from lightning_mri.baselines import Tunable
from lightning_mri.datasets import Failed
from lightning_mri.files import atomic
from lightning_mri.io import write_preview, write_result
from lightning_mri.io.formats.dicom.writer import Series, Study, check_place, write_dicom
from lightning_mri.io.formats.nifti.writer import write_nifti
from lightning_mri.io.geometry import Place, place_of
from lightning_mri.io.scan import MAGNITUDE_ONLY
from lightning_mri.reconstruction import Reconstruction, ReconstructionFindings
from lightning_mri.training.reconstruction_module import Batch, Compared, Predicted, ReconstructionModule
from lightning_mri.training.scores import part_of, write_scores
from lightning_mri.weights import fingerprint

PARTS = ".parts"
FAILED = "failed.jsonl"
PARTLY_UNCERTAIN = "the uncertainty of some slices is not known: it is in the HDF5 file alone, nan there"
SEEDS = "derive_seed(scan, slice, sample): of these three and nothing else"
Format = Literal["hdf5", "nifti", "dicom"]


@dataclass(frozen=True, eq=False)
class Origin:
    """What a result says of the scan it was made from; fields as in `SliceBatch`."""

    scan: str
    source: str
    subject: str
    n_slices: int
    reconstruction_size: tuple[int, int]
    contrast: str | None = None
    pixel_size: tuple[float, float] | None = None
    slice_spacing: float | None = None
    affine: torch.Tensor | None = None
    n_volumes: int = 1
    magnitude_only: bool = False
    warnings: tuple[str, ...] = ()

    @classmethod
    def of(cls, batch: Batch) -> "Origin":
        """Take over what a batch knows."""
        return cls(**{f.name: getattr(batch, f.name) for f in fields(cls) if hasattr(batch, f.name)})

    @property
    def place(self) -> Place:
        """Where the finished image lies."""
        shape = (self.n_slices // self.n_volumes, *self.reconstruction_size)
        return place_of(self.affine, self.pixel_size, self.slice_spacing, shape)


class Results(Callback):
    """Write results into one folder.

    Every process stores what it made in parts; the first one joins those of a scan as soon as all its slices are
    there, and refuses to end while one is missing. `predict` writes ``<scan>.png`` for each scan and, as asked for,
    ``<scan>.h5``, ``<scan>.nii.gz`` with ``<scan>_std.nii.gz``, and the folder ``<scan>_dicom`` with a series for the
    image and one for its uncertainty; `test` writes ``table.csv``, ``table.md``, ``table.txt``, ``picture.png`` and
    ``index.html``.

    Args:
        output_dir: Folder for the results; made if needed.
        formats: What `predict` writes beside the preview.
        source_dicom: DICOM file, or folder of one series, of the same scan: what is written as DICOM belongs to its
            patient and study.

    Raises:
        ValueError: If no format is named, or ``source_dicom`` is without the format that needs it.
    """

    def __init__(
        self, output_dir: str, formats: Sequence[Format] = ("hdf5",), source_dicom: Path | None = None
    ) -> None:
        super().__init__()
        if not formats:
            raise ValueError("formats must name at least one of hdf5, nifti and dicom: got none")
        if source_dicom is not None and "dicom" not in formats:
            raise ValueError(f"source_dicom needs dicom among the formats: got {', '.join(formats)}")
        self.folder = Path(output_dir)
        self.formats, self.source_dicom = tuple(formats), source_dicom
        self.study = Study()
        self.run: dict[str, Any] = {}
        self.origins: dict[str, Origin] = {}
        self.finished: set[str] = set()
        self.failures: dict[str, Failed] = {}
        self.bar: tqdm[Any] | None = None

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Make the folder, and remove what a killed run may have left in it.

        Raises:
            OSError: If the folder cannot be written.
        """
        if trainer.is_global_zero:
            shutil.rmtree(self.folder / PARTS, ignore_errors=True)
            (self.folder / PARTS).mkdir(parents=True)
            (self.folder / FAILED).unlink(missing_ok=True)
        trainer.strategy.barrier()

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Remove the parts."""
        if trainer.is_global_zero:
            shutil.rmtree(self.folder / PARTS, ignore_errors=True)

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Remove the parts of a run that failed."""
        self.teardown(trainer, pl_module, "")

    def on_predict_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Print what was found in each scan, then start the progress bar."""
        assert isinstance(pl_module, ReconstructionModule)
        dataset = _dataset(trainer.predict_dataloaders)
        if trainer.is_global_zero:
            self.run = _run(pl_module, self.run)
            self.study = Study() if self.source_dicom is None else Study.of(self.source_dicom)
            self.failures = {failure.scan: failure for failure in getattr(trainer.datamodule, "failures", ())}  # type: ignore[attr-defined]
            for batch in _middle_batches(dataset):
                self._begin(batch)
            if not self.origins:
                raise ValueError("; ".join(failure.reason for failure in self.failures.values()))
        self._start_bar(pl_module, sum(len(part) for _, part in dataset.items) / trainer.world_size)

    def on_predict_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, *_: Any
    ) -> None:
        """Store a part, and finish its scan if it was the last one."""
        if isinstance(outputs, Failed):
            values = {"slices": list(outputs.slices), "failed": asdict(outputs)}
            self._store(self._part(outputs.scan, outputs.slices[0]), values)
        else:
            self._store_images(outputs)
        if trainer.is_global_zero and outputs.scan in self.origins:
            self._finish_scan(self.origins[outputs.scan], must=False)

    def _begin(self, batch: Batch | Failed) -> None:
        """Tell what was found in a scan, or why it cannot be reconstructed."""
        if isinstance(batch, Failed):
            self.failures[batch.scan] = batch
            return
        self.origins[batch.scan] = self._checked(Origin.of(batch))

    def _store_images(self, outputs: Predicted) -> None:
        result = outputs.result
        values: dict[str, Any] = {
            "image": result.image,
            "std": result.std,
            "mask": result.mask,
            "findings": vars(result.findings),
        }
        for name in ("samples", "null_space"):
            if (value := getattr(result, name)) is not None:
                values[name] = value
        values["slices"] = list(outputs.batch.slices)
        part = self._part(outputs.scan, outputs.batch.slices[0])
        self._store(part, {**values, "warnings": list(result.warnings)})

    def on_predict_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Finish the scans whose last part another process stored."""
        self._close_bar()
        trainer.strategy.barrier()
        if trainer.is_global_zero:
            for origin in self.origins.values():
                self._finish_scan(origin, must=True)
            self._tell_failures()

    def _tell_failures(self) -> None:
        """Write and print the scans that failed.

        Raises:
            ValueError: If all of them did.
        """
        reasons = [failure.reason for failure in self.failures.values()]
        if not reasons:
            return
        if set(self.origins) <= set(self.failures):
            raise ValueError("; ".join(reasons))
        with atomic(self.folder / FAILED) as part:
            rows = [{"source": failure.source, "reason": failure.reason} for failure in self.failures.values()]
            part.write_text("".join(json.dumps(row) + "\n" for row in rows))
        print(
            f"{len(reasons)} scans failed, also listed in {self.folder / FAILED}:", *reasons, sep="\n", file=sys.stderr
        )

    def on_test_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Choose the baselines' parameters on validation subjects, then start the progress bar."""
        assert isinstance(pl_module, ReconstructionModule)
        tuning: list[Batch] = getattr(trainer.datamodule, "tuning_batches", list)()  # type: ignore[attr-defined]
        pl_module.tune_baselines([batch.to(pl_module.device) for batch in tuning])
        if trainer.is_global_zero:
            for (name, acceleration), baseline in pl_module.tuned.items():
                assert isinstance(baseline, Tunable)
                print(f"{name}: weight {baseline.weight:g} at R = {acceleration:g}, chosen on validation subjects")
        items = _dataset(trainer.test_dataloaders).items
        n_methods = len(pl_module.priors)
        self._start_bar(pl_module, n_methods * sum(len(item[1]) for item in items) / trainer.world_size)

    def on_test_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, *_: Any
    ) -> None:
        """Store a part."""
        assert isinstance(outputs, Compared)
        case = outputs.batch
        self._store(self._part(case.scan, case.slices[0], case.acceleration), part_of(outputs))

    def on_test_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write and print what every method scored."""
        self._close_bar()
        trainer.strategy.barrier()
        if trainer.is_global_zero:
            assert isinstance(pl_module, ReconstructionModule)
            parts = [_load(path) for path in sorted((self.folder / PARTS).iterdir())]
            write_scores(self.folder, parts, pl_module, _command())

    def _store(self, path: Path, values: dict[str, Any]) -> None:
        with atomic(path) as part:
            torch.save(values, part)

    def _part(self, scan: str, first_slice: int, acceleration: float | None = None) -> Path:
        return self.folder / PARTS / f"{scan} R{acceleration or 0:g} {first_slice:06d}.pt"

    def _checked(self, origin: Origin) -> Origin:
        """Refuse a scan that cannot be written as asked for, before anything is computed."""
        if "dicom" in self.formats:
            check_place(origin.place)
            self.study.check(origin.source, origin.reconstruction_size, origin.n_slices, origin.affine)
        return origin

    def _finish_scan(self, origin: Origin, must: bool) -> None:
        """Join the parts of a scan and write it; without ``must`` only if no slice is missing."""
        parts = {}
        path = self._part(origin.scan, first := 0)
        while first < origin.n_slices and path.exists():
            parts[path] = _load(path)
            first += len(parts[path]["slices"])
            path = self._part(origin.scan, first)
        if first < origin.n_slices:
            if must and origin.scan not in self.finished:
                raise RuntimeError(f"{origin.source}: slice {first} of {origin.n_slices} was not reconstructed")
            return
        failed = next((part["failed"] for part in parts.values() if "failed" in part), None)
        if failed is not None:
            self.failures[origin.scan] = Failed(**{**failed, "slices": tuple(failed["slices"])})
        else:
            self._write(origin, _joined(list(parts.values())))
        self.finished.add(origin.scan)
        for path in parts:
            path.unlink()

    def _write(self, origin: Origin, result: Reconstruction) -> None:
        """Write a finished scan in every format, and print what is doubtful about it."""
        place = origin.place
        assumed = () if self.formats == ("hdf5",) else place.warnings
        certain = result.std.isfinite().all((-2, -1))
        std = result.std if bool(certain.all()) else None
        partly = (PARTLY_UNCERTAIN,) if bool(certain.any()) and std is None else ()
        warnings = list(dict.fromkeys((*origin.warnings, *assumed, *result.warnings, *partly)))
        stem = self.folder / origin.scan
        if "hdf5" in self.formats:
            findings = {f.name: getattr(origin, f.name) for f in fields(origin)}
            attributes = {**self.run, **findings, **result.attributes, "warnings": warnings}
            file = stem.with_name(f"{origin.scan}.h5")
            maps = {"samples": result.samples, "null_space": result.null_space}
            write_result(file, result.magnitude, result.image, result.std, result.mask, attributes, **maps)
        if "nifti" in self.formats:
            told = f"lightning_mri {lightning_mri.__version__}: {_method(result)}, research use only"
            write_nifti(stem.with_name(f"{origin.scan}.nii.gz"), result.magnitude, place, origin.n_volumes, told)
            if std is not None:
                told = f"standard deviation of {origin.scan}, research use only"
                write_nifti(stem.with_name(f"{origin.scan}_std.nii.gz"), std, place, origin.n_volumes, told)
        if "dicom" in self.formats:
            series = self._series(origin, result, std, place)
            folder = stem.with_name(f"{origin.scan}_dicom")
            write_dicom(folder, series, place, self.study, origin.subject or origin.scan, origin.n_volumes)
        write_preview(stem.with_name(f"{origin.scan}.png"), result.magnitude, std)
        for warning in warnings:
            tqdm.write(f"{origin.scan}: {warning}")

    def _series(
        self, origin: Origin, result: Reconstruction, std: torch.Tensor | None, place: Place
    ) -> tuple[Series, ...]:
        """Return the image as a DICOM series, and its uncertainty as a second one."""
        method = _method(result)
        made = (
            f"{method} with the prior {self.run['prior']} ({self.run['weights_sha256'][:12]}),"
            f" lightning_mri {lightning_mri.__version__}."
        )
        told = [f"{warning[0].upper()}{warning[1:]}." for warning in (*_flag(origin), *place.warnings)]
        contrast = origin.contrast or "MR"
        image = Series(
            "reconstruction", result.magnitude, f"{contrast} {method} RESEARCH USE ONLY", " ".join([made, *told])
        )
        if std is None:
            return (image,)
        spread = f"Uncertainty: standard deviation of the magnitude over {result.findings.std_from},"
        spread += f" times {result.findings.std_factor:.2f}; calibration: {result.findings.std_calibration}."
        description = f"{contrast} uncertainty RESEARCH USE ONLY"
        return image, Series("uncertainty", std, description, " ".join([spread, made, *told]))

    def _start_bar(self, module: ReconstructionModule, n_slices: float) -> None:
        shape = "{l_bar}{bar}| {elapsed} done, {remaining} left"
        # into a file a line every ten seconds is enough; shares of a slice add up to the total but for rounding
        interval = 0.1 if sys.stderr.isatty() else 10
        hidden = not module.trainer.is_global_zero
        self.bar = tqdm(total=n_slices + 1e-6, bar_format=shape, mininterval=interval, disable=hidden)
        module.report = self.bar.update

    def _close_bar(self) -> None:
        if self.bar is not None:
            self.bar.close()


def _dataset(loader: Any) -> Any:
    """Return what a loader loads from."""
    return loader.dataset


def _middle_batches(dataset: Any) -> Iterator[Batch]:
    """Yield one batch of each scan, from its middle; one at a time, so that many scans need no more memory."""
    batches_of = defaultdict(list)
    for index, (scan, *_) in enumerate(dataset.items):
        batches_of[id(scan)].append(index)
    for indices in batches_of.values():
        yield dataset[indices[len(indices) // 2]]


def _run(module: ReconstructionModule, given: dict[str, Any]) -> dict[str, Any]:
    """Return what is the same in all results of a run, so that it can be repeated."""
    name, source = list(module.sources.items())[-1]
    extra = module.reconstructor.uncertainty
    return {
        **given,
        "command": _command(),
        "version": lightning_mri.__version__,
        "torch_version": str(torch.__version__),
        "prior": name,
        "checkpoint": source,
        "weights_sha256": fingerprint(module.prior),
        "seeds": SEEDS,
        "nfe_uncertainty": 0 if extra is None else extra.n_samples * extra.sampler.nfe,
        "units": "those of the input's k-space",
    }


def _command() -> str:
    """Return the command line that this process runs."""
    return " ".join(["python -m lightning_mri", *sys.argv[1:]])


def _method(result: Reconstruction) -> str:
    """Return sampler and acceleration in a few words."""
    return f"{result.findings.sampler.split('(')[0]} R={result.findings.acceleration:.1f}"


def _flag(origin: Origin) -> tuple[str, ...]:
    """Return the warning that goes with images that were never measured as k-space."""
    return (MAGNITUDE_ONLY,) if origin.magnitude_only else ()


def _joined(parts: Sequence[dict[str, Any]]) -> Reconstruction:
    """Return the stored parts of a scan as one reconstruction."""
    kept = [{name: value for name, value in part.items() if name != "slices"} for part in parts]
    typed = [{**part, "findings": ReconstructionFindings(**part["findings"])} for part in kept]
    return Reconstruction.join([Reconstruction(**{**part, "warnings": tuple(part["warnings"])}) for part in typed])


def _load(path: Path) -> dict[str, Any]:
    values: dict[str, Any] = torch.load(path, weights_only=True)
    return values
