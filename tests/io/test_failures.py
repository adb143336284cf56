"""What failed is a line a scan; what nobody foresaw is in the log as well."""

import json
from pathlib import Path

import pytest

from lightning_mri.io.failures import FAILED, LOG, AllFailed, Failure, failures_text, naming_guesses, write_failures


def test_failures_are_listed_and_removed_when_all_is_well(tmp_path: Path) -> None:
    try:
        [][1]
    except IndexError as error:
        unforeseen = Failure.of("b.h5", error)
    failures = [Failure.of("a.h5", ValueError("a.h5: too\nshort")), unforeseen]
    assert [failure.reason for failure in failures] == ["a.h5: too short", "b.h5: IndexError: list index out of range"]
    write_failures(tmp_path, failures)
    lines = (tmp_path / FAILED).read_text().splitlines()
    assert [json.loads(line)["reason"] for line in lines] == [failure.reason for failure in failures]
    log = (tmp_path / LOG).read_text()
    assert "Traceback" in log
    assert "a.h5" not in log
    assert "2 scans failed" in failures_text(tmp_path, failures)
    write_failures(tmp_path, [])
    assert not (tmp_path / FAILED).exists()
    assert not (tmp_path / LOG).exists()
    assert failures_text(tmp_path, []) == ""


@pytest.mark.parametrize(
    ("n", "told"), [(1, "0: bad"), (40, "none of 40 scans could be used, the first because 0: bad")]
)
def test_a_run_without_any_usable_scan_says_how_many_there_were(n: int, told: str) -> None:
    assert str(AllFailed([Failure(str(k), f"{k}: bad") for k in range(n)])) == told


@pytest.mark.parametrize(
    ("warnings", "told"),
    [((), "a.npy: got 3"), (("no header", "--data.axes names others"), "a.npy: got 3; --data.axes names others")],
)
def test_a_refusal_names_what_was_guessed_and_can_be_given(warnings: tuple[str, ...], told: str) -> None:
    with pytest.raises(ValueError, match=f"^{told}$"), naming_guesses(warnings):
        raise ValueError("a.npy: got 3")
