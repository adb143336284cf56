"""What the loaders yield, and that nothing of it depends on how the work is shared out."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from lightning_mri.datasets import (
    Augmentation,
    CacheEntry,
    ImageCache,
    ImageDataset,
    ReferenceScans,
    ScanDataset,
    UndersampledDataset,
    simulated_mask,
    undersampled_slice,
)
from lightning_mri.datasets.images import image_loader
from lightning_mri.datasets.shares import scan_loader
from lightning_mri.io import read_scan, write_fastmri
from lightning_mri.phantoms import Scanner
from lightning_mri.physics import Equispaced, combine
from lightning_mri.tensors import centre_crop, complex_noise

from .test_augmentation import NOTHING

WriteScan = Callable[..., Path]


@pytest.fixture
def cached(tmp_path: Path) -> tuple[ImageCache, CacheEntry, Tensor]:
    cache = ImageCache(tmp_path, "kind", {})
    images = complex_noise((3, 12, 15), torch.Generator().manual_seed(0))
    cache.store("a", images)
    entry = CacheEntry("a", "s", ("FLAIR", None, "T2w"), (3, 12, 15), (1.0, 2.0, 0.1), "file")
    cache.record(entry)
    return cache, entry, images


def test_images_are_cut_or_padded_about_the_centre(cached: tuple[ImageCache, CacheEntry, Tensor]) -> None:
    cache, entry, images = cached
    image = ImageDataset(cache, [entry], (9, 20))[0].image
    assert image.shape == (9, 20)
    assert centre_crop(image, (9, 15)).equal(centre_crop(images[0], (9, 15)))


def test_random_cuts_reach_every_place(cached: tuple[ImageCache, CacheEntry, Tensor]) -> None:
    cache, entry, images = cached
    dataset = ImageDataset(cache, [entry], (11, 13), NOTHING)
    torch.manual_seed(0)
    corners = {round(float(dataset[0].image[0, 0].abs()), 4) for _ in range(100)}
    assert corners == {round(float(images[0, y, x].abs()), 4) for y in range(2) for x in range(3)}


@pytest.mark.parametrize("n_workers", [0, 1])
def test_slices_of_air_are_left_out_and_unknown_contrasts_have_a_name(
    cached: tuple[ImageCache, CacheEntry, Tensor], n_workers: int
) -> None:
    cache, entry, images = cached
    (batch,) = image_loader(ImageDataset(cache, [entry], (12, 15)), batch_size=3, n_workers=n_workers)
    assert batch.image.equal(images[:2])
    assert batch.contrast == ("FLAIR", "other")
    assert len(ImageDataset(cache, [replace(entry, scales=(0.0, 0.0, 0.0))], None)) == 0


@pytest.fixture
def mixed(tmp_path: Path) -> tuple[ImageCache, list[CacheEntry]]:
    """Two scans of one slice each, of unequal matrices."""
    cache, entries = ImageCache(tmp_path, "mixed", {}), []
    for name, shape in (("a", (12, 15)), ("b", (9, 20))):
        cache.store(name, complex_noise((1, *shape)) + 5)
        entries.append(CacheEntry(name, name, ("T2w",), (1, *shape), (1.0,), "file"))
        cache.record(entries[-1])
    return cache, entries


def test_a_batch_of_mixed_matrices_keeps_every_pixel_and_says_which_are_padding(
    mixed: tuple[ImageCache, list[CacheEntry]],
) -> None:
    cache, entries = mixed
    (batch,) = image_loader(ImageDataset(cache, entries, None), batch_size=2)
    assert batch.image.shape == (2, 12, 20)
    assert batch.support.equal(batch.image != 0)
    for image, entry in zip(batch.image, entries, strict=True):
        assert centre_crop(image, entry.shape[1:]).equal(cache.read(entry, 0))


def test_what_a_crop_pads_is_no_image_either(mixed: tuple[ImageCache, list[CacheEntry]]) -> None:
    cache, entries = mixed
    (cut,) = image_loader(ImageDataset(cache, entries, (9, 15)), batch_size=2)
    assert cut.support is None
    for augmentation in (None, Augmentation()):
        (padded,) = image_loader(ImageDataset(cache, entries, (16, 16), augmentation), batch_size=2)
        assert padded.support.equal(padded.image != 0)
        assert padded.support.flatten(1).sum(1).tolist() == [12 * 15, 9 * 16]


def test_shuffled_loaders_leave_out_the_rest(cached: tuple[ImageCache, CacheEntry, Tensor]) -> None:
    cache, entry, _ = cached
    dataset = ImageDataset(cache, [entry, entry], (12, 15))
    assert [len(b.image) for b in image_loader(dataset, 3, shuffle=True)] == [3]
    assert [len(b.image) for b in image_loader(dataset, 3)] == [3, 1]
    assert [len(b.image) for b in image_loader(dataset, 9, shuffle=True)] == [4]


def test_a_scan_is_read_as_measured_a_few_slices_at_a_time(tmp_path: Path) -> None:
    kspace = complex_noise((5, 2, 12, 8))
    mask = torch.tensor([0, 1, 0, 1, 1, 1, 0, 0], dtype=torch.bool).expand(1, 12, 8)
    # what the mask leaves out must not get in, even if the file holds it
    write_fastmri(tmp_path / "scan.h5", kspace, contrast="T2w", subject="Ann", mask=mask)
    batches = list(scan_loader(ScanDataset([read_scan(tmp_path / "scan.h5")], batch_size=2)))
    assert [batch.slices for batch in batches] == [(0, 1), (2, 3), (4,)]
    assert torch.cat([batch.kspace for batch in batches]).equal(kspace * mask)
    first = batches[0]
    assert first.mask.equal(mask)
    assert (first.scan, first.subject, first.contrast, first.n_slices) == ("scan", "Ann", "T2w", 5)
    assert first.reference is None
    assert first.acceleration is None


def test_the_mask_of_a_scan_is_the_same_for_all_slices_and_differs_between_scans(
    tmp_path: Path, write_scan: WriteScan
) -> None:
    scans = [read_scan(write_scan(tmp_path / f"{name}.h5", name)) for name in "ab"]
    dataset = UndersampledDataset(scans, 1, Equispaced(4, 4), [2, 3])
    batches = list(scan_loader(dataset))
    found = [(b.scan, b.acceleration, b.slices) for b in batches]
    assert found == [(scan, acceleration, (k,)) for scan in "ab" for acceleration in (2, 3) for k in (0, 1)]
    assert batches[0].mask.equal(batches[1].mask)
    assert not batches[0].mask.equal(batches[4].mask)
    assert batches[0].mask[0, 0].sum() == 13
    assert batches[2].mask[0, 0].sum() == round(26 / 3)


def test_a_matrix_without_room_for_the_pattern_is_named_with_its_option() -> None:
    with pytest.raises(ValueError, match=r"^P7: data\.pattern must fit its k-space of 60 x 56: n_center must leave"):
        undersampled_slice(torch.ones(60, 56) + 0j, "P7", "T1w", Equispaced(4, 16), Scanner(1, oversampling=1), (1, 1))


def test_what_was_not_acquired_changes_the_reference_alone(tmp_path: Path, write_scan: WriteScan) -> None:
    path = write_scan(tmp_path / "scan.h5", "Ann")
    pattern = Equispaced(3, 4)
    before = UndersampledDataset([read_scan(path)], 2, pattern, [3.0])[0]
    kspace = read_scan(path).kspace[:]
    mask = simulated_mask(pattern, "scan", (56, 26), 3.0)
    altered = torch.where(mask, kspace, kspace + 1)
    write_fastmri(path, altered, contrast="FLAIR", subject="Ann", reconstruction_size=(28, 26))
    after = UndersampledDataset([read_scan(path)], 2, pattern, [3.0])[0]
    assert before.kspace.equal(after.kspace)
    assert before.mask.equal(after.mask)
    assert before.reference.equal(combine(kspace, (28, 26)))
    assert not before.reference.equal(after.reference)


def test_zeros_around_measured_kspace_are_not_acquired(tmp_path: Path) -> None:
    kspace = complex_noise((1, 2, 12, 20))
    kspace[..., :2] = kspace[..., 17:] = 0
    write_fastmri(tmp_path / "scan.h5", kspace, contrast="PD", subject="s")
    batch = UndersampledDataset([read_scan(tmp_path / "scan.h5")], 1, Equispaced(2, 8), [2.0])[0]
    assert not batch.mask[..., :2].any()
    assert not batch.mask[..., 17:].any()


def test_an_undersampled_scan_has_no_reference(tmp_path: Path) -> None:
    kspace = complex_noise((1, 2, 12, 20))
    kspace[..., 7] = 0
    np.save(tmp_path / "scan.npy", kspace.numpy())
    dataset = UndersampledDataset([read_scan(tmp_path / "scan.npy")], 1, Equispaced(2, 8), [2.0])
    with pytest.raises(ValueError, match=r"scan.npy: kspace must be fully sampled to have a reference"):
        dataset[0]


def test_a_batch_moves_as_a_whole(tmp_path: Path, write_scan: WriteScan) -> None:
    scan = read_scan(write_scan(tmp_path / "scan.h5", "Ann"))
    batch = UndersampledDataset([scan], 1, Equispaced(2, 4), [2.0])[0].to("meta")
    assert {batch.kspace.device.type, batch.mask.device.type, batch.reference.device.type} == {"meta"}
    assert batch.scan == "scan"


def test_an_acceleration_that_a_scan_has_no_room_for_is_refused_before_any_slice(
    tmp_path: Path, write_scan: WriteScan
) -> None:
    """Regression: the second acceleration was refused when all of the first was computed, and nothing was kept."""
    path = write_scan(tmp_path / "a.h5", "Ann")
    with pytest.raises(ValueError, match=r"^a: data\.pattern .* acceleration 10: got 4 central of 3 samples"):
        UndersampledDataset([read_scan(path)], 2, Equispaced(2, 4), [2.0, 10.0])
    with pytest.raises(ValueError, match=r"a\.h5: .*acceleration 10"):
        ReferenceScans(path, Equispaced(2, 4), [2.0, 10.0]).setup()
