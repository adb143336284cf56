"""A time budget decides how much work `predict` and `test` do, says so, and can be repeated without a clock."""

from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch

from lightning_mri.data import Scanner
from lightning_mri.data.writers import write_fastmri
from lightning_mri.physics import Equispaced

Command = Callable[..., str]
EXPERIMENTS = Path(__file__).parents[2] / "experiments"


@pytest.fixture
def scan(tmp_path: Path) -> Path:
    """An ellipse of three slices, every second line and eight more."""
    y, x = torch.linspace(-1, 1, 28)[:, None], torch.linspace(-1, 1, 24)
    ellipses = torch.stack([(y**2 + x**2 / size < 0.5).to(torch.complex64) for size in (1.0, 0.8, 0.6)])
    mask = Equispaced(2.0, 8).draw((28, 24), 0)
    kspace = Scanner(4, oversampling=1).measure(ellipses, 0, (8.0, 8.0))
    path = tmp_path / "ellipse.h5"
    write_fastmri(path, kspace * mask, contrast="T2w", subject="ellipse", mask=mask)
    return path


def predict(root: Path, folder: Path, *options: str) -> tuple[str | Path, ...]:
    return (
        *("predict", "--config", EXPERIMENTS / "reconstruct.yaml", f"--data.root={root}"),
        *("--output_dir", folder, "--model.guard.fall_backs=[]", *options),
    )


def test_a_budget_too_small_is_told_and_its_result_can_be_repeated(
    scan: Path, tmp_path: Path, command: Command
) -> None:
    options = ("--model.uncertainty.n_samples=2", "--model.uncertainty.sampler=DDS")
    short = (*options, "--model.uncertainty.sampler.n_steps=2")

    printed = command(*predict(scan, tmp_path / "budget", "--model.budget=0.001", *short))

    told = [line for line in printed.splitlines() if line.startswith("ellipse: 0.001 s a slice: ")]
    assert len(told) == 1  # once for the scan, though it is more than one batch
    assert "10 network evaluations" in told[0]
    assert "and uncertainty; the budget is too small for 10, the fewest: a slice will take" in told[0]
    with h5py.File(tmp_path / "budget" / "ellipse.h5") as file:
        attributes, image = dict(file.attrs), file["image"][:]
    assert attributes["sampler"].startswith("HQS(n_steps=10, ")
    assert attributes["nfe"].tolist() == [10, 10, 10]
    assert f"ellipse: {attributes['budget']}" == told[0]
    again = ("--model.sampler=HQS", "--model.sampler.n_steps=10")
    command(*predict(scan, tmp_path / "again", *again, *short))
    with h5py.File(tmp_path / "again" / "ellipse.h5") as file:
        assert np.array_equal(file["image"][:], image)


def test_a_budget_beside_another_choice_is_an_error(scan: Path, tmp_path: Path, failing_command: Command) -> None:
    message = failing_command(*predict(scan, tmp_path, "--model.budget=4", "--model.preset=preview"))

    assert "preset, sampler and budget exclude each other, give one: got preset 'preview' and budget 4.0" in message
