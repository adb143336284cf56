"""What `predict` and `test` leave behind: images, tables, pictures; by any number of processes, nothing lost."""

import os
import signal
import sys
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from pytorch_lightning import Callback, LightningModule, Trainer
from tqdm import tqdm

from lightning_mri.baselines import Tunable
from lightning_mri.datasets import Failed
from lightning_mri.datasets.scans import MeasuredScans
from lightning_mri.datasets.slices import ScanDataset, items_of
from lightning_mri.evaluation.pictures import flagged
from lightning_mri.io import Scan, files_of
from lightning_mri.io.failures import FAILED, LOG
from lightning_mri.io.formats.dicom.study import DicomStudy
from lightning_mri.messages import count
from lightning_mri.output import OutputFolder, digest, fingerprint_of
from lightning_mri.reconstruction import Reconstruction
from lightning_mri.training.finished import FinishedScan, Format, all_planned, leave_out_unwritable, planned, study_of
from lightning_mri.training.overview import PAGE, list_failed, marked_before, report_failures, summarise, write_overview
from lightning_mri.training.parts import Parts, n_slices_of, part_name
from lightning_mri.training.processes import of_all, on_rank_zero
from lightning_mri.training.progress import ProgressBar
from lightning_mri.training.provenance import files_in, key_of, methods_of, run_of
from lightning_mri.training.reconstruction_module import Batch, ReconstructionModule
from lightning_mri.training.scores import ScoredScan, join_cases, write_scores
from lightning_mri.training.stopping import Stopped, StopSignals

STOP, PARTS = "stop", ".parts"
SCORES = ("table.csv", "table.json", "table.md", "table.txt", "differences.csv", "picture.png", "view", PAGE)


class Results(Callback):
    """Write results into one folder.

    Every process stores what it made in parts; the one that stores the last part of a scan joins them. Of
    a run of `predict` that ends early, in whatever way, the next one takes up the parts.

    `predict` writes ``<scan>.png`` and, as asked for, ``<scan>.h5``, ``<scan>.nii.gz`` with ``<scan>_std.nii.gz``, and
    ``<scan>_dicom`` with a series for the image and one for its uncertainty; `test` writes ``table.csv``, ``.json``,
    ``.md`` and ``.txt``, ``differences.csv`` and ``picture.png``. Both write ``index.html`` to look at all cases, with
    slices in ``<scan>_view`` or ``view``. A file that another program wrote is never replaced.

    Attributes:
        exit_code: What the command ends with: 0, 3 where scans failed, 4 where slices should not be trusted.

    Args:
        output_dir: Folder for the results; made if needed.
        formats: What `predict` writes beside the preview.
        source_dicom: DICOM file or folder of one series: what is written as DICOM belongs to its patient and study.
        redo: Whether `predict` makes results anew that are there already, from the same files, weights and settings.
        wandb_project: W&B project to which `test` sends its tables, too.
    """

    def __init__(
        self,
        output_dir: str,
        formats: Sequence[Format] = ("hdf5",),
        source_dicom: Path | None = None,
        redo: bool = False,
        wandb_project: str | None = None,
    ) -> None:
        super().__init__()
        if not formats:
            raise ValueError("formats must name at least one of hdf5, nifti and dicom: got none")
        if source_dicom is not None and "dicom" not in formats:
            raise ValueError(f"source_dicom needs dicom among the formats: got {', '.join(formats)}")
        self.output, self.formats, self.redo = OutputFolder(Path(output_dir)), tuple(formats), redo
        self.source_dicom, self.wandb_project = source_dicom, wandb_project
        self.study, self.signals = DicomStudy(), StopSignals()
        self.run: dict[str, Any] = {}
        self.settings: dict[str, Any] = {}
        self.scans: dict[str, tuple[Scan, list[str]]] = {}
        self.keys: dict[str, str] = {}
        self.skipped: set[str] = set()
        self.failures: dict[str, Failed] = {}
        self.marked: dict[str, list[int]] = {}
        self.exit_code = 0
        self.progress: ProgressBar | None = None
        self.parent = os.getppid()

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Keep the folder for this run, and make sure that everything can be written there."""
        assert isinstance(pl_module, ReconstructionModule)
        data = trainer.datamodule  # type: ignore[attr-defined]

        def prepare() -> tuple[str, DicomStudy, dict[str, str], set[str]]:
            self.output.hold()
            self.output.check_owner(PAGE if stage == "predict" else "test", [self.output.path / PAGE])
            if stage == "predict":
                self.plan(data, pl_module)
            else:
                self.output.check([self.output.path / name for name in (FAILED, LOG, *SCORES)], [])
            self.parts.open(self._parts_of(data) if stage == "predict" else ())
            return self.output.run, self.study, self.keys, self.skipped

        run, self.study, self.keys, self.skipped = on_rank_zero(trainer, prepare)
        self.output.join(run)
        if stage != "predict":
            return
        data.scans = [scan for scan in data.scans if scan.name in self.keys and scan.name not in self.skipped]
        data.claim = self._claim
        if not data.scans:
            trainer.limit_predict_batches = 0  # Lightning warns of empty loaders

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Wait for all processes, write what is left to write, and let others use the folder.

        Here and not at the end of predictions and tests, which a process without any batch never comes to.
        """
        assert isinstance(pl_module, ReconstructionModule)
        trainer.strategy.barrier()
        if stage == "predict":
            self.failures = {name: failure for each in of_all(trainer, self.failures) for name, failure in each.items()}
            self.marked = {name: slices for each in of_all(trainer, self.marked) for name, slices in each.items()}
            if trainer.is_global_zero:
                self._write_rest()
        elif trainer.is_global_zero:
            self._write_scores(pl_module, getattr(trainer.datamodule, "failures", ()))  # type: ignore[attr-defined]
        self._release(trainer, keep=False)

    def _write_rest(self) -> None:
        """Write the scans that wait, the page of all and the list of failures, and say how a prediction went."""
        for name in self.scans:
            self._finish(name, must=True)
        self._show_progress()
        self._end_progress()
        self.output.refresh()
        self.marked = marked_before(self.output.path, self.skipped) | self.marked
        for name, failure in self.failures.items():  # what an earlier run has left of it
            self.output.remove(name)
            self.output.remove_of(Path(failure.source))
        write_overview(self.output, [*self.failures.values()])
        nothing_else = not self.skipped and set(self.scans) <= set(self.failures)
        report_failures(self.output, list(self.failures.values()), nothing_else)
        summarise(self.output.path, len(self.scans.keys() - self.failures.keys()), len(self.skipped), self.marked)
        self.exit_code = 3 if self.failures else 4 if self.marked else 0

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Keep the parts, and say how far a run came that was asked to stop."""
        if isinstance(exception, Stopped) and self.output.run:
            trainer.strategy.barrier()  # a launcher ends all processes when one has ended
            self._end_progress()
            state = "the same command begins anew"
            if trainer.is_global_zero and trainer.predicting:
                self.output.refresh()
                write_overview(self.output, [*self.failures.values()])
                n_done, n = len(self._finished) + len(self.skipped), len(self.scans) + len(self.skipped)
                state = f"{n_done} of {n} scans are finished; the same command does the rest"
            if trainer.is_global_zero:
                print(f"stopped by {exception.signal.name}: {state}", file=sys.stderr)
        self._release(trainer, keep=trainer.predicting)
        list_failed(self.output, exception)

    @property
    def parts(self) -> Parts:
        """What the processes of this run have stored."""
        return Parts(self.output.path / PARTS, self.output.run)

    def _stop_if_asked(self, trainer: Trainer) -> None:
        """End the run after a batch if any process of it was sent a signal, or the one that started this has died."""
        orphaned = not trainer.is_global_zero and os.getppid() != self.parent
        if self.signals.received is not None:
            self.parts.claim(STOP)
        if orphaned or self.parts.is_claimed(STOP):
            raise Stopped(self.signals.received or signal.SIGTERM)

    def _release(self, trainer: Trainer, keep: bool) -> None:
        self._end_progress()
        self.signals.ignore()
        if trainer.is_global_zero:
            if self.output.run:
                self.parts.close(keep)
            self.output.release()

    def plan(self, data: Any, module: ReconstructionModule) -> None:
        """Make sure that everything can be written and nothing is lost, and note which scans are finished.

        Raises:
            OSError: If another program's file would be lost.
            ValueError: If no scan can be written as asked for, or not as parts of the study that they are to belong to.
        """
        self.output.refresh()
        if not isinstance(data, MeasuredScans):
            raise ValueError(f"data must be measured scans for predict: got {type(data).__name__}")
        if "dicom" in self.formats:
            leave_out_unwritable(data)
        scans, failures = data.scans, data.failures
        self.failures = {failure.scan: failure for failure in failures}
        read = {scan.name: files_of(scan.source) for scan in scans}
        inputs = [*(file for files in read.values() for file in files), *(Path(failure.source) for failure in failures)]
        inputs += files_in([self.settings, self.source_dicom])
        self.output.check([*(self.output.path / name for name in (FAILED, LOG)), *self.files(scans)], inputs)
        if "dicom" in self.formats:
            self.study = study_of(self.source_dicom, scans)
        self._find_finished(data, module, read)

    def _find_finished(
        self, data: MeasuredScans, module: ReconstructionModule, read: Mapping[str, Sequence[Path]]
    ) -> None:
        """Note the scans whose results are there already, from the same files, weights, settings and code."""
        # without a configuration nobody knows whether the settings are the same
        how = key_of(self.settings or uuid.uuid4().hex, module.prior)
        self.keys = {scan.name: digest(how, scan.name, fingerprint_of(*read[scan.name])) for scan in data.scans}
        if self.redo:
            return
        self.skipped = {name for name, key in self.keys.items() if self.output.is_finished(name, key)}
        for scan in data.scans:
            if scan.name not in self.skipped:
                self.output.check_source(scan.name, scan.source)
        if self.skipped:
            told = f"{len(self.skipped)} of {len(data.scans)} scans are finished, from the same files, weights,"
            print(f"{told} settings and code: skipped; --results.redo true makes them anew", flush=True)

    def _parts_of(self, data: MeasuredScans) -> list[str]:
        """Return the parts that an earlier run may have left of scans that are not finished."""
        items = [] if self.redo else ScanDataset(data.scans, data.batch_size).items
        return [part_name(self.keys[scan.name], part) for scan, part in items if scan.name not in self.skipped]

    def _claim(self, item: tuple[Scan, tuple[int, ...]]) -> bool:
        """Return whether this process is to reconstruct a batch: it was not done before, nor taken by another one."""
        scan, slices = item
        return self.parts.claim(part_name(self.keys[scan.name], slices))

    @property
    def _finished(self) -> set[str]:
        """The scans that this run has finished."""
        claimed = self.parts.claimed()
        return {name for name in self.scans if self.keys[name] in claimed}

    def on_predict_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start the progress bar."""
        assert isinstance(pl_module, ReconstructionModule)
        self.signals.listen(trainer)
        self.run = run_of(pl_module, self.run)
        for scan, slices in items_of(trainer.predict_dataloaders, trainer.datamodule):  # type: ignore[attr-defined]
            self.scans.setdefault(scan.name, (scan, []))[1].append(part_name(self.keys[scan.name], slices))
        if trainer.is_global_zero:
            self.progress = ProgressBar(sum(scan.n_slices for scan, _ in self.scans.values()), len(self.scans))
            pl_module.report = self.progress.add
            self._show_progress()

    def on_predict_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, *_: Any
    ) -> None:
        """Store a part, and finish its scan if it was the last one."""
        self.parts.store(part_name(self.keys[outputs.scan], outputs.slices), outputs)
        self._stop_if_asked(trainer)
        self._finish(outputs.scan)
        self._show_progress()

    def _show_progress(self) -> None:
        """Say how far all processes are together."""
        if self.progress is None:
            return
        finished, stored = self._finished, self.parts.names()
        begun = [parts for name, (_, parts) in self.scans.items() if name not in finished]
        waiting = sum(n_slices_of(part) for parts in begun for part in parts if part in stored)
        self.progress.set(waiting + sum(self.scans[name][0].n_slices for name in finished), len(finished))

    def _end_progress(self) -> None:
        """Leave the bar as it is, so that what is printed next has a line of its own."""
        if self.progress is not None:
            self.progress.close()

    def _finish(self, name: str, must: bool = False) -> None:
        """Join the parts of a scan and write it, in one process alone; without ``must`` only if no slice is missing."""
        scan, names = self.scans[name]
        missing = [part for part in names if not self.parts.has(part)]
        if (missing and not must) or not self.parts.claim(self.keys[name]):
            return
        if missing:
            raise RuntimeError(f"{scan.source}: part {missing[0]} of {scan.n_slices} slices was not reconstructed")
        parts = [self.parts.load(part) for part in names]
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
        for part in names:
            self.parts.remove(part)

    def _write(self, scan: Scan, result: Reconstruction, zero_filled: torch.Tensor) -> None:
        """Write a finished scan in every format, and print the warnings about it."""
        folder, finished = self.output.path, FinishedScan(scan, result, zero_filled, self.run)
        files = planned(folder, scan.name, self.formats)
        with self.output.writing(scan.name, files, self.keys[scan.name], scan.source):
            warnings = finished.write(folder, self.formats, self.study)
        if marked := flagged(result.warnings):
            self.marked[scan.name] = marked
        for warning in warnings:
            tqdm.write(f"warning: {scan.name}: {warning}")

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
            items = items_of(trainer.test_dataloaders, trainer.datamodule)  # type: ignore[attr-defined]
            self.progress = ProgressBar(len(pl_module.priors) * sum(len(item[1]) for item in items))
            self.progress.set(0)
            pl_module.report = self.progress.add

    def on_test_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int, *_: Any
    ) -> None:
        """Store a part."""
        assert isinstance(outputs, ScoredScan)
        assert isinstance(pl_module, ReconstructionModule)
        name = f"{trainer.global_rank:06d}-{batch_idx:06d}"
        self.parts.store(part_name(name, range(len(batch.slices))), outputs)
        if self.progress is not None:
            self.progress.set(len(pl_module.priors) * sum(map(n_slices_of, self.parts.names())))
        self._stop_if_asked(trainer)

    def _write_scores(self, module: ReconstructionModule, failures: Sequence[Failed]) -> None:
        """Write and print what every method scored, and which scans could not be read."""
        self._end_progress()
        cases = join_cases([self.parts.load(name) for name in sorted(self.parts.names())])
        folder = self.output.path
        with self.output.writing("test", [folder / name for name in SCORES]):
            write_scores(folder, cases, methods_of(module, cases, self.run), self.wandb_project, failures)
        report_failures(self.output, failures, nothing_else=False)
        self.exit_code = 3 if failures else 0
        print(f"scores of {count(len(cases), 'case')} written to {folder}; look at {folder / PAGE}", flush=True)

    def files(self, scans: Sequence[Scan]) -> list[Path]:
        """Return the files and folders of finished scans, and the page of all of them."""
        folder = self.output.path
        return [*all_planned(folder, [scan.name for scan in scans], self.formats), folder / PAGE]
