"""Damaged files are read, inspected and prepared, or refused in one sentence; nothing else happens.

Beyond what the process holds already, one may take `MEMORY` bytes and `SECONDS`, and writes nothing. Many more are
tried by ``make fuzz``.
"""

import os
import re
import resource
import signal
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lightning_mri.datasets.preparation import Preparation
from lightning_mri.diffusion import EDM, NetworkPrior
from lightning_mri.io import isolated, read_scan
from lightning_mri.models import LightUNet
from lightning_mri.reconstruction import inspect
from lightning_mri.scaling import Scaling
from lightning_mri.weights import load_prior, save_prior
from tests.io.files import HDF5, IMAGE_FILES, KSPACE, OTHERS, WHOLE, Write, fastmri, ismrmrd_file

MEMORY, SECONDS = 2**30, 60
N_CASES = 20 if settings.default.max_examples <= 200 else settings.default.max_examples


@pytest.fixture(autouse=True)
def bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Let an allocation beyond the bound fail with MemoryError, and a hang with AssertionError: both are no refusal."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(isolated, "SECONDS", SECONDS // 4)
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    before = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (pages * os.sysconf("SC_PAGESIZE") + MEMORY, before[1]))
    earlier = signal.signal(signal.SIGALRM, _hang)
    yield
    signal.signal(signal.SIGALRM, earlier)
    resource.setrlimit(resource.RLIMIT_AS, before)


def _hang(signum: int, frame: object) -> None:
    raise AssertionError(f"reading took more than {SECONDS} s")


def draw_prior() -> NetworkPrior:
    net = LightUNet(widths=(8, 8), n_blocks=1, embedding=8, n_labels=1)
    return NetworkPrior(net, EDM(sigma_data=0.25), Scaling(), ("T1w",), {"name": "a"})


def safetensors(folder: Path) -> Path:
    save_prior(draw_prior(), folder / "a.safetensors")
    return folder / "a.safetensors"


def checkpoint(folder: Path) -> Path:
    prior = draw_prior()
    state = {f"prior.{name}": value for name, value in prior.state_dict().items()}
    torch.save({"state_dict": state, "prior": prior.describe()}, folder / "a.ckpt")
    return folder / "a.ckpt"


WEIGHTS = [safetensors, checkpoint]


@pytest.mark.parametrize("write", [*HDF5, *OTHERS, *IMAGE_FILES, *WEIGHTS])
@settings(max_examples=N_CASES)
@given(
    changes=st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 255)), max_size=8), cut=st.floats(0, 1)
)
def test_damaged_file(write: Write, tmp_path: Path, changes: list[tuple[float, int]], cut: float) -> None:
    path = write(tmp_path)
    content = bytearray(path.read_bytes())
    for place, value in changes:
        content[int(place * len(content))] = value
    path.write_bytes(content[: int(cut * len(content))] if cut < 0.5 else content)
    refusal = _refusal(path, load_prior if write in WEIGHTS else _use)
    assert refusal is None or (str(tmp_path) in refusal and "\n" not in refusal)


@pytest.mark.parametrize("write", WHOLE)
def test_whole_file_is_read(write: Write, tmp_path: Path) -> None:
    assert read_scan(write(tmp_path)).kspace[:].equal(torch.from_numpy(KSPACE))


@pytest.mark.slow
@pytest.mark.parametrize("write", [fastmri, ismrmrd_file])
@settings(max_examples=N_CASES)
@given(place=st.integers(0, 60), number=st.sampled_from(["0", "-1", "65535", "99999", "1e9", "4294967296", "nan", "x"]))
def test_header_that_claims_anything(write: Write, tmp_path: Path, place: int, number: str) -> None:
    """Every number of the XML header, one at a time."""
    path = write(tmp_path)
    with h5py.File(path, "r+") as file:
        name = "dataset/xml" if "dataset" in file else "ismrmrd_header"
        text = bytes(np.asarray(file[name][()]).reshape(-1)[0])
        numbers = list(re.finditer(rb">(\d[^<]*)</", text))
        start, end = numbers[place % len(numbers)].span(1)
        del file[name]
        file[name] = [text[:start] + number.encode() + text[end:]]
    refusal = _refusal(path, _use)
    assert refusal is None or (path.stem in refusal and "\n" not in refusal)


def _use(path: Path) -> None:
    """Read everything; where that is possible, inspect the scan, and prepare a slice to train on."""
    scan = read_scan(path)
    for kspace in scan.kspace.chunks():
        assert kspace.isfinite().all()
    with suppress(ValueError):
        inspect(scan)
        Preparation().image(scan, 0)


def _refusal(path: Path, use: Callable[[Path], object]) -> str | None:
    """Use a file, and return why not if it is refused."""
    files = set(Path.cwd().rglob("*"))
    signal.alarm(SECONDS)
    try:
        use(path)
    except (ValueError, OSError) as error:
        return str(error)
    finally:
        signal.alarm(0)
        assert set(Path.cwd().rglob("*")) == files
    return None
