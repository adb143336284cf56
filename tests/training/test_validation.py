"""Validation tells when to stop, and whether the prior has memorised."""

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from pytorch_lightning.callbacks import EarlyStopping, ModelCheckpoint
from pytorch_lightning.loggers import TensorBoardLogger, WandbLogger
from scipy.stats import ttest_1samp
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch.utils.data import ConcatDataset, DataLoader

from lightning_mri.datasets import ImageBatch, LabelledImage, SliceBatch, image_loader, undersampled_slice
from lightning_mri.evaluation import white_of
from lightning_mri.evaluation.sweep import start_of
from lightning_mri.evaluation.table_files import read_csv
from lightning_mri.phantoms import Scanner
from lightning_mri.physics import Equispaced
from lightning_mri.sampling import HQS
from lightning_mri.training import FineTune, MemorisationCheck, MetricsFile, ReconstructHeldOut
from lightning_mri.training.curve import SUBJECT, Row, _draw, change, draw_curve, right, verdict
from lightning_mri.training.validation import DRAWS, _HeldOut, plain_images

from .conftest import Fit, Images, Shaken, same


class HeldOut(Images):
    """The same with three images to validate on, and two further ones to reconstruct."""

    def val_dataloader(self) -> DataLoader[LabelledImage]:
        return image_loader(Shaken(3, seed=8), 2)

    def reconstruction_batches(self) -> list[SliceBatch]:
        images, how = Shaken(2, (32, 24), seed=9).images, (Equispaced(2, 8), Scanner(n_coils=3), (5.0, 5.0))
        return [undersampled_slice(image, name, "T1w", *how) for image, name in zip(images, "ab", strict=True)]


class Pictures(WandbLogger):
    """Notes what pictures W&B would be given, and logs nothing."""

    experiment = save_dir = version = _log_model = None

    def __init__(self) -> None:
        self.shown: list[tuple[str, int]] = []

    def log_image(self, key: str, images: list[Any], step: int | None = None, **_: Any) -> None:
        self.shown.append((key, step or 0))

    def log_metrics(self, *_: Any, **__: Any) -> None: ...

    def log_hyperparams(self, *_: Any, **__: Any) -> None: ...

    def finalize(self, status: str) -> None: ...


def phase(start: Path, epochs: int) -> FineTune:
    return FineTune(str(start), 1e-2, epochs=epochs, warm_up=1)


def curve(path: Path) -> list[Row]:
    return [{key: float(value) for key, value in row.items()} for row in read_csv(path)]


def test_the_picture_shows_scans_of_any_unit_alike() -> None:
    """Regression: all were drawn in the window of the first scan, and one of larger numbers was a white square."""
    images = Shaken(1, (32, 24), seed=9).images
    one, other = (_HeldOut("a", "T1w", unit * images, unit * 0.9 * images).panels() for unit in (1e-4, 300.0))
    assert white_of(one[0].image) == pytest.approx(1)
    for mine, theirs in zip(one, other, strict=True):
        torch.testing.assert_close(mine.image, theirs.image)


@pytest.mark.slow
def test_the_curve_starts_before_the_first_step_and_survives_a_resumption(
    fit: Fit, start: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cheap = HQS(n_steps=2)
    options = {"num_sanity_val_steps": 0}
    whole, seen = fit(phase(start, 2), HeldOut(), "whole", callbacks=(ReconstructHeldOut(cheap),), **options)
    rows = curve(whole.with_name("curve.csv"))
    assert [row["step"] for row in rows] == [0, 4, 8]
    levels = {"val/loss/sigma_0.02", "val/loss/sigma_0.05", "val/loss/sigma_0.1", "val/loss/sigma_0.2"}
    subjects = {"val/nrmse/subject_0", "val/nrmse/subject_1"}
    assert rows[0].keys() == {"step", "val/nrmse", "val/ssim", "val/loss/sigma_0.5", *levels, *subjects}
    assert all(row["val/nrmse"] == pytest.approx(sum(row[name] for name in subjects) / 2) for row in rows)
    assert whole.with_name("validation.png").stat().st_size > 10_000
    assert all(row["val/nrmse"] > 0 for row in rows)
    assert len({row["val/nrmse"] for row in rows}) == 3
    assert whole.with_name("curve.png").stat().st_size > 10_000
    assert "NRMSE" in capsys.readouterr().out

    half, _ = fit(phase(start, 1), HeldOut(), "half", callbacks=(ReconstructHeldOut(cheap),), **options)
    resumed, second = fit(
        phase(start, 2), HeldOut(), "half", callbacks=(ReconstructHeldOut(cheap),), ckpt_path=half, **options
    )
    assert second.steps == seen.steps[4:]
    assert curve(resumed.with_name("curve.csv")) == rows
    saved = [torch.load(path, weights_only=True) for path in (whole, resumed)]
    for part in ("state_dict", "current_model_state", "optimizer_states", "run"):
        assert same(saved[0][part], saved[1][part]), part


def test_every_logger_is_given_pictures_and_the_start(fit: Fit, start: Path, tmp_path: Path) -> None:
    """Regression: W&B had pictures as the first logger alone, and a file that is written at once lost the start."""
    pictures, file = Pictures(), MetricsFile(tmp_path / "log", flush_logs_every_n_steps=1)
    board = TensorBoardLogger(tmp_path / "board", default_hp_metric=False)
    options = {"num_sanity_val_steps": 0, "logger": [file, pictures, board]}
    path, _ = fit(phase(start, 1), HeldOut(), callbacks=(ReconstructHeldOut(HQS(n_steps=2)),), **options)
    assert pictures.shown == [("val/reconstruction", 3)]
    (shown,) = EventAccumulator(board.log_dir).Reload().Images("val/reconstruction")
    assert shown.step == 3
    assert min(shown.width, shown.height) > 100
    assert start_of(tmp_path / "log", "val/nrmse") == pytest.approx(curve(path.with_name("curve.csv"))[0]["val/nrmse"])


NAN = math.nan


def rows(*values: float, subjects: tuple[float, ...] = (0.99, 1.0, 1.01)) -> list[Row]:
    """Return a curve on subjects whose NRMSE differs by these factors."""
    return [
        {"step": 10.0 * k, "val/nrmse": value, "val/ssim": 0.5, "val/loss/sigma_0.1": 1.0}
        | {f"{SUBJECT}{i}": factor * value for i, factor in enumerate(subjects)}
        for k, value in enumerate(values)
    ]


def test_the_verdict_tells_when_to_stop() -> None:
    assert verdict(rows(0.3, 0.31, 0.4)).startswith("Training did not help: NRMSE of slices 0.3000 before")
    assert verdict(rows(0.3, 0.25, 0.2)).startswith("Still improving at the end")
    told = verdict(rows(0.3, 0.2, 0.21, 0.25))
    assert told.startswith("Best checkpoint found")
    assert "0.2000 at best after 10 of 30 steps" in told


def test_a_gain_counts_where_it_exceeds_its_error_bar_over_subjects() -> None:
    """Regression: 0.0479 to 0.0477 on one subject, while every denoising loss rose, was called an improvement."""
    one = rows(0.0479, 0.0477, subjects=(1.0,))
    one[1]["val/loss/sigma_0.1"] = 1.1
    assert verdict(one).startswith("Not known whether it helped")
    assert verdict(one).endswith("Yet every denoising loss rose.")
    three = rows(0.3, 0.29)
    for subject, value in enumerate((0.27, 0.29, 0.31)):
        three[1][f"{SUBJECT}{subject}"] = value
    assert verdict(three).startswith("Not shown to help")
    assert right(three) is None
    changed = change(three[1], three[0])
    expected = ttest_1samp([0.27 - 0.297, 0.29 - 0.3, 0.31 - 0.303], 0.0).confidence_interval(0.95)
    assert (changed.low, changed.high) == pytest.approx((expected.low, expected.high))


def test_right_is_what_keeps_nine_tenths_of_the_gain() -> None:
    assert right(rows(0.30, 0.25, 0.209, 0.20, 0.21, 0.211, 0.205)) == (20.0, 40.0)
    assert right(rows(0.30, 0.25)) == (10.0, 10.0)
    assert right(rows(0.30, 0.35)) is None


def test_labels_of_the_curve_are_shorter_than_its_axes() -> None:
    """Regression: "held-out denoising loss, relative to the start" ran from corner to corner and beyond."""
    figure = _draw(rows(0.3, 0.25, 0.2), "runs/a")
    figure.canvas.draw()
    for axes in figure.axes:
        assert axes.yaxis.label.get_window_extent().height < 0.95 * axes.get_window_extent().height


@pytest.mark.parametrize("values", [(0.2,) * 3, (NAN,) * 3, (NAN, 0.2, 0.3), (0.2, NAN, NAN), (0.2, NAN, 0.1)])
def test_a_curve_without_gain_or_of_weights_that_diverged_is_drawn(tmp_path: Path, values: tuple[float, ...]) -> None:
    draw_curve(tmp_path / "curve.png", rows(*values), "runs/a$_$b")
    assert (tmp_path / "curve.png").exists()
    told = verdict(rows(*values))
    assert told.startswith(("Best", "Still")) == (values[-1] == 0.1)
    assert told.startswith("Training diverged: no validation gave a number") == all(map(math.isnan, values[1:]))
    assert "inf" not in told


def test_draws_are_compared_with_what_was_trained_on(fit: Fit, start: Path, capsys: pytest.CaptureFixture[str]) -> None:
    memorisation = MemorisationCheck(n_draws=2, sampler=type(DRAWS)(**{**vars(DRAWS), "n_steps": 3}))
    path, _ = fit(phase(start, 1), HeldOut(), callbacks=(memorisation,))
    assert len(memorisation.found.draws) == 2
    assert len(memorisation.found.held_out) == 3
    text = path.with_name("memorisation.txt").read_text()
    assert "of 2 draws" in text
    assert text in capsys.readouterr().out


def test_plain_images_come_without_random_changes() -> None:
    class Augmented(Shaken):
        augmentation: float | None = 6.0

        def __getitem__(self, index: int) -> LabelledImage:
            image = super().__getitem__(index) if self.augmentation else None
            return image or LabelledImage(self.images[index], "T1w", (16, 12))

    loader = image_loader(Augmented(5), 2, shuffle=True)
    images, contrasts = plain_images(loader, 4)
    assert torch.equal(images, Augmented(5).images[:4])
    assert contrasts == ["T1w"] * 4
    assert isinstance(next(iter(loader)), ImageBatch)


def test_plain_images_of_different_sizes_have_zeros_around_them() -> None:
    whole, smaller = Shaken(2, (16, 12), still=True), Shaken(2, (12, 20), still=True)
    images, _ = plain_images(image_loader(ConcatDataset([whole, smaller]), 2), 9)
    assert images.shape == (4, 16, 20)
    assert torch.equal(images[:2, :, 4:-4], whole.images)
    assert torch.equal(images[2:, 2:-2], smaller.images)
    assert torch.count_nonzero(images) == torch.count_nonzero(whole.images) + torch.count_nonzero(smaller.images)


class Mixed(HeldOut):
    """The same by coils that each see the others, and a noise scan that tells how much."""

    def reconstruction_batches(self) -> list[SliceBatch]:
        mixing = torch.eye(3, dtype=torch.complex64) + 0.8 * torch.rand(3, 3, generator=torch.manual_seed(1))
        mixing *= 3**0.5 / mixing.norm()  # the mean noise of a coil stays as it is, and so the unit of the image
        return [
            replace(
                batch, kspace=torch.einsum("cd,bdyx->bcyx", mixing, batch.kspace), noise_covariance=mixing @ mixing.mH
            )
            for batch in super().reconstruction_batches()
        ]


@pytest.mark.slow
def test_held_out_slices_are_whitened_as_those_of_a_test(fit: Fit, start: Path) -> None:
    """Regression: validation left out the noise scan, so `val/nrmse` was not the error that a test finds."""
    error = {}
    for data in (HeldOut(), Mixed()):
        name = type(data).__name__
        path, _ = fit(phase(start, 1), data, name, callbacks=(ReconstructHeldOut(HQS(n_steps=2)),))
        error[name] = curve(path.with_name("curve.csv"))[0]["val/nrmse"]
    assert error["Mixed"] == pytest.approx(error["HeldOut"], rel=0.01)


@pytest.mark.parametrize("callback", [EarlyStopping("val/nrmse"), ModelCheckpoint(monitor="val/ssim")])
def test_a_score_that_nothing_computes_is_found_before_the_first_step(fit: Fit, start: Path, callback: Any) -> None:
    with pytest.raises(ValueError, match=f"{callback.monitor} needs ReconstructHeldOut"):
        fit(phase(start, 1), HeldOut(), callbacks=(callback,))


class Blank(HeldOut):
    """Data whose only held-out slice is air, or none at all."""

    def __init__(self, n: int) -> None:
        super().__init__()
        self.n = n

    def reconstruction_batches(self) -> list[SliceBatch]:
        return [replace(batch, kspace=0 * batch.kspace) for batch in super().reconstruction_batches()[: self.n]]


@pytest.mark.parametrize(
    ("data", "rule"),
    [(Images(), "reconstruction_batches.. : Images has none"), (Blank(0), "n_reconstructions"), (Blank(1), "are none")],
)
def test_data_without_slices_to_validate_on_are_refused(fit: Fit, start: Path, data: Images, rule: str) -> None:
    with pytest.raises(ValueError, match=rule.replace(" : ", ": ")):
        fit(phase(start, 1), data, "none", callbacks=(ReconstructHeldOut(HQS(n_steps=2)),), num_sanity_val_steps=0)
