from pathlib import Path

import nibabel
import numpy as np
import pytest
import torch

from lightning_mri.datasets.datasets import ImageBatch
from lightning_mri.datasets.low_field_dataset import LowFieldBatch
from lightning_mri.datasets.modules.low_field_mouse import (
    LowFieldMouse,
    find_images,
    mouse_of,
    read_images,
    subject_of_file,
)
from lightning_mri.physics.low_field import LowField, ModelMismatch

REAL_MICE = Path(__file__).parents[4] / "shared" / "data" / "mouse"
SMALL = {"n_subjects": 2, "n_val": 1, "n_test": 1, "slices_per_subject": 2, "size": 32, "crop": (32, 28)}
COARSE = LowField(pixel_size=0.6)


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("mice")


@pytest.fixture
def mice(folder) -> LowFieldMouse:
    module = LowFieldMouse(degradation=COARSE, cache_dir=folder, n_processes=1, batch_size=2, **SMALL)
    module.prepare_data()
    module.setup()
    return module


def test_training_and_validation_yield_high_field_images(mice):
    for loader, n in ((mice.train_dataloader(), 2), (mice.val_dataloader(), 2)):
        batch = next(iter(loader))
        assert isinstance(batch, ImageBatch)
        assert batch.image.shape == (n, 32, 28)
        assert batch.contrast == ("T2w",) * n
    # the 99th percentile of a whole slice is 1
    image = mice.cache.read(mice.train_entries[0], 0)
    assert image.abs().quantile(0.99).item() == pytest.approx(1, abs=0.05)


def test_test_and_prediction_yield_degraded_scans_with_their_reference(mice):
    for loader in (mice.test_dataloader(), mice.predict_dataloader()):
        (batch,) = list(loader)
        assert isinstance(batch, LowFieldBatch)
        assert batch.scan == "mouse-00000"
        assert batch.slices == (0, 1)
        assert batch.kspace.shape == (2, 1, 32, 28)
        torch.testing.assert_close(
            batch.likelihood.residual_std(batch.reference), batch.likelihood.noise_std, rtol=0.1, atol=0
        )


def test_reconstruction_batches_are_single_slices_of_validation_animals(mice):
    batches = mice.reconstruction_batches()
    assert [batch.scan for batch in batches] == ["mouse-00001"] * 2
    assert [batch.slices for batch in batches] == [(0,), (1,)]


def test_baselines_are_tuned_on_validation_animals(mice):
    assert {batch.subject for batch in mice.tuning_batches()} == {"mouse-00001"}


def test_a_misjudging_module_measures_the_same_and_believes_something_else(mice, folder):
    other = LowFieldMouse(
        degradation=COARSE, cache_dir=folder, n_processes=1, batch_size=2, misjudged=ModelMismatch(1.25), **SMALL
    )
    other.setup()
    (right,), (wrong,) = list(mice.test_dataloader()), list(other.test_dataloader())
    assert torch.equal(right.kspace, wrong.kspace)
    torch.testing.assert_close(wrong.likelihood.noise_std, 1.25 * right.likelihood.noise_std)


def test_an_animal_of_the_colony_is_the_one_that_was_drawn(mice):
    mouse, offsets = mouse_of("mouse-00001", mice.colony)
    drawn = mouse.slice(offsets[1], (32, 32), 0.6)
    entry = mice.val_entries[0]
    torch.testing.assert_close(entry.scales[1] * mice.cache.read(entry, 1), drawn, rtol=0, atol=2e-3)


def test_no_animal_is_on_two_sides(mice):
    names = mice.split_names()
    assert {side: len(part) for side, part in names.items()} == {"train": 2, "val": 1, "test": 1}
    assert len({name for part in names.values() for name in part}) == 4


def test_a_larger_colony_contains_the_smaller_one(mice, folder):
    larger = LowFieldMouse(degradation=COARSE, cache_dir=folder, n_processes=1, **{**SMALL, "n_subjects": 3})
    assert larger.cache.folder == mice.cache.folder
    before = {path: path.stat().st_mtime_ns for path in mice.cache.folder.glob("mouse-0000[0-3].npy")}
    larger.prepare_data()
    larger.setup()
    assert larger.train_entries[:2] == mice.train_entries
    assert {path: path.stat().st_mtime_ns for path in before} == before
    assert (mice.cache.folder / "mouse-00004.npy").is_file()


def test_other_settings_get_another_cache(mice, folder):
    for change in ({"seed": 1}, {"size": 36}, {"degradation": LowField(pixel_size=0.5)}):
        other = LowFieldMouse(**{"degradation": COARSE, "cache_dir": folder, **SMALL, **change})
        assert other.cache.folder != mice.cache.folder


def write_volumes(folder: Path, n: int, zooms: tuple[float, float, float] = (0.6, 0.7, 0.6)) -> None:
    for i in range(n):
        values = np.random.default_rng(i).uniform(size=(12, 3, 10)).astype(np.float32)
        image = nibabel.Nifti1Image(values, np.diag((*zooms, 1)))
        nibabel.save(image, folder / f"animal{i}.nii.gz")
        nibabel.save(image, folder / f"animal{i}_mask.nii.gz")


def test_a_folder_of_volumes_is_split_by_animal(tmp_path):
    write_volumes(tmp_path, 5)
    module = LowFieldMouse(
        tmp_path, COARSE, n_subjects=2, n_val=1, n_test=1, cache_dir=tmp_path / "cache", n_processes=1
    )
    module.prepare_data()
    module.setup()
    sides = (module.train_entries, module.val_entries, module.test_entries)
    assert [len(side) for side in sides] == [2, 1, 2]
    assert {entry.subject for side in sides for entry in side} == {f"animal{i}" for i in range(5)}
    batch = next(iter(module.test_dataloader()))
    assert "magnitudes" in batch.warnings[0]
    assert batch.n_slices == 3


def test_planes_of_a_volume_stand_upright(tmp_path):
    write_volumes(tmp_path, 1)
    planes = read_images(tmp_path / "animal0.nii.gz", coronal_axis=1, pixel_size=0.6)
    assert planes.shape == (3, 10, 12)
    volume = nibabel.load(tmp_path / "animal0.nii.gz").get_fdata()
    assert planes[2, 0, 4].real.item() == pytest.approx(volume[4, 2, 9])


def test_arrays_are_read_as_they_are(tmp_path):
    values = np.random.default_rng(0).normal(size=(2, 5, 4)) + 1j
    np.save(tmp_path / "animal.npy", values)
    assert find_images(tmp_path) == [tmp_path / "animal.npy"]
    assert subject_of_file(tmp_path / "animal.npy") == "animal"
    np.testing.assert_allclose(read_images(tmp_path / "animal.npy", 1, 0.15), values, rtol=1e-6)


def test_files_that_break_a_rule_are_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"at least one file ending in \.nii"):
        find_images(tmp_path)
    write_volumes(tmp_path, 1, zooms=(0.2, 0.7, 0.2))
    with pytest.raises(ValueError, match=r"animal0.nii.gz: its pixels must be .* 0.15 mm: got 0.2 x 0.2 mm"):
        read_images(tmp_path / "animal0.nii.gz", 1, 0.15)
    for name, values, message in (
        ("flat", np.ones((4, 4)), r"flat.npy: it must hold one volume of numbers: got shape \(4, 4\)"),
        ("nan", np.full((2, 4, 4), np.nan), "nan.npy: its values must be finite"),
        ("zero", np.zeros((2, 4, 4)), "zero.npy: its values must be finite and not all zero"),
    ):
        np.save(tmp_path / f"{name}.npy", values)
        with pytest.raises(ValueError, match=message):
            read_images(tmp_path / f"{name}.npy", 1, 0.15)
    for name in ("broken.nii.gz", "broken.nii", "broken.npy"):
        (tmp_path / name).write_bytes(b"not a volume")
        with pytest.raises(ValueError, match=f"{name}: it must be a readable volume"):
            read_images(tmp_path / name, 1, 0.15)


def test_too_few_animals_are_refused(tmp_path):
    write_volumes(tmp_path, 2)
    module = LowFieldMouse(tmp_path, COARSE, n_val=1, n_test=2, cache_dir=tmp_path / "cache", n_processes=1)
    module.prepare_data()
    with pytest.raises(ValueError, match=r"n_val \+ n_test must not exceed .* got 1 \+ 2 of 2"):
        module.setup()


@pytest.mark.parametrize("change", [{"n_val": 0}, {"slices_per_subject": 0}, {"coronal_axis": 3}])
def test_numbers_out_of_range_are_refused(change):
    with pytest.raises(ValueError, match="must be"):
        LowFieldMouse(**change)


@pytest.mark.skipif(not REAL_MICE.is_dir(), reason="needs the folder shared/data/mouse beside the repository")
def test_real_mice_are_read_as_coronal_planes():
    planes = read_images(REAL_MICE / "FVB_NCrl_in_vivo_1.nii.gz", coronal_axis=1, pixel_size=0.15)
    assert planes.shape == (128, 80, 112)
    assert len(find_images(REAL_MICE)) == 8
