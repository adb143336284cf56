"""Checkpoints as files: damage is found, a full disk and a killed run leave the last one, weights are numbers."""

import resource
import signal
from contextlib import nullcontext
from pathlib import Path

import pytest
import torch
from pytorch_lightning import Callback, LightningModule, Trainer

from lightning_mri.training import Checkpoint
from lightning_mri.training.checkpoint import last_checkpoint
from lightning_mri.weights import load_prior

from .conftest import At, Fit, Images, Validated, constant, module


def test_one_flipped_bit_is_found_and_the_newest_intact_checkpoint_is_named(fit: Fit, tmp_path: Path) -> None:
    last, _ = fit(constant(4), Images(), "run", module())
    (older,) = (path for path in last.parent.glob("*.ckpt") if path != last)
    content = bytearray(last.read_bytes())
    content[len(content) // 2] ^= 1
    last.write_bytes(content)
    with pytest.raises(ValueError, match=rf"last\.ckpt .*damaged.*newest intact one there is {older}"):
        fit(constant(6), Images(), "run", module(), ckpt_path=last)
    with pytest.raises(ValueError, match=r"last\.ckpt .*damaged"):
        load_prior(last)
    with pytest.warns(UserWarning, match=rf"last\.ckpt .*goes on from {older}"):
        assert last_checkpoint(last.parent) == older
    older.rename(tmp_path / "older.ckpt")
    with pytest.raises(ValueError, match="no other there is intact"):
        last_checkpoint(last.parent)
    last.unlink()
    assert last_checkpoint(last.parent) is None
    best = (tmp_path / "older.ckpt").rename(last.parent / "best.ckpt")
    with pytest.warns(UserWarning, match=rf"no last\.ckpt: the run goes on from {best}"):
        assert last_checkpoint(last.parent) == best
    best.write_bytes(content)
    with pytest.raises(ValueError, match=r"no last\.ckpt; no other there is intact"):
        last_checkpoint(last.parent)


@pytest.mark.parametrize("room", [999, 20_000])
def test_a_full_disk_leaves_the_last_checkpoint(fit: Fit, room: int) -> None:
    """A disk that refuses to write more, at the first bytes and further on."""
    last, _ = fit(constant(3), Images(), "run", module())
    before, limit = last.read_bytes(), resource.getrlimit(resource.RLIMIT_FSIZE)
    assert len(before) > room
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (room, limit[1]))
    try:
        with pytest.raises(OSError, match=r"File too large: .*\.ckpt"):
            fit(constant(6), Images(), "run", module(), ckpt_path=last)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limit)
    assert last.read_bytes() == before
    assert [path.name for path in last.parent.glob("*.part*")] == []


def test_what_a_killed_run_left_of_a_checkpoint_is_removed(fit: Fit, tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    for name in (".last.0123abcd.part.ckpt", ".best.0123abcd.part.ckpt"):
        (tmp_path / "run" / name).touch()
    fit(constant(1), Images(), "run", module())
    assert [path.name for path in (tmp_path / "run").glob(".*")] == [".best.0123abcd.part.ckpt"]


def test_weights_that_are_no_numbers_are_not_saved(fit: Fit, tmp_path: Path) -> None:
    def spoil(trainer: Trainer) -> None:
        next(trainer.model.parameters()).data.fill_(float("nan"))

    with pytest.raises(ValueError, match=r"after step 4 .*not finite"):
        fit(constant(8), Images(), "run", module(), every=2, callbacks=(At(3, spoil),))
    assert torch.load(tmp_path / "run/last.ckpt", weights_only=True)["global_step"] == 2


class Worse(Callback):
    """A score that is best at the first validation."""

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        pl_module.log("val/score", float(trainer.global_step))


@pytest.mark.parametrize(("every", "best"), [(1, 4), (2, 8)])
def test_the_last_state_is_kept_where_it_is_not_the_best(fit: Fit, tmp_path: Path, every: int, best: int) -> None:
    """Regression: a killed run went back to its best validation, and one that ended within an epoch lost the rest."""
    kept, seen = Checkpoint(tmp_path / "kept", "best", monitor="val/score", save_last=True), list[int]()

    def look(trainer: Trainer) -> None:
        seen.append(torch.load(tmp_path / "kept/last.ckpt", weights_only=True)["global_step"])

    options = {"num_sanity_val_steps": 0, "check_val_every_n_epoch": every}
    fit(constant(18), Validated(), "run", module(), callbacks=(Worse(), At(17, look), kept), **options)
    steps = [
        torch.load(tmp_path / "kept" / name, weights_only=True)["global_step"] for name in ("best.ckpt", "last.ckpt")
    ]
    assert (seen, steps) == ([16], [best, 18])


@pytest.mark.filterwarnings("ignore:Be aware that when using `ckpt_path`:UserWarning")
@pytest.mark.parametrize(("folder", "every", "lost"), [("moved", 1, ""), ("kept", 2, ""), ("alone", 1, "best.ckpt")])
def test_the_best_checkpoint_stays_the_best(fit: Fit, tmp_path: Path, folder: str, every: int, lost: str) -> None:
    """Regression: a worse one took its place where the folder had another name, or the run another interval."""

    def run(folder: Path, steps: int, every: int, ckpt_path: Path | None = None) -> Checkpoint:
        kept = Checkpoint(folder, "best", monitor="val/score", save_last=True, every_n_epochs=every)
        options = {"num_sanity_val_steps": 0, "ckpt_path": ckpt_path}
        fit(constant(steps), Validated(), "run", module(), callbacks=(Worse(), kept), **options)
        return kept

    run(tmp_path / "kept", 8, 1)
    there = (tmp_path / "kept").rename(tmp_path / folder)
    (there / (lost or "none")).unlink(missing_ok=True)
    with pytest.warns(UserWarning, match=lost or "") if lost else nullcontext():
        kept = run(there, 16, every, there / "last.ckpt")
    assert kept.best_model_score == (12 if lost else 4)
    assert torch.load(there / "best.ckpt", weights_only=True)["global_step"] == (12 if lost else 4)
    assert sorted(path.name for path in there.iterdir()) == ["best.ckpt", "last.ckpt"]
