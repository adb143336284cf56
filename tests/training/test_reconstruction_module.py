"""A time budget decides how much work is done, once for a scan, says so, and can be repeated without a clock."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from lightning_mri.datasets import SliceBatch
from lightning_mri.reconstruction import Guard, Uncertainty
from lightning_mri.sampling import DDS, HQS
from lightning_mri.training import ReconstructionModule
from lightning_mri.training.reconstruction_module import prepare_batch

EXPERIMENTS = Path(__file__).parents[2] / "experiments"


@pytest.fixture
def batch(ellipses: SliceBatch) -> SliceBatch:
    """The first of two slices."""
    return replace(ellipses.rows([0]), reference=None)


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
        problem = replace(prepare_batch(module.reconstructor, batch), seconds=seconds)
        chosen = module._keep_to_budget(module.reconstructor, problem, replace(batch, scan=name))
        assert chosen.sampler.nfe == nfe


def test_a_budget_beside_another_choice_is_an_error(tmp_path: Path, failing_command: Callable[..., str]) -> None:
    message = failing_command(
        *("predict", "--config", EXPERIMENTS / "reconstruct.yaml", f"--data.root={tmp_path}"),
        *("--output_dir", tmp_path, "--model.budget=4", "--model.preset=preview"),
    )

    assert "preset, sampler and budget exclude each other, give one: got preset 'preview' and budget 4.0" in message
