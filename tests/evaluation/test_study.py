"""A study keeps its rows, and does anew what no longer holds."""

import importlib
import multiprocessing
import shutil
import time
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from torch import Tensor

from lightning_mri.evaluation import Study, code_version
from lightning_mri.evaluation.study import PACKAGE, version_of


@dataclass(frozen=True)
class Number:
    value: float

    @property
    def name(self) -> str:
        return f"number {self.value:g} / half"


@dataclass(frozen=True)
class Row:
    method: str
    power: float
    image: Tensor
    std: Tensor | None = None


class Power:
    def __init__(self, exponent: int, key: str = "first") -> None:
        self.name, self.key, self.exponent, self.done = f"power {exponent}", key, exponent, list[float]()

    def run(self, case: Number) -> Row:
        self.done.append(case.value)
        image = torch.full((2, 3), case.value).mT  # not contiguous
        return Row(self.name, case.value**self.exponent, image, image / 10 if case.value > 1 else None)


def test_every_row_is_computed_once_and_read_as_it_was(tmp_path: Path) -> None:
    cases, methods = [Number(1.5), Number(0.1)], [Power(2), Power(3)]
    first = list(Study(tmp_path, Row).rows(cases, methods))
    second = list(Study(tmp_path, Row).rows(cases, methods))
    assert [(row.method, row.power) for row in second] == [
        ("power 2", 1.5**2),
        ("power 3", 1.5**3),
        ("power 2", 0.1**2),
        ("power 3", 0.1**3),
    ]
    assert [method.done for method in methods] == [[1.5, 0.1]] * 2
    for a, b in zip(first, second, strict=True):
        assert torch.equal(a.image, b.image)
        assert (a.std is None) == (b.std is None)


def test_a_new_setting_costs_its_own_rows_alone_and_new_code_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    code, study = tmp_path / "power_of_mine.py", Study(tmp_path / "rows", Row)
    code.write_text("")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr("lightning_mri.evaluation.study.IMPORTED", [importlib.import_module(code.stem).__name__])
    cases, old = [Number(2.0), Number(3.0)], [Power(2), Power(3)]
    list(study.rows(cases, old))
    new = [Power(2), Power(3, "second")]
    list(study.rows([*cases, Number(4.0)], new))
    assert [method.done for method in new] == [[4.0], [2.0, 3.0, 4.0]]
    assert len(list(study.folder.iterdir())) == 6
    code.write_text("# other code\n")
    code_version.cache_clear()  # a run does not edit its own code
    list(study.rows(cases, new))
    assert new[0].done == [4.0, 2.0, 3.0]


def test_a_change_of_any_part_of_the_package_is_other_code(tmp_path: Path) -> None:
    """Regression: what reads scans, draws training data and writes results did not count."""
    package = tmp_path / "package"
    for file in PACKAGE.rglob("*.py"):
        (package / file.relative_to(PACKAGE)).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(file, package / file.relative_to(PACKAGE))
    one_of_each = {file.relative_to(package).parts[0]: file for file in package.rglob("*.py")}
    versions = [version_of(package)]
    for file in one_of_each.values():
        file.write_text(f"{file.read_text()}# another\n")
        versions.append(version_of(package))
    assert len({*versions}) == len(one_of_each) + 1 > 10
    own = tmp_path / "mine.py"
    own.write_text("# mine")
    assert version_of(package, own) not in versions
    assert code_version() == version_of(PACKAGE)


def test_names_that_look_alike_as_files_are_kept_apart(tmp_path: Path) -> None:
    study = Study(tmp_path, Row)
    assert study.path("R = 4, a/b") != study.path("R = 4, a b")


def test_a_damaged_row_is_named(tmp_path: Path) -> None:
    study, method = Study(tmp_path, Row), Power(2)
    study.row(Number(2.0), method)
    (path,) = tmp_path.iterdir()
    path.write_bytes(path.read_bytes()[:20])
    with pytest.raises(ValueError, match=path.name):
        study.row(Number(2.0), method)


@dataclass(frozen=True)
class Count:
    value: int


def count(folder: Path, n: int) -> None:
    for i in range(n):
        Study(folder, Count).keep(f"row {i}", "same", lambda i=i: (time.sleep(0.02), Count(i))[1])  # type: ignore[misc]


def test_a_run_that_is_killed_goes_on_where_it_was(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = multiprocessing.get_context("fork").Process(target=count, args=(tmp_path, 1000))
    run.start()
    while len(list(tmp_path.glob("row*"))) < 3:
        time.sleep(0.01)
        assert run.is_alive()
    run.kill()
    run.join()
    before = {path: path.stat().st_mtime_ns for path in tmp_path.glob("row*")}
    count(tmp_path, len(before) + 2)
    assert len(capsys.readouterr().out.splitlines()) == 2
    assert {path: path.stat().st_mtime_ns for path in before} == before
