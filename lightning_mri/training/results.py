"""What `predict` and `test` leave behind: images, tables, pictures; by any number of processes, nothing lost."""

import io
import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from pytorch_lightning import Callback, LightningModule, Trainer
from tqdm import tqdm

import lightning_mri
from lightning_mri.baselines import Tunable
from lightning_mri.datasets import Failed
from lightning_mri.datasets.scans import MeasuredScans
from lightning_mri.evaluation import read_case, write_page
from lightning_mri.evaluation.viewer import CASE
from lightning_mri.files import atomic
from lightning_mri.io import Scan
from lightning_mri.io.failures import FAILED, LOG, failures_text, write_failures
from lightning_mri.io.formats.dicom.writer import Study, check_place
from lightning_mri.reconstruction import Reconstruction, ReconstructionFindings
from lightning_mri.training.finished import FinishedScan, Format, place_in, planned, short_name
from lightning_mri.training.output import OutputFolder, digest, fingerprint_of
from lightning_mri.training.provenance import methods_of, run_of, settings_of
from lightning_mri.training.reconstruction_module import Batch, Predicted, ReconstructionModule
from lightning_mri.training.scores import Case, join_cases, write_scores
from lightning_mri.training.stopping import Stopped, StopSignals
from lightning_mri.weights import fingerprint

STOP = "stop"
PAGE = "index.html"
SCORES = ("table.csv", "table.md", "table.txt", "picture.png", "view", PAGE)
STORED: list[Any] = [Case, Failed, Predicted, Reconstruction, ReconstructionFindings]


class Results(Callback):
    """Write results into one folder.

    Every process stores what it made in parts; the first one joins those of a scan as soon as all its slices are
    there, and refuses to end while one is missing. `predict` writes ``<scan>.png`` for each scan and, as asked for,
    ``<scan>.h5``, ``<scan>.nii.gz`` with ``<scan>_std.nii.gz``, and the folder ``<scan>_dicom`` with a series for the
    image and one for its uncertainty; `test` writes ``table.csv``, ``table.md``, ``table.txt`` and ``picture.png``.
    Both write ``index.html`` to look at all cases, with their slices in ``<scan>_view`` or ``view``. A file that
    another program wrote is never replaced.

    Args:
        output_dir: Folder for the results; made if needed.
        formats: What `predict` writes beside the preview.
        source_dicom: DICOM file, or folder of one series, of the same scan: what is written as DICOM belongs to its
            patient and study.
        redo: Whether `predict` makes results anew that are there already, from the same file, weights and settings.

    Raises:
        ValueError: If no format is named, or ``source_dicom`` is without the format that needs it.
    """

    def __init__(
        self,
        output_dir: str,
        formats: Sequence[Format] = ("hdf5",),
        source_dicom: Path | None = None,
        redo: bool = False,
    ) -> None:
        super().__init__()
        if not formats:
            raise ValueError("formats must name at least one of hdf5, nifti and dicom: got none")
        if source_dicom is not None and "dicom" not in formats:
            raise ValueError(f"source_dicom needs dicom among the formats: got {', '.join(formats)}")
        self.output = OutputFolder(Path(output_dir))
        self.formats, self.source_dicom, self.redo = tuple(formats), source_dicom, redo
        self.study = Study()
        self.run: dict[str, Any] = {}
        self.batches: list[tuple[Scan, list[int]]] = []
        self.keys: dict[str, str] = {}
        self.skipped: set[str] = set()
        self.finished: set[str] = set()
        self.failures: dict[str, Failed] = {}
        self.bar: tqdm[Any] | None = None
        self.signals = StopSignals()

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Keep the folder for this run, and make sure that everything can be written there.

        Raises:
            OSError: If the folder cannot be written, another run writes there, or another program's file would be lost.
            ValueError: If a scan cannot be written as asked for.
        """

        def prepare() -> tuple[Path, set[str]]:
            self.output.hold()
            if stage != "predict":
                self.output.check([self.output.path / name for name in SCORES], [])
                return self.output.parts, set()
            assert isinstance(pl_module, ReconstructionModule)
            if not isinstance(data, MeasuredScans):
                raise ValueError(f"data must be measured scans for predict: got {type(data).__name__}")
            self._check_paths(data.scans, data.failures)
            return self.output.parts, self._finished_before(data.scans, pl_module)

        data = trainer.datamodule  # type: ignore[attr-defined]
        self.output.parts, self.skipped = on_rank_zero(trainer, prepare)
        if self.skipped:
            data.scans = [scan for scan in data.scans if scan.name not in self.skipped]
        if self.skipped and not data.scans:
            trainer.limit_predict_batches = 0  # Lightning warns of empty loaders

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Wait for all processes, write what is left to write, and let others use the folder.

        Here and not at the end of predictions and tests, which a process without any batch never comes to.

        Raises:
            RuntimeError: If a slice is missing.
            ValueError: If all scans failed.
        """
        assert isinstance(pl_module, ReconstructionModule)
        trainer.strategy.barrier()
        if trainer.is_global_zero and stage == "test":
            self._write_scores(pl_module)
        elif trainer.is_global_zero:
            for number in range(len(self.batches)):
                self._finish(number, must=True)
            for name in self.failures:
                self.output.remove(name)  # what an earlier run has left of it
            self._write_page()
            self._report_failures()
        self._release(trainer)

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Remove the parts of a run that failed; one that was asked to stop writes the scans that are finished."""
        if isinstance(exception, Stopped) and self.output.parts.exists():
            trainer.strategy.barrier()
            if trainer.is_global_zero:
                for number in range(len(self.batches)):
                    self._finish(number, must=False)
                self._write_page()
                n_done, n = len(self.finished | self.skipped), len(self.batches) + len(self.skipped)
                state = f"stopped by {exception.signal.name}: {n_done} of {n} scans are finished"
                print(f"{state}; the same command does the rest", file=sys.stderr)
        self._release(trainer)

    def _stop_if_asked(self) -> None:
        """End the run after a batch if any of its processes was sent a signal.

        The others learn of it by a file: processes have different numbers of batches, and cannot meet after each.

        Raises:
            Stopped: If so.
        """
        asked = self.output.parts / STOP
        if self.signals.received is not None:
            asked.touch()
        if asked.exists():
            raise Stopped(self.signals.received or signal.SIGTERM)

    def _release(self, trainer: Trainer) -> None:
        self._close_bar()
        self.signals.ignore(trainer)
        if trainer.is_global_zero:
            self.output.release()

    def _check_paths(self, scans: Sequence[Scan], failures: Sequence[Failed]) -> None:
        """Make sure that no file is lost, and that each scan can be written in each format."""
        self.failures = {failure.scan: failure for failure in failures}
        inputs = [*(scan.source for scan in scans), *(Path(failure.source) for failure in failures)]
        inputs += [] if self.source_dicom is None else [self.source_dicom]
        paths = [path for scan in scans for path in planned(self._stem(scan), self.formats)]
        self.output.check([*(self.output.path / name for name in (FAILED, LOG, PAGE)), *paths], inputs)
        if "dicom" in self.formats:
            self.study = Study() if self.source_dicom is None else Study.of(self.source_dicom)
            for scan in scans:
                check_place(place_in(scan, scan.reconstruction_size))
                self.study.check(str(scan.source), scan.reconstruction_size, scan.n_slices, scan.affine)

    def _finished_before(self, scans: Sequence[Scan], module: ReconstructionModule) -> set[str]:
        """Return the scans whose results are there already, from the same file, weights and settings."""
        if "config" not in self.run:
            return set()
        how = (settings_of(self.run["config"]), fingerprint(module.prior), lightning_mri.__version__)
        self.keys = {scan.name: digest(*how, fingerprint_of(scan.source)) for scan in scans}
        finished = (
            set() if self.redo else {name for name, key in self.keys.items() if self.output.is_finished(name, key)}
        )
        if finished:
            print(
                f"{len(finished)} of {len(scans)} scans are finished, from the same files, weights and settings: "
                "skipped; --results.redo true makes them anew",
                flush=True,
            )
        return finished

    def on_predict_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start the progress bar."""
        assert isinstance(pl_module, ReconstructionModule)
        self.signals.listen(trainer)
        self.run = run_of(pl_module, self.run)
        items = _items(trainer.predict_dataloaders)
        self.batches = _slices_of(items)
        self._start_bar(pl_module, sum(len(slices) for _, slices in items) / trainer.world_size)

    def on_predict_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, *_: Any
    ) -> None:
        """Store a part, and finish its scan if it was the last one."""
        number = next(number for number, (scan, _) in enumerate(self.batches) if scan.name == outputs.scan)
        self._store(outputs, number, outputs.slices[0])
        if trainer.is_global_zero:
            self._finish(number, must=False)
        self._stop_if_asked()

    def _finish(self, number: int, must: bool) -> None:
        """Join the parts of a scan and write it; without ``must`` only if no slice is missing."""
        scan, firsts = self.batches[number]
        paths = [self._part(number, first) for first in firsts]
        if scan.name in self.finished:
            return
        missing = [first for first, path in zip(firsts, paths, strict=True) if not path.exists()]
        if missing:
            if must:
                raise RuntimeError(f"{scan.source}: slice {missing[0]} of {scan.n_slices} was not reconstructed")
            return
        parts = [_load(path) for path in paths]
        failed = next((part for part in parts if isinstance(part, Failed)), None)
        if failed is None:
            try:
                result = Reconstruction.join([part.result for part in parts])
                if not bool(result.usable.any()):
                    raise ValueError(f"{scan.source}: {result.warnings[0]}")
                self._write(scan, result, torch.cat([part.zero_filled for part in parts]))
            except OSError:  # a full disk is not the scan's fault
                raise
            except Exception as error:
                failed = Failed.by(error, scan.name, str(scan.source))
        if failed is not None:
            self.failures[scan.name] = failed
        self.finished.add(scan.name)
        for path in paths:
            path.unlink()

    def _write(self, scan: Scan, result: Reconstruction, zero_filled: torch.Tensor) -> None:
        """Write a finished scan in every format, and print the warnings about it."""
        stem = self._stem(scan)
        key = self.keys.get(scan.name, "")
        with self.output.writing(scan.name, planned(stem, self.formats), key):
            warnings = FinishedScan(scan, result, zero_filled, self.run).write(stem, self.formats, self.study)
        for warning in warnings:
            tqdm.write(f"{scan.name}: {warning}")

    def _write_page(self) -> None:
        """Write the page of all scans that have results here, of this run and of earlier ones."""
        files = (file for record in self.output.records.values() for file in record.files)
        folders = [(self.output.path / file).parent for file in files if Path(file).name == CASE]
        if not folders:
            return self.output.remove(PAGE)
        n = f"{len(folders)} scan{'s' * (len(folders) != 1)}"
        with self.output.writing(PAGE, [self.output.path / PAGE]):
            cases = [read_case(folder) for folder in folders]
            facts = {"What was run": {name: str(value) for name, value in self.run.items()}}
            write_page(self.output.path / PAGE, f"Reconstructions of {n}", cases=cases, facts=facts)
        return None

    def _report_failures(self) -> None:
        """Write and print the scans that failed."""
        self.output.remove(FAILED)
        if not self.failures:
            return
        failures = list(self.failures.values())
        with self.output.writing(FAILED, [self.output.path / name for name in (FAILED, LOG)]):
            write_failures(self.output.path, failures)
        if not self.skipped and self.finished <= set(self.failures):
            raise ValueError("; ".join(failure.reason for failure in failures))
        print(failures_text(self.output.path, failures), file=sys.stderr)

    def on_test_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Choose the baselines' parameters on validation subjects, then start the progress bar."""
        assert isinstance(pl_module, ReconstructionModule)
        self.signals.listen(trainer)
        tuning: list[Batch] = getattr(trainer.datamodule, "tuning_batches", list)()  # type: ignore[attr-defined]
        pl_module.tune_baselines([batch.to(pl_module.device) for batch in tuning])
        if trainer.is_global_zero:
            for (name, acceleration), baseline in pl_module.tuned.items():
                assert isinstance(baseline, Tunable)
                print(f"{name}: weight {baseline.weight:g} at R = {acceleration:g}, chosen on validation subjects")
        n_slices = sum(len(item[1]) for item in _items(trainer.test_dataloaders))
        self._start_bar(pl_module, len(pl_module.priors) * n_slices / trainer.world_size)

    def on_test_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int, *_: Any
    ) -> None:
        """Store a part."""
        assert isinstance(outputs, Case)
        self._store(outputs, trainer.global_rank, batch_idx)
        self._stop_if_asked()

    def _write_scores(self, module: ReconstructionModule) -> None:
        """Write and print what every method scored."""
        self._close_bar()
        cases = join_cases([_load(path) for path in sorted(self.output.parts.iterdir())])
        with self.output.writing("test", [self.output.path / name for name in SCORES]):
            write_scores(self.output.path, cases, methods_of(module))

    def _store(self, values: Any, number: int, first: int) -> None:
        content = io.BytesIO()  # torch's own writing says of a full disk what nobody understands
        torch.save(values, content)
        with atomic(self._part(number, first)) as part:
            part.write_bytes(content.getbuffer())

    def _part(self, number: int, first: int) -> Path:
        return self.output.parts / f"{number:06d}-{first:06d}.pt"

    def _stem(self, scan: Scan) -> Path:
        return self.output.path / short_name(scan.name)

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


def on_rank_zero(trainer: Trainer, function: Callable[[], Any]) -> Any:
    """Return in every process what a function returns in the first one; its errors are raised in all of them."""
    value, raised = None, None
    if trainer.is_global_zero:
        try:
            value = function()
        except (ValueError, OSError) as error:
            raised = error
    value, raised = trainer.strategy.broadcast((value, raised))
    if raised is not None:
        raise raised
    return value


def _items(loader: Any) -> Any:
    """Return the scan and the slices of each batch that a loader loads."""
    return loader.dataset.items


def _slices_of(items: Sequence[tuple[Scan, Sequence[int]]]) -> list[tuple[Scan, list[int]]]:
    """Return each scan with the first slice of each of its batches."""
    firsts: dict[str, tuple[Scan, list[int]]] = {}
    for scan, slices in items:
        firsts.setdefault(scan.name, (scan, []))[1].append(slices[0])
    return list(firsts.values())


def _load(path: Path) -> Any:
    with torch.serialization.safe_globals(STORED):
        return torch.load(path, weights_only=True)
