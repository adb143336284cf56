"""No command replaces a file that it reads or another program's, which ends with 2 and one sentence; none litters."""

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from lightning_mri.diffusion import EDM, NetworkPrior
from lightning_mri.files import UNFINISHED, atomic
from lightning_mri.models import LightUNet
from lightning_mri.weights import save_prior
from tests.builders import draw_kspace

Command = Callable[..., str]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A scan, a prior, and files of another program."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "raw").mkdir()
    (tmp_path / "notes").mkdir()
    np.save("raw/scan.npy", draw_kspace(1, 3, 24, 20))
    save_prior(NetworkPrior(LightUNet((8,), 1, 16), EDM()), "prior.safetensors")
    for name in ("picture.png", "other.safetensors", "settings.json", "error_bars.md"):
        Path("notes", name).write_text("{}")
    return tmp_path


@pytest.mark.parametrize(
    ("line", "lost"),
    [
        ("inspect raw/scan.npy --preview raw/scan.npy", "raw/scan.npy"),
        ("inspect raw/scan.npy --preview notes/picture.png", "notes/picture.png"),
        ("weights export prior.safetensors --output prior.safetensors", "prior.safetensors"),
        ("weights export prior.safetensors --output notes/other.safetensors", "notes/other.safetensors"),
        ("weights import prior.safetensors --layout EDMFamily --output prior.safetensors", "prior.safetensors"),
        ("prepare --root raw --output_dir raw", "raw"),
        ("prepare --root raw/scan.npy --output_dir raw", "raw"),
        ("prepare --root raw --output_dir notes", "notes/settings.json"),
        ("prepare --root raw --output_dir bare", "bare"),
        ("calibrate --output_dir notes", "notes/error_bars.md"),
    ],
)
def test_a_command_that_would_lose_a_file_is_refused(
    failing_command: Command, folder: Path, line: str, lost: str
) -> None:
    shutil.copytree("notes", "bare", ignore=shutil.ignore_patterns("*.json"))
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    assert f"/{lost}: " in f"/{failing_command(*line.split()).removeprefix('error: ').replace(f'{folder}/', '')}"
    assert {path: path.read_bytes() for path in before} == before


def test_what_a_command_wrote_is_replaced(command: Command, folder: Path) -> None:
    for line in (
        "inspect raw/scan.npy --preview look.png",
        "weights export prior.safetensors --output half.safetensors",
        "prepare --root raw --output_dir made --n_processes=1",
    ):
        command(*line.split())
        command(*line.split())


PRIOR = "--model.prior=../prior.safetensors"
SIZES = "--data.crop=[40,40] --data.pattern.n_center=6 --data.n_processes=1 --data.cache_dir=../cache"


@pytest.mark.parametrize(
    "line",
    [
        "inspect ../raw --preview ../look.png",
        "weights show ../prior.safetensors",
        "weights export ../prior.safetensors --output ../half.safetensors",
        "prepare --root ../raw --output_dir ../made --n_processes=1",
        "simulate --output_dir ../heads --n_train=0 --n_test=1 --n_slices=1 --n_processes=1",
        f"predict --data.root ../raw --output_dir ../out {PRIOR} --model.preset preview",
        f"test --data.root=COHORT/multicoil_test --output_dir=../out {PRIOR} --data.pattern.n_center=4",
        f"validate --data=FastMRIBrain --data.root COHORT {PRIOR} --sampler.n_steps=1 {SIZES}",
        "completion bash",
    ],
)
def test_nothing_is_written_to_the_working_directory(
    command: Command, folder: Path, line: str, cohort: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Regression: `validate` left curve.csv and validation.png there. Where `fit` writes is in test_run_folder."""
    Path("here").mkdir()
    monkeypatch.chdir("here")
    command(*line.replace("COHORT", str(cohort)).split())
    assert not list(Path().iterdir())


def test_of_several_scans_each_has_its_picture(command: Command, folder: Path) -> None:
    """Regression: files of one name in the folders of patients were drawn over each other."""
    for name in ("p1", "p2"):
        shutil.copytree("raw", f"all/{name}")
    shutil.copy("raw/scan.npy", "all/p1/scan.other")
    command("inspect", "all", "--preview", "look.png")
    pictures = sorted(path.name for path in folder.glob("look*"))
    assert pictures == ["look-p1-scan.npy.png", "look-p1-scan.other.png", "look-p2-scan.npy.png"]


def test_parts_of_killed_runs_are_told_from_a_user_s_files(tmp_path: Path) -> None:
    (tmp_path / ".my.part.txt").touch()
    with atomic(tmp_path / "scan.npy") as part:
        part.touch()
        assert list(tmp_path.glob(UNFINISHED)) == [part]
