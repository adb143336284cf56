"""Scans are divided by subject, prepared once, and undersampled for tests and validation."""

import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace

import h5py
import pytest
import torch
import yaml
from pytorch_lightning import Trainer

from lightning_mri.datasets import (
    FastMRIBrain,
    FastMRIKnee,
    FullySampledScans,
    StrokeFLAIR,
    SubjectSplit,
    prepare_folder,
)
from lightning_mri.datasets.images import ImageDataset, image_loader
from lightning_mri.io import write_fastmri
from lightning_mri.physics import Equispaced, fft2c
from lightning_mri.scaling import Scaling
from lightning_mri.tensors import complex_noise

WriteScan = Callable[..., Path]
LOADING = {"crop": (16, 18), "batch_size": 2, "n_processes": 1, "pattern": Equispaced(2, 6)}


def brain(root: Path, **arguments: object) -> FastMRIBrain:
    return FastMRIBrain(root, cache_dir=root.parent / "cache", **LOADING, **arguments)  # type: ignore[arg-type]


def stroke(root: Path, n_subjects: int = 1, n_val: int = 1, **arguments: object) -> StrokeFLAIR:
    options = {"cache_dir": root.parent / "cache", **LOADING, **arguments}
    return StrokeFLAIR(root, n_subjects, n_val, **options)  # type: ignore[arg-type]


def set_up_to_fit(data: FullySampledScans, folder: Path) -> None:
    data.trainer = Trainer(default_root_dir=folder, logger=False, enable_checkpointing=False)
    data.prepare_data()
    data.setup("fit")


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


def test_contrasts_are_chosen_by_any_name_and_one_that_is_not_there_is_named(
    tmp_path: Path, write_scan: WriteScan
) -> None:
    root = tmp_path / "raw"
    for contrast in ("T2w", "T1w", "FLAIR"):
        write_all(write_scan, root, ["a", "b"], contrast)
    data = brain(root, include=["t1", "flair"], exclude=["flair"], split=SubjectSplit(1))
    assert {scan.contrast for scans in data.scans.values() for scan in scans} == {"T1w"}
    assert brain(root, contrast="flair", split=SubjectSplit(1)).scans["train"][0].contrast == "FLAIR"
    with pytest.raises(ValueError, match=r"raw: include and exclude must leave scans: got include PD.* FLAIR, T1w"):
        brain(root, include=["pd"]).scans  # noqa: B018


@pytest.mark.parametrize("prepared", [False, True])
def test_a_folder_of_tests_is_for_tests_whatever_the_class(
    tmp_path: Path, write_scan: WriteScan, prepared: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    root = tmp_path / "raw"
    write_all(write_scan, root / "multicoil_train", ["a", "b", "c"])
    write_all(write_scan, root / "multicoil_test", ["c", "d"])
    data = stroke(prepare(root) if prepared else root)
    assert [subjects(data, side) for side in ("train", "val", "test")] in (
        [{"a"}, {"b"}, {"c", "d"}],
        [{"b"}, {"a"}, {"c", "d"}],
    )
    assert "2 subjects for tests alone" in capsys.readouterr().err


@pytest.mark.slow
def test_the_split_of_a_run_is_that_of_another(tmp_path: Path, write_scan: WriteScan) -> None:
    root, path = tmp_path / "raw", tmp_path / "split.yaml"
    write_all(write_scan, root / "multicoil_train", ["a", "b", "c"])
    write_all(write_scan, root / "multicoil_val", ["d"])
    chosen = {"train": ["c_FLAIR", "d_FLAIR"], "val": ["a_FLAIR"], "test": ["b_FLAIR"]}
    path.write_text(yaml.safe_dump(chosen))
    first = brain(root, split_file=path)  # and not what the folders say
    assert first.split_names() == chosen
    path.write_text(yaml.safe_dump(brain(root, split_file=path).split_names()))
    assert StrokeFLAIR(root, split_file=path).split_names() == chosen
    with pytest.raises(ValueError, match="subset must not be given with a split_file"):
        StrokeFLAIR(root, subset=5, split_file=path)
    write_scan(tmp_path / "elsewhere" / "e.h5", "e")
    assert brain(root, split_file=path, test_root=tmp_path / "elsewhere").split_names()["test"] == ["e"]


def test_files_of_one_name_are_told_apart_by_their_folders(tmp_path: Path, write_scan: WriteScan) -> None:
    for k in range(4):
        write_scan(tmp_path / "raw" / f"P{k}" / "flair.h5", f"P{k}")
    first = brain(tmp_path / "raw", split=SubjectSplit(1, 2, seed=3)).split_names()
    named = {name for names in first.values() for name in names}
    assert named == {f"P{k}/flair.h5" for k in range(4)}
    (tmp_path / "split.yaml").write_text(yaml.safe_dump(first))
    assert brain(tmp_path / "raw", split_file=tmp_path / "split.yaml").split_names() == first


@pytest.mark.slow
def test_no_subject_is_on_two_sides_though_file_names_differ(tmp_path: Path, write_scan: WriteScan) -> None:
    for k in range(12):
        write_scan(tmp_path / f"scan-{k:02d}.h5", f"patient {k % 4}", n_slices=1)
    for seed in range(3):
        data = stroke(tmp_path, 2, 1, seed=seed)
        sides = [subjects(data, side) for side in ("train", "val", "test")]
        assert [len(side) for side in sides] == [2, 1, 1]
        assert len(set.union(*sides)) == 4


def test_validation_slices_come_from_validation_subjects(tmp_path: Path, write_scan: WriteScan) -> None:
    root = tmp_path / "raw"
    write_all(write_scan, root, list("abcd"))
    data = stroke(root, 2, 2, accelerations=(2.0, 3.0), n_reconstructions=3)
    batches = data.reconstruction_batches()
    assert len(batches) == 3
    assert {batch.subject for batch in batches} == subjects(data, "val")
    assert {batch.acceleration for batch in batches} == {2.0}
    tuning = data.tuning_batches()
    assert [batch.acceleration for batch in tuning] == [2.0] * 3 + [3.0] * 3
    assert all(batch.reference is not None for batch in batches + tuning)


def test_a_side_without_scans_is_named(tmp_path: Path, write_scan: WriteScan) -> None:
    write_all(write_scan, tmp_path, list("ab"))
    data = stroke(tmp_path)
    data.setup("fit")
    with pytest.raises(ValueError, match=rf"{tmp_path}: data must hold scans for test: found none"):
        data.setup("test")
    with pytest.raises(ValueError, match="data must hold scans for val: found none by n_val"):
        stroke(tmp_path, n_val=0).setup("fit")


def test_what_is_prepared_is_not_prepared_again(
    tmp_path: Path, write_scan: WriteScan, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_all(write_scan, tmp_path / "raw", list("ab"))
    stroke(tmp_path / "raw").prepare_data()
    monkeypatch.delattr("lightning_mri.datasets.preparation._prepare")
    data = stroke(tmp_path / "raw")
    data.prepare_data()
    assert len(data.train_dataloader()) == 1


def prepare(root: Path) -> Path:
    return prepare_folder(root, root.parent / "prepared", n_processes=1).folder


@pytest.mark.slow
def test_a_prepared_folder_gives_the_same_batches_as_the_raw_one(tmp_path: Path, write_scan: WriteScan) -> None:
    root = tmp_path / "raw"
    write_all(write_scan, root / "multicoil_train", ["a", "b"], "T2w")
    write_all(write_scan, root / "multicoil_val", ["d"], "T1w")
    raw = brain(root)
    raw.prepare_data()
    (expected,) = raw.val_dataloader()
    folder = prepare(root)
    shutil.rmtree(root)
    prepared = brain(folder)
    prepared.prepare_data()
    prepared.setup("fit")
    for side, subject in (("train", {"a", "b"}), ("val", {"d"}), ("test", set())):
        assert subjects(prepared, side) == subject
    (batch,) = prepared.val_dataloader()
    assert batch.image.equal(expected.image)
    assert batch.contrast == ("T1w", "T1w")


def test_validation_by_reconstruction_needs_no_raw_scans_and_tests_do(tmp_path: Path, write_scan: WriteScan) -> None:
    write_all(write_scan, tmp_path / "raw", list("abc"))
    data = stroke(prepare(tmp_path / "raw"), n_reconstructions=2)
    batches = data.reconstruction_batches()
    assert [batch.subject for batch in batches] == [*subjects(data, "val")] * 2
    for k, batch in enumerate(batches):
        assert batch.kspace.shape[1] > 1
        (entry,) = data.entries("val")
        image = data.cache.read(entry, k)
        assert torch.corrcoef(torch.stack([batch.reference.abs().flatten(), image.abs().flatten()]))[0, 1] > 0.99
    with pytest.raises(ValueError, match="tests need k-space: got a prepared folder"):
        data.test_dataloader()


def test_a_prepared_folder_of_another_scale_contract_is_refused(tmp_path: Path, write_scan: WriteScan) -> None:
    write_all(write_scan, tmp_path / "raw", list("ab"))
    data = stroke(prepare(tmp_path / "raw"), scaling=Scaling(95))
    with pytest.raises(ValueError, match=r"prepared: scaling must be the one .* prepared with, .*99.0.*: got .*95"):
        data.prepare_data()
    assert FullySampledScans(tmp_path / "prepared", SubjectSplit(1), n_coils=12).scans["train"]
    with pytest.raises(ValueError, match="prepared: contrast must be the one it was prepared with, None: got T1w"):
        FullySampledScans(tmp_path / "prepared", SubjectSplit(1), contrast="T1w").scans  # noqa: B018


def test_a_prior_of_another_scale_contract_is_refused(tmp_path: Path, write_scan: WriteScan) -> None:
    write_all(write_scan, tmp_path / "raw", list("ab"))
    data = stroke(prepare(tmp_path / "raw"))
    prior = SimpleNamespace(scaling=Scaling(90))
    data.trainer = SimpleNamespace(lightning_module=SimpleNamespace(prior=prior))  # type: ignore[assignment]
    with pytest.raises(ValueError, match=r"scaling must be the same for prior and data: got .*90.* and .*99"):
        data.train_dataloader()
    prior.scaling = Scaling()
    assert len(data.train_dataloader()) == 1


@pytest.mark.slow
def test_a_copy_under_another_name_is_on_the_side_of_the_original(tmp_path: Path, write_scan: WriteScan) -> None:
    """Anonymous files count as subjects of their own, so that only the content tells a copy."""
    root = tmp_path / "raw"
    for name in "abcd":
        write_scan(root / f"{name}.h5", "anonymous", contrast="FLAIR" if name == "a" else "T2w", n_slices=1)
    for name in "xyz":
        shutil.copy(root / "a.h5", root / f"{name}.h5")
    data = brain(prepare(root), split=SubjectSplit(1))
    sides = [{name[0] for name in names} for names in data.split_names().values()]
    assert sum(bool(side & set("axyz")) for side in sides) == 1
    assert len(set.union(*sides)) >= 5


def test_a_copy_on_the_other_side_is_told(
    tmp_path: Path, write_scan: WriteScan, capsys: pytest.CaptureFixture[str]
) -> None:
    root = tmp_path / "raw"
    write_scan(root / "a.h5", "anonymous", n_slices=1)
    shutil.copy(root / "a.h5", root / "b.h5")
    set_up_to_fit(stroke(root), tmp_path / "run")
    told = capsys.readouterr().err
    assert all(f"{name}.h5" in told for name in "ab")
    assert "which trains" in told


@pytest.mark.slow
def test_one_broken_file_stops_no_training(
    tmp_path: Path, write_scan: WriteScan, caplog: pytest.LogCaptureFixture
) -> None:
    root = tmp_path / "raw"
    write_all(write_scan, root, list("abcd"))
    (root / "header.h5").write_bytes(b"\x89HDF\r\n\x1a\n" + bytes(100))
    with h5py.File(root / "b_FLAIR.h5", "r+") as file:
        file["kspace"][..., ::2] = 0
    data = stroke(root, 2, 2)
    data.prepare_data()
    told = " ".join(caplog.messages)
    assert "header.h5" in told
    assert "b_FLAIR.h5" in told
    trained = [entry.subject for side in ("train", "val") for entry in data.entries(side)]
    assert sorted(trained) == ["a", "c", "d"]


def test_knees_of_one_coil_are_in_fastmri_s_folders_too(tmp_path: Path, write_scan: WriteScan) -> None:
    root = tmp_path / "raw"
    write_all(write_scan, root / "singlecoil_train", ["a"], "PD")
    write_all(write_scan, root / "singlecoil_train", ["b"], "PDFS")
    write_all(write_scan, root / "singlecoil_val", ["c"], "PDFS")
    data = FastMRIKnee(root, cache_dir=tmp_path / "cache")
    assert data.split_names() == {"train": ["a_PD", "b_PDFS"], "val": ["c_PDFS"], "test": []}
    assert [scan.contrast for scan in data.scans["train"]] == ["PD", "PDFS"]
    plain = FastMRIKnee(root, exclude=["PDFS"], cache_dir=tmp_path / "cache")
    assert subjects(plain, "train") == {"a"}
    many = root / "multicoil_train"
    write_all(write_scan, many, ["e"], "PD")
    write_all(write_scan, root / "multicoil_val", ["f"], "PD")
    assert subjects(FastMRIKnee(root), "train") == {"e"}


def test_the_split_is_written_to_the_folder_of_the_run(tmp_path: Path, write_scan: WriteScan) -> None:
    write_all(write_scan, tmp_path / "raw", list("abc"))
    data = stroke(tmp_path / "raw")
    set_up_to_fit(data, tmp_path / "run")
    written = yaml.safe_load((tmp_path / "run" / "split.yaml").read_text())
    assert written == data.split_names()
    assert sorted(name for names in written.values() for name in names) == ["a_FLAIR", "b_FLAIR", "c_FLAIR"]


def test_whole_images_of_mixed_matrices_train_together(tmp_path: Path, write_scan: WriteScan) -> None:
    write_all(write_scan, tmp_path, ["a"])
    images = complex_noise((2, 2, 20, 34))
    write_fastmri(tmp_path / "b.h5", fft2c(images), contrast="FLAIR", subject="b")
    data = stroke(tmp_path, crop=None, cache_dir=tmp_path / "cache")
    data.prepare_data()
    both = ImageDataset(data.cache, [*data.entries("train"), *data.entries("val")], None)
    (batch,) = image_loader(both, 4)
    assert batch.image.shape == (4, 28, 34)
    assert sorted(batch.support.flatten(1).sum(1).tolist()) == [20 * 34] * 2 + [28 * 26] * 2
