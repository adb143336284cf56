"""Splits are by subject, nested, and the same for a seed."""

import itertools
from pathlib import Path

import pytest

from lightning_mri.datasets import CacheEntry, NamedSplit, SubjectSplit, subject_digest, trained_on
from lightning_mri.datasets.splits import TRAINED, FolderSplit, spread_over_subjects

SUBJECTS = {f"scan-{i:02d}": f"subject-{i // 2:02d}" for i in range(44)}


def test_scans_of_a_subject_stay_together_and_every_scan_has_one_side() -> None:
    split = SubjectSplit(n_val=3, n_train=17).divide(SUBJECTS)
    sides = [{SUBJECTS[name] for name in side} for side in split.values()]
    assert [len(side) for side in sides] == [17, 3, 2]
    assert len(set.union(*sides)) == 22
    assert sorted([*split["train"], *split["val"], *split["test"]]) == sorted(SUBJECTS)


def test_smaller_training_sets_are_inside_larger_ones_with_the_same_validation() -> None:
    splits = [SubjectSplit(3, n, seed=5).divide(SUBJECTS) for n in (1, 5, 10, 17)]
    for smaller, larger in itertools.pairwise(splits):
        assert set(smaller["train"]) < set(larger["train"])
        assert smaller["val"] == larger["val"]


def test_the_order_of_the_files_does_not_matter_but_the_seed_does() -> None:
    backwards = dict(reversed(SUBJECTS.items()))
    assert SubjectSplit(3, 5).divide(SUBJECTS) == SubjectSplit(3, 5).divide(backwards)
    assert SubjectSplit(3, 5).divide(SUBJECTS) != SubjectSplit(3, 5, seed=1).divide(SUBJECTS)


def test_all_that_are_left_train_if_no_number_is_given() -> None:
    assert len(SubjectSplit(3).divide(SUBJECTS)["train"]) == 2 * 19


def test_what_a_split_lacks_names_the_folder_and_its_options() -> None:
    """Regression: it named neither."""
    with pytest.raises(ValueError, match=r"here: n_val 3 and n_train \(n_subjects\) 2 must not exceed .*: got 3"):
        SubjectSplit(3, 2).divide_scans(FOUND[:4], Path("here"))
    for counts in ((-1, 2), (1, -2)):
        with pytest.raises(ValueError, match="must not be negative"):
            SubjectSplit(*counts)


def scan_of(subject: str, source: str) -> CacheEntry:
    """Return the row of a scan of nine slices, called as its file is."""
    return CacheEntry(Path(source).name.split(".")[0], subject, (None,) * 9, (9, 4, 5), (1.0,) * 9, source)


FILES = {"one.h5": "Ann", "two.h5": "Ann", "three.nii.gz": "Bob", "four.h5": "Cid", "five.h5": "Dot"}
FOUND = [scan_of(subject, f"r/{file}") for file, subject in FILES.items()]


def named(folder: Path, text: str, tests: bool = True) -> dict[str, list[str]]:
    path = folder / "split.yaml"
    path.write_text(text)
    return {
        side: [scan.name for scan in scans] for side, scans in NamedSplit.read(path, tests).divide_scans(FOUND).items()
    }


@pytest.mark.parametrize(
    ("n", "chosen"),
    [
        (None, [("one", 4), ("three", 4), ("four", 4), ("five", 4)]),
        (6, [("one", 4), ("two", 4), ("three", 2), ("three", 6), ("four", 4), ("five", 4)]),
        (2, [("three", 4), ("five", 4)]),
    ],
)
def test_slices_to_validate_on_are_spread_over_subjects(n: int | None, chosen: list[tuple[str, int]]) -> None:
    """Regression: they were those of the first scans, so that some subjects were never looked at."""
    assert [(scan.name, k) for scan, k in spread_over_subjects(FOUND, n)] == chosen


def test_subjects_begin_with_different_contrasts() -> None:
    scans = [scan_of(subject, f"{subject}/{contrast}") for subject in "ab" for contrast in ("FLAIR", "T1w")]
    assert [scan.name for scan, _ in spread_over_subjects(scans, 2)] == ["FLAIR", "T1w"]


@pytest.mark.parametrize(
    ("digested", "subject", "source", "known"),
    [
        ("Ann", "Ann", "", True),
        ("P1", "flair", "/r/P1/flair.npy", True),  # a single file, whose folder training took for the subject
        ("P1", "x", "/r/P1_T1w.npy", True),
        ("P1", "P2", "/r/P2/flair.npy", False),
    ],
)
def test_a_prior_knows_whom_it_was_trained_on(digested: str, subject: str, source: str, known: bool) -> None:
    assert trained_on({TRAINED: [subject_digest(digested)]}, subject, source) == known


@pytest.mark.parametrize(
    ("text", "train", "val", "test"),
    [
        ("{train: [Ann], val: [Bob]}", ["one", "two"], ["three"], ["four", "five"]),
        ("{train: [Ann], val: [Bob], test: []}", ["one", "two"], ["three"], []),
        ("{train: [Ann], val: [Bob], test: [four]}", ["one", "two"], ["three"], ["four"]),
        # the other scan of a subject that trains is nothing to test on
        ("{train: [one.h5], val: [three.nii.gz]}", ["one"], ["three"], ["four", "five"]),
        ("{train: [one, two], val: [three]}", ["one", "two"], ["three"], ["four", "five"]),
    ],
)
def test_a_file_names_subjects_scans_or_files(tmp_path: Path, text: str, train: list, val: list, test: list) -> None:
    assert named(tmp_path, text) == {"train": train, "val": val, "test": test}


def test_names_of_tests_do_not_count_where_tests_lie_elsewhere(tmp_path: Path) -> None:
    assert named(tmp_path, "{train: [Ann], val: [Bob], test: [elsewhere]}", tests=False)["train"] == ["one", "two"]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[Ann]", "lists of names called train and val"),
        ("{train: [Ann]}", "lists of names called train and val"),
        ("{train: [Ann], val: [Bob], tests: [Cid]}", "no others but test"),
        ("{train: [Ann], val: Bob}", "val must be a list of names.*: got Bob"),
        ("{train: [Ann, 007], val: [Bob]}", "train must be a list of names, those of digits in quotes: got 7"),
        ("{train: [Ann, Bob], val: [Bob]}", "no name may be on two sides: Bob is on train and val"),
        ("{train: [one], val: [two]}", "no subject may be on two sides: Ann is on train and val"),
        ("{train: [Ann, Eve, Fay], val: [Bob]}", "every name must be of a scan that is there: none is called Eve, Fay"),
        ("{train: [A, B, C, D, E], val: [Bob]}", "none is called A, B, C and 2 more"),
        ("{train: [", "must be YAML"),
    ],
)
def test_a_file_that_breaks_a_rule_is_refused(tmp_path: Path, text: str, words: str) -> None:
    with pytest.raises(ValueError, match=rf"split.yaml.*{words}"):
        named(tmp_path, text)


def test_whom_a_later_folder_holds_is_in_no_earlier_one() -> None:
    """A patient of the test must neither train nor choose the checkpoint."""
    folders = {"train": ["Ann", "Bob", "Dot"], "val": ["Bob", "Cid"], "test": ["Cid", "Dot"]}
    scans = [scan_of(s, f"multicoil_{side}/{s}.h5") for side, subjects in folders.items() for s in subjects]
    sides = FolderSplit("multicoil").divide_scans(scans)
    names = {side: [scan.subject for scan in found] for side, found in sides.items()}
    assert names == {"train": ["Ann"], "val": ["Bob"], "test": ["Cid", "Dot"]}
