"""Nothing is lost in a folder for results: not the input, not a file of somebody else, not another run's."""

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lightning_mri.output import RECORDS, OutputFolder, fingerprint_of

Predict = Callable[..., str]
EXPERIMENTS = Path(__file__).parents[1] / "experiments"


@pytest.fixture
def output(tmp_path: Path) -> Iterator[OutputFolder]:
    folder = OutputFolder(tmp_path / "out")
    folder.hold()
    yield folder
    folder.release()


def write(output: OutputFolder, name: str = "scan", key: str = "", content: str = "image") -> Path:
    path = output.path / f"{name}.h5"
    with output.writing(name, [path], key):
        path.write_text(content)
    return path


def reopened(output: OutputFolder) -> OutputFolder:
    output.release()
    output.hold()
    return output


def test_own_files_may_be_replaced_and_no_others(output: OutputFolder) -> None:
    path = write(output)
    reopened(output).check([path, output.path / "new.h5"], [])
    path.write_text("another program's")
    with pytest.raises(FileExistsError, match=r"scan\.h5: output_dir must be elsewhere, since another program wrote"):
        output.check([path], [])


@pytest.mark.parametrize("link", [shutil.copy, os.symlink, os.link], ids=["copy", "symlink", "hard link"])
def test_an_input_is_never_replaced_whatever_path_leads_to_it(
    output: OutputFolder, tmp_path: Path, link: Callable[[Path, Path], None]
) -> None:
    source = tmp_path / "scan.h5"
    source.write_text("k-space")
    link(source, output.path / "scan.h5")
    with pytest.raises(FileExistsError, match=r"scan\.h5: output_dir must be elsewhere"):
        output.check([output.path / "scan.h5"], [source])


def test_one_command_does_not_replace_the_page_of_another(output: OutputFolder) -> None:
    page = write(output, "test")
    output.check_owner("test", [page])
    with pytest.raises(FileExistsError, match="another command"):
        output.check_owner("report", [page])


def test_another_scan_of_the_same_name_does_not_take_the_place_of_a_result(
    output: OutputFolder, tmp_path: Path
) -> None:
    sources = [tmp_path / patient / "scan.npy" for patient in "AB"]
    with output.writing("scan", [output.path / "scan.h5"], source=sources[0]):
        (output.path / "scan.h5").write_text("A")
    reopened(output).check_source("scan", tmp_path / "B" / ".." / "A" / "scan.npy")
    with pytest.raises(FileExistsError, match=rf"the result of {sources[0]} has this name; --results.redo true"):
        output.check_source("scan", sources[1])


def test_a_result_that_is_read_again_is_an_input(output: OutputFolder) -> None:
    path = write(output)
    with pytest.raises(FileExistsError, match="since the run reads this file"):
        output.check([path], [path.parent])


def test_foreign_files_in_a_folder_that_would_be_replaced_are_kept(output: OutputFolder) -> None:
    folder = output.path / "scan_dicom"
    with output.writing("scan", [folder]):
        folder.mkdir()
        (folder / "1.dcm").write_text("ours")
    reopened(output).check([folder], [])
    (folder / "notes.txt").write_text("theirs")
    with pytest.raises(FileExistsError, match=r"notes\.txt"):
        output.check([folder], [])


def test_what_a_killed_run_was_writing_is_its_own(output: OutputFolder) -> None:
    path = output.path / "scan.h5"
    killed = output.writing("scan", [path])
    killed.__enter__()
    path.write_text("half")
    reopened(output).check([path], [])


def test_a_folder_that_a_killed_run_was_writing_is_written_anew(output: OutputFolder) -> None:
    """Regression: the new folder was removed as a leaving of the killed run."""
    view, picture = output.path / "scan_view", output.path / "scan.png"
    killed = output.writing("scan", [view, picture])
    killed.__enter__()
    picture.write_text("half")
    (output.path / RECORDS / ".scan.0123abcd.part.json").write_text("half")
    (output.path / ".scan.0123abcd.part.png").write_text("half")
    (output.path / ".scan_view.0123abcd.part").mkdir()
    with reopened(output).writing("scan", [view, picture]):
        view.mkdir()
        (view / "case.json").write_text("{}")
    assert (view / "case.json").exists()
    assert list(output.path.rglob(".scan*")) == []
    assert not picture.exists()


def test_a_scan_is_finished_while_files_and_key_are_the_same(output: OutputFolder) -> None:
    path = write(output, key="1")
    assert reopened(output).is_finished("scan", "1")
    assert not output.is_finished("scan", "2")
    assert not output.is_finished("other", "1")
    path.write_text("changed")
    assert not output.is_finished("scan", "1")


def test_files_of_an_earlier_run_go_with_their_scan(output: OutputFolder) -> None:
    first = write(output)
    second = output.path / "scan.nii.gz"
    with output.writing("scan", [second]):
        second.write_text("only this")
    assert not first.exists()
    output.remove("scan")
    assert not second.exists()
    assert list((output.path / RECORDS).iterdir()) == []


def test_what_somebody_else_put_in_place_of_a_result_stays(output: OutputFolder) -> None:
    path = write(output)
    path.write_text("raw data that were copied here")
    output.remove("scan")
    assert path.read_text() == "raw data that were copied here"


def test_two_runs_do_not_share_a_folder(output: OutputFolder) -> None:
    with pytest.raises(BlockingIOError, match=rf"another run writes here \(process {os.getpid()} on .* since "):
        OutputFolder(output.path).hold()
    output.release()
    OutputFolder(output.path).hold()


def test_many_results_are_looked_through_once(output: OutputFolder) -> None:
    """Regression: all of them for each of them, which took minutes for a few hundred scans in DICOM."""
    paths, n_read = [write(output, f"scan{number}") for number in range(5)], 0

    class Counted(dict[str, str]):
        def items(self) -> Any:
            nonlocal n_read
            n_read += 1
            return super().items()

    for record in output.records.values():
        record.files = Counted(record.files)
    output.check(paths, [])
    output.remove("scan0")
    write(output, "scan1", content="anew")
    assert n_read <= 2 * len(paths)


def test_a_broken_list_of_files_is_named(output: OutputFolder) -> None:
    write(output)
    (record,) = (output.path / RECORDS).iterdir()
    record.write_text("[1")
    output.release()
    with pytest.raises(ValueError, match=record.name):
        output.hold()


def test_a_fingerprint_follows_size_and_time(tmp_path: Path) -> None:
    path = tmp_path / "scan.h5"
    path.write_text("a")
    before = fingerprint_of(path)
    assert fingerprint_of(path) == before
    os.utime(path, (0, 0))
    assert fingerprint_of(path) != before


@pytest.mark.parametrize("ending", ["h5", "npy"])
def test_predict_refuses_the_folder_of_its_scan(
    failing_command: Predict, command: Predict, cohort: Path, tmp_path: Path, ending: str
) -> None:
    """Regression: the raw scan was replaced by its image, with exit code 0."""
    scan = tmp_path / f"s0.{ending}"
    if ending == "h5":
        shutil.copy(next((cohort / "multicoil_test").glob("*.h5")), scan)
    else:
        np.save(scan, np.ones((1, 2, 8, 9), np.complex64))
        (tmp_path / "s0.png").write_bytes(b"a picture of my own")
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    message = failing_command(
        *("predict", "--config", EXPERIMENTS / "reconstruct.yaml", "--data.root", scan, "--output_dir", tmp_path)
    )
    assert "output_dir must be elsewhere" in message
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before
