"""The experiment that makes `std` an error bar, at a tiny size, on a copy of a shipped prior."""

import runpy
from pathlib import Path

import pytest
import torch

from lightning_mri.reconstruction import Uncertainty, error_bar, recipe_of
from lightning_mri.sampling import DDS, HQS
from lightning_mri.weights import find_prior, load_prior

EXPERIMENT = Path(__file__).parents[1] / "experiments/error_bars.py"


@pytest.fixture
def experiment() -> dict:
    return runpy.run_path(str(EXPERIMENT))


def test_factors_are_fitted_checked_and_written_into_the_prior(
    experiment: dict, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "brain.safetensors"
    path.write_bytes(find_prior("brain").read_bytes())
    draws = Uncertainty(DDS(n_steps=2), 2)
    sizes = experiment["Sizes"]((2.0, 4.0), 1, 1, (48, 40), (250.0, 208.0), n_center=10)
    experiment["error_bars"](tmp_path, str(path), HQS(n_steps=2), 1, draws, sizes, write=True)
    table = (tmp_path / "error_bars.md").read_text()
    assert table in capsys.readouterr().out
    assert [line.split(" | ")[0] for line in table.splitlines() if line.startswith("| ")][2:] == [
        "| 2.0",
        "| 4.0",
        "| all",
    ]
    assert (tmp_path / "error_bars.png").stat().st_size > 10_000
    before, after = load_prior("brain"), load_prior(path)
    bar = error_bar(after, recipe_of(HQS(n_steps=30), 1, draws.description), 4.0)
    assert bar.description == "1.645 std held 90 % of the errors in 2 subjects at R = 2 ... 4"
    assert f"| 4.0 | 1 | {bar.factor:.2f} |" in table
    assert {**after.card, "calibration": None} == {**before.card, "calibration": None}
    for name, weight in after.state_dict().items():
        assert torch.equal(weight, before.state_dict()[name])


def test_share_of_pixels_held_by_intervals_of_known_width(experiment: dict) -> None:
    generator = torch.Generator().manual_seed(1)
    std = torch.rand(100_000, generator=generator) + 0.1
    scan = experiment["Measured"](3.0, (2 * std * torch.randn(100_000, generator=generator)).abs(), std, "any")
    assert [scan.held(level, 2.0) for level in (0.5, 0.9)] == pytest.approx([0.5, 0.9], abs=0.01)
    # half of 1.645 standard deviations
    assert scan.held(0.9) == pytest.approx(0.589, abs=0.01)
    assert float(scan.score.quantile(0.9)) == pytest.approx(2, rel=0.02)
