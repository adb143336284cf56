"""The log of a run that was stopped, or goes on in another way, is that of a run that was not."""

import os
import signal
from pathlib import Path
from typing import Any

import pytest
from torch.utils.data import DataLoader

from lightning_mri.datasets import LabelledImage, image_loader
from lightning_mri.evaluation.table_files import read_csv
from lightning_mri.training import MetricsFile, Pretrain

from .conftest import At, Fit, Validated, constant, module


class Batches(Validated):
    """The same in batches of another size."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.size = size

    def train_dataloader(self) -> DataLoader[LabelledImage]:
        return image_loader(self.dataset, self.size, shuffle=True)


def options(folder: Path, every: int = 1) -> dict[str, Any]:
    logger = MetricsFile(folder, flush_logs_every_n_steps=1)
    return {"logger": logger, "log_every_n_steps": every, "num_sanity_val_steps": 0}


def rows(folder: Path) -> list[dict[str, str]]:
    return read_csv(folder / "metrics.csv")


@pytest.mark.parametrize("cut", [3, 4, 6])
def test_the_step_at_which_a_signal_stops_a_run_is_logged(
    fit: Fit, tmp_path: Path, cut: int, capsys: pytest.CaptureFixture[str]
) -> None:
    """Regression: it was not, and the run that went on began with the next one. Nor did it say where it was saved."""
    whole, cut_off = (tmp_path / name for name in ("whole", "cut"))
    fit(constant(9), Validated(), "whole", module(), **options(whole))
    stop = At(cut, lambda _: os.kill(os.getpid(), signal.SIGUSR1))
    with pytest.raises(SystemExit):
        fit(constant(9), Validated(), "cut", module(), callbacks=(stop,), **options(cut_off))
    told = capsys.readouterr().err
    assert f"stopped by SIGUSR1 after step {cut}: saved {cut_off / 'last.ckpt'}" in told
    assert "--ckpt_path last" in told
    fit(constant(9), Validated(), "cut", module(), ckpt_path=cut_off / "last.ckpt", **options(cut_off))
    assert rows(cut_off) == rows(whole)


@pytest.mark.parametrize(("size", "every"), [(4, 1), (4, 2), (1, 2)])
def test_a_run_that_goes_on_in_other_batches_counts_its_steps(fit: Fit, tmp_path: Path, size: int, every: int) -> None:
    """Regression: after a validation at the end of an epoch, the loss was logged one step before its parts."""
    folder, interval = tmp_path / "run", {"check_val_every_n_epoch": every}
    half, _ = fit(Pretrain(epochs=2), Batches(2), "run", module(), **interval, **options(folder))
    _, seen = fit(Pretrain(epochs=5), Batches(size), "run", module(), ckpt_path=half, **interval, **options(folder))
    for name in ("train/loss", "train/loss/"):
        logged = [int(row["step"]) for row in rows(folder) if any(row[key] for key in row if key.startswith(name))]
        assert sorted(set(logged)) == list(range(seen.steps[-1][0]))
    assert [int(row["step"]) for row in rows(folder) if row["train/loss"]] == list(range(seen.steps[-1][0]))


@pytest.mark.parametrize(("every", "logged"), [(50, ["4"]), (3, ["2"])])
def test_a_run_shorter_than_the_interval_of_its_log_is_logged(
    fit: Fit, tmp_path: Path, every: int, logged: list[str]
) -> None:
    fit(constant(5), Validated(), "run", module(), **options(tmp_path / "run", every))
    assert [row["step"] for row in rows(tmp_path / "run") if row.get("train/loss")] == logged
