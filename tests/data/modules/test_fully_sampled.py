"""Scans are divided by subject, prepared once, and undersampled for tests and validation."""

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from lightning_mri.data import FastMRIBrain, StrokeFLAIR, SubjectSplit
from lightning_mri.data.modules import FullySampledScans
from lightning_mri.physics import Equispaced

WriteScan = Callable[..., Path]
LOADING = {"crop": (16, 18), "batch_size": 2, "n_processes": 1, "pattern": Equispaced(2, 6)}


def brain(root: Path, **arguments: object) -> FastMRIBrain:
    return FastMRIBrain(root, cache_dir=root.parent / "cache", **LOADING, **arguments)  # type: ignore[arg-type]


def subjects(data: FullySampledScans, side: str) -> set[str]:
    return {scan.subject for scan in data.scans[side]}


def write_all(write_scan: WriteScan, root: Path, names: Sequence[str], contrast: str = "FLAIR") -> None:
    for name in names:
        write_scan(root / f"{name}_{contrast}.h5", name, contrast, n_slices=2)


def test_fastmri_s_own_folders_are_the_split(tmp_path: Path, write_scan: WriteScan) -> None:
    root = tmp_path / "raw"
    write_all(write_scan, root / "multicoil_train", ["a", "b"], "T2w")
    write_all(write_scan, root / "multicoil_train", ["c"], "FLAIR")
    write_all(write_scan, root / "multicoil_val", ["d"], "T1w")
    write_all(write_scan, root / "multicoil_test", ["e"], "T1w")
    data = brain(root, exclude=["FLAIR"], accelerations=[2.0, 3.0])
    data.prepare_data()
    data.setup("fit")
    assert data.split_names() == {"train": ["a_T2w", "b_T2w"], "val": ["d_T1w"], "test": ["e_T1w"]}
    (first, second) = data.train_dataloader()
    assert first.image.shape == (2, 16, 18)
    assert set(first.contrast + second.contrast) == {"T2w"}
    (val,) = data.val_dataloader()
    assert val.contrast == ("T1w", "T1w")
    assert {b.acceleration for b in data.test_dataloader()} == {2.0, 3.0}


def test_contrasts_are_chosen(tmp_path: Path, write_scan: WriteScan) -> None:
    root = tmp_path / "raw"
    for contrast in ("T2w", "T1w", "FLAIR"):
        write_all(write_scan, root, ["a", "b"], contrast)
    data = brain(root, include=["T1w", "FLAIR"], exclude=["FLAIR"], split=SubjectSplit(1))
    assert {scan.contrast for scans in data.scans.values() for scan in scans} == {"T1w"}


def test_too_few_subjects_are_refused(tmp_path: Path, write_scan: WriteScan) -> None:
    write_all(write_scan, tmp_path, ["a", "b"])
    with pytest.raises(ValueError, match="got 2 for 1 to train and 10 to validate on"):
        brain(tmp_path).scans  # noqa: B018


def test_a_subject_that_is_held_out_is_not_trained_on(tmp_path: Path, write_scan: WriteScan) -> None:
    root = tmp_path / "raw"
    write_scan(root / "multicoil_train" / "one.h5", "same")
    write_scan(root / "multicoil_train" / "two.h5", "other")
    write_scan(root / "multicoil_val" / "three.h5", "same")
    data = brain(root)
    assert (subjects(data, "train"), subjects(data, "val")) == ({"other"}, {"same"})


def test_no_subject_is_on_two_sides_though_file_names_differ(tmp_path: Path, write_scan: WriteScan) -> None:
    for k in range(12):
        write_scan(tmp_path / f"scan-{k:02d}.h5", f"patient {k % 4}", n_slices=1)
    sides = [
        subjects(StrokeFLAIR(tmp_path, 2, 1, seed=seed, n_processes=1), side)
        for seed in range(3)
        for side in ("train", "val", "test")
    ]
    for train, val, test in zip(sides[::3], sides[1::3], sides[2::3], strict=True):
        assert (len(train), len(val), len(test)) == (2, 1, 1)
        assert train.isdisjoint(val | test)
        assert val.isdisjoint(test)


def test_validation_slices_come_from_validation_subjects(tmp_path: Path, write_scan: WriteScan) -> None:
    root = tmp_path / "raw"
    write_all(write_scan, root, list("abcd"))
    data = StrokeFLAIR(root, 2, 2, accelerations=(2.0, 3.0), n_reconstructions=3, **LOADING)  # type: ignore[arg-type]
    batches = data.reconstruction_batches()
    assert len(batches) == 3
    assert {batch.subject for batch in batches} == subjects(data, "val")
    assert {batch.acceleration for batch in batches} == {2.0}
    tuning = data.tuning_batches()
    assert [batch.acceleration for batch in tuning] == [2.0] * 3 + [3.0] * 3
    assert all(batch.reference is not None for batch in batches + tuning)


def test_a_side_without_scans_is_named(tmp_path: Path, write_scan: WriteScan) -> None:
    write_all(write_scan, tmp_path, list("ab"))
    data = StrokeFLAIR(tmp_path, 1, 1)
    data.setup("fit")
    with pytest.raises(ValueError, match="data must hold scans for test: found none on that side"):
        data.setup("test")


def test_what_is_prepared_is_not_prepared_again(
    tmp_path: Path, write_scan: WriteScan, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = tmp_path / "raw"
    write_all(write_scan, root, list("ab"))
    data = StrokeFLAIR(root, 1, 1, cache_dir=tmp_path / "cache", **LOADING)  # type: ignore[arg-type]
    data.prepare_data()

    def refuse(*_: object) -> None:
        raise AssertionError("prepared twice")

    monkeypatch.setattr("lightning_mri.data.cache._prepare", refuse)
    assert len(StrokeFLAIR(root, 1, 1, cache_dir=tmp_path / "cache", **LOADING).train_dataloader()) == 1  # type: ignore[arg-type]
