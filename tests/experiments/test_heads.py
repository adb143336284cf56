"""The experiments on synthetic heads, at a tiny size through their command lines."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from lightning_mri.baselines import UnrolledNetwork, save_unrolled
from tests.experiments.conftest import rows_of, times

Script = Callable[..., str]
N_CLASSICAL = 3 + (shutil.which("bart") is not None)


@pytest.mark.slow
def test_the_comparison_keeps_what_is_done_until_it_no_longer_holds(script: Script, tmp_path: Path) -> None:
    torch.manual_seed(0)
    network, work, table = (tmp_path / name for name in ("varnet.safetensors", "work", "results/numbers.md"))
    card = {"subjects": 20, "parameters": 1_350_000, "steps": 600, "images": 160}
    card |= {"val_steps": [100, 200, 300, 400, 500, 600], "val_nrmse": [0.3, 0.25, 0.2, 0.17, 0.14, 0.15]}
    save_unrolled(UnrolledNetwork(1, 2, 2), network, card)
    cohort = ("n_test=2", "n_validation=1", "matrix=[54,48]", "pixel_mm=4.5", "accelerations=[2]", "patterns=[random]")
    options = [f"--unrolled=[{network}]", f"--output_dir={work}", f"--table={table}", "--preset=preview"]
    options += [f"--cohort.{each}" for each in (*cohort, "weights=[0.004,0.002]")]

    script("comparison.py", *options)
    before, page = times(work), table.read_text()
    assert len(before) == 2 * (N_CLASSICAL + 2)
    errors = [float(cell) for cell in next(row for row in rows_of(table) if row[:2] == ["random", "2"])[3:-1]]
    assert errors[0] > errors[1] > errors[-1]  # zero-filled, CG-SENSE, prior
    assert "600 steps of one scan each, 3.75 passes over 160 images" in page
    assert "0.200 at step 300 and 0.140 at step 500" in page
    assert table.with_suffix(".png").stat().st_size > 10_000

    script("comparison.py", *options)
    assert (table.read_text(), times(work)) == (page, before)
    save_unrolled(UnrolledNetwork(1, 2, 2), network, card)
    script("comparison.py", *options)
    changed = {name for name, time in times(work).items() if time != before[name]}
    assert len(changed) == 2
    assert all("VarNet" in name for name in changed)


@pytest.mark.slow
def test_scenarios_are_changed_one_at_a_time_and_kept(script: Script, tmp_path: Path) -> None:
    options = ["--only=64 x 64", f"--work_dir={tmp_path / 'work'}", f"--output_dir={tmp_path}", "--sampler=HQS"]
    script("robustness.py", *options, "--sampler.n_steps=3")
    before, (_, _, row, _) = times(tmp_path / "work"), rows_of(tmp_path / "robustness.md")
    assert row[0] == "64 x 64 pixels"
    assert float(row[3]) == pytest.approx(float(row[1]) / float(row[2]), abs=0.005)
    assert (tmp_path / "robustness-1.png").exists()
    assert "robustness-test" not in script("robustness.py", *options, "--sampler.n_steps=3")
    assert "robustness-test-0, prior" in script("robustness.py", *options, "--sampler.n_steps=2")
    after = times(tmp_path / "work")
    assert {name for name in after if after[name] != before[name]} == {name for name in after if "prior" in name}


@pytest.mark.slow
def test_samplers_are_compared_head_by_head(script: Script, tmp_path: Path) -> None:
    pattern = "{class_path: Equispaced, init_args: {acceleration: 4, n_center: 8}}"
    scenario = f"{{name: tiny, n_coils: 3, matrix: [32, 32], pattern: {pattern}, contrasts: [T2w, FLAIR]}}"
    options = [f"--settings=[{{scenario: {scenario}, highest_cost: 40}}]", "--n_heads=2"]
    options += [f"--output_dir={tmp_path}", f"--work_dir={tmp_path / 'work'}"]
    first = script("samplers.py", *options, "--only=preview,DPS")
    assert "DPS" not in first  # it costs too much
    rows = {row[0]: row for row in rows_of(tmp_path / "samplers.md")}
    assert rows["preview"][1:3] == ["point", "12"]
    assert rows["standard"][4] == "1"
    ratio = float(rows["preview"][3]) / float(rows["standard"][3])
    assert float(rows["preview"][4].split()[0]) == pytest.approx(ratio, rel=0.1)
    assert "tiny, samplers" not in script("samplers.py", *options, "--only=preview")
    assert (tmp_path / "samplers.png").stat().st_size > 10_000
