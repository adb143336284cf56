"""Whose a scan is: as its file says, else as its folder or its name does."""

from pathlib import Path

import pytest

from lightning_mri.io.subjects import NamedSubjects


@pytest.mark.parametrize(
    ("files", "subjects", "rule"),
    [
        ("r/a.npy, r/b.npy", "a, b", "2 named by their files' names"),
        ("r/P1/x.mat, r/P2/x.mat", "P1, P2", "2 named by their folders"),
        ("r/P1/s1/x.mat, r/P1/s2/x.mat, r/P2/s1/x.mat", "P1, P1, P2", "2 named by their folders"),
        ("r/train/a.npy, r/multicoil_val/b.npy", "a, b", "2 named by their files' names"),
        ("r/train/P1/a.npy, r/val/P2/a.npy", "P1, P2", "2 named by their folders"),
        ("r/T1/P1.h5, r/T2/P1.h5, r/T2/P2.h5", "P1, P1, P2", "2 named by their files' names"),
        ("r/t1_mprage/P1/a.h5, r/FLAIR/P1/b.h5, r/FLAIR/P2/b.h5", "P1, P1, P2", "their folders"),
        ("r/P1/T1w/a.npy, r/P1/T2w/a.npy, r/P2/T1w/a.npy", "P1, P1, P2", "their folders"),
        ("r/P1_T1w.h5, r/FLAIR/P1-flair.h5, r/AXT2.h5", "P1, P1, AXT2", "files' names"),
        ("r/T1/P1.h5, r/flair_3d/P1.h5, r/T1/P2.h5", "P1, P1, P2", "files' names"),
        ("r/PD-001/a.mat, r/PD-002/a.mat", "PD-001, PD-002", "their folders"),
        ("r/a.nii.gz, r/P1/x.h5=Ann", "a, Ann", "1 named by their files, 1 named by their files' names"),
        ("r/ses-1/M1.npy, r/ses-1/M2.npy, r/ses-2/M1.npy", "M1, M2, M1", "files' names"),
        ("r/Day 3/M1.npy, r/day14/M1.npy, r/day14/M2.npy", "M1, M1, M2", "files' names"),
        ("r/M1_day3.nii, r/M1_ses-b_T2w.nii, r/M2.nii", "M1, M1, M2", "files' names"),
        ("r/2024/M1.npy, r/2025/M1.npy, r/2025/M2.npy", "2024, 2025, 2025", "M1 is in 2024 and"),
    ],
)
def test_a_subject_is_what_the_file_says_or_the_folder_or_the_file(files: str, subjects: str, rule: str) -> None:
    named = (file.partition("=") for file in files.split(", "))
    found = NamedSubjects.found({Path(path): name for path, _, name in named})
    assert list(found.of.values()) == subjects.split(", ")
    assert rule in found.rule
    assert ("WARNING" in found.rule) == ("is in" in rule)
