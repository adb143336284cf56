"""A cache is picked up where it stopped, and never shows half a scan."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from lightning_mri.data import CacheEntry, ImageCache, build_cache, combine, read_scan
from lightning_mri.data.cache import MANIFEST, cache_root
from lightning_mri.scaling import Scaling
from lightning_mri.tensors import complex_noise

ENTRY = CacheEntry("a", "s", ("FLAIR", None), (2, 3, 5), (1.0, 2.0), "file.h5", "1-2", ("doubt",))


def test_an_image_and_its_row_are_read_back(tmp_path: Path) -> None:
    cache = ImageCache(tmp_path, "kind", {})
    images = complex_noise((2, 3, 5))
    cache.store("a", images)
    assert cache.entries() == {}
    cache.record(ENTRY)
    assert cache.entries() == {"a": ENTRY}
    assert cache.read(ENTRY, 1).equal(images[1])
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


def test_images_are_combined_cropped_and_scaled_slice_by_slice(tmp_path: Path, write_scan: Callable[..., Path]) -> None:
    path = write_scan(tmp_path / "scan.h5", "Ann", "T2w", n_slices=2)
    cache = ImageCache(tmp_path, "scans", {})
    (entry,) = build_cache([path], cache, Scaling(), n_processes=1)
    assert (entry.subject, entry.contrasts, entry.shape) == ("Ann", ("T2w", "T2w"), (2, 28, 26))
    expected = combine(read_scan(path).kspace[1:2], (28, 26))[0]
    stored = cache.read(entry, 1)
    torch.testing.assert_close(stored * entry.scales[1], expected)
    assert Scaling().of(stored).item() == pytest.approx(1)


def test_finished_scans_are_not_redone_and_changed_ones_are(
    tmp_path: Path, write_scan: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = [write_scan(tmp_path / f"{name}.h5", name, n_slices=1) for name in "ab"]
    cache = ImageCache(tmp_path, "scans", {})
    build_cache(paths[:1], cache, Scaling(), n_processes=1)
    read: list[Path] = []
    monkeypatch.setattr("lightning_mri.data.cache.read_scan", lambda p: (read.append(p), read_scan(p))[1])
    rows = build_cache(paths, cache, Scaling(), n_processes=1)
    assert read == paths[1:]
    assert [row.subject for row in rows] == ["a", "b"]
    write_scan(paths[0], "c", n_slices=1)
    assert [row.subject for row in build_cache(paths, cache, Scaling(), n_processes=1)] == ["c", "b"]


def test_files_of_one_name_in_two_folders_are_two_scans(tmp_path: Path, write_scan: Callable[..., Path]) -> None:
    paths = [write_scan(tmp_path / folder / "scan.h5", folder, n_slices=1) for folder in ("one", "two")]
    rows = build_cache(paths, ImageCache(tmp_path, "scans", {}), Scaling(), n_processes=2)
    assert [row.subject for row in rows] == ["one", "two"]
    assert len({row.name for row in rows}) == 2


def test_an_undersampled_scan_is_refused(tmp_path: Path) -> None:
    kspace = complex_noise((2, 8, 10))
    kspace[..., 3] = 0
    np.save(tmp_path / "scan.npy", kspace.numpy())
    cache = ImageCache(tmp_path, "scans", {})
    with pytest.raises(ValueError, match=r"scan.npy: kspace must be fully sampled .* got 72 of 80 samples"):
        build_cache([tmp_path / "scan.npy"], cache, Scaling(), n_processes=1)
    assert cache.entries() == {}


def test_the_user_s_cache_folder_is_the_default(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_root() == tmp_path / "lightning_mri"
    assert cache_root(tmp_path / "mine") == tmp_path / "mine"
