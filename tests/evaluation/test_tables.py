import csv
import math
from pathlib import Path

import pytest

from lightning_mri.evaluation import FASTMRI, SLICE, Row, Scores, Table, write_tables
from lightning_mri.evaluation.tables import TRAINED_ON


def row(subject: str, method: str, nrmse: float, case: str = "", acceleration: float = 4.0) -> Row:
    scores = Scores(nrmse, 30.0, 0.9, nrmse**2)
    return Row(case or subject, subject, "FLAIR", acceleration, 3.9, method, scores, 0.5)


ROWS = (row("a", "zero-filled", 0.30), row("a", "HQS", 0.10), row("b", "zero-filled", 0.40), row("b", "HQS", 0.14))


def test_summary_is_mean_and_sample_deviation_over_subjects() -> None:
    zero_filled, hqs = Table(ROWS).summary()
    assert (zero_filled.method, hqs.method) == ("zero-filled", "HQS")  # in the order of appearance
    assert hqs.n_subjects == 2
    assert hqs.values["nrmse"].mean == pytest.approx(0.12)
    assert hqs.values["nrmse"].std == pytest.approx(0.04 / math.sqrt(2))


def test_two_scans_of_a_subject_count_as_one_subject() -> None:
    rows = (row("a", "HQS", 0.1, "a1"), row("a", "HQS", 0.3, "a2"), row("b", "HQS", 0.5))
    (summary,) = Table(rows).summary()
    assert summary.n_subjects == 2
    assert summary.values["nrmse"].mean == pytest.approx(0.35)  # not 0.3, the mean over scans


def test_accelerations_are_not_mixed() -> None:
    rows = (row("a", "HQS", 0.3, acceleration=8.0), row("a", "HQS", 0.1))
    assert [(s.acceleration, s.values["nrmse"].mean) for s in Table(rows).summary()] == [(4.0, 0.1), (8.0, 0.3)]


@pytest.mark.parametrize("render", [Table.text, Table.markdown])
def test_a_printed_table_states_convention_achieved_r_region_and_subjects(render) -> None:
    # defect 8: numbers whose convention nobody can tell
    printed = render(Table(ROWS, SLICE, "brain mask"))
    for stated in ("convention slice", "per slice", "3.9 (nominal 4)", "brain mask", "2 subjects"):
        assert stated in printed
    assert "convention fastmri (magnitude, per volume" in render(Table(ROWS, FASTMRI))


def test_text_is_aligned() -> None:
    lines = Table(ROWS).text().splitlines()
    assert len({len(line) for line in lines[:4]}) == 1
    assert "0.1200 +- 0.0283" in lines[3]


def test_a_single_subject_has_no_deviation() -> None:
    printed = Table(ROWS[:2]).text()
    assert "nan" not in printed
    assert "1 subject," in printed


def test_csv_keeps_every_row_and_digit(tmp_path: Path) -> None:
    write_tables(tmp_path, [Table((row("a", "HQS, tuned", 1 / 3),), SLICE)])
    (line,) = csv.DictReader((tmp_path / "table.csv").read_text().splitlines())
    assert float(line["nrmse"]) == 1 / 3
    assert (line["method"], line["convention"], line["subject"]) == ("HQS, tuned", "slice", "a")


def test_paired_differences_are_of_the_same_subject_and_their_interval_holds_their_mean() -> None:
    (nrmse,) = (each for each in Table(ROWS, region="head").differences() if each.metric == "nrmse")
    assert (nrmse.method, nrmse.less, nrmse.region, nrmse.n_subjects) == ("zero-filled", "HQS", "head", 2)
    assert nrmse.mean.value == pytest.approx((0.20 + 0.26) / 2)
    assert nrmse.mean.low <= nrmse.mean.value <= nrmse.mean.high


def test_write_makes_five_files(tmp_path: Path) -> None:
    write_tables(tmp_path / "new", [Table(ROWS)])
    names = ["differences.csv", "table.csv", "table.json", "table.md", "table.txt"]
    assert sorted(path.name for path in (tmp_path / "new").iterdir()) == names
    assert (tmp_path / "new" / "table.md").read_text(encoding="utf-8").startswith("| contrast | R | method |")


TAUGHT = f"HQS{TRAINED_ON}"


@pytest.mark.parametrize("place", range(4))
def test_a_subject_that_a_method_was_trained_on_is_not_what_others_are_compared_with(place: int) -> None:
    """Wherever it stands among the others: its scores are compared where it was scanned, under its own name."""
    rows = [each for s in "abc" for each in (row(s, "zero-filled", 0.3), row(s, "L1", 0.2), row(s, "HQS", 0.1))]
    leaked = [row("leaked", "zero-filled", 0.3), row("leaked", "L1", 0.2), row("leaked", TAUGHT, 0.01)]
    table = Table((*rows[: 3 * place], *leaked, *rows[3 * place :]))
    found = [(d.method, d.less, d.n_subjects, d.mean.value) for d in table.differences() if d.metric == "nrmse"]
    assert sorted(found) == [("L1", "HQS", 3, pytest.approx(0.1)), ("zero-filled", "HQS", 3, pytest.approx(0.2))]
    assert [each.method for each in table.summary()] == ["zero-filled", "L1", "HQS", TAUGHT]
    assert "were left out of the differences" in table.markdown()
    assert "left out" not in Table(tuple(rows)).caption()


def test_another_method_that_knows_a_subject_does_not_become_the_last_one() -> None:
    rows = (row("a", TAUGHT, 0.01), row("a", "mine", 0.1), row("b", "HQS", 0.2), row("b", "mine", 0.1))
    (found,) = (each for each in Table(rows).differences() if each.metric == "nrmse")
    assert (found.method, found.less, found.n_subjects) == ("HQS", "mine", 1)


def test_where_the_last_method_knows_every_subject_the_one_before_is_compared_with() -> None:
    rows = (row("a", "zero-filled", 0.3), row("a", "L1", 0.2), row("a", TAUGHT, 0.01))
    (found,) = (each for each in Table(rows).differences() if each.metric == "nrmse")
    assert (found.method, found.less) == ("zero-filled", "L1")
