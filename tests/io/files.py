"""One small scan, or its images, in every format."""

from collections.abc import Callable
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import h5py
import ismrmrd
import nibabel
import numpy as np
import torch
from scipy.io import savemat

from lightning_mri.cfl import write_cfl
from lightning_mri.io import write_fastmri
from lightning_mri.io.formats.dicom.study import DicomStudy
from lightning_mri.io.formats.dicom.writer import Series, write_dicom
from lightning_mri.io.formats.nifti.writer import write_nifti
from lightning_mri.io.geometry import Place
from tests.builders import draw_kspace

KSPACE = draw_kspace(2, 3, 24, 20)
IMAGES = torch.from_numpy(np.abs(KSPACE[:, 0]))
PAIR = np.dtype([("real", "f4"), ("imag", "f4")])
Write = Callable[[Path], Path]


def npy(folder: Path) -> Path:
    np.save(folder / "scan.npy", KSPACE)
    return folder / "scan.npy"


def npz(folder: Path) -> Path:
    np.savez(folder / "scan.npz", kspace=KSPACE, mask=np.ones(20, bool))
    return folder / "scan.npz"


def npz_compressed(folder: Path) -> Path:
    np.savez_compressed(folder / "scan.npz", kspace=np.asfortranarray(KSPACE))
    return folder / "scan.npz"


def cfl(folder: Path) -> Path:
    write_cfl(folder / "scan.hdr", KSPACE[0].transpose(1, 2, 0)[:, :, None])
    return folder / "scan.hdr"


def fastmri(folder: Path) -> Path:
    write_fastmri(folder / "scan.h5", torch.from_numpy(KSPACE), contrast="T2w", subject="a")
    return folder / "scan.h5"


def hdf5_compressed(folder: Path) -> Path:
    with h5py.File(folder / "scan.h5", "w") as file:
        file.create_dataset("kspace", data=KSPACE, chunks=(1, 3, 24, 10), compression="gzip", fletcher32=True)
    return folder / "scan.h5"


def hdf5_virtual(folder: Path, source: str = ".") -> Path:
    layout = h5py.VirtualLayout(KSPACE.shape, np.complex64)
    layout[:] = h5py.VirtualSource(source, "kspace", KSPACE.shape)
    with h5py.File(folder / "scan.h5", "w") as file:
        file.create_virtual_dataset("kspace", layout)
    return folder / "scan.h5"


def hdf5_external(folder: Path) -> Path:
    KSPACE.tofile(folder / "raw.bin")
    with h5py.File(folder / "scan.h5", "w") as file:
        stored = [(str(folder / "raw.bin"), 0, h5py.h5f.UNLIMITED)]
        file.create_dataset("kspace", KSPACE.shape, np.complex64, external=stored)
    return folder / "scan.h5"


HEADER = """<?xml version="1.0"?><ismrmrdHeader xmlns="http://www.ismrm.org/ISMRMRD">
<measurementInformation><protocolName>t2</protocolName></measurementInformation>
<encoding><encodedSpace><matrixSize><x>24</x><y>20</y><z>1</z></matrixSize>
<fieldOfView_mm><x>48</x><y>40</y><z>5</z></fieldOfView_mm></encodedSpace>
<reconSpace><matrixSize><x>12</x><y>20</y><z>1</z></matrixSize></reconSpace><encodingLimits>
<kspace_encoding_step_1><minimum>0</minimum><maximum>19</maximum><center>10</center></kspace_encoding_step_1>
</encodingLimits><trajectory>cartesian</trajectory></encoding></ismrmrdHeader>"""


@cache
def _acquisitions() -> bytes:
    """The library writes slowly, so that one file has to do for all cases."""
    with TemporaryDirectory() as folder, ismrmrd.Dataset(f"{folder}/scan.h5", mode="w") as file:
        file.write_xml_header(HEADER.encode())
        for s, x in np.ndindex(2, 20):
            acquisition = ismrmrd.Acquisition.from_array(KSPACE[s, :, :, x], center_sample=12)
            acquisition.idx.kspace_encode_step_1, acquisition.idx.slice = x, s
            file.append_acquisition(acquisition)
        file.close()
        return Path(folder, "scan.h5").read_bytes()


def ismrmrd_file(folder: Path) -> Path:
    (folder / "scan.h5").write_bytes(_acquisitions())
    return folder / "scan.h5"


def matlab5(folder: Path, packed: bool = False) -> Path:
    values = {"kspace": KSPACE.transpose(2, 3, 1, 0), "mask": np.ones((24, 20))}
    savemat(folder / "scan.mat", values, do_compression=packed)
    return folder / "scan.mat"


def matlab7(folder: Path) -> Path:
    return matlab5(folder, packed=True)


def save_v73(path: Path, **variables: np.ndarray) -> Path:
    """Write variables as MATLAB does: HDF5 with the axes reversed, complex numbers as pairs, behind a text."""
    with h5py.File(path, "w", userblock_size=512) as file:
        for name, values in variables.items():
            stored = np.ascontiguousarray(np.asarray(values).T)
            if stored.dtype.kind == "c":
                stored = stored.astype(np.complex64).view(PAIR)
            file.create_dataset(name, data=stored, chunks=True, compression="gzip")
        file.create_group("#refs#")
    with path.open("r+b") as file:
        file.write(b"MATLAB 7.3 MAT-file, Platform: GLNXA64".ljust(124) + b"\x00\x02IM")
    return path


def matlab73(folder: Path) -> Path:
    return save_v73(folder / "scan.mat", kspace=KSPACE.transpose(2, 3, 1, 0))


def bruker_method(folder: Path) -> Path:
    head = "##TITLE=Parameter List, ParaVision 6.0.1\n##JCAMPDX=4.24\n"
    steps = " ".join(str(x - 10) for x in range(20))
    (folder / "method").write_text(
        f"{head}##$Method=<Bruker:RARE>\n##$PVM_EncMatrix=( 2 )\n24 20\n##$PVM_EncSteps1=( 20 )\n{steps}\n"
        "##$PVM_EncNReceivers=3\n##$PVM_Fov=( 2 )\n20 15\n##$PVM_FrqRef=( 1 )\n300.3\n##END=\n"
    )
    (folder / "acqp").write_text(
        f"{head}##$ACQ_sw_version=( 20 )\n<PV 6.0.1>\n##$ACQ_size=( 2 )\n48 20\n##$ACQ_phase_factor=2\n##$NI=2\n"
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
    write_dicom(folder / "out", [Series("scan", IMAGES, "T2w", "none")], Place(torch.eye(4)), DicomStudy(), "a")
    return folder / "out" / "scan" / "0001.dcm"


HDF5 = [fastmri, hdf5_compressed, hdf5_virtual, hdf5_external, ismrmrd_file, matlab73]
OTHERS = [npy, npz, npz_compressed, cfl, matlab5, matlab7, bruker_method, bruker_acqp, bruker_fid]
IMAGE_FILES = [nifti, nifti_gz, dicom]
WHOLE = [fastmri, hdf5_compressed, ismrmrd_file, npz, npz_compressed, matlab5, matlab7, matlab73]
"""Those that hold what `KSPACE` is, to the last digit."""
