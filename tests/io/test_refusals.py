"""Arrays and headers of which no scan can be made are named, and what a user says that the file cannot be."""

from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest

from lightning_mri.cfl import write_cfl
from lightning_mri.io import read_scan
from tests.builders import draw_kspace

K = draw_kspace(2, 3, 5, 7)
WRONG = ("", "5 7", "5 -7 1 3", "5 7 x 3", "99999999999 7 1 3")
COLOURS = np.zeros((7, 5, 4), [("R", "u1"), ("G", "u1"), ("B", "u1")])


def write(path: Path, content: Any) -> None:
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif path.suffix == ".npy":
        np.save(path, content, allow_pickle=True)
    elif path.suffix == ".hdr":
        write_cfl(path, content)
    else:
        nibabel.save(nibabel.Nifti1Image(content, np.eye(4)), path)


def use(path: Path, **said: Any) -> None:
    scan = read_scan(path, **said)
    assert scan.kspace[0].shape == scan.kspace.shape[1:]
    assert scan.mask.any()


@pytest.mark.parametrize(
    ("name", "content", "said", "words"),
    [
        ("a.npy", K.real, {}, "kspace must be complex: got float32"),
        ("a.npy", np.zeros_like(K), {}, "kspace must hold acquired samples: got zeros or NaN only"),
        ("a.npy", np.full((2, 3, 5), 1e300 + 0j), {}, "kspace must be finite in single precision"),
        ("a.npy", np.array([{}, []], object), {}, "kspace must be a whole npy array"),
        ("a.npy", b"\x93NUMPY\x01\x00\x10\x00{'shape': (3, 5{  \n", {}, "kspace must be a whole npy array"),
        ("a.npy", K, {"axes": "coil z y"}, "kspace: axes must name x, y and every other axis once: got 'coil z y'"),
        ("a.npy", K, {"axes": "coil coil y x"}, "kspace: axes must name x, y and every other axis once"),
        ("a.npy", K, {"axes": "coil z y w"}, "kspace: axes must be words of .*: got 'w'"),
        ("a.npy", K, {"axes": "coil y x"}, r"kspace: axes must fit .*'coil y x' for the shape \(2, 3, 5, 7\)"),
        ("a.npy", K, {"axes": "1 coil y x"}, "kspace: axes must fit the array"),
        ("a.npy", K, {"measurement": "dataset"}, "measurement cannot be given for this format"),
        ("a.hdr", draw_kspace(2, 3, 1, 7, 5).T, {}, r"dimensions other than .* must be 1: got \{4: 2\}"),
        *(("a.hdr", f"# Dimensions\n{line}\n".encode(), {}, "the line below .* must hold 4 to 32") for line in WRONG),
        ("a.nii", K[0, 0, 0].real, {}, "image must have 2 to 4 axes"),
        ("a.nii", K.real[..., None].repeat(2, -1), {}, "image must have 2 to 4 axes"),
        ("a.nii", COLOURS, {}, "image must hold numbers"),
    ],
)
def test_what_breaks_a_rule_is_named(tmp_path: Path, name: str, content: Any, said: dict[str, str], words: str) -> None:
    write(tmp_path / name, content)
    with pytest.raises((ValueError, OSError), match=f"{name}: {words}"):
        use(tmp_path / name, **said)


def test_the_distance_of_slices_is_that_of_the_file_where_it_says_one(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", K)
    nibabel.save(nibabel.Nifti1Image(K[0, 0].real, np.diag([1.0, 1, 5, 1])), tmp_path / "a.nii")
    assert read_scan(tmp_path / "a.npy", slice_spacing=6.5).slice_spacing == 6.5
    assert read_scan(tmp_path / "a.nii", slice_spacing=5.02).slice_spacing == 5.02
    with pytest.raises(ValueError, match=r"a.nii: slice_spacing must be that of the file, 5 mm: got 6.0"):
        read_scan(tmp_path / "a.nii", slice_spacing=6.0)
