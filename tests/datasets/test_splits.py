"""Splits are by subject, nested, and the same for a seed."""

import itertools
from pathlib import Path

import pytest

from lightning_mri.datasets import SubjectSplit
from lightning_mri.datasets.splits import NamedSubjects

SUBJECTS = {f"scan-{i:02d}": f"subject-{i // 2:02d}" for i in range(44)}


def test_scans_of_a_subject_stay_together_and_every_scan_has_one_side() -> None:
    split = SubjectSplit(n_val=3, n_train=17).divide(SUBJECTS)
    sides = [{SUBJECTS[name] for name in side} for side in split.values()]
    assert [len(side) for side in sides] == [17, 3, 2]
    assert not (sides[0] & sides[1])
    assert not (sides[0] & sides[2])
    assert not (sides[1] & sides[2])
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


def test_names_are_plain_values() -> None:
    names = SubjectSplit(1, 1).divide({"a": "x", "b": "y"})
    assert sorted(names["train"] + names["val"]) == ["a", "b"]
    assert names["test"] == []


@pytest.mark.parametrize(
    ("told", "subjects", "rule"),
    [
        ({"r/a.npy": "", "r/b.npy": ""}, ["a", "b"], "2 named by their files' names"),
        ({"r/P1/x.mat": "", "r/P2/x.mat": ""}, ["P1", "P2"], "2 named by their folders"),
        (
            {"r/P1/s1/x.mat": "", "r/P1/s2/x.mat": "", "r/P2/s1/x.mat": ""},
            ["P1", "P1", "P2"],
            "2 named by their folders",
        ),
        ({"r/train/a.npy": "", "r/multicoil_val/b.npy": ""}, ["a", "b"], "2 named by their files' names"),
        ({"r/train/P1/a.npy": "", "r/val/P2/a.npy": ""}, ["P1", "P2"], "2 named by their folders"),
        ({"r/T1/P1.h5": "", "r/T2/P1.h5": "", "r/T2/P2.h5": ""}, ["P1", "P1", "P2"], "2 named by their files' names"),
        (
            {"r/t1_mprage/P1/a.h5": "", "r/FLAIR/P1/b.h5": "", "r/FLAIR/P2/b.h5": ""},
            ["P1", "P1", "P2"],
            "their folders",
        ),
        ({"r/P1/T1w/a.npy": "", "r/P1/T2w/a.npy": "", "r/P2/T1w/a.npy": ""}, ["P1", "P1", "P2"], "their folders"),
        ({"r/P1_T1w.h5": "", "r/FLAIR/P1-flair.h5": "", "r/AXT2.h5": ""}, ["P1", "P1", "AXT2"], "files' names"),
        ({"r/T1/P1.h5": "", "r/flair_3d/P1.h5": "", "r/T1/P2.h5": ""}, ["P1", "P1", "P2"], "files' names"),
        ({"r/PD-001/a.mat": "", "r/PD-002/a.mat": ""}, ["PD-001", "PD-002"], "their folders"),
        ({"r/a.nii.gz": "", "r/P1/x.h5": "Ann"}, ["a", "Ann"], "1 named by their files, 1 named by their files' names"),
    ],
)
def test_a_subject_is_what_the_file_says_or_the_folder_or_the_file(told: dict, subjects: list, rule: str) -> None:
    found = NamedSubjects.found({Path(path): name for path, name in told.items()})
    assert list(found.of.values()) == subjects
    assert rule in found.rule
