"""Images that stay on the device are changed and cut as those of a loader are, and a run of them can be resumed."""

from pathlib import Path

import pytest
import torch

from lightning_mri.datasets import Augmentation, CacheEntry, ImageCache
from lightning_mri.datasets.images import ResidentImages, resident_loader
from lightning_mri.datasets.loading import Seeded
from lightning_mri.tensors import complex_noise

from .test_augmentation import NOTHING, source


@pytest.fixture
def cache(tmp_path: Path) -> ImageCache:
    """Two scans of different sizes, three and two slices."""
    cache = ImageCache(tmp_path, "test", {})
    for name, shape, contrast in (("a", (3, 17, 14), "T1w"), ("b", (2, 12, 19), "T2w")):
        cache.store(name, complex_noise(shape, source(shape[1])))
        cache.record(CacheEntry(name, name, (contrast,) * shape[0], shape, (1.0,) * shape[0], "test"))
    return cache


def resident(
    cache: ImageCache,
    augmentation: Augmentation = Augmentation(),  # noqa: B008
    crop: tuple[int, int] = (12, 13),
) -> ResidentImages:
    return ResidentImages(cache, list(cache.entries().values()), crop, augmentation, torch.device("cpu"))


def test_parts_are_parts_of_the_images(cache: ImageCache) -> None:
    images = resident(cache, NOTHING)
    torch.manual_seed(0)
    seen = set()
    for _ in range(60):
        batch = images.batch([4, 0])
        assert batch.contrast == ("T2w", "T1w")
        for part, (name, index) in zip(batch.image.abs(), (("b", 1), ("a", 0)), strict=True):
            whole = cache.read(cache.entries()[name], index).abs()
            windows = whole.unfold(0, 12, 1).unfold(1, 13, 1)
            found = (windows - part).abs().amax((-2, -1)) < 1e-5
            assert int(found.sum()) == 1
            seen.add((name, *found.nonzero()[0].tolist()))
    # every place at which a part fits: 6 x 2 in one, 1 x 7 in the other
    assert len(seen) == 12 + 7


@pytest.mark.parametrize("size", [(16, 16), (15, 16)])
def test_a_batch_of_one_is_what_a_single_image_becomes(size: tuple[int, int]) -> None:
    image, inside = complex_noise((19, 17), source(1)), torch.tensor([[19, 17]])
    for seed in range(40):
        batch = Augmentation(rotation=0.5).batch(image[None], inside, size, source(seed))[0]
        torch.testing.assert_close(batch, Augmentation(rotation=0.5)(image, source(seed), size))


def test_images_of_a_batch_change_independently() -> None:
    image = complex_noise((12, 12), source(1)).expand(64, 12, 12)
    changed = Augmentation().batch(image, torch.full((64, 2), 12), (12, 12), source(2))
    corners = {round(float(one.abs().flatten()[0] / one.abs().mean()), 3) for one in changed}
    assert len(corners) > 20
    assert changed.abs().mean((1, 2)).log().std() == pytest.approx(0.25, rel=0.25)


def test_a_loader_of_resident_images_goes_on_where_another_was(cache: ImageCache) -> None:
    whole = resident_loader(resident(cache), 2, seed=3)
    expected = [batch for _ in range(3) for batch in whole]
    cut, again = (resident_loader(resident(cache), 2, seed=3) for _ in range(2))
    first = [batch for _, batch in zip(range(3), (b for _ in range(3) for b in cut), strict=False)]
    again.load_state_dict(cut.state_dict())
    rest = [batch for _ in range(2) for batch in again]
    assert len(expected) == len(first) + len(rest) == 6
    for batch, same in zip(expected, [*first, *rest], strict=True):
        assert batch.image.equal(same.image)
        assert batch.contrast == same.contrast
    assert not expected[0].image.equal(expected[2].image)


def test_the_global_random_source_is_left_as_it_was(cache: ImageCache) -> None:
    torch.manual_seed(5)
    before = torch.random.get_rng_state()
    Seeded(resident(cache)).__getitems__([(3, 0), (4, 1)])
    assert torch.random.get_rng_state().equal(before)


def test_an_image_smaller_than_the_crop_is_refused(cache: ImageCache) -> None:
    with pytest.raises(ValueError, match=r"crop must not exceed.*got \(13, 13\) for b of \(12, 19\)"):
        resident(cache, crop=(13, 13))
