"""Half precision where the device has it; single precision, and a word about it, where it would be emulated."""

from pathlib import Path

import pytest
import torch
from jsonargparse import Namespace

from lightning_mri.__main__ import main
from lightning_mri.cli import lightning


@pytest.mark.parametrize("hardware", [None, torch.bfloat16])
@pytest.mark.parametrize("asked", ["bf16-mixed", "bf16-true", "32-true", "64-true"])
def test_what_the_device_emulates_is_not_computed_with(
    hardware: torch.dtype | None, asked: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lightning, "fast_precision", lambda device: hardware)
    trainer = Namespace(precision=asked, accelerator="cpu")
    lightning._avoid_emulation(trainer)
    assert trainer["precision"] == ("32-true" if asked.startswith("bf16") and hardware is None else asked)


@pytest.mark.parametrize("asked", ["16-true", "bf16-true", "64", "64-true", "transformer-engine"])
def test_weights_in_another_precision_are_refused(asked: str) -> None:
    with pytest.raises(ValueError, match=rf"trainer\.precision must be 32-true.*: got {asked}"):
        lightning._check_precision(asked)


def test_a_device_of_another_kind_is_left_alone() -> None:
    trainer = Namespace(precision="bf16-mixed", accelerator="mps")
    lightning._avoid_emulation(trainer)
    assert trainer["precision"] == "bf16-mixed" or torch.cuda.is_available()


def test_a_command_says_so(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    monkeypatch.setattr(lightning, "fast_precision", lambda device: None)
    options = ["--trainer.accelerator=cpu", "--trainer.precision=bf16-mixed"]
    with pytest.raises(SystemExit):
        main(["predict", "--data.root", str(tmp_path / "nothing"), "--output_dir", str(tmp_path / "out"), *options])
    told = "trainer.precision: 32-true, as this CPU only emulates bf16-mixed, in several times the time"
    assert capsys.readouterr().err.splitlines()[0] == told
