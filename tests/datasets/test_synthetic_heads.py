"""Synthetic heads are drawn once, in any order, and a larger cohort contains the smaller one."""

from pathlib import Path

import pytest
import torch

from lightning_mri.datasets import SyntheticHeads
from lightning_mri.phantoms import training_slices
from lightning_mri.physics import Equispaced

SMALL = {"slices_per_subject": 2, "size": 24, "crop": (16, 20), "batch_size": 2, "pattern": Equispaced(2, 8)}


@pytest.fixture(scope="module")
def cache_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def heads(cache_dir: Path) -> SyntheticHeads:
    data = SyntheticHeads(1, 1, cache_dir=cache_dir, n_processes=1, **SMALL)  # type: ignore[arg-type]
    data.prepare_data()
    data.setup("fit")
    return data


def test_the_cache_holds_the_generator_s_slices(heads: SyntheticHeads) -> None:
    (entry,) = heads.entries("train")
    drawn = list(training_slices(0, 2, size=24, first=8))
    assert heads.cache.read(entry, 1).equal(drawn[1].image)
    assert entry.contrasts == tuple(one.contrast for one in drawn)


def test_training_and_validation_share_no_subject(heads: SyntheticHeads) -> None:
    assert heads.split_names() == {"train": ["head-000001"], "val": ["head-000000"]}
    assert heads.subjects("train") == ["synthetic head 1 of seed 0"]


def test_batches_fit_the_training(heads: SyntheticHeads) -> None:
    (train,), (val,) = heads.train_dataloader(), heads.val_dataloader()
    assert train.image.shape == val.image.shape == (2, 16, 20)
    assert train.image.dtype == torch.complex64
    (again,) = heads.val_dataloader()
    assert again.image.equal(val.image)


def test_a_larger_cohort_draws_only_what_is_missing(
    heads: SyntheticHeads, cache_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn: list[int] = []

    def draw(index: int, **_: object) -> object:
        drawn.append(index)
        return heads.entries("train")[0]

    monkeypatch.setattr("lightning_mri.datasets.synthetic_heads._draw_subject", draw)
    SyntheticHeads(3, 1, cache_dir=cache_dir, n_processes=1, **SMALL).prepare_data()  # type: ignore[arg-type]
    assert drawn == [2, 3]


def test_a_full_cache_is_only_read(heads: SyntheticHeads, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError("the cache must not be written")

    monkeypatch.setattr("lightning_mri.datasets.cache.locked", refuse)
    heads.prepare_data()
    assert len(heads.entries("train")) == 1


def test_other_contrasts_are_another_cache(heads: SyntheticHeads, cache_dir: Path) -> None:
    other = SyntheticHeads(1, 1, contrasts=["T2w"], cache_dir=cache_dir, **SMALL)  # type: ignore[arg-type]
    assert other.cache.folder != heads.cache.folder


def test_validation_reconstructs_further_subjects(heads: SyntheticHeads) -> None:
    heads.n_reconstructions = 1
    (batch,) = heads.reconstruction_batches()
    assert batch.reference.shape == (1, 24, 24)
    assert batch.subject not in heads.subjects("train") + heads.subjects("val")
