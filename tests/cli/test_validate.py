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


@pytest.mark.parametrize("knows", [True, False])
def test_subjects_that_the_prior_was_trained_on_are_told(
    cohort: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], knows: bool
) -> None:
    scans = [read_scan(path) for path in find_scans(cohort / "multicoil_val")]
    card = {TRAINED: [subject_digest(scan.subject) for scan in scans] if knows else []}
    prior = NetworkPrior(LightUNet((8,), 1, 16, n_labels=1), EDM(), labels=("FLAIR",), card=card)
    save_prior(prior, tmp_path / "prior.safetensors")
    sizes = ("--data.crop=[40,40]", "--data.pattern.n_center=6", "--data.n_reconstructions=1", "--data.n_processes=1")
    options = (*sizes, "--data.cache_dir", tmp_path / "cache", "--sampler=HQS", "--sampler.n_steps=1")
    options = (*options, "--data=FastMRIBrain", "--data.root", cohort, "--model.prior", tmp_path / "prior.safetensors")
    main(["validate", *map(str, options), "--preview", str(tmp_path / "look.png")])
    assert (tmp_path / "look.png").stat().st_size > 10_000
    told = f"WARNING: the prior was trained on 1 of the 1 subjects ({scans[0].subject})"
    assert (told in capsys.readouterr().err) == knows
