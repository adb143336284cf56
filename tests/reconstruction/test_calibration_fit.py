"""The command that makes `std` an error bar, at a tiny size, on a copy of a shipped prior."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from lightning_mri.reconstruction import Uncertainty, error_bar, recipe_of
from lightning_mri.sampling import DDS, HQS
from lightning_mri.weights import find_prior, load_prior


@pytest.mark.parametrize(("suffix", "rule"), [(".ckpt", "weights export"), (".safetensors", "can be written")])
def test_a_prior_that_cannot_take_the_factors_is_refused_before_the_first_head(
    failing_command: Callable[..., str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, suffix: str, rule: str
) -> None:
    """Regression: it was refused after all of them, 40 minutes later."""
    path = tmp_path / f"prior{suffix}"
    path.write_bytes(find_prior("brain").read_bytes())
    monkeypatch.setattr("lightning_mri.weights.files.os.access", lambda *_: False)
    message = failing_command("calibrate", f"--prior={path}", f"--output_dir={tmp_path / 'out'}", "--write=true")
    assert str(path) in message
    assert rule in message
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_factors_are_fitted_checked_and_written_into_the_prior(command: Callable[..., str], tmp_path: Path) -> None:
    path = tmp_path / "brain.safetensors"
    path.write_bytes(find_prior("brain").read_bytes())
    options = [f"--prior={path}", f"--output_dir={tmp_path}", "--sampler=HQS", "--sampler.n_steps=2"]
    options += ["--uncertainty.sampler=DDS", "--uncertainty.sampler.n_steps=2", "--uncertainty.n_samples=2"]
    options += ["--heads.accelerations=[2,4]", "--heads.n_validation=1", "--heads.n_test=1", "--heads.n_center=10"]
    options += ["--heads.matrix=[48,40]", "--heads.plane_mm=[250,208]"]
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    first = command("calibrate", *options)
    assert torch.get_num_threads() == 2
    torch.set_num_threads(threads)
    assert first.count("coverage-") == 4
    printed = command("calibrate", *options, "--write=true")
    assert "coverage-" not in printed  # nothing is done twice
    table = (tmp_path / "error_bars.md").read_text()
    assert table in printed
    assert "'--heads.accelerations=[2,4]'" in table
    names = [line.split(" | ")[0] for line in table.splitlines() if line.startswith("| ")]
    assert names[2:] == ["| 2.0", "| 4.0", "| all"]
    assert (tmp_path / "error_bars.png").stat().st_size > 10_000
    before, after = load_prior("brain"), load_prior(path)
    draws = Uncertainty(DDS(n_steps=2), 2)
    bar = error_bar(after, recipe_of(HQS(n_steps=30), 1, draws.description), 4.0)
    assert bar.description == "1.645 std held 90 % of the errors in 2 subjects at R = 2 ... 4"
    assert f"| 4.0 | 1 | {bar.factor:.2f} |" in table
    assert {**after.card, "calibration": None} == {**before.card, "calibration": None}
    for name, weight in after.state_dict().items():
        assert torch.equal(weight, before.state_dict()[name])
