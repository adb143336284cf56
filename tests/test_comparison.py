"""The comparison with unrolled networks and the failure table run at a tiny size, and go on where they stopped."""

import importlib.util
import runpy
import shutil
import sys
from dataclasses import replace
from datetime import timedelta
from functools import partial
from pathlib import Path

import pytest
import torch

from lightning_mri.baselines import Unrolled, UnrolledNetwork, save_unrolled
from lightning_mri.physics import GaussianLikelihood
from lightning_mri.sampling import HQS
from lightning_mri.training import RandomScans
from lightning_mri.weights import load_prior

EXPERIMENTS = Path(__file__).parents[1] / "experiments"
TINY = {"n_subjects": 1, "n_val": 1, "size": 48, "n_cascades": 1, "width": 2, "n_levels": 2, "val_every": 10}


@pytest.fixture(scope="module")
def comparison():
    return runpy.run_path(str(EXPERIMENTS / "comparison.py"))


@pytest.fixture(scope="module")
def robustness():
    return runpy.run_path(str(EXPERIMENTS / "robustness.py"))


def times(folder: Path) -> dict[str, int]:
    return {path.name: path.stat().st_mtime_ns for path in folder.iterdir()}


def test_no_experiment_hides_a_module_of_the_same_name() -> None:
    """Python looks for modules in a script's folder first, and libraries import these by their names."""
    wanted = {*sys.stdlib_module_names, "coverage"}  # numba takes coverage where it finds it
    for path in EXPERIMENTS.glob("*.py"):
        assert path.stem not in wanted, path.name
        assert importlib.util.find_spec(path.stem) is None, path.name


# the run that goes on starts in the middle of an epoch
@pytest.mark.filterwarnings("ignore:You're resuming from a checkpoint:UserWarning")
@pytest.mark.slow
def test_training_goes_on_and_its_card_tells_how_it_went(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PL_GLOBAL_SEED", raising=False)
    train = runpy.run_path(str(EXPERIMENTS / "unrolled.py"))["unrolled"]
    few = partial(train.__globals__["SyntheticHeads"], slices_per_subject=2)
    monkeypatch.setitem(train.__globals__, "SyntheticHeads", few)
    path, scans = tmp_path / "varnet.safetensors", RandomScans(n_coils=(4,), matrices=(40,))
    train(path, **TINY, scans=scans, cache_dir=tmp_path, n_steps=20)
    first = Unrolled(path).card
    train(path, **TINY, scans=scans, cache_dir=tmp_path, n_steps=30)
    card = Unrolled(path).card
    assert (first["steps"], card["steps"]) == (20, 30)
    assert (card["subjects"], card["images"]) == (1, 2)
    assert card["val_steps"] == [10, 20, 30]
    assert card["val_nrmse"][:2] == first["val_nrmse"]
    assert all(0 < value < 2 for value in card["val_nrmse"])


def test_a_time_limit_counts_from_each_call_on() -> None:
    """Regression: a run that had used up its time once did no further step when the command was repeated."""
    limit = runpy.run_path(str(EXPERIMENTS / "unrolled.py"))["TimeOfThisCall"](timedelta(minutes=1))
    limit.load_state_dict({"time_elapsed": {"train": 3600.0}})
    assert limit.time_remaining() == 60


def test_the_table_tells_how_long_a_network_was_trained(comparison) -> None:
    card = {
        "subjects": 20,
        "parameters": 1_350_000,
        "steps": 600,
        "images": 160,
        "val_steps": list(range(100, 700, 100)),
        "val_nrmse": [0.3, 0.25, 0.2, 0.17, 0.14, 0.15],
    }
    told = comparison["training_told"](card)
    assert "600 steps of one scan each, 3.75 passes over 160 images" in told
    assert "0.200 at step 300 and 0.140 at step 500" in told


@pytest.mark.slow
def test_the_comparison_keeps_what_is_done_until_it_no_longer_holds(comparison, tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = tmp_path / "varnet.safetensors"
    card = {"subjects": 20, "parameters": 1, "steps": 2, "images": 8, "val_steps": [1, 2], "val_nrmse": [0.3, 0.2]}
    save_unrolled(UnrolledNetwork(1, 2, 2), network, card)
    cohort = comparison["Cohort"](
        n_test=2,
        n_validation=1,
        matrix=(54, 48),
        pixel_mm=4.5,
        accelerations=(2.0,),
        patterns=("random",),
        weights=(0.004, 0.002),
    )
    work, path = tmp_path / "work", tmp_path / "results" / "numbers.md"

    def run() -> str:
        with pytest.MonkeyPatch.context() as patch:
            patch.setitem(comparison["numbers"].__globals__, "PRESETS", {"preview": HQS(n_steps=3)})
            grad = torch.is_grad_enabled()
            comparison["numbers"]([network], work, preset="preview", cohort=cohort, table=path)
            torch.set_grad_enabled(grad)
        return path.read_text()

    table, before = run(), times(work)
    with_bart = shutil.which("bart") is not None
    assert len(before) == 5 + with_bart
    rows = [line.split(" | ") for line in table.splitlines() if line.startswith("| random | 2 |")]
    errors = [float(value) for value in rows[0][3 : 8 + with_bart]]
    assert errors[1] < errors[0]  # CG-SENSE, zero-filled
    assert errors[-1] < errors[1]  # prior, CG-SENSE
    assert "VarNet, 20 subjects: 0.00 M parameters" in table
    assert path.with_suffix(".png").stat().st_size > 10_000

    assert run() == table
    assert times(work) == before

    save_unrolled(UnrolledNetwork(1, 2, 2), network, card)
    run()
    changed = {name for name, time in times(work).items() if time != before[name]}
    assert changed == {"random-2-VarNet-20-subjects.safetensors"}


@pytest.mark.slow
def test_a_case_that_is_done_is_not_done_again(robustness, tmp_path: Path) -> None:
    cases = robustness["cases"]()
    assert len({case.name for case in cases}) == len(cases) >= 40
    settings = {"work_dir": tmp_path / "work", "output_dir": tmp_path, "only": "64 x 64"}
    robustness["robustness"](**settings, sampler=HQS(n_steps=3))
    table, before = (tmp_path / "robustness.md").read_text(), times(tmp_path / "work")
    assert table.splitlines()[2].startswith("| 64 x 64 pixels | 0.")
    robustness["robustness"](**settings, sampler=HQS(n_steps=3))
    assert (tmp_path / "robustness.md").read_text() == table
    assert times(tmp_path / "work") == before
    assert (tmp_path / "robustness-1.png").exists()
    robustness["robustness"](**settings, sampler=HQS(n_steps=2))
    assert times(tmp_path / "work") != before
    assert (tmp_path / "robustness.md").read_text() != table


@pytest.mark.parametrize("best", [0, 2, 3, 6])
def test_the_weight_of_the_baseline_is_found_downhill(robustness, monkeypatch: pytest.MonkeyPatch, best: int) -> None:
    weights, tried = robustness["DEFAULT_WEIGHTS"], []

    class Baseline:
        """The further its weight is from the best one, the brighter its image."""

        def __init__(self, weight: float) -> None:
            self.weight = weight

        def reconstruct(self, likelihood: GaussianLikelihood) -> torch.Tensor:
            tried.append(self.weight)
            return likelihood.adjoint() * (3 + abs(weights.index(self.weight) - best))

    monkeypatch.setitem(robustness["tuned"].__globals__, "L1Wavelet", Baseline)
    case = replace(robustness["cases"]()[0], matrix=(64, 80), n_coils=3)
    assert robustness["tuned"](case, load_prior("brain"), 1).weight == weights[best]
    assert len(tried) == len(set(tried)) < len(weights) + (best == 6)
