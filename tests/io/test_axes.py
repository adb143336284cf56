"""Axes that are named become slices, whichever file holds them and in whatever order."""

from pathlib import Path

import h5py
import numpy as np
import pytest
from einops import rearrange
from scipy.io import savemat

from lightning_mri.io import Scan, read_scan
from tests.builders import draw_complex
from tests.io.files import save_v73

SIZES = {"t": 4, "z": 3, "coil": 2, "y": 5, "x": 7}


def scan_of(path: Path, words: str, k: np.ndarray, mask: np.ndarray) -> Scan:
    if path.suffix == ".memory":
        return Scan.from_array(k, words, mask=mask)
    if path.suffix == ".npy":
        np.save(path, np.asfortranarray(k))
    elif path.suffix == ".npz":
        np.savez(path, kspace=k, mask=mask)
    elif path.name == "v73.mat":
        save_v73(path, kspace=k, mask=mask.astype(np.uint8))
    elif path.suffix == ".mat":
        savemat(path, {"kspace": k, "mask": mask.astype(np.uint8)})
    else:
        with h5py.File(path, "w") as file:
            file.update({"kspace": k, "mask": mask})
    return read_scan(path, axes=words)


@pytest.mark.parametrize(
    "words", ["z t coil y x", "coil x y z t", "t coil x z y part", "coil z y x", "y x coil t", "part x y z"]
)
@pytest.mark.parametrize("lines", [False, True])
@pytest.mark.parametrize("name", ["a.npy", "a.npz", "v5.mat", "v73.mat", "a.h5", "a.memory"])
def test_kspace_and_mask_have_their_axes_in_the_same_order(tmp_path: Path, words: str, lines: bool, name: str) -> None:
    own = [word for word in words.split() if word != "part"]
    k = draw_complex(*(SIZES[word] for word in own))
    frames = [word for word in own if word not in ("coil", *(["y"] if lines else []))]
    mask = np.random.default_rng(0).random([SIZES[word] for word in frames]) < 0.5
    parts = rearrange(np.stack([k.real, k.imag]), f"part {' '.join(own)} -> {words}") if "part" in words else k
    scan = scan_of(tmp_path / name, words, parts, mask)
    found = [word if word in own else "1" for word in SIZES]
    expected = rearrange(k, f"{' '.join(own)} -> {' '.join(found)}").reshape(-1, *scan.kspace.shape[1:])
    assert np.array_equal(scan.kspace[:].numpy(), expected)
    assert np.array_equal(scan.kspace[-1].numpy(), expected[-1])
    assert scan.n_volumes == (SIZES["t"] if "t" in own else 1)
    if name != "a.npy":
        wanted = [word for word in SIZES if word in frames]
        ordered = rearrange(mask, f"{' '.join(frames)} -> {' '.join(wanted)}").reshape(-1, 1 if lines else 5, 7)
        assert (scan.mask.numpy() == ordered).all()
