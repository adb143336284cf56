"""The low-field mouse experiments run through the real entry point, at a tiny size."""

import runpy
from pathlib import Path

import pytest
import yaml

from lightning_mri.data import REGIMES

EXPERIMENTS = Path(__file__).parents[1] / "experiments"


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run in an empty folder, since experiments write below the current one."""
    monkeypatch.chdir(tmp_path)


def test_there_is_a_file_for_each_regime_of_the_paper() -> None:
    files = sorted((EXPERIMENTS / "mouse/regimes").glob("*.yaml"), key=lambda path: len(path.stem))
    for path, regime in zip(files, REGIMES.values(), strict=True):
        said = yaml.safe_load(path.read_text())["data"]["init_args"]["degradation"]
        assert said == {name: list(v) if isinstance(v := getattr(regime, name), tuple) else v for name in said}
        silent = set(vars(regime)) - set(said)
        assert silent <= {"te_s", "readout_s", "pixel_size", "pattern"}


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


def test_ways_are_compared_and_what_is_done_is_kept(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    experiment = runpy.run_path(str(EXPERIMENTS / "mouse/compare.py"))
    sizes = experiment["Sizes"](
        n_steps=1, n_subjects=1, n_val=1, n_test=2, slices_per_subject=1, matrix=48, paper_levels=2, physics_levels=2
    )
    options = {"sizes": sizes, "results": tmp_path / "results", "regimes": ("noise + blur",)}
    experiment["compare"](tmp_path / "runs", priors=("scratch",), **options)
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "runs/synthetic").rglob("*.json")}
    experiment["compare"](tmp_path / "runs", priors=("scratch", "un-tuned"), **options)
    assert len(before) == 6
    assert {path: path.stat().st_mtime_ns for path in before} == before
    rows = (tmp_path / "results/mouse.md").read_text().splitlines()
    for method in ("degraded | -", "total variation | -", "paper | scratch", "physics | un-tuned"):
        assert sum(row.startswith(f"| {method} |") for row in rows) == 1, method
    assert (tmp_path / "results/mouse.png").exists()
    with pytest.raises(ValueError, match=r"regimes must be among noise, .*: got fog"):
        experiment["compare"](tmp_path / "runs", regimes=("fog",))
