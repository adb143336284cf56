"""A cache is picked up where it stopped, and never shows half a scan."""

import hashlib
import json
import re
import time
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
from torch import Tensor

from lightning_mri import phantoms
from lightning_mri.datasets import low_field_mouse, synthetic_heads
from lightning_mri.datasets.cache import MANIFEST, CacheEntry, ImageCache, cache_root, content_of
from lightning_mri.tensors import complex_noise

ENTRY = CacheEntry(
    "a", "s", ("FLAIR", None), (2, 3, 5), (1.0, 2.0), "file.h5", "1-2", ("guess",), pixel_size=(1.0, 2.0)
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


@pytest.mark.parametrize(
    ("entry", "generator"), [("training", synthetic_heads.GENERATOR), ("mice", low_field_mouse.GENERATOR)]
)
def test_a_cache_of_drawn_images_depends_on_all_modules_that_draw_them(entry: str, generator: tuple[str, ...]) -> None:
    """Regression: a change of the tissues of mice left their images as they were."""
    folder, found, waiting = Path(phantoms.__file__).parent, set[str](), [entry]
    while waiting:
        found.add(name := waiting.pop())
        used = re.findall(
            r"^from lightning_mri\.phantoms\.(\w+) import", (folder / f"{name}.py").read_text(), re.MULTILINE
        )
        waiting += {*used} - found
    assert found == {*generator}


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
    tmp_path: Path,
) -> None:
    """Written in both orders, so that no file system lists both folders in that of the names."""
    letters = "abcdefghijklmnop"
    for folder, order in ((tmp_path / "up", letters), (tmp_path / "down", letters[::-1])):
        folder.mkdir()
        for name in order:
            (folder / name).write_bytes(name.encode())
        assert content_of(folder) == hashlib.sha256(letters.encode()).hexdigest()
    assert content_of(tmp_path / "up" / "a") == hashlib.sha256(b"a").hexdigest()


def fail_in_turn(path: Path) -> CacheEntry:
    """Fail, of two files first for the later one."""
    first = path.with_name("b.h5")
    while path != first and not first.exists():
        time.sleep(0.01)
    first.touch()
    raise ValueError(path.name)


def test_failures_are_listed_by_their_path_whichever_comes_first(tmp_path: Path) -> None:
    cache = ImageCache(tmp_path, "kind", {})
    with cache.filling():
        failures = cache.fill({name: tmp_path / f"{name}.h5" for name in "ab"}, fail_in_turn, 2, "prepare")
    assert [Path(failure.source).name for failure in failures] == ["a.h5", "b.h5"]


def test_the_user_s_cache_folder_is_the_default(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_root() == tmp_path / "lightning_mri"
    assert cache_root(tmp_path / "mine") == tmp_path / "mine"
