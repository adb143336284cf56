"""Experiments run as a user runs them: as scripts, with their command lines."""

import runpy
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

EXPERIMENTS = Path(__file__).parents[2] / "experiments"


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run in an empty folder, since experiments write below the current one."""
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """Run a script below experiments/ in this process, and return what it printed."""

    def run(name: str, *arguments: str | Path) -> str:
        monkeypatch.syspath_prepend(str(EXPERIMENTS))
        monkeypatch.setattr(sys, "argv", [name, *map(str, arguments)])
        n_threads = torch.get_num_threads()
        runpy.run_path(str(EXPERIMENTS / name), run_name="__main__")
        torch.set_num_threads(n_threads)
        return capsys.readouterr().out

    return run


@pytest.fixture
def module(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], dict[str, Any]]:
    """Read a script below experiments/ without running it, and return its names."""

    def read(name: str) -> dict[str, Any]:
        monkeypatch.syspath_prepend(str(EXPERIMENTS))
        return runpy.run_path(str(EXPERIMENTS / name))

    return read


def rows_of(path: Path) -> list[list[str]]:
    """Return the cells of every line of a file's Markdown tables."""
    lines = [line for line in path.read_text().splitlines() if line.startswith("| ")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def times(folder: Path) -> dict[str, int]:
    """Return when each file of a folder was written."""
    return {path.name: path.stat().st_mtime_ns for path in folder.iterdir() if path.is_file()}
