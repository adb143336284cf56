"""Libraries that only some need: what does without them works, and what needs them says how to install them."""

import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

import lightning_mri
from lightning_mri.lazy import EXTRAS, MissingExtraError, lazy
from tests.io.files import bruker_fid, dicom, fastmri

WITHOUT = """
import sys
sys.modules.update(dict.fromkeys(sys.argv[1].split(",")))  # importing one of these fails as if it were not installed
from lightning_mri.__main__ import main
main(sys.argv[2:])
"""


def run(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    line = [sys.executable, "-c", WITHOUT, ",".join(EXTRAS), *map(str, arguments)]
    return subprocess.run(line, capture_output=True, text=True, check=False)


def test_a_module_is_imported_when_it_is_first_used() -> None:
    assert lazy("math").sqrt(9) == 3
    with pytest.raises(ModuleNotFoundError):
        _ = lazy("no_such_library").part
    with pytest.raises(AttributeError):
        _ = lazy("math").no_such_part


@pytest.mark.parametrize("room", [lightning_mri, lightning_mri.datasets, lightning_mri.reconstruction])
def test_what_is_imported_when_it_is_used_is_listed_before(room: ModuleType) -> None:
    assert set(room.__all__) <= set(dir(room))
    assert all(hasattr(room, name) for name in room.__all__)
    assert MissingExtraError.of(ModuleNotFoundError(name="no_such_library")) is None


def test_a_scan_that_needs_an_extra_names_it_and_others_are_read(tmp_path: Path) -> None:
    for make, extra in ((dicom, "dicom"), (bruker_fid, "bruker")):
        (tmp_path / extra).mkdir()
        done = run("inspect", make(tmp_path / extra))
        assert done.returncode == 2
        assert f"pip install 'lightning-mri[{extra}]'" in done.stderr
        assert "Traceback" not in done.stderr
    done = run("inspect", fastmri(tmp_path), tmp_path)
    assert done.returncode == 3, done.stderr
    assert "matrix" in done.stdout


@pytest.mark.parametrize(
    ("line", "extra"),
    [("sweep x --output_dir o", "sweep"), ("reader-study plan --standard_deviation 0.8 --margin 0.5", "reader-study")],
)
def test_a_command_that_needs_an_extra_names_it(line: str, extra: str) -> None:
    done = run(*line.split())
    assert (done.returncode, f"lightning-mri[{extra}]" in done.stderr) == (2, True), done.stderr


def test_completion_and_help_need_no_extra() -> None:
    done = run("completion", "bash")
    assert done.returncode == 0, done.stderr
    for option in ("--data.root", "--n_trials", "create", "--output_dir"):
        assert option in done.stdout
    for command in ("sweep", "reader-study", "completion"):
        done = run(command, "--help")
        assert (done.returncode, done.stdout.startswith("usage: lightning-mri")) == (0, True), done.stderr


@pytest.mark.slow
def test_predict_writes_hdf5_and_nifti_without_any_extra_and_names_that_of_dicom(cohort: Path, tmp_path: Path) -> None:
    (scan,) = (cohort / "multicoil_test").iterdir()
    line = ("predict", "--data.root", scan, "--output_dir", tmp_path / "out", "--model.preset", "preview")
    done = run(*line, "--results.formats=[hdf5,nifti]")
    assert done.returncode in (0, 4), done.stderr
    assert (tmp_path / "out" / scan.name).is_file()
    done = run(*line, "--results.formats=[dicom]")
    assert done.returncode == 2
    assert "pip install 'lightning-mri[dicom]'" in done.stderr
    assert "slices" not in done.stderr, "it is told before anything is computed"
    line = ("predict", "--data.root", scan, "--output_dir", tmp_path / "new" / "folder", "--results.formats=[dicom]")
    assert run(*line).returncode == 2
    assert not (tmp_path / "new").exists(), "nor is a folder left for it"
