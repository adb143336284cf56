"""What several processes scored slice by slice becomes one row for each scan, acceleration and method."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from lightning_mri.training.scores import Case, join_cases, write_scores

X = torch.arange(3 * 4 * 5, dtype=torch.float32).reshape(3, 4, 5)


def part(slices: tuple[int, ...], acceleration: float = 4.0, seconds: float = 1.0, std: bool = False) -> Case:
    images, which = {"HQS": 2 * X[list(slices)]}, list(slices)
    times, spread = {"HQS": seconds}, X[which] if std else None
    return Case("a", "a", "T1w", acceleration, acceleration, 3, slices, X[which], images, times, spread)


def test_parts_are_joined_by_scan_and_acceleration_in_the_order_of_slices() -> None:
    parts = [part((2,), seconds=4.0, std=True), part((0, 1, 2), 8.0), part((0, 1), seconds=1.0)]
    cases = {case.acceleration: case for case in join_cases(parts)}
    assert set(cases) == {4.0, 8.0}
    four, eight = cases[4.0], cases[8.0]
    assert torch.equal(four.reference, X)
    assert torch.equal(four.images["HQS"], 2 * X)
    assert four.seconds == {"HQS": 2.0}  # a slice: two took 1 s each, one took 4 s
    assert four.std is not None
    assert torch.equal(four.std, torch.cat([torch.zeros(2, 4, 5), X[2:]]))
    assert eight.std is None


def test_a_slice_that_was_lost_is_an_error() -> None:
    with pytest.raises(RuntimeError, match=r"of its 3 slices only \(0, 2\) were reconstructed"):
        join_cases([part((0,)), part((2,))])


def test_scores_of_subjects_that_a_prior_was_trained_on_are_marked(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    x = torch.rand(3, 20, 24)
    of = {"reference": x, "images": {"HQS": 1.1 * x}, "slices": (0, 1, 2)}
    known, new = (replace(part((0,)), subject=name, scan=name, **of) for name in ("Ann", "Bob"))
    write_scores(tmp_path, [replace(known, trained=("HQS",)), new], {})
    printed = capsys.readouterr()
    assert "WARNING: HQS was trained on 1 of the 2 subjects of this test (Ann)" in printed.err
    for line in (tmp_path / "table.csv").read_text().splitlines()[1:]:
        assert ("HQS (trained on this subject)" in line) == ("Ann" in line)


def test_slices_that_could_not_be_prepared_are_left_out_and_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    x = torch.rand(2, 20, 24)
    of = {"reference": x, "images": {"HQS": 1.1 * x}}
    none = {"reference": x[:0], "images": {"HQS": x[:0]}, "seconds": {"HQS": 0.0}}
    some = replace(part((0, 2)), **of, left_out={1: "no signal"})
    last = replace(part(()), **none, n_slices=4, left_out={3: "NaN"})
    (case,) = join_cases([last, replace(some, n_slices=4)])
    assert (case.slices, case.left_out) == ((0, 2), {1: "no signal", 3: "NaN"})
    assert torch.equal(case.reference, x)
    assert case.seconds == {"HQS": 1.0}
    write_scores(tmp_path, [case], {})
    assert "WARNING: a, R = 4: slice 3 is left out: NaN" in capsys.readouterr().err
    with pytest.raises(ValueError, match="nothing could be scored"):
        write_scores(tmp_path, join_cases([replace(last, left_out=dict.fromkeys(range(4), "air"))]), {})
