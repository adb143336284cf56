"""Damaged files are read, or refused in one sentence; nothing else happens.

Beyond what the process holds already, reading one may take `MEMORY` bytes and `SECONDS`, and writes nothing.
"""

import os
import re
import resource
import signal
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import h5py
import ismrmrd
import nibabel
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.io import savemat

from lightning_mri.io import read_scan, write_fastmri
from lightning_mri.io.formats.dicom.writer import Series, Study, write_dicom
from lightning_mri.io.formats.nifti import write_nifti
from lightning_mri.io.geometry import Place

KSPACE = (np.random.default_rng(0).standard_normal((2, 3, 8, 6, 2)) @ [1, 1j]).astype(np.complex64)
IMAGES = torch.from_numpy(np.abs(KSPACE[:, 0]))
MEMORY, SECONDS = 2**30, 20


@pytest.fixture(autouse=True)
def bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Let an allocation beyond the bound fail with MemoryError, and a hang with AssertionError: both are no refusal."""
    monkeypatch.chdir(tmp_path)
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    before = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (pages * os.sysconf("SC_PAGESIZE") + MEMORY, before[1]))
    earlier = signal.signal(signal.SIGALRM, _hang)
    yield
    signal.signal(signal.SIGALRM, earlier)
    resource.setrlimit(resource.RLIMIT_AS, before)


def _hang(signum: int, frame: object) -> None:
    raise AssertionError(f"reading took more than {SECONDS} s")


def npy(folder: Path) -> Path:
    np.save(folder / "scan.npy", KSPACE)
    return folder / "scan.npy"


def npz(folder: Path) -> Path:
    np.savez(folder / "scan.npz", kspace=KSPACE, mask=np.ones(6, bool))
    return folder / "scan.npz"


def cfl(folder: Path) -> Path:
    (folder / "scan.hdr").write_text("# Dimensions\n6 8 1 3 1 1 1 1 1 1 1 1 1 2\n")
    KSPACE.tofile(folder / "scan.cfl")
    return folder / "scan.hdr"


def fastmri(folder: Path) -> Path:
    write_fastmri(folder / "scan.h5", torch.from_numpy(KSPACE), contrast="T2w", subject="a")
    return folder / "scan.h5"


HEADER = """<?xml version="1.0"?><ismrmrdHeader xmlns="http://www.ismrm.org/ISMRMRD">
<measurementInformation><protocolName>t2</protocolName></measurementInformation>
<encoding><encodedSpace><matrixSize><x>8</x><y>6</y><z>1</z></matrixSize>
<fieldOfView_mm><x>16</x><y>12</y><z>5</z></fieldOfView_mm></encodedSpace>
<reconSpace><matrixSize><x>4</x><y>6</y><z>1</z></matrixSize></reconSpace><encodingLimits>
<kspace_encoding_step_1><minimum>0</minimum><maximum>5</maximum><center>3</center></kspace_encoding_step_1>
</encodingLimits><trajectory>cartesian</trajectory></encoding></ismrmrdHeader>"""


@cache
def _acquisitions() -> bytes:
    """The library writes slowly, so that one file has to do for all cases."""
    with TemporaryDirectory() as folder, ismrmrd.Dataset(f"{folder}/scan.h5", mode="w") as file:
        file.write_xml_header(HEADER.encode())
        for s, x in np.ndindex(2, 6):
            acquisition = ismrmrd.Acquisition.from_array(KSPACE[s, :, :, x], center_sample=4)
            acquisition.idx.kspace_encode_step_1, acquisition.idx.slice = x, s
            file.append_acquisition(acquisition)
        file.close()
        return Path(folder, "scan.h5").read_bytes()


def ismrmrd_file(folder: Path) -> Path:
    (folder / "scan.h5").write_bytes(_acquisitions())
    return folder / "scan.h5"


def matlab5(folder: Path) -> Path:
    savemat(folder / "scan.mat", {"kspace": KSPACE.transpose(2, 3, 1, 0), "mask": np.ones((8, 6))})
    return folder / "scan.mat"


def matlab7(folder: Path) -> Path:
    savemat(folder / "scan.mat", {"kspace": KSPACE.transpose(2, 3, 1, 0), "mask": np.ones((8, 6))}, do_compression=True)
    return folder / "scan.mat"


def matlab73(folder: Path) -> Path:
    pairs = KSPACE.view([("real", "f4"), ("imag", "f4")]).swapaxes(-1, -2)
    with h5py.File(folder / "scan.mat", "w", userblock_size=512) as file:
        file["kspace"] = pairs
    with (folder / "scan.mat").open("r+b") as stored:
        stored.write(b"MATLAB 7.3 MAT-file".ljust(128))
    return folder / "scan.mat"


def bruker_method(folder: Path) -> Path:
    head = "##TITLE=Parameter List, ParaVision 6.0.1\n##JCAMPDX=4.24\n"
    (folder / "method").write_text(
        f"{head}##$Method=<Bruker:RARE>\n##$PVM_EncMatrix=( 2 )\n8 6\n##$PVM_EncSteps1=( 6 )\n0 -1 1 -2 2 -3\n"
        "##$PVM_EncNReceivers=3\n##$PVM_Fov=( 2 )\n20 15\n##$PVM_FrqRef=( 1 )\n300.3\n##END=\n"
    )
    (folder / "acqp").write_text(
        f"{head}##$ACQ_sw_version=( 20 )\n<PV 6.0.1>\n##$ACQ_size=( 2 )\n16 6\n##$ACQ_phase_factor=2\n##$NI=2\n"
        "##$NSLICES=2\n##$NR=1\n##$ACQ_obj_order=( 2 )\n1 0\n##$GO_raw_data_format=GO_32BIT_FLOAT\n##$BYTORDA=little\n"
        "##$GO_block_size=continuous\n##END=\n"
    )
    KSPACE.tofile(folder / "fid")
    return folder / "method"


def bruker_acqp(folder: Path) -> Path:
    return bruker_method(folder).with_name("acqp")


def bruker_fid(folder: Path) -> Path:
    return bruker_method(folder).with_name("fid")


def nifti(folder: Path) -> Path:
    nibabel.save(nibabel.Nifti1Image(IMAGES.numpy().T, np.eye(4)), folder / "scan.nii")
    return folder / "scan.nii"


def nifti_gz(folder: Path) -> Path:
    write_nifti(folder / "scan.nii.gz", IMAGES, Place(torch.eye(4)))
    return folder / "scan.nii.gz"


def dicom(folder: Path) -> Path:
    write_dicom(folder / "out", [Series("scan", IMAGES, "T2w", "none")], Place(torch.eye(4)), Study(), "a")
    return folder / "out" / "scan" / "0001.dcm"


@pytest.mark.parametrize(
    "write",
    [
        npy,
        npz,
        cfl,
        fastmri,
        ismrmrd_file,
        matlab5,
        matlab7,
        matlab73,
        bruker_method,
        bruker_acqp,
        bruker_fid,
        nifti,
        nifti_gz,
        dicom,
    ],
)
@given(
    changes=st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 255)), max_size=8), cut=st.floats(0, 1)
)
def test_damaged_file(
    write: Callable[[Path], Path], tmp_path: Path, changes: list[tuple[float, int]], cut: float
) -> None:
    path = write(tmp_path)
    content = bytearray(path.read_bytes())
    for place, value in changes:
        content[int(place * len(content))] = value
    path.write_bytes(content[: int(cut * len(content))] if cut < 0.5 else content)
    refusal = _refusal(path)
    assert refusal is None or (str(tmp_path) in refusal and "\n" not in refusal)


@pytest.mark.parametrize("write", [fastmri, ismrmrd_file, matlab5, matlab7, matlab73])
def test_whole_file_is_read(write: Callable[[Path], Path], tmp_path: Path) -> None:
    assert read_scan(write(tmp_path)).kspace[:].equal(torch.from_numpy(KSPACE))


@pytest.mark.parametrize("write", [fastmri, ismrmrd_file])
@given(place=st.integers(0, 60), number=st.sampled_from(["0", "-1", "65535", "99999", "1e9", "4294967296", "nan", "x"]))
def test_header_that_claims_anything(write: Callable[[Path], Path], tmp_path: Path, place: int, number: str) -> None:
    """Every number of the XML header, one at a time."""
    path = write(tmp_path)
    with h5py.File(path, "r+") as file:
        name = "dataset/xml" if "dataset" in file else "ismrmrd_header"
        text = bytes(np.asarray(file[name][()]).reshape(-1)[0])
        numbers = list(re.finditer(rb">(\d[^<]*)</", text))
        start, end = numbers[place % len(numbers)].span(1)
        del file[name]
        file[name] = [text[:start] + number.encode() + text[end:]]
    refusal = _refusal(path)
    assert refusal is None or (path.stem in refusal and "\n" not in refusal)


def _refusal(path: Path) -> str | None:
    """Read everything, and return why not if it is refused."""
    files = set(Path.cwd().rglob("*"))
    signal.alarm(SECONDS)
    try:
        for kspace in read_scan(path).kspace.chunks():
            assert kspace.isfinite().all()
    except (ValueError, OSError) as error:
        return str(error)
    finally:
        signal.alarm(0)
        assert set(Path.cwd().rglob("*")) == files
    return None
