"""A strategy decides which weights move, and how far; what it leaves is a plain prior."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor

from lightning_mri.datasets import ImageBatch, StrokeFLAIR, trained_on
from lightning_mri.diffusion import VP, NetworkPrior
from lightning_mri.models import UNet
from lightning_mri.scaling import Scaling
from lightning_mri.training import L2SP, FineTune, Full, Interpolate, LoRA, PriorModule, Replay, ScaleShift, Strategy
from lightning_mri.training.strategies import merged, trained
from lightning_mri.weights import fingerprint, load_prior

from .conftest import LABELS, Fit, Images, network


def moved(before: NetworkPrior, after: NetworkPrior) -> dict[str, Tensor]:
    """Return the change of every weight that is not what it was."""
    was = before.state_dict()
    changes = {name: value - was[name] for name, value in after.state_dict().items()}
    return {name: change for name, change in changes.items() if change.any()}


def tuned(fit: Fit, start: Path, strategy: Strategy, steps: int = 6) -> NetworkPrior:
    path, _ = fit(FineTune(str(start), 1e-2, steps=steps, warm_up=1, strategy=strategy), Images())
    return load_prior(path)


def test_full_fine_tuning_moves_every_weight_that_the_data_touch(fit: Fit, start: Path) -> None:
    before = load_prior(start)
    assert moved(before, tuned(fit, start, Full())).keys() == before.state_dict().keys()


def test_scale_and_shift_leave_every_matrix_alone(fit: Fit, start: Path) -> None:
    changes = moved(load_prior(start), tuned(fit, start, ScaleShift()))
    assert {name for name, change in changes.items() if change.ndim > 1} == {"net.condition.label.weight"}
    assert any(name.endswith("norm.weight") for name in changes)
    assert any(name.endswith("conv1.bias") for name in changes)


def test_lora_adds_matrices_of_its_rank(fit: Fit, start: Path) -> None:
    changes = moved(load_prior(start), tuned(fit, start, LoRA(rank=2)))
    assert changes.pop("net.condition.label.weight").any()
    assert all(change.ndim > 1 for change in changes.values())
    ranks = {name: int(torch.linalg.matrix_rank(change.flatten(1), rtol=1e-3)) for name, change in changes.items()}
    assert set(ranks.values()) == {2}, ranks


def test_the_anchor_holds_the_weights(fit: Fit, start: Path) -> None:
    before = load_prior(start)
    free, held = (
        sum(float(change.square().sum()) for change in moved(before, tuned(fit, start, strategy)).values())
        for strategy in (Full(), L2SP(weight=1e4))
    )
    assert 0 < held < 0.3 * free


def test_the_price_of_the_distance_is_its_formula(start: Path) -> None:
    prior, strategy = load_prior(start), L2SP(weight=3.0)
    strategy.prepare(prior)
    assert strategy.penalty(prior).item() == 0
    with torch.no_grad():
        prior.net.enter.parametrizations.bias.original += torch.arange(8.0)
    assert strategy.penalty(prior).item() == pytest.approx(3 / 2 * 140)


def test_interpolation_goes_part_of_the_way_that_full_fine_tuning_goes(fit: Fit, start: Path) -> None:
    before = load_prior(start)
    whole, part = (moved(before, tuned(fit, start, strategy)) for strategy in (Full(), Interpolate(0.25)))
    for name, change in whole.items():
        torch.testing.assert_close(part[name], 0.25 * change, rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize("n_done", [0, 3])
def test_replay_mixes_its_share_into_every_batch_and_finds_its_place(n_done: int) -> None:
    """0.3 of four images: 1, 1, 1, 1 and then 2 of them, so that five batches hold six old images.

    Regression: a second run with the same object began where the first one had stopped.
    """
    new = ImageBatch(torch.zeros(4, 16, 12, dtype=torch.complex64), ("FLAIR",) * 4)

    def mixed(first: int, replay: Replay) -> list[ImageBatch]:
        return [replay.mix(new, n, seed=5) for n in range(first, 5)]

    replay = Replay(Images(n=11), share=0.3)
    replay.mix(new, 0, seed=4)
    batches = mixed(n_done, replay)
    old = [[bool(image.any()) for image in batch.image] for batch in batches]
    assert [sum(flags) for flags in old] == [1, 1, 1, 1, 2][n_done:]
    assert all([name != "FLAIR" for name in b.contrast] == flags for b, flags in zip(batches, old, strict=True))
    for other in (mixed(n_done, replay), mixed(0, replay)[n_done:], mixed(0, Replay(Images(n=11), share=0.3))[n_done:]):
        for batch, same in zip(batches, other, strict=True):
            assert torch.equal(batch.image, same.image)


def test_whom_replayed_images_are_of_is_known_and_their_scaling_is_the_prior_s(
    tmp_path: Path, write_scan: Callable[..., Path], start: Path
) -> None:
    for name in "abc":
        write_scan(tmp_path / "raw" / f"{name}.h5", name)
    of = {"n_subjects": 1, "n_val": 1, "cache_dir": tmp_path / "cache", "n_processes": 1}
    data, module = StrokeFLAIR(tmp_path / "raw", **of), PriorModule(network(), labels=LABELS)
    replay = Replay(data)
    replay.prepare_data()
    module.begin(replay, lambda *_: None, {})
    trained = {name for name in "abc" if trained_on(module.prior.card, name)}
    assert trained == set(data.subjects("train"))
    with pytest.raises(ValueError, match=r"scaling must be the same for prior and data: .*95.*, StrokeFLAIR"):
        Replay(StrokeFLAIR(tmp_path / "raw", scaling=Scaling(95), **of)).prepare(load_prior(start))


def test_replayed_images_must_have_the_size_of_the_others() -> None:
    new = ImageBatch(torch.zeros(4, 16, 12, dtype=torch.complex64), ("FLAIR",) * 4)
    with pytest.raises(ValueError, match=r"crop of the replayed data .* got \(12, 16\) and \(16, 12\)"):
        Replay(Images(size=(12, 16)), share=0.5).mix(new, 0, seed=0)


@pytest.mark.parametrize("strategy", [Full(), L2SP(), ScaleShift(), LoRA(3), Interpolate()])
def test_before_the_first_step_a_strategy_changes_nothing(start: Path, strategy: Strategy) -> None:
    prior, plain = load_prior(start), load_prior(start)
    strategy.prepare(prior)
    weights = merged(prior, prior.state_dict())
    assert weights.keys() == plain.state_dict().keys()
    assert all(torch.equal(weights[name], value) for name, value in plain.state_dict().items())


def test_lora_reaches_convolutions_and_attention_of_the_published_network() -> None:
    net = UNet(width=8, multipliers=(1, 1), n_blocks=1, attention_levels=(1,), n_labels=3)
    prior = NetworkPrior(net, VP(), labels=LABELS)
    layers = [module for module in net.modules() if isinstance(module, torch.nn.Conv2d | torch.nn.Linear)]
    LoRA(2).prepare(prior)
    told = trained(prior)
    assert f"{len(layers)} x down, {len(layers)} x up" in told
    images = torch.randn(2, 8, 6, dtype=torch.complex64)
    prior(images, torch.tensor([0.1, 1.0]), torch.tensor([0, 1])).abs().sum().backward()
    assert sum(p.grad is not None for p in net.parameters()) == sum(p.requires_grad for p in net.parameters())


def test_how_many_weights_train_is_told(fit: Fit, start: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tuned(fit, start, ScaleShift(), steps=1)
    before = load_prior(start)
    one_axis = sum(p.numel() for p in before.parameters() if p.ndim == 1)
    n_all = sum(p.numel() for p in before.parameters())
    expected = f"FineTune, ScaleShift: {one_axis + 4 * 16:,} of {n_all:,} weights train"
    assert expected in capsys.readouterr().out


def test_history_tells_strategy_source_and_version(fit: Fit, start: Path) -> None:
    entry = tuned(fit, start, Replay(Images(), 0.3), steps=1).card["history"][-1]
    assert entry["strategy"] == {"name": "Replay", "share": 0.3, "data": "Images"}
    assert entry["sha256"] == fingerprint(load_prior(start))
    assert entry["version"]
