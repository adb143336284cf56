"""A few FLAIR subjects to fine-tune on, in nested sets."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from jsonargparse import ArgumentParser
from pytorch_lightning import LightningDataModule

from lightning_mri.datasets import StrokeFLAIR
from lightning_mri.physics import Equispaced
from lightning_mri.tensors import complex_noise

WriteScan = Callable[..., Path]


def test_named_subsets_are_nested_and_twenty_are_seventeen_and_three(tmp_path: Path) -> None:
    kspace = complex_noise((1, 6, 7)).numpy()
    for k in range(20):
        np.save(tmp_path / f"patient-{k:02d}.npy", kspace)
    splits = {n: StrokeFLAIR(tmp_path, subset=n, seed=3).split_names() for n in (1, 5, 10, 20)}  # type: ignore[arg-type]
    assert [len(splits[n]["train"]) for n in (1, 5, 10, 20)] == [1, 5, 10, 17]
    for smaller, larger in ((1, 5), (5, 10), (10, 20)):
        assert set(splits[smaller]["train"]) < set(splits[larger]["train"])
        assert splits[smaller]["val"] == splits[larger]["val"]
    assert len(splits[20]["val"]) == 3
    assert splits[20]["test"] == []
    assert splits[20] == StrokeFLAIR(tmp_path, subset=20, seed=3).split_names()
    assert splits[20] != StrokeFLAIR(tmp_path, subset=20, seed=4).split_names()


def test_other_contrasts_are_left_out_and_unknown_ones_count(tmp_path: Path, write_scan: WriteScan) -> None:
    write_scan(tmp_path / "a.h5", "a", "FLAIR")
    write_scan(tmp_path / "b.h5", "b", "T2w")
    write_scan(tmp_path / "c.h5", "c", "stroke protocol")
    data = StrokeFLAIR(tmp_path, 1, 1, crop=(8, 8), cache_dir=tmp_path / "cache", n_processes=1)
    names = data.split_names()
    assert sorted(names["train"] + names["val"]) == ["a", "c"]
    data.prepare_data()
    contrasts = [*data.train_dataloader(), *data.val_dataloader()]
    assert {name for batch in contrasts for name in batch.contrast} == {"FLAIR"}


def test_test_subjects_may_lie_elsewhere_but_not_be_trained_on(tmp_path: Path, write_scan: WriteScan) -> None:
    for name in "ab":
        write_scan(tmp_path / "train" / f"{name}.h5", name)
    write_scan(tmp_path / "test" / "c.h5", "c")
    data = StrokeFLAIR(tmp_path / "train", 1, 1, test_root=tmp_path / "test")
    data.setup("test")
    assert data.split_names()["test"] == ["c"]
    write_scan(tmp_path / "test" / "again.h5", "a")
    with pytest.raises(ValueError, match=r"again.h5: subjects of test_root must not be in root: got a"):
        StrokeFLAIR(tmp_path / "train", 1, 1, test_root=tmp_path / "test").split_names()


def test_yaml_reaches_every_argument(tmp_path: Path) -> None:
    config = tmp_path / "config.yaml"
    config.write_text(
        "data:\n"
        "  class_path: lightning_mri.datasets.StrokeFLAIR\n"
        "  init_args:\n"
        f"    root: {tmp_path}\n"
        "    subset: 5\n"
        "    crop: [64, 48]\n"
        "    scaling: {percentile: 98}\n"
        "    augmentation: {flip: 0}\n"
        "    pattern:\n"
        "      class_path: lightning_mri.physics.Equispaced\n"
        "      init_args: {acceleration: 6, n_center: 20}\n"
    )
    parser = ArgumentParser(exit_on_error=False)
    parser.add_argument("--config", action="config")
    parser.add_subclass_arguments(LightningDataModule, "data")
    data = parser.instantiate(parser.parse_args([f"--config={config}"])).data
    assert isinstance(data, StrokeFLAIR)
    assert (data.split.n_train, data.crop, data.scaling.percentile) == (5, (64, 48), 98)
    assert (data.pattern, data.augmentation.flip) == (Equispaced(6, 20), 0)
