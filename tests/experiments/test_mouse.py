"""The low-field mouse experiments, at a tiny size through their command lines."""

import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from lightning_mri.weights import load_prior
from tests.experiments.conftest import EXPERIMENTS, rows_of, times


@pytest.mark.parametrize("method", ["reconstruct", "physics"])
def test_a_regime_is_a_layer_on_a_method(method: str, command, mouse_folder: Path, tmp_path: Path) -> None:
    command(
        "test",
        f"--config={EXPERIMENTS / 'mouse' / method}.yaml",
        f"--config={EXPERIMENTS / 'mouse/regimes/noise_blur_t2star.yaml'}",
        f"--data.root={mouse_folder}",
        "--data.degradation.pixel_size=0.4",
        "--data.n_subjects=1",
        "--data.n_val=1",
        "--data.n_test=1",
        "--data.n_processes=1",
        f"--data.cache_dir={tmp_path}",
        "--data.crop=[32,32]",
        '--model.priors={"mouse prior": "brain"}',
        "--model.uncertainty=null",
        "--model.sampler.n_steps=2",
        "--output_dir=results",
    )
    table = Path("results/table.md").read_text()
    assert "mouse prior" in table
    assert "degraded" in table
    assert ("Wiener" in table) == (method == "physics")


@pytest.mark.slow
def test_at_cpu_size_a_prior_of_heads_goes_on_with_mice(command, tmp_path: Path) -> None:
    tiny = (
        "--phase.steps=1",
        "--data.n_subjects=1",
        "--data.n_val=1",
        "--data.slices_per_subject=1",
        "--data.size=48",
        "--data.crop=[32,32]",
        "--data.batch_size=1",
        "--data.n_processes=1",
        f"--data.cache_dir={tmp_path}",
        "--trainer.logger=false",
    )
    small = ("--model.net.width=8", "--model.net.multipliers=[1,1]", "--model.net.attention_levels=[1]")
    command("fit", f"--config={EXPERIMENTS / 'mouse/synthetic_heads.yaml'}", *tiny, *small)
    command("fit", f"--config={EXPERIMENTS / 'mouse/synthetic_finetune.yaml'}", "--phase.epochs=null", *tiny)
    prior = load_prior(tmp_path / "runs/synthetic_mouse")
    assert type(prior.process).__name__ == "VP"
    assert [phase["phase"] for phase in prior.card["history"]] == ["pretrain", "fine-tune"]


@pytest.mark.slow
def test_methods_are_compared_and_what_is_done_is_kept(script: Callable[..., str], tmp_path: Path) -> None:
    sizes = {"n_steps": 1, "n_unet_steps": 1, "n_subjects": 2, "n_val": 1, "n_test": 2, "n_scored": 2}
    sizes |= {"slices_per_subject": 1, "matrix": 48, "paper_levels": 2, "physics_levels": 2, "n_draws": 2}
    options = [
        f"--sizes={json.dumps(sizes)}",
        "--results=results",
        "--output_dir=runs",
        "--only_regimes=[noise + blur]",
    ]
    script("mouse_comparison.py", *options, "--priors=[scratch]")
    before = times(Path("runs/rows"))
    assert len(before) == 2 * 12
    script("mouse_comparison.py", *options, "--priors=[scratch,un-tuned]")
    after = times(Path("runs/rows"))
    assert {name: after[name] for name in before} == before
    rows = [row[:2] for row in rows_of(Path("results/mouse.md"))]
    expected = (["degraded", "-"], ["U-Net", "-"], ["paper", "scratch"], ["physics, estimated", "scratch"])
    for row in (*expected, ["physics", "un-tuned"], ["noise + blur, synthetic", "physics"]):
        assert rows.count(row) == 1, row
    assert Path("results/mouse.png").stat().st_size > 10_000


def test_coverage_is_corrected_by_other_mice(module: Callable[[str], dict[str, Any]]) -> None:
    """Errors of standard deviation 1 where 0.5 is claimed: the factor is 2."""
    tables = module("mouse_tables.py")
    batch = SimpleNamespace(reference=torch.ones(1, 40, 40, dtype=torch.complex64))
    cases = [SimpleNamespace(batch=batch, regions={"brain": torch.ones(1, 40, 40) > 0})] * 3
    noise = torch.randn(3, 40, 40, generator=torch.Generator().manual_seed(0))
    line = tables["Line"](tables["DRAWN"], "p", 8, 1.0, 1 + noise, torch.full((3, 40, 40), 0.5))
    row = tables["coverage"]([tables["Section"]("synthetic", "noise", cases, [line])], "p")[-1]
    drawn, factor, corrected = (float(cell.split()[0]) for cell in row.split("|")[2:5])
    assert drawn == pytest.approx(59, abs=2)  # within 0.82 of a standard deviation
    assert factor == pytest.approx(2, rel=0.05)
    assert corrected == pytest.approx(90, abs=2)
