"""Studies of ParaVision, laid out by hand, one line of k-space after the other as a scanner measures them."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from lightning_mri.physics import fft2c

HEADER = "##TITLE=Parameter List, ParaVision 6.0.1\n##JCAMPDX=4.24\n##DATATYPE=Parameter Values\n##ORIGIN=Bruker\n"

Value = str | int | float | Sequence[float]

ORIENTATION = [0, 1, 0, 0, 0, -1, -1, 0, 0]


def write_parameters(path: Path, **values: Value) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = [_record(name, value) for name, value in values.items()]
    path.write_text(HEADER + "$$ 2026-01-01 nmr@scanner\n" + "".join(lines) + "##END=\n")


def _record(name: str, value: Value) -> str:
    if isinstance(value, str) and value.startswith("<"):
        return f"##${name}=( 64 )\n{value}\n"
    if isinstance(value, str) and value.startswith("("):
        return f"##${name}=( {value.count(') (') + 1} )\n{value}\n"
    if isinstance(value, str | int | float):
        return f"##${name}={value}\n"
    size, words = " ".join(map(str, np.shape(value))).replace(" ", ", "), [f"{word}" for word in np.ravel(value)]
    rows = (" ".join(words[i : i + 7]) for i in range(0, len(words), 7))
    return f"##${name}=( {size} )\n" + " \n".join(rows) + "\n"


def transform(image: np.ndarray) -> np.ndarray:
    return fft2c(torch.from_numpy(image.astype(np.complex128))).numpy()


class Scanner:
    """Measures images [repetition, echo, slice, coil, y, x], line by line, as ParaVision 6 does."""

    version = "<PV 6.0.1>"
    file = "fid"
    dtype = "<i4"
    block = "Standard_KBlock_Format"
    amplitude = 1e6

    def __init__(self, images: np.ndarray, steps: Sequence[int], train: int = 1, order: Sequence[int] = ()) -> None:
        self.images, self.steps, self.train = images, list(steps), train
        self.order = list(order) or list(range(images.shape[1] * images.shape[2]))

    def write(self, folder: Path, **changes: Value) -> Path:
        n_repetitions, n_echoes, n_slices, n_coils, n_read, n_phase = self.images.shape
        folder.mkdir(parents=True, exist_ok=True)
        numbers = {
            "PVM_EncMatrix": [n_read, len(self.steps)],
            "PVM_EncSteps1": self.steps,
            "PVM_Matrix": [n_read, n_phase],
            "PVM_Fov": [18.0, 12.0],
            "PVM_EncNReceivers": n_coils,
            "PVM_NEchoImages": n_echoes,
            "PVM_SPackArrSliceDistance": [0.7],
            "PVM_FrqRef": [300.33, 75.5],
            "PVM_Nucleus1": "<1H>",
        }
        method: dict[str, Value] = {"Method": "<Bruker:FLASH>", "PVM_SpatDimEnum": "2D", **numbers}
        acqp: dict[str, Value] = {
            "ACQ_sw_version": self.version,
            "ACQ_scan_name": "<T1_FLASH (E3)>",
            "ACQ_dim": 2,
            "ACQ_size": [2 * n_read, len(self.steps)],
            "NI": n_echoes * n_slices,
            "NR": n_repetitions,
            "NSLICES": n_slices,
            "ACQ_phase_factor": self.train,
            "ACQ_obj_order": self.order,
            "GO_block_size": self.block,
            "GO_raw_data_format": {"i4": "GO_32BIT_SGN_INT", "i2": "GO_16BIT_SGN_INT", "f4": "GO_32BIT_FLOAT"}[
                self.dtype[1:]
            ],
            "BYTORDA": "big" if self.dtype[0] == ">" else "little",
            "ACQ_jobs": f"({2 * n_read}, 1, 0, 8, 64, 1e5, 8, 1, <job0>)",
        }
        for parameters in (method, acqp):
            parameters.update({name: value for name, value in changes.items() if name in parameters})
        method.update({name: value for name, value in changes.items() if name not in acqp})
        write_parameters(folder / "method", **method)
        write_parameters(folder / "acqp", **acqp)
        (folder / self.file).write_bytes(b"".join(self.blocks()))
        return folder / self.file

    def blocks(self) -> list[bytes]:
        """One block for each line: all receivers, then zeros up to a multiple of 1024 bytes."""
        blocks = []
        n_echoes = self.images.shape[1]
        for repetition in transform(self.images):
            for first in range(0, len(self.steps), self.train):
                for number in self.order:
                    for step in self.steps[first : first + self.train]:
                        slice_, echo = divmod(number, n_echoes)
                        blocks.append(self.store(repetition[echo, slice_], step))
        return blocks

    def store(self, kspace: np.ndarray, step: int) -> bytes:
        line = self.amplitude * kspace[..., step + kspace.shape[-1] // 2]
        return self.pack(line)

    def pack(self, line: np.ndarray) -> bytes:
        parts = np.stack([line.real, line.imag], -1)
        numbers = (parts if self.dtype[1] == "f" else parts.round()).astype(self.dtype).tobytes()
        return numbers + bytes(-len(numbers) % 1024 if self.block.startswith("Standard") and self.file == "fid" else 0)


class Scanner3D(Scanner):
    """Measures volumes [repetition, coil, partition, y, x], partition by partition in a given order."""

    def __init__(self, volumes: np.ndarray, steps: Sequence[int], partitions: Sequence[int], train: int = 1) -> None:
        n_repetitions, n_coils, _, n_read, n_phase = volumes.shape
        super().__init__(np.zeros((n_repetitions, 1, 1, n_coils, n_read, n_phase)), steps, train)
        self.partitions = partitions
        inner = np.fft.fft(np.fft.ifftshift(transform(volumes), axes=2), axis=2, norm="ortho")
        self.kspace = np.fft.fftshift(inner, axes=2)

    def write(self, folder: Path, **changes: Value) -> Path:
        n_read, n_phase, n = self.images.shape[-2], self.images.shape[-1], len(self.partitions)
        sizes = {"ACQ_size": [2 * n_read, n_phase, n], "PVM_EncMatrix": [n_read, n_phase, n], "ACQ_dim": 3}
        sizes |= {"PVM_Matrix": [n_read, n_phase, n], "PVM_Fov": [18.0, 12.0, 27.0], "PVM_SpatDimEnum": "3D"}
        steps = [partition - n // 2 for partition in self.partitions]
        return super().write(folder, **{**sizes, "PVM_EncSteps2": steps, **changes})

    def blocks(self) -> list[bytes]:
        return [
            self.store(repetition[:, partition], step)
            for repetition in self.kspace
            for partition in self.partitions
            for step in self.steps
        ]


def write_images(folder: Path, frames: np.ndarray, **changes: Value) -> Path:
    """Write frames [frame, y, x], the slices of one volume, in a sagittal orientation."""
    order = "bigEndian" if frames.dtype.byteorder == ">" else "littleEndian"
    values: dict[str, Value] = {
        "VisuCoreDim": 2,
        "VisuCoreDimDesc": ["spatial", "spatial"],
        "VisuCoreSize": [frames.shape[2], frames.shape[1]],
        "VisuCoreWordType": {"i2": "_16BIT_SGN_INT", "f4": "_32BIT_FLOAT", "u1": "_8BIT_UNSGN_INT"}[
            frames.dtype.str[1:]
        ],
        "VisuCoreByteOrder": order,
        "VisuFGOrderDesc": f"({len(frames)}, <FG_SLICE>, <>, 0, 2)",
        "VisuCoreFrameType": "MAGNITUDE_IMAGE",
        "VisuCoreExtent": [10.0, 6.0],
        "VisuCoreOrientation": np.array([ORIENTATION] * len(frames)),
        "VisuCorePosition": np.array([[3 - 0.8 * i, -5.0, 4.0] for i in range(len(frames))]),
        "VisuAcqGradEncoding": ["read_enc", "phase_enc"],
        "VisuSubjectPosition": "Head_Prone",
    }
    write_parameters(folder / "visu_pars", **{**values, **changes})
    (folder / "2dseq").write_bytes(frames.tobytes())
    return folder / "2dseq"
