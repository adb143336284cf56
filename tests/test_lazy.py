"""Libraries that only some need: what does without them works, and what needs them says how to install them."""

import importlib
import json
import pkgutil
import subprocess
import sys
from operator import attrgetter
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

import pytest

import lightning_mri
from lightning_mri.lazy import EXTRAS, MissingExtraError, lazy
from tests.io.files import bruker_fid, dicom, fastmri

WITHOUT = """
import io, json, sys
from contextlib import redirect_stderr, redirect_stdout
sys.modules.update(dict.fromkeys(sys.argv[1].split(",")))  # importing one of these fails as if it were not installed
from lightning_mri.__main__ import main
for line in json.loads(sys.argv[2]):
    code, out, err = 0, io.StringIO(), io.StringIO()
    try:
        with redirect_stdout(out), redirect_stderr(err):
            main(line)
    except SystemExit as end:
        code = end.code
    print(json.dumps([code, out.getvalue(), err.getvalue()]))
"""


class Done(NamedTuple):
    code: int
    out: str
    err: str


def run(*lines: str) -> list[Done]:
    """Run command lines one after the other in a process without any extra."""
    words = json.dumps([line.split() for line in lines])
    printed = subprocess.run([sys.executable, "-c", WITHOUT, ",".join(EXTRAS), words], capture_output=True, check=True)
    return [Done(*json.loads(line)) for line in printed.stdout.splitlines()]


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


@pytest.mark.slow
def test_what_needs_an_extra_names_it_and_the_rest_works(tmp_path: Path) -> None:
    for name in ("dicom", "bruker"):
        (tmp_path / name).mkdir()
    lines = {
        f"inspect {dicom(tmp_path / 'dicom')}": "dicom",
        f"inspect {bruker_fid(tmp_path / 'bruker')}": "bruker",
        "sweep x --output_dir o": "sweep",
        "reader-study plan --standard_deviation 0.8 --margin 0.5": "reader-study",
    }
    *named, read = run(*lines, f"inspect {fastmri(tmp_path)} {tmp_path}")
    for done, extra in zip(named, lines.values(), strict=True):
        assert (done.code, f"pip install 'lightning-mri[{extra}]'" in done.err) == (2, True), done.err
        assert "Traceback" not in done.err
    assert (read.code, "matrix" in read.out) == (3, True), read.err


def test_no_name_of_a_package_hides_one_of_its_modules() -> None:
    """Or ``import lightning_mri.datasets.simulation as module`` gave a function."""
    names = [found.name for found in pkgutil.walk_packages(lightning_mri.__path__, "lightning_mri.")]
    modules = {name: importlib.import_module(name) for name in names if name != "lightning_mri.__main__"}
    reached = {name: attrgetter(name.removeprefix("lightning_mri."))(lightning_mri) for name in modules}
    hidden = [name for name in modules if reached[name] is not modules[name]]
    assert len(modules) > 100
    assert not hidden


def test_completion_and_help_need_no_extra() -> None:
    completion, *helped = run("completion bash", "sweep --help", "reader-study --help", "completion --help")
    assert completion.code == 0, completion.err
    for option in ("--data.root", "--n_trials", "create", "--output_dir"):
        assert option in completion.out
    for done in helped:
        assert (done.code, done.out.startswith("usage: lightning-mri")) == (0, True), done.err


@pytest.mark.slow
def test_predict_writes_hdf5_and_nifti_without_any_extra_and_names_that_of_dicom(cohort: Path, tmp_path: Path) -> None:
    (scan,) = (cohort / "multicoil_test").iterdir()
    line = f"predict --data.root {scan} --model.preset preview --output_dir {tmp_path}"
    first, second, third = run(
        f"{line}/out --results.formats=[hdf5,nifti]",
        f"{line}/out --results.formats=[dicom]",
        f"{line}/new/folder --results.formats=[dicom]",
    )
    assert first.code in (0, 4), first.err
    assert (tmp_path / "out" / scan.name).is_file()
    assert (second.code, third.code) == (2, 2)
    assert "pip install 'lightning-mri[dicom]'" in second.err
    assert "slices" not in second.err, "it is told before anything is computed"
    assert not (tmp_path / "new").exists(), "nor is a folder left for it"
