"""Small scans and checkpoints that several rooms' tests share."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, settings
from torch import Tensor

from lightning_mri.datasets import simulate
from lightning_mri.io import write_fastmri
from lightning_mri.phantoms import Scanner
from lightning_mri.tensors import derive_seed

torch.set_num_threads(1)  # more cost time on images this small
settings.register_profile("tests", max_examples=200, deadline=None, suppress_health_check=list(HealthCheck))
settings.register_profile("fuzz", settings.get_profile("tests"), max_examples=400)
settings.load_profile("tests")

TINY = {"matrix": (48, 40), "pixel_size": (4.6, 4.6), "n_slices": 2, "scanner": Scanner(n_coils=3), "n_processes": 1}


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

    from lightning_mri.phantoms.mice import Mouse

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
        try:
            main([str(argument) for argument in arguments])
        except SystemExit as stop:
            if stop.code not in (3, 4):  # finished, but with failures or marked slices
                raise
        printed = capsys.readouterr()
        assert "wandb: WARNING" not in printed.err
        return printed.out

    return run


@pytest.fixture
def failing_command(capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """Run a command line that must end with exit code 2, and return its one sentence."""
    from lightning_mri.__main__ import main

    def run(*arguments: str | Path) -> str:
        with pytest.raises(SystemExit) as stop:
            main([str(argument) for argument in arguments])
        assert stop.value.code == 2
        printed = capsys.readouterr().err
        assert "Traceback" not in printed
        *_, message = printed.splitlines()  # after a progress bar, where work had begun
        assert message.startswith("error: "), printed
        assert printed.count("error: ") == 1
        return message

    return run


MATRIX = (28, 26)
WriteScan = Callable[..., Path]


def draw_blobs(seed: int, n_slices: int = 2, matrix: tuple[int, int] = MATRIX) -> Tensor:
    """Return smooth images of order 1 with a smooth phase."""
    generator = torch.Generator().manual_seed(seed)
    y, x = (torch.linspace(-1, 1, n) for n in matrix)
    radius2 = (y[:, None] / 0.8) ** 2 + (x / 0.7) ** 2
    brightness = 0.5 + torch.rand(n_slices, 1, 1, generator=generator)
    stripes = 1 + 0.3 * torch.sin(6 * y[:, None] + 4 * x)
    magnitude = torch.sigmoid(12 * (1 - radius2)) * brightness * stripes
    return torch.polar(magnitude, (y[:, None] + x).expand(n_slices, *matrix).contiguous())


@pytest.fixture
def blobs() -> Callable[..., Tensor]:
    return draw_blobs


@pytest.fixture
def write_scan() -> WriteScan:
    """Write a fully sampled scan of three coils with twofold readout oversampling."""

    def write(path: Path, subject: str, contrast: str = "FLAIR", n_slices: int = 2) -> Path:
        images = draw_blobs(derive_seed(subject, contrast), n_slices)
        kspace = Scanner(n_coils=3, snr_db=40).measure(images, 1, (8.0, 8.0))
        size = {"pixel_size": (8.0, 8.0), "reconstruction_size": MATRIX}
        write_fastmri(path, kspace, contrast=contrast, subject=subject, **size)  # type: ignore[arg-type]
        return path

    return write
