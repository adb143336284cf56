"""A result holds the reconstruction and everything that was inferred or chosen."""

import json
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import torch

from lightning_mri.io import Scan, read_result, read_subject, write_result
from lightning_mri.tensors import complex_noise


def test_everything_is_read_back(tmp_path: Path) -> None:
    image = complex_noise((2, 5, 7))
    std = torch.rand(2, 5, 7)
    mask = torch.rand(1, 10, 7) < 0.5
    attributes = {
        "contrast": None,
        "nfe": 30,
        "noise_std": [0.5, 0.25],
        "scale": torch.tensor([2.0, 3.0]),
        "sampler": {"class": "HQS", "n_steps": 30},
        "warnings": ("one", "two"),
        "guarded": True,
    }
    write_result(tmp_path / "scan.h5", image.abs(), image, std, mask, attributes, null_space=2 * std)
    with h5py.File(tmp_path / "scan.h5") as file:
        images = {"reconstruction": image.abs(), "image": image, "std": std, "null_space": 2 * std, "mask": mask}
        for name, values in images.items():
            assert file[name].dtype == values.numpy().dtype
            assert np.array_equal(file[name], values.numpy())
        assert file.attrs["nfe"] == 30
        assert file.attrs["noise_std"].tolist() == [0.5, 0.25]
        assert file.attrs["scale"].tolist() == [2.0, 3.0]
        assert file.attrs["sampler"] == '{"class": "HQS", "n_steps": 30}'
        assert file.attrs["warnings"] == '["one", "two"]'
        assert file.attrs["contrast"] == "null"
        assert file.attrs["guarded"]


def test_long_attributes_become_datasets_since_hdf5_refuses_them(tmp_path: Path) -> None:
    image = complex_noise((1, 5, 7))
    attributes = {"seeds": torch.arange(100_000), "warnings": ["é"] * 20_000}
    write_result(tmp_path / "scan.h5", image.abs(), image, attributes=attributes)
    with h5py.File(tmp_path / "scan.h5") as file:
        assert np.array_equal(file["seeds"], np.arange(100_000))
        assert json.loads(file["warnings"].asstr()[()]) == ["é"] * 20_000
        assert "std" not in file


def test_what_is_written_from_python_is_read_back(tmp_path: Path) -> None:
    """Regression: a result without the attributes of `predict` was none."""
    image = complex_noise((2, 5, 7))
    path = str(tmp_path / "scan.h5")
    write_result(path, image.abs(), image)
    assert (read_result(path).subject, read_subject(path)) == ("", "")
    scan = Scan.from_array(image[:, None].numpy(), "z coil y x", name="P1", pixel_size=(2.0, 1.0))
    for known, subject in ((scan, ""), (replace(scan, subject="Ann", subject_known=True), "Ann")):
        write_result(path, image.abs(), image, scan=known)
        with h5py.File(path) as file:
            assert file.attrs["readout"] == "y"
        found = read_result(path)
        assert found.magnitude.equal(image.abs())
        assert found.place.affine[:2, :2].abs().tolist() == [[1, 0], [0, 2]]
        assert (found.n_volumes, read_subject(path)) == (1, subject)
