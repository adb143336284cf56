"""`validate` draws what it scores, and says when its subjects are no new ones."""

from pathlib import Path

import pytest

from lightning_mri.__main__ import main
from lightning_mri.datasets import subject_digest
from lightning_mri.datasets.splits import TRAINED
from lightning_mri.diffusion import EDM, NetworkPrior
from lightning_mri.io import find_scans, read_scan
from lightning_mri.models import LightUNet
from lightning_mri.weights import save_prior


def seen(prior: NetworkPrior, cohort: Path, tmp_path: Path, knows: bool) -> tuple[str, list[str]]:
    """Write a prior that was trained on the validation subject or not; return what is told of it, and options."""
    scans = [read_scan(path) for path in find_scans(cohort / "multicoil_val")]
    prior.card[TRAINED] = [subject_digest(scan.subject) for scan in scans] if knows else []
    save_prior(prior, tmp_path / "prior.safetensors")
    sizes = ["--data.crop=[40,40]", "--data.pattern.n_center=6", "--data.n_reconstructions=1", "--data.n_processes=1"]
    options = [*sizes, f"--data.cache_dir={tmp_path / 'cache'}", "--data=FastMRIBrain", f"--data.root={cohort}"]
    return f"WARNING: the prior was trained on 1 of the 1 subjects ({scans[0].subject})", options


@pytest.mark.slow
@pytest.mark.parametrize("knows", [True, False])
def test_subjects_that_the_prior_was_trained_on_are_told(
    cohort: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], knows: bool
) -> None:
    prior = NetworkPrior(LightUNet((8,), 1, 16, n_labels=1), EDM(), labels=("FLAIR",))
    told, options = seen(prior, cohort, tmp_path, knows)
    options += [f"--model.prior={tmp_path / 'prior.safetensors'}", "--sampler=HQS", "--sampler.n_steps=1"]
    main(["validate", *options, f"--preview={tmp_path / 'look.png'}"])
    assert (tmp_path / "look.png").stat().st_size > 10_000
    assert (told in capsys.readouterr().err) == knows


@pytest.mark.slow
def test_what_makes_a_run_of_little_use_is_told_before_its_first_step(
    cohort: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    prior = NetworkPrior(LightUNet((8,), 1, 16, n_labels=2), EDM(), labels=("FLAIR", "spare-1"))
    told, options = seen(prior, cohort, tmp_path, True)
    options += ["--phase=FineTune", "--phase.checkpoint=prior.safetensors", "--phase.epochs=2", "--phase.contrast=T2*"]
    check = '{"class_path": "ReconstructHeldOut", "init_args": {"sampler": {"class_path": "HQS"}}}'
    options += [f"--trainer.callbacks=[{check}]", "--trainer.check_val_every_n_epoch=3", "--data.batch_size=2"]
    main(["fit", *options])
    warnings = capsys.readouterr().err
    assert told in warnings
    assert "no validation in 6 steps, so no curve and no best checkpoint: the first is due after 9" in warnings
    assert "T2*w is that of no training scan" in warnings
