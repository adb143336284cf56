import shutil
from pathlib import Path

import nibabel
import numpy as np
import pytest
import torch
import yaml
from pydicom import Dataset
from pytorch_lightning import Trainer
from pytorch_lightning.callbacks import LambdaCallback

from lightning_mri.datasets.batches import ImageBatch, LowFieldBatch
from lightning_mri.datasets.high_field import find_volumes, read_planes
from lightning_mri.datasets.low_field_mouse import LowFieldMouse, mouse_of
from lightning_mri.io import write_fastmri
from lightning_mri.io.formats.dicom.writer import DicomStudy, Series, write_dicom
from lightning_mri.io.geometry import Place
from lightning_mri.physics import Damping, fft2c
from lightning_mri.physics.low_field import LowField, ModelMismatch
from lightning_mri.tensors import complex_noise

BRUKER = Path(__file__).parents[3] / "shared" / "data" / "bruker_rare" / "1"
REAL_MICE = Path(__file__).parents[3] / "shared" / "data" / "mouse"
SMALL = {"n_subjects": 2, "n_val": 1, "n_test": 1, "slices_per_subject": 2, "size": 32, "crop": (32, 28)}
COARSE = LowField(pixel_size=0.6)


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("mice")


def ready(*args, stage=None, **options) -> LowFieldMouse:
    module = LowFieldMouse(*args, **options)
    module.prepare_data()
    module.setup(stage)
    return module


def small(folder: Path, **options) -> LowFieldMouse:
    """Return two synthetic mice to train on, one to validate on and one to test on, of two slices each."""
    return ready(**{"degradation": COARSE, "cache_dir": folder, "n_processes": 1, "batch_size": 2, **SMALL, **options})


@pytest.fixture
def mice(folder) -> LowFieldMouse:
    return small(folder)


def test_training_and_validation_yield_high_field_images(mice):
    for loader, n in ((mice.train_dataloader(), 2), (mice.val_dataloader(), 2)):
        batch = next(iter(loader))
        assert isinstance(batch, ImageBatch)
        assert batch.image.shape == (n, 32, 28)
        assert batch.contrast == ("T2w",) * n
    # the 99th percentile of a whole slice is 1
    image = mice.cache.read(mice.entries("train")[0], 0)
    assert image.abs().quantile(0.99).item() == pytest.approx(1, abs=0.05)


def test_tests_yield_degraded_scans_with_their_reference(mice):
    (batch,) = list(mice.test_dataloader())
    assert isinstance(batch, LowFieldBatch)
    assert batch.scan == "mouse-00000"
    assert batch.slices == (0, 1)
    assert batch.kspace.shape == (2, 1, 32, 28)
    residual = batch.likelihood.residual_std(batch.reference)
    torch.testing.assert_close(residual, batch.likelihood.noise_std, rtol=0.1, atol=0)


def test_validation_reconstructs_single_slices_of_its_animals_and_baselines_are_tuned_on_them(mice):
    for batches in (mice.reconstruction_batches(), mice.tuning_batches()):
        assert [(batch.scan, batch.slices) for batch in batches] == [("mouse-00001", (0,)), ("mouse-00001", (1,))]
        assert {batch.subject for batch in batches} == {"synthetic mouse-00001 of seed 0"}


def test_a_mismatched_module_measures_the_same_and_assumes_another_scanner(mice, folder):
    other = small(folder, mismatch=ModelMismatch(1.25))
    (right,), (wrong,) = list(mice.test_dataloader()), list(other.test_dataloader())
    assert torch.equal(right.kspace, wrong.kspace)
    torch.testing.assert_close(wrong.likelihood.noise_std, 1.25 * right.likelihood.noise_std)


def test_an_animal_of_the_cohort_is_the_one_that_was_drawn(mice):
    mouse, offsets = mouse_of("mouse-00001", mice.cohort)
    drawn = mouse.slice(offsets[1], (32, 32), 0.6)
    entry = mice.entries("val")[0]
    torch.testing.assert_close(entry.scales[1] * mice.cache.read(entry, 1), drawn, rtol=0, atol=2e-3)


def test_no_animal_is_on_two_sides(mice):
    names = mice.split_names()
    assert {side: len(part) for side, part in names.items()} == {"train": 2, "val": 1, "test": 1}
    assert len({name for part in names.values() for name in part}) == 4


def test_a_larger_cohort_contains_the_smaller_one(mice, folder):
    before = {path: path.stat().st_mtime_ns for path in mice.cache.folder.glob("mouse-0000[0-3].npy")}
    larger = small(folder, n_subjects=3)
    assert larger.cache.folder == mice.cache.folder
    assert larger.entries("train")[:2] == mice.entries("train")
    assert {path: path.stat().st_mtime_ns for path in before} == before
    assert (mice.cache.folder / "mouse-00004.npy").is_file()


def test_other_settings_get_another_cache(mice, folder):
    for change in ({"seed": 1}, {"size": 36}, {"degradation": LowField(pixel_size=0.5)}):
        other = LowFieldMouse(**{"degradation": COARSE, "cache_dir": folder, **SMALL, **change})
        assert other.cache.folder != mice.cache.folder


def write_volumes(folder: Path, n: int, zooms: tuple[float, float, float] = (0.6, 0.7, 0.6), first: int = 0) -> None:
    for i in range(first, first + n):
        values = np.random.default_rng(i).uniform(1, 2, size=(12, 3, 10)).astype(np.float32)
        image = nibabel.Nifti1Image(values, np.diag((*zooms, 1)))
        nibabel.save(image, folder / f"animal{i}.nii.gz")
        nibabel.save(image, folder / f"animal{i}_mask.nii.gz")


def test_a_folder_of_volumes_is_split_by_animal(tmp_path):
    write_volumes(tmp_path, 5)
    module = ready(tmp_path, COARSE, n_subjects=2, n_val=1, n_test=1, cache_dir=tmp_path / "cache")
    sides = [module.entries(side) for side in ("train", "val", "test")]
    assert [len(side) for side in sides] == [2, 1, 2]
    assert {entry.subject for side in sides for entry in side} == {f"animal{i}" for i in range(5)}
    batch = next(iter(module.test_dataloader()))
    assert "magnitude" in batch.warnings[0]
    assert batch.contrast == "T2w"
    assert not any("contrast" in warning for warning in batch.warnings)
    assert batch.n_slices == 3


def test_planes_of_air_are_told(tmp_path, capsys):
    for name in "abc":
        np.save(tmp_path / f"{name}.npy", np.pad(np.ones((3, 12, 10)), ((2, 1), (0, 0), (0, 0))))
    module = ready(tmp_path, COARSE, n_val=1, n_test=1, crop=(12, 10), cache_dir=tmp_path / "cache", stage="test")
    (batch,) = module.test_dataloader()
    assert batch.slices == (0, 1, 2)
    told = capsys.readouterr().err
    assert "subjects: 3 named by their files' names" in told
    assert f"{batch.source}: its slices are counted without planes 0, 1, 5, which show air" in told


def test_a_file_names_the_animals(tmp_path):
    write_volumes(tmp_path, 4)
    split = tmp_path / "split.yaml"
    split.write_text("{train: [animal3], val: [animal0.nii.gz], test: [animal1]}")
    module = ready(tmp_path, COARSE, split_file=split, cache_dir=tmp_path / "cache")
    found = {side: [entry.subject for entry in module.entries(side)] for side in ("train", "val", "test")}
    assert found == {"train": ["animal3"], "val": ["animal0"], "test": ["animal1"]}
    split.write_text(yaml.safe_dump(module.split_names()))
    again = LowFieldMouse(tmp_path, COARSE, split_file=split, cache_dir=tmp_path / "cache")
    assert again.split_names() == module.split_names()
    with pytest.raises(ValueError, match="split_file names animals of a root, which is not given"):
        LowFieldMouse(split_file=split)


@pytest.mark.parametrize(
    ("zooms", "axis", "pixel", "upright"),
    [
        # thick slices are the planes
        ((0.1, 0.12, 0.5), None, (0.12, 0.1), lambda volume: volume.transpose(2, 1, 0)),
        # else those from back to front, whose rows begin at the top
        ((0.1, 0.12, 0.1), None, (0.1, 0.1), lambda volume: volume.transpose(1, 2, 0)[:, ::-1]),
        # unless the user knows better
        ((0.1, 0.2, 0.3), 0, (0.3, 0.2), lambda volume: volume.transpose(0, 2, 1)[:, ::-1]),
    ],
)
def test_planes_are_those_that_were_acquired_and_pixels_those_of_the_file(tmp_path, zooms, axis, pixel, upright):
    write_volumes(tmp_path, 1, zooms)
    planes = read_planes(tmp_path / "animal0.nii.gz", axis, 0.15)
    volume = nibabel.load(tmp_path / "animal0.nii.gz").get_fdata()
    np.testing.assert_allclose(planes.images, upright(volume), rtol=1e-6)
    assert planes.pixel_size == pytest.approx(pixel)


def test_a_cohort_of_two_resolutions_is_degraded_in_mm(tmp_path):
    write_volumes(tmp_path, 2, (0.1, 0.1, 0.5))
    write_volumes(tmp_path, 2, (0.2, 0.2, 0.5), first=2)
    scanner = LowField(fwhm_mm=0.3, pixel_size=9.0)
    options = {"crop": (12, 10), "cache_dir": tmp_path / "cache", "batch_size": 20, "stage": "fit"}
    module = ready(tmp_path, scanner, 2, 1, 1, **options)
    for batch in module.low_field([entry for side in ("train", "val", "test") for entry in module.entries(side)], 20):
        edge = 0.1 if batch.subject in ("animal0", "animal1") else 0.2
        assert batch.pixel_size == pytest.approx((edge, edge))
        expected = Damping.gaussian((12, 10), 0.3, (edge, edge)).weights
        torch.testing.assert_close(batch.likelihood.A.find(Damping).weights, expected)
    (train,) = module.train_dataloader()
    assert sorted(train.pixel_sizes) == sorted(entry.pixel_size for entry in module.entries("train") for _ in range(10))


def test_every_format_is_an_animal_and_a_broken_one_is_left_out(tmp_path, caplog):
    write_volumes(tmp_path, 1)
    (tmp_path / "animal0_mask.nii.gz").unlink()
    write_fastmri(tmp_path / "kspace.h5", fft2c(complex_noise((3, 1, 12, 10))), contrast="T2w", subject="raw")
    np.save(tmp_path / "array.npy", np.ones((3, 12, 10)))
    whole = (tmp_path / "animal0.nii.gz").read_bytes()
    (tmp_path / "cut.nii.gz").write_bytes(whole[: len(whole) // 2])
    module = LowFieldMouse(tmp_path, COARSE, 1, 1, 1, cache_dir=tmp_path / "cache")
    module.prepare_data()
    assert "cut.nii.gz" in caplog.text
    assert sorted(row.subject for row in module.rows().values()) == ["animal0", "array", "raw"]


def test_dicom_and_bruker_images_train_and_are_degraded_with_their_own_pixels(tmp_path):
    images = torch.rand(3, 40, 36, generator=torch.Generator().manual_seed(0))
    for name, edge in (("M1", 0.2), ("M2", 0.3)):
        study = DicomStudy(Dataset())
        study.attributes.PatientID = name
        affine = torch.diag(torch.tensor([edge, edge, 1.0, 1.0]))
        write_dicom(tmp_path / "in" / name, [Series("scan", images, "T2w", "none")], Place(affine), study, "a")
    if BRUKER.exists():
        shutil.copytree(BRUKER / "pdata", tmp_path / "in" / "B3" / "1" / "pdata")
    blurred = LowField(fwhm_mm=0.5)
    of_data = {"crop": (32, 28), "batch_size": 2, "cache_dir": tmp_path / "cache"}
    module = LowFieldMouse(tmp_path / "in", blurred, n_val=1, n_test=1, **of_data)
    module.prepare_data()
    pixel = {row.subject: round(row.pixel_size[0], 4) for row in module.rows().values()}
    assert {name: pixel[name] for name in ("M1", "M2")} == {"M1": 0.2, "M2": 0.3}
    assert len(pixel) == (3 if BRUKER.exists() else 2)
    if BRUKER.exists():  # two to train and validate on are left
        module.setup("fit")
        train = next(iter(module.train_dataloader()))
        assert train.image.shape == (2, 32, 28)
        assert bool(train.image.isfinite().all())
    (test,) = list(module.test_dataloader())[:1]
    edge = pixel[test.subject]
    torch.testing.assert_close(
        test.likelihood.A.find(Damping).weights, blurred.damping(test.reconstruction_size, (edge, edge)).weights
    )
    assert test.pixel_size[0] == pytest.approx(edge, rel=1e-3)


def test_a_module_within_a_trainer_prepares_at_its_defaults(tmp_path):
    """What cannot be pickled, as callbacks with closures, hangs on the trainer that hangs on the module."""
    write_volumes(tmp_path, 3)
    module = LowFieldMouse(tmp_path, COARSE, n_val=1, n_test=1, cache_dir=tmp_path / "cache")
    module.trainer = Trainer(
        logger=False, enable_checkpointing=False, callbacks=[LambdaCallback(setup=lambda *_: None)]
    )
    module.prepare_data()
    assert len(module.rows()) == 3


def test_arrays_are_read_as_they_are(tmp_path):
    values = np.random.default_rng(0).normal(size=(2, 5, 4)) + 1j
    np.save(tmp_path / "animal.npy", values)
    assert find_volumes(tmp_path) == [tmp_path / "animal.npy"]
    planes = read_planes(tmp_path / "animal.npy", None, 0.15)
    assert (planes.subject, planes.pixel_size, planes.warnings) == ("", (0.15, 0.15), ())
    np.testing.assert_allclose(planes.images, values, rtol=1e-6)


@pytest.mark.parametrize(
    ("name", "values", "message"),
    [
        ("flat.npy", np.ones((4, 4)), r"got shape \(4, 4\)"),
        ("nan.npy", np.full((2, 4, 4), np.nan), "must be finite"),
        ("zero.npy", np.zeros((2, 4, 4)), "not all zero"),
        ("broken.npy", None, "readable"),
        ("broken.nii", None, "format must be one of"),
    ],
)
def test_files_that_break_a_rule_are_named(tmp_path, name, values, message):
    if values is None:
        (tmp_path / name).write_bytes(b"not a volume")
    else:
        np.save(tmp_path / name, values)
    with pytest.raises(ValueError, match=f"{name}: .*{message}"):
        read_planes(tmp_path / name, None, 0.15)


@pytest.mark.parametrize(("n_val", "n_test", "message"), [(1, 2, "got 1 \\+ 2 of 2"), (1, 1, "they take all 2")])
def test_too_few_animals_are_refused(tmp_path, n_val, n_test, message):
    write_volumes(tmp_path, 2)
    with pytest.raises(ValueError, match=message):
        ready(tmp_path, COARSE, n_val=n_val, n_test=n_test, cache_dir=tmp_path / "cache", stage="fit")


@pytest.mark.skipif(not REAL_MICE.is_dir(), reason="needs the folder shared/data/mouse beside the repository")
def test_real_mice_are_read_as_coronal_planes():
    planes = read_planes(REAL_MICE / "FVB_NCrl_in_vivo_1.nii.gz", None, 1.0)
    assert planes.images.shape == (128, 80, 112)
    assert planes.pixel_size == pytest.approx((0.15, 0.15))
    volume = nibabel.load(REAL_MICE / "FVB_NCrl_in_vivo_1.nii.gz").get_fdata()
    np.testing.assert_allclose(planes.images.real, np.rot90(np.moveaxis(volume, 1, 0), axes=(1, 2)), rtol=1e-6)
    assert len(find_volumes(REAL_MICE)) == 8
