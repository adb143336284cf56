"""Small scans and checkpoints that several rooms' tests share."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, settings

from lightning_mri.data import Scanner, simulate

torch.set_num_threads(1)  # more cost time on images this small
settings.register_profile("tests", max_examples=200, deadline=None, suppress_health_check=list(HealthCheck))
settings.register_profile("fuzz", settings.get_profile("tests"), max_examples=10_000)
settings.load_profile("tests")

TINY = {
    "matrix": (48, 40),
    "pixel_size": (4.6, 4.6),
    "n_slices": 2,
    "scanner": Scanner(n_coils=3),
    "n_processes": 1,
}


@pytest.fixture(scope="session")
def cohort(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Five tiny FLAIR subjects in fastMRI's folders: three to train on, one to validate, one to test."""
    folder = tmp_path_factory.mktemp("cohort")
    simulate(folder, n_train=3, n_val=1, n_test=1, **TINY)
    return folder


@pytest.fixture(scope="session")
def mouse_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three tiny high-field mice as NumPy arrays [slice, y, x]."""
    import numpy as np

    from lightning_mri.data.synthetic.mice import Mouse

    folder = tmp_path_factory.mktemp("mice")
    for seed in range(3):
        images = torch.stack([Mouse(seed).slice(offset, (48, 48), 0.4) for offset in (-1.0, 1.0)])
        np.save(folder / f"mouse{seed}.npy", images.numpy())
    return folder


@pytest.fixture
def command(capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """Run one command line in this process as a user would, and return what it printed."""
    from lightning_mri.__main__ import main

    def run(*arguments: str | Path) -> str:
        main([str(argument) for argument in arguments])
        return capsys.readouterr().out

    return run


@pytest.fixture
def failing_command(capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """Run a command line that must end with exit code 2, and return its one sentence."""
    from lightning_mri.__main__ import main

    def run(*arguments: str | Path) -> str:
        with pytest.raises(SystemExit) as stop:
            main([str(argument) for argument in arguments])
        assert stop.value.code == 2
        message = capsys.readouterr().err
        assert message.count("\n") == 1, message
        assert "Traceback" not in message
        return message

    return run
