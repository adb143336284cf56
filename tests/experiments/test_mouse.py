"""The low-field mouse experiments, at a tiny size through their command lines."""

from collections.abc import Callable
from pathlib import Path

import pytest

from lightning_mri.weights import load_prior
from tests.experiments.conftest import rows_of, times


@pytest.mark.slow
@pytest.mark.parametrize("method", ["estimate", "reconstruct", "physics"])
def test_a_regime_is_a_layer_on_a_method(method: str, command, mouse_folder: Path, tmp_path: Path) -> None:
    command(
        *("test", f"--config=mouse/{method}", "--config=mouse/regimes/noise_blur_t2star"),
        *(f"--data.root={mouse_folder}", "--data.degradation.pixel_size=0.4", "--data.n_subjects=1"),
        *("--data.n_val=1", "--data.n_test=1", "--data.n_processes=1", f"--data.cache_dir={tmp_path}"),
        *("--data.crop=[32,32]", '--model.priors={"mouse prior": "brain"}', "--model.uncertainty=null"),
        *([] if method == "estimate" else ["--model.sampler.n_steps=2"]),
        "--output_dir=results",
    )
    table = Path("results/table.md").read_text()
    assert "mouse prior" in table
    assert "degraded" in table
    assert ("Wiener" in table) == (method == "physics")


@pytest.mark.slow
def test_at_cpu_size_a_prior_of_heads_goes_on_with_mice(command, tmp_path: Path) -> None:
    tiny = (
        *("--phase.steps=1", "--data.n_subjects=1", "--data.n_val=1", "--data.slices_per_subject=1"),
        *("--data.size=48", "--data.crop=[32,32]", "--data.batch_size=1", "--data.n_processes=1"),
        *(f"--data.cache_dir={tmp_path}", "--trainer.logger=false"),
    )
    small = ("--model.net.width=8", "--model.net.multipliers=[1,1]", "--model.net.attention_levels=[1]")
    command("fit", "--config=mouse/synthetic_heads", *tiny, *small)
    command("fit", "--config=mouse/synthetic_finetune", "--phase.epochs=null", *tiny)
    prior = load_prior(tmp_path / "runs/synthetic_mouse")
    assert type(prior.process).__name__ == "VP"
    assert [phase["phase"] for phase in prior.card["history"]] == ["pretrain", "fine-tune"]


TINY = ["--output_dir=runs", "--results=results"]


@pytest.mark.slow
def test_methods_are_compared_and_what_is_done_is_kept(script: Callable[..., str]) -> None:
    options = [*TINY, "--n_steps=1", "--n_train=1", "--n_scored=2", "--only_regimes=[noise + blur]"]
    script("mouse_comparison.py", *options, "--priors=[scratch]")
    before = times(Path("runs/rows"))
    assert len(before) == 2 * 10
    script("mouse_comparison.py", *options, "--priors=[scratch,un-tuned]")
    after = times(Path("runs/rows"))
    assert {name: after[name] for name in before} == before
    rows = {row[0]: row for row in rows_of(Path("results/mouse.md"))}
    assert rows["published method, scratch"][3] == rows["physics, scratch"][4] == "-"
    assert float(rows["degraded"][1].split()[0]) > float(rows["physics, un-tuned"][1].split()[0])
    assert {
        "total variation",
        "physics, most probable image, scratch",
        "physics, estimated, scratch",
        "published method, un-tuned",
    } < rows.keys()
    assert Path("results/mouse.png").stat().st_size > 10_000


@pytest.mark.slow
def test_readings_of_the_published_method_are_tried_on_validation_mice(script: Callable[..., str]) -> None:
    script("mouse_readings.py", *TINY, "--only_regimes=[noise]")
    rows = {row[0]: row for row in rows_of(Path("results/mouse_readings.md"))}
    errors = {name: float(row[1].split()[0]) for name, row in rows.items() if row[1][0].isdigit()}
    assert errors["published method"] < errors["pull of the state"] < errors["degraded"]
