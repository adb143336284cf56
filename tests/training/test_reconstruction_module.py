"""A time budget decides how much work is done, once for a scan, says so, and can be repeated without a clock."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from lightning_mri.datasets import SliceBatch
from lightning_mri.reconstruction import Guard, Reconstruction, Uncertainty
from lightning_mri.sampling import DDS, HQS
from lightning_mri.training import ReconstructionModule, reconstruction_module
from lightning_mri.training.provenance import methods_of
from lightning_mri.training.reconstruction_module import measured_of
from lightning_mri.training.scores import ScoredScan
from lightning_mri.weights import fingerprint, load_prior

EXPERIMENTS = Path(__file__).parents[2] / "experiments"


@pytest.fixture
def batch(ellipses: SliceBatch) -> SliceBatch:
    """The first of two slices."""
    return replace(ellipses.rows([0]), reference=None)


@pytest.mark.slow
def test_a_budget_too_small_is_said_once_and_its_result_can_be_repeated(
    batch: SliceBatch, capsys: pytest.CaptureFixture[str]
) -> None:
    uncertainty = Uncertainty(DDS(n_steps=2), n_samples=2)
    hasty = ReconstructionModule(budget=0.001, uncertainty=uncertainty, guard=Guard(fallbacks=()))
    hasty.eval()

    first = hasty.predict_step(batch, 0)
    again = hasty.predict_step(replace(batch, slices=(1,)), 1)

    told = [line for line in capsys.readouterr().out.splitlines() if line.startswith("ellipse: 0.001 s a slice: 8 ")]
    assert len(told) == 1
    assert "and uncertainty; the budget is too small for 8, the fewest: a slice will take" in told[0]
    for result in (first.result, again.result):
        assert result.findings.sampler == repr(HQS(n_steps=8))
        assert result.findings.nfe.tolist() == [8]
        assert f"ellipse: {result.findings.budget}" == told[0]
    timeless = ReconstructionModule(sampler=HQS(n_steps=8), uncertainty=uncertainty, guard=Guard(fallbacks=()))
    timeless.eval()
    repeated = timeless.predict_step(batch, 0).result
    assert torch.equal(repeated.image, first.result.image)
    assert repeated.findings.budget is None


def test_each_scan_has_its_own_number_of_steps(batch: SliceBatch) -> None:
    module = ReconstructionModule(budget=1e6, uncertainty=None)
    for name, seconds, nfe in (("one", 0.0, 192), ("two", 1e7, 8)):
        problem = replace(module.reconstructor.prepare(measured_of(batch)), seconds=seconds)
        chosen = module._keep_to_budget(module.reconstructor, problem, replace(batch, scan=name))
        assert chosen.sampler.nfe == nfe


def test_what_a_budget_paid_for_is_said_of_each_scan_and_weights_by_their_file(
    ellipses: SliceBatch, start: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A folder of runs is another prior after the next run."""
    monkeypatch.setattr(reconstruction_module, "find_prior", {"runs/mine": start}.__getitem__)
    priors = {"shipped": "brain", "mine": "runs/mine"}
    module = ReconstructionModule(priors=priors, budget=1e6, uncertainty=None, baselines={})
    cases = []
    for name, seconds in (("one", 1e7), ("two", 2e7)):
        batch = replace(ellipses, scan=name, warnings=("axes were guessed",), n_volumes=2)
        problem = replace(module.reconstructor.prepare(measured_of(batch)), seconds=seconds)
        module._keep_to_budget(module.reconstructor, problem, batch)
        cases.append(module.test_step(batch, 0))
    assert cases[0].warnings == ("axes were guessed",)
    assert cases[0].n_volumes == 2
    said = methods_of(module, cases, {"config": "n_sets: 1"})
    assert said["sampler"] == repr(HQS(n_steps=8))
    one, two = said["time budget"].splitlines()
    assert one.startswith("one, R = 2: 1e+06 s a slice: 8 network evaluations")
    assert two.startswith("two, R = 2: ")
    shipped, mine = said["priors"].splitlines()
    assert shipped == f"shipped: brain, weights_sha256 {fingerprint(load_prior('brain'))}"
    assert mine == f"mine: {start}, weights_sha256 {fingerprint(load_prior(start))}"
    assert said["config"] == "n_sets: 1"
    other = replace(cases[1], slices=(1,), made={"sampler": "DDS"}, nfe=dict.fromkeys(cases[1].nfe, 4))
    joined = ScoredScan.join([replace(cases[1], slices=(0,)), other])
    assert joined.made["sampler"] == f"{HQS(n_steps=8)!r}; DDS"
    assert joined.nfe == {"shipped": 6, "mine": 6}


def test_what_is_wrong_with_a_slice_is_told_by_a_test_as_by_predict(ellipses: SliceBatch) -> None:
    """Regression: only `predict` told of spikes, dead coils and the like."""
    module = ReconstructionModule(sampler=HQS(n_steps=1), uncertainty=None, baselines={})
    usual = module.test_step(ellipses, 0).warnings
    kspace = ellipses.kspace.clone()
    kspace[1, :, 9, int(ellipses.mask[0, 0].nonzero()[1])] = 1000 * kspace.abs().max()
    batch = replace(ellipses, kspace=kspace)
    told = module.test_step(batch, 0).warnings
    predicted = module.predict_step(batch, 0).result.warnings
    (spike,) = [warning for warning in told if warning not in usual]
    assert spike.startswith("slice 1: 1 samples of k-space stand far above their neighbours")
    assert spike in predicted


@pytest.mark.slow
def test_a_test_warns_as_predict_does_and_falls_back_to_nothing(ellipses: SliceBatch) -> None:
    """Regression: of slices that the guard takes for wrong, and of a contrast that no label is for, it said nothing."""
    turned = ellipses.kspace.clone()
    turned[1, ..., 12:] *= 1j
    batch = replace(ellipses, kspace=turned, contrast="angiography")

    def both(guard: Guard) -> tuple[ScoredScan, Reconstruction]:
        module = ReconstructionModule(sampler=DDS(n_steps=1), uncertainty=None, baselines={}, guard=guard)
        return module.test_step(batch, 0), module.predict_step(batch, 0).result

    tested, predicted = both(Guard())
    plain, as_it_is = both(Guard(fallbacks=()))
    assert predicted.findings.fallback.tolist()[1] > 0
    assert tested.warnings == plain.warnings == as_it_is.warnings
    assert tested.warnings[0].startswith("slice 1: beyond the noise ")
    assert tested.warnings[1:] == ("the prior does not know angiography",)
    assert torch.equal(tested.images["brain"], as_it_is.magnitude)
    lax, _ = both(Guard(unexplained=1))
    assert lax.warnings[0].startswith("slice 1: the field of view")


def test_a_warning_that_is_not_of_all_priors_says_of_which(ellipses: SliceBatch, start: Path) -> None:
    priors, guard = {"shipped": "brain", "mine": str(start)}, Guard()
    module = ReconstructionModule(priors=priors, sampler=HQS(n_steps=1), uncertainty=None, baselines={}, guard=guard)
    assert module.test_step(replace(ellipses, contrast="FLAIR"), 0).warnings == (
        "the prior does not know FLAIR (mine)",
    )
    assert module.test_step(replace(ellipses, contrast="odd"), 0).warnings == ("the prior does not know odd",)


def test_a_budget_beside_another_choice_is_an_error(tmp_path: Path, failing_command: Callable[..., str]) -> None:
    message = failing_command(
        *("predict", "--config", EXPERIMENTS / "reconstruct.yaml", f"--data.root={tmp_path}"),
        *("--output_dir", tmp_path, "--model.budget=4", "--model.preset=preview"),
    )

    assert "preset, sampler and budget exclude each other, give one: got preset 'preview' and budget 4.0" in message
