"""One file of logged values for a run, however often it is resumed."""

import csv
from pathlib import Path
from typing import Any

from pytorch_lightning.loggers import CSVLogger
from pytorch_lightning.loggers.csv_logs import ExperimentWriter
from pytorch_lightning.utilities.rank_zero import rank_zero_only

from lightning_mri.files import atomic


class MetricsFile(CSVLogger):
    """Lightning's `CSVLogger`, which goes on with ``metrics.csv`` instead of deleting it.

    Arguments are those of `CSVLogger`; without name and version the file is ``save_dir/metrics.csv``. A run that is
    resumed needs the ``version`` that it had.
    """

    def __init__(
        self,
        save_dir: str | Path = ".",
        name: str | None = "",
        version: int | str | None = "",
        prefix: str = "",
        flush_logs_every_n_steps: int = 100,
    ) -> None:
        super().__init__(save_dir, name, version, prefix, flush_logs_every_n_steps)

    @property
    def experiment(self) -> Any:
        """What writes the file; on other processes Lightning's dummy."""
        if _is_first() and self._experiment is None:
            self._experiment = _Writer(self.log_dir)
        return super().experiment

    def forget(self, n_steps: int, validation: bool) -> None:
        """Drop the rows that a resumed run writes again.

        Args:
            n_steps: Steps that the run has done.
            validation: Whether it repeats the validation after the last of them.
        """
        path = Path(self.log_dir) / "metrics.csv"
        if not _is_first() or not path.is_file():
            return
        with path.open(newline="") as file:
            table = csv.DictReader(file)
            rows, names = list(table), table.fieldnames or ()
        rows = [row for row in rows if not _repeated(row, n_steps, validation)]
        with atomic(path) as part, part.open("w", newline="") as file:
            writer = csv.DictWriter(file, names)
            writer.writeheader()
            writer.writerows(rows)


def _is_first() -> bool:
    """Return whether this process is the one that writes."""
    return getattr(rank_zero_only, "rank", 0) == 0


class _Writer(ExperimentWriter):
    """Lightning's writer, which adds to a file that is there."""

    def _check_log_dir_exists(self) -> None:
        if Path(self.metrics_file_path).is_file():
            with open(self.metrics_file_path, newline="") as file:
                self.metrics_keys = next(csv.reader(file), [])


def _repeated(row: dict[str, str], n_steps: int, validation: bool) -> bool:
    step = int(row["step"])
    return step >= n_steps or (validation and step == n_steps - 1 and bool(row.get("val/loss")))
