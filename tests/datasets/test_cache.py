"""A cache is picked up where it stopped, and never shows half a scan."""

import hashlib
import json
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
from torch import Tensor

from lightning_mri.datasets.cache import MANIFEST, CacheEntry, ImageCache, cache_root, content_of
from lightning_mri.tensors import complex_noise

ENTRY = CacheEntry(
    "a", "s", ("FLAIR", None), (2, 3, 5), (1.0, 2.0), "file.h5", "1-2", ("doubt",), pixel_size=(1.0, 2.0)
)
ROW = json.dumps(asdict(ENTRY))


def test_an_image_and_its_row_are_read_back_and_the_array_is_numpy_s(tmp_path: Path) -> None:
    cache = ImageCache(tmp_path, "kind", {})
    images = complex_noise((2, 3, 5))
    cache.store_slices("a", (2, 3, 5), iter(images))
    assert cache.entries() == {}
    cache.record(ENTRY)
    assert cache.entries() == {"a": ENTRY}
    assert [cache.read(ENTRY, k).equal(images[k]) for k in range(2)] == [True, True]
    assert np.array_equal(np.load(cache.folder / "a.npy"), images.numpy())
    assert sorted(p.name for p in cache.folder.iterdir()) == ["a.npy", MANIFEST, "settings.json"]


def test_a_row_that_was_cut_off_is_dropped_and_overwritten(tmp_path: Path) -> None:
    cache = ImageCache(tmp_path, "kind", {})
    cache.record(ENTRY)
    whole = (cache.folder / MANIFEST).read_text()
    (cache.folder / MANIFEST).write_text(whole + whole[:20].replace('"a"', '"b"'))
    assert list(cache.entries()) == ["a"]
    cache.record(CacheEntry("c", "s", (), (0, 3, 5), (), "file.h5"))
    assert list(cache.entries()) == ["a", "c"]


def test_other_settings_are_another_cache(tmp_path: Path) -> None:
    ImageCache(tmp_path, "kind", {"percentile": 99}).record(ENTRY)
    assert ImageCache(tmp_path, "kind", {"percentile": 99}).entries() == {"a": ENTRY}
    other = ImageCache(tmp_path, "kind", {"percentile": 98})
    assert other.entries() == {}
    other.record(ENTRY)
    settings = json.loads((other.folder / "settings.json").read_text())
    assert settings == {"kind": "kind", "format": 1, "percentile": 98}


def test_an_array_that_is_not_whole_is_an_error(tmp_path: Path) -> None:
    cache = ImageCache(tmp_path, "kind", {})
    cache.store("a", complex_noise((2, 3, 5)))
    whole = (cache.folder / "a.npy").read_bytes()
    (cache.folder / "a.npy").write_bytes(whole[:100])
    with pytest.raises(OSError, match=r"a.npy: the array must have the shape that the manifest says"):
        cache.read(ENTRY, 0)
    (cache.folder / "a.npy").unlink()
    with pytest.raises(OSError, match=r"a\.npy"):
        cache.read(ENTRY, 0)


def test_a_volume_whose_making_breaks_off_is_never_seen(tmp_path: Path) -> None:
    def broken() -> Iterator[Tensor]:
        yield complex_noise((3, 5))
        raise ValueError("slice 1 holds NaN")

    cache = ImageCache(tmp_path, "kind", {})
    with pytest.raises(ValueError, match="slice 1 holds NaN"):
        cache.store_slices("a", (2, 3, 5), broken())
    assert not cache.holds(ENTRY)
    assert list(cache.folder.iterdir()) == []


@pytest.mark.parametrize(
    "row", ['{"name": "a"}', "[]", "nothing", ROW.replace('"a"', '"../a"'), ROW.replace("[2, ", "[3, ")]
)
def test_a_damaged_manifest_is_one_sentence(tmp_path: Path, row: str) -> None:
    cache = ImageCache(tmp_path, "kind", {})
    cache.record(ENTRY)
    with (cache.folder / MANIFEST).open("a") as file:
        file.write(row + "\n")
    with pytest.raises(ValueError, match=r"manifest.jsonl: a row") as told:
        cache.entries()
    assert "\n" not in str(told.value)


def test_content_is_of_the_bytes_in_any_order_of_the_file_system(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in "ab":
        (tmp_path / name).write_bytes(name.encode())
    assert content_of(tmp_path / "a") == hashlib.sha256(b"a").hexdigest()
    for order in ("ab", "ba"):
        monkeypatch.setattr(Path, "rglob", lambda folder, _, order=order: iter([folder / name for name in order]))
        assert content_of(tmp_path) == hashlib.sha256(b"ab").hexdigest()


def test_failures_are_listed_by_their_path_whichever_comes_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done = [(1, ValueError("one")), (0, ValueError("none"))]
    monkeypatch.setattr("lightning_mri.datasets.cache.finish_jobs", lambda *_: iter(done))
    cache = ImageCache(tmp_path, "kind", {})
    with cache.filling():
        failures = cache.fill({"a": "a.h5", "b": "b.h5"}, lambda _: ENTRY, 1, "prepare")
    assert [failure.source for failure in failures] == ["a.h5", "b.h5"]


def test_the_user_s_cache_folder_is_the_default(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_root() == tmp_path / "lightning_mri"
    assert cache_root(tmp_path / "mine") == tmp_path / "mine"
