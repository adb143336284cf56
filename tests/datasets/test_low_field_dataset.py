"""Batches of low-field scans: whole subjects, each in one field, in units of the reference."""

import torch

from lightning_mri.datasets import LowFieldDataset
from lightning_mri.datasets.cache import CacheEntry, ImageCache
from lightning_mri.physics import ModelMismatch
from tests.regimes import NOISE, NOISE_BLUR_T2STAR_B0

SHAPE = (36, 45)


def test_batches_hold_whole_subjects_in_units_of_the_reference(blobs, tmp_path):
    cache = ImageCache(tmp_path, "test", {})
    entries = []
    for name, scales in (("a", (2.0, 0.0, 2.0, 3.0)), ("b", (1.0,))):
        stored = blobs(0, len(scales), SHAPE)
        cache.store(name, stored)
        shape = (len(scales), *SHAPE)
        entries.append(CacheEntry(name, f"subject {name}", ("T2w",) * len(scales), shape, scales, "test"))
        cache.record(entries[-1])
    dataset = LowFieldDataset(cache, entries, (30, 40), NOISE, batch_size=2)
    batches = [dataset[i] for i in range(len(dataset))]
    assert [(batch.scan, batch.slices) for batch in batches] == [("a", (0, 1)), ("a", (2,)), ("b", (0,))]
    assert [batch.n_slices for batch in batches] == [3, 3, 1]  # the empty one does not count
    torch.testing.assert_close(batches[1].reference, 3 * blobs(0, 4, SHAPE)[3:, 3:33, 2:42])
    assert batches[0].kspace.shape == (2, 1, 30, 40)
    assert batches[0].mask.all()
    assert batches[0].reconstruction_size == (30, 40)
    assert batches[0].subject == "subject a"
    assert torch.equal(dataset[0].kspace, batches[0].kspace)


def test_slices_of_a_subject_lie_in_one_field_however_they_are_grouped(blobs, tmp_path):
    cache = ImageCache(tmp_path, "test", {})
    cache.store("a", blobs(0, 3, SHAPE))
    entry = CacheEntry("a", "a", ("T2w",) * 3, (3, *SHAPE), (1.0,) * 3, "test")
    together, apart = (LowFieldDataset(cache, [entry], SHAPE, NOISE_BLUR_T2STAR_B0, size) for size in (3, 1))
    alone = torch.cat([apart[i].kspace for i in range(3)])
    torch.testing.assert_close(together[0].kspace, alone)
    wrong = LowFieldDataset(cache, [entry], SHAPE, NOISE_BLUR_T2STAR_B0, 3, ModelMismatch(0.75))[0]
    assert torch.equal(wrong.kspace, together[0].kspace)
    torch.testing.assert_close(wrong.likelihood.noise_std, 0.75 * together[0].likelihood.noise_std)
