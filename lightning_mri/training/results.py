"""What `predict` and `test` leave behind: images, tables, pictures; by any number of processes, nothing lost."""

import shutil
import sys
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from pytorch_lightning import Callback, LightningModule, Trainer
from tqdm import tqdm

import lightning_mri
from lightning_mri.baselines import L1Wavelet
from lightning_mri.data import atomic, write_preview, write_result
from lightning_mri.evaluation import Row, Table, comparison, html_page, picture, score
from lightning_mri.reconstruction import Reconstruction, facts_text, join, label_of
from lightning_mri.training.reconstruction_module import Batch, Compared, Predicted, ReconstructionModule

PARTS = ".parts"


class Results(Callback):
    """Write results into one folder.

    Every process stores what it made in parts; the first one joins those of a scan as soon as all its slices are
    there, and refuses to end while one is missing. `predict` writes ``<scan>.h5`` and ``<scan>.png`` for each scan,
    `test` writes ``table.csv``, ``table.md``, ``table.txt``, ``picture.png`` and ``index.html``.

    Args:
        output_dir: Folder for the results; made if needed.
    """

    def __init__(self, output_dir: str) -> None:
        super().__init__()
        self.folder = Path(output_dir)
        self.finished: set[str] = set()
        self.bar: tqdm[Any] | None = None

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Make the folder, and remove what a killed run may have left in it.

        Raises:
            OSError: If the folder cannot be written.
        """
        if trainer.is_global_zero:
            shutil.rmtree(self.folder / PARTS, ignore_errors=True)
            (self.folder / PARTS).mkdir(parents=True)
        trainer.strategy.barrier()

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Remove the parts."""
        if trainer.is_global_zero:
            shutil.rmtree(self.folder / PARTS, ignore_errors=True)

    def on_predict_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Print what was found in each scan, then start the progress bar."""
        assert isinstance(pl_module, ReconstructionModule)
        dataset = _dataset(trainer.predict_dataloaders)
        if trainer.is_global_zero:
            for batch in _middle_batches(dataset):
                print(_found(batch, pl_module), flush=True)
        self._start_bar(pl_module, sum(len(part) for _, part in dataset.items) / trainer.world_size)

    def on_predict_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, *_: Any
    ) -> None:
        """Store a part, and finish its scan if it was the last one."""
        assert isinstance(outputs, Predicted)
        result = outputs.result
        values = {"image": result.image, "std": result.std, "mask": result.mask, "facts": result.facts}
        self._store(outputs.batch, {**values, "doubts": list(result.doubts)})
        if trainer.is_global_zero:
            self._finish_scan(outputs.batch, must=False)

    def on_predict_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Finish the scans whose last part another process stored."""
        self._close_bar()
        trainer.strategy.barrier()
        if trainer.is_global_zero:
            for batch in _middle_batches(_dataset(trainer.predict_dataloaders)):
                self._finish_scan(batch, must=True)

    def on_test_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Choose the baselines' parameters on validation subjects, then start the progress bar."""
        assert isinstance(pl_module, ReconstructionModule)
        tuning: list[Batch] = getattr(trainer.datamodule, "tuning_batches", list)()  # type: ignore[attr-defined]
        pl_module.tune_baselines([batch.to(pl_module.device) for batch in tuning])
        if trainer.is_global_zero:
            for (name, acceleration), baseline in pl_module.tuned.items():
                assert isinstance(baseline, L1Wavelet)
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
        assert case.reference is not None
        values = {
            "scan": case.scan,
            "subject": case.subject,
            "contrast": case.contrast or "unknown",
            "acceleration": case.acceleration,
            "achieved": outputs.achieved,
            "n_slices": case.n_slices,
            "slices": list(case.slices),
            "reference": case.reference.abs(),
            "images": outputs.images,
            "seconds": outputs.seconds,
            "std": outputs.std,
        }
        self._store(case, values)

    def on_test_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write and print the table, and write picture and page."""
        self._close_bar()
        trainer.strategy.barrier()
        if trainer.is_global_zero:
            cases = _cases([_load(path) for path in sorted((self.folder / PARTS).iterdir())])
            table = Table(tuple(row for case in cases for row in _rows(case)))
            print(table.text(), flush=True)
            table.write(self.folder)
            self._illustrate(cases, table, pl_module)

    def _illustrate(self, cases: Sequence[dict[str, Any]], table: Table, module: LightningModule) -> None:
        case = next((case for case in cases if case["std"] is not None), cases[0])
        index = case["n_slices"] // 2
        *others, last = case["images"]
        panels = comparison(
            case["images"][last][index],
            None if case["std"] is None else case["std"][index],
            case["reference"][index],
            {name: case["images"][name][index] for name in others},
            name=last,
            acceleration=case["achieved"],
        )
        picture(self.folder / "picture.png", panels, n_columns=4)
        assert isinstance(module, ReconstructionModule)
        run = {
            "command": " ".join(["python -m lightning_mri", *sys.argv[1:]]),
            "priors": "\n".join(f"{name}: {source}" for name, source in module.sources.items()),
            "sampler": repr(module.sampler),
            "baselines": "\n".join(f"{name}: {baseline!r}" for name, baseline in module.baselines.items()),
            "tuned on validation subjects": "\n".join(
                f"R = {acceleration}: {baseline!r}" for (_, acceleration), baseline in module.tuned.items()
            ),
            "versions": f"lightning_mri {lightning_mri.__version__}, torch {torch.__version__}",
        }
        title = f"{case['contrast']} at R = {case['achieved']:.1f}: {last}"
        intro = [f"Scan {case['scan']}, slice {index}. Research use only."]
        html_page(self.folder / "index.html", title, self.folder / "picture.png", table, run, intro)

    def _store(self, batch: Batch, values: dict[str, Any]) -> None:
        with atomic(self._part(batch.scan, batch.slices[0], batch.acceleration)) as part:
            torch.save(values, part)

    def _part(self, scan: str, first_slice: int, acceleration: float | None) -> Path:
        return self.folder / PARTS / f"{scan} R{acceleration or 0:g} {first_slice:06d}.pt"

    def _finish_scan(self, batch: Batch, must: bool) -> None:
        """Join the parts of a scan and write it; without ``must`` only if no slice is missing."""
        parts = {}
        path = self._part(batch.scan, first := 0, None)
        while first < batch.n_slices and path.exists():
            parts[path] = _load(path)
            first += len(parts[path]["image"])
            path = self._part(batch.scan, first, None)
        if first < batch.n_slices:
            if must and batch.scan not in self.finished:
                raise RuntimeError(f"{batch.source}: slice {first} of {batch.n_slices} was not reconstructed")
            return
        pieces = [Reconstruction(**{**part, "doubts": tuple(part["doubts"])}) for part in parts.values()]
        result = join(pieces)
        attributes = {
            **result.attributes,
            "scan": batch.scan,
            "source": batch.source,
            "subject": batch.subject,
            "version": lightning_mri.__version__,
        }
        stem = self.folder / batch.scan
        write_result(
            stem.with_name(f"{batch.scan}.h5"),
            result.magnitude,
            result.image,
            result.std,
            result.mask,
            attributes,
        )
        has_std = bool(result.std.isfinite().all())
        write_preview(stem.with_name(f"{batch.scan}.png"), result.magnitude, result.std if has_std else None)
        self.finished.add(batch.scan)
        for path in parts:
            path.unlink()
        for doubt in (*batch.doubts, *result.doubts):
            tqdm.write(f"{batch.scan}: {doubt}")

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


def _found(batch: Batch, module: ReconstructionModule) -> str:
    """Return what was found in the slices of a batch."""
    told = {
        "scan": batch.source,
        "slices": batch.n_slices,
        "contrast": batch.contrast or "unknown",
        "label": label_of(batch.contrast, module.prior)[1],
    }
    return facts_text({**told, **module.problem(batch.to(module.device)).facts})


def _load(path: Path) -> dict[str, Any]:
    values: dict[str, Any] = torch.load(path, weights_only=True)
    return values


def _cases(parts: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the parts of each scan and acceleration as one.

    Raises:
        RuntimeError: If a slice is missing.
    """
    groups: dict[tuple[str, float], list[dict[str, Any]]] = defaultdict(list)
    for part in sorted(parts, key=lambda part: part["slices"]):
        groups[part["scan"], part["acceleration"]].append(part)
    cases = []
    for (scan, acceleration), group in groups.items():
        slices = [index for part in group for index in part["slices"]]
        if slices != list(range(group[0]["n_slices"])):
            raise RuntimeError(f"{scan}: of its {group[0]['n_slices']} slices only {slices} were reconstructed")
        n = len(slices)
        case = dict(group[0])
        case["reference"] = torch.cat([part["reference"] for part in group])
        case["images"] = {name: torch.cat([part["images"][name] for part in group]) for name in group[0]["images"]}
        case["seconds"] = {
            name: sum(part["seconds"][name] * len(part["slices"]) for part in group) / n for name in group[0]["seconds"]
        }
        case["std"] = _std_of(group, case["reference"])
        case["acceleration"] = acceleration
        cases.append(case)
    return cases


def _std_of(group: Sequence[dict[str, Any]], like: torch.Tensor) -> torch.Tensor | None:
    """Return the uncertainty where a part has it, zero elsewhere; None if no part does."""
    if all(part["std"] is None for part in group):
        return None
    std = torch.zeros_like(like)
    for part in group:
        if part["std"] is not None:
            std[part["slices"]] = part["std"]
    return std


def _rows(case: dict[str, Any]) -> list[Row]:
    return [
        Row(
            case["scan"],
            case["subject"],
            case["contrast"],
            case["acceleration"],
            case["achieved"],
            method,
            score(image, case["reference"]),
            case["seconds"][method],
        )
        for method, image in case["images"].items()
    ]
