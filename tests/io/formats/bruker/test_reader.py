"""Studies of ParaVision, laid out by hand, one line of k-space after the other as a scanner measures them."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch

from lightning_mri.io import find_scans, read_scan
from lightning_mri.io.arrays import ImageArray
from lightning_mri.io.scan import MAGNITUDE_ONLY
from lightning_mri.physics import fft2c, ifft2c

RNG = np.random.default_rng(5)
REAL = Path(__file__).parents[5] / "shared/data/bruker_rare/1"
HEADER = "##TITLE=Parameter List, ParaVision 6.0.1\n##JCAMPDX=4.24\n##DATATYPE=Parameter Values\n##ORIGIN=Bruker\n"
Value = str | int | float | Sequence[float]


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


def draw(*shape: int) -> np.ndarray:
    """Smooth-free complex images, so that no two samples can be exchanged unnoticed."""
    return RNG.standard_normal(shape) + 1j * RNG.standard_normal(shape)


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


def check(path: Path, images: np.ndarray, amplitude: float = 1e6, tolerance: float = 1e-5) -> None:
    """Compare k-space with images [repetition, echo, slice, coil, y, x], volume after volume."""
    scan = read_scan(path)
    expected = amplitude * transform(images.reshape(-1, *images.shape[3:]))
    assert scan.kspace.shape == expected.shape
    assert scan.n_volumes == images.shape[0] * images.shape[1]
    assert np.abs(scan.kspace[:].numpy() - expected).max() < tolerance * np.abs(expected).max()
    one = scan.kspace[expected.shape[0] - 1].numpy()
    assert np.abs(one - expected[-1]).max() < tolerance * np.abs(expected).max()


LINEAR = range(-3, 3)
CENTRIC = (0, -1, 1, -2, 2, -3)


def test_interleaved_slices_of_two_coils_come_back_in_order(tmp_path: Path) -> None:
    images = draw(1, 1, 5, 2, 7, 6)
    path = Scanner(images, LINEAR, order=[0, 2, 4, 1, 3]).write(tmp_path / "study" / "3")
    check(path, images)
    scan = read_scan(path)
    assert scan.name == "study_3"
    assert scan.contrast == "T1w"
    assert scan.pixel_size == pytest.approx((18 / 7, 12 / 6))
    assert scan.slice_spacing == 0.7
    assert scan.field_strength == pytest.approx(300.33 / 42.577)
    assert scan.mask.all()
    assert scan.format == "Bruker fid"
    assert not scan.magnitude_only


def test_trains_of_four_echoes_in_centric_order_fill_their_lines(tmp_path: Path) -> None:
    images = draw(1, 1, 3, 1, 5, 8)
    steps = [0, -2, 2, -4, -1, 1, 3, -3]
    check(Scanner(images, steps, train=4, order=[0, 2, 1]).write(tmp_path / "s" / "1"), images)


def test_echo_images_and_repetitions_are_volumes(tmp_path: Path) -> None:
    images = draw(3, 2, 4, 1, 5, 6)
    order = [0, 1, 4, 5, 2, 3, 6, 7]  # echoes of a slice follow each other, slices 0, 2, 1, 3
    check(Scanner(images, CENTRIC, train=2, order=order).write(tmp_path / "s" / "1"), images)


@pytest.mark.parametrize(
    ("dtype", "amplitude", "tolerance"),
    [("<i4", 1e6, 1e-5), (">i4", 1e6, 1e-5), ("<i2", 5e3, 1e-3), ("<f4", 0.37, 1e-6), (">i2", 5e3, 1e-3)],
)
def test_words_of_every_kind(tmp_path: Path, dtype: str, amplitude: float, tolerance: float) -> None:
    scanner = Scanner(draw(1, 1, 2, 3, 7, 6), LINEAR)
    scanner.dtype, scanner.amplitude = dtype, amplitude
    check(scanner.write(tmp_path / "s" / "1"), scanner.images, amplitude, tolerance)


def test_lines_fill_a_block_to_its_end_or_lie_without_gaps(tmp_path: Path) -> None:
    images = draw(1, 1, 2, 2, 64, 6)  # 2 coils x 64 samples x 8 bytes = 1024 bytes
    check(Scanner(images, LINEAR).write(tmp_path / "s" / "1"), images)
    scanner = Scanner(draw(1, 1, 2, 3, 7, 6), LINEAR)
    scanner.block = "continuous"
    path = scanner.write(tmp_path / "s" / "2")
    assert path.stat().st_size == 2 * 3 * 7 * 6 * 8
    check(path, scanner.images)


def test_jobs_of_paravision_360_have_no_padding(tmp_path: Path) -> None:
    class Scanner360(Scanner):
        version, file = "<PV-360.3.4>", "rawdata.job0"

    images = draw(2, 1, 3, 2, 7, 6)
    path = Scanner360(images, LINEAR, order=[0, 2, 1]).write(tmp_path / "s" / "1")
    check(path, images)
    assert read_scan(tmp_path / "s" / "1" / "acqp").format == "Bruker rawdata.job0"


def test_a_3d_scan_is_transformed_along_its_partitions(tmp_path: Path) -> None:
    volume = draw(2, 2, 9, 7, 6)  # repetition, coil, partition, y, x
    kspace = np.fft.fftshift(np.fft.fft(np.fft.ifftshift(transform(volume), axes=2), axis=2, norm="ortho"), axes=2)

    class Scanner3D(Scanner):
        def blocks(self) -> list[bytes]:
            return [
                self.pack(self.amplitude * repetition[:, partition, :, step + 3])
                for repetition in kspace
                for partition in PARTITIONS
                for step in self.steps
            ]

    PARTITIONS = [4, 0, 1, 2, 3, 5, 8, 7, 6]
    scanner = Scanner3D(np.zeros((2, 1, 1, 2, 7, 6)), CENTRIC, train=3)
    path = scanner.write(
        tmp_path / "s" / "1",
        PVM_SpatDimEnum="3D",
        ACQ_dim=3,
        ACQ_size=[14, 6, 9],
        PVM_EncMatrix=[7, 6, 9],
        PVM_EncSteps2=[p - 4 for p in PARTITIONS],
        PVM_Fov=[18.0, 12.0, 27.0],
        PVM_Matrix=[7, 6, 9],
    )
    check(path, volume.transpose(0, 2, 1, 3, 4)[:, None])
    scan = read_scan(path)
    assert scan.slice_spacing == 3
    assert scan.kspace[7:11].equal(torch.cat([scan.kspace[7:9], scan.kspace[9:11]]))


def test_what_partial_fourier_left_out_is_zero_and_not_in_the_mask(tmp_path: Path) -> None:
    images = draw(1, 1, 2, 1, 9, 8)

    class PartialEcho(Scanner):
        def store(self, kspace: np.ndarray, step: int) -> bytes:
            return self.pack(self.amplitude * kspace[:, 2:, step + 4])

    path = PartialEcho(images, range(-1, 4)).write(
        tmp_path / "s" / "1",
        PVM_EncMatrix=[7, 5],
        ACQ_size=[14, 5],
        PVM_EncPft=[1.3, 1.6],
        ACQ_jobs="(14, 1, 0, 8, 64, 1e5, 8, 1, <job0>)",
    )
    scan = read_scan(path)
    expected = torch.from_numpy(1e6 * transform(images[0, 0]))
    expected[..., :2, :] = 0
    expected[..., :3] = 0
    assert scan.kspace[:].numpy() == pytest.approx(expected.numpy(), rel=1e-4, abs=2)
    assert scan.mask.equal((expected != 0).any(0))


def test_an_anti_aliased_field_of_view_is_cut_and_an_offset_one_centred_slice_by_slice(tmp_path: Path) -> None:
    image = np.zeros((1, 1, 2, 1, 7, 12), complex)
    image[0, 0, 0, :, 4, 4] = image[0, 0, 1, :, 4, 9] = 1  # -2 and 3 pixels from the centre
    path = Scanner(image, range(-6, 6)).write(
        tmp_path / "s" / "1",
        PVM_AntiAlias=[1.0, 1.5],
        PVM_Matrix=[7, 8],
        PVM_EffPhase1Offset=[2 * 12 / 8, -3 * 12 / 8],
        PVM_SPackArrPhase1Offset=[77],
    )
    scan = read_scan(path)
    assert scan.reconstruction_size == (7, 8)
    assert scan.pixel_size == pytest.approx((18 / 7, 12 / 8))
    for found in ifft2c(scan.kspace[:]).abs()[:, 0]:
        assert divmod(int(found.argmax()), 12) == (4, 6)
        assert float(found.max()) == pytest.approx(1e6, rel=1e-4)


@pytest.mark.parametrize("offset", [{"PVM_EffPhase2Offset": [-2 * 3.0]}, {"PVM_SPackArrSliceOffset": [2 * 3.0]}])
def test_an_offset_along_partitions_is_undone(tmp_path: Path, offset: dict[str, Value]) -> None:
    volume = np.zeros((9, 7, 6), complex)
    volume[6, 3, 3] = 1  # two partitions above the centre
    kspace = np.fft.fftshift(np.fft.fft(np.fft.ifftshift(transform(volume), axes=0), axis=0, norm="ortho"), axes=0)

    class Scanner3D(Scanner):
        def blocks(self) -> list[bytes]:
            return [self.pack(self.amplitude * partition[None, :, step + 3]) for partition in kspace for step in LINEAR]

    path = Scanner3D(np.zeros((1, 1, 1, 1, 7, 6)), LINEAR).write(
        tmp_path / "s" / "1",
        **{
            **{"PVM_SpatDimEnum": "3D", "ACQ_dim": 3, "ACQ_size": [14, 6, 9], "PVM_EncMatrix": [7, 6, 9]},
            **{"PVM_EncSteps2": [p - 4 for p in range(9)], "PVM_Fov": [18.0, 12.0, 27.0], "PVM_Matrix": [7, 6, 9]},
            **offset,
        },
    )
    found = ifft2c(read_scan(path).kspace[:]).abs()[:, 0]
    assert np.unravel_index(int(found.argmax()), found.shape) == (4, 3, 3)


def test_a_reconstruction_of_the_other_sign_is_warned_of(tmp_path: Path) -> None:
    path = Scanner(draw(1, 1, 1, 1, 5, 6), LINEAR).write(tmp_path / "s" / "1")
    reco = path.parent / "pdata" / "1" / "reco"
    for option, warned in (("COMPLEX_CONJUGATE", False), ("NO_QOPTS", True)):
        write_parameters(reco, RECO_qopts=[option, "NO_QOPTS"], RECO_ft_mode=["COMPLEX_FT", "COMPLEX_FT"])
        assert any("turned by 180 degrees" in warning for warning in read_scan(path).warnings) is warned
    reco.write_bytes(b"damaged")
    assert read_scan(path).n_slices == 1


def test_raw_data_lie_where_an_image_of_their_matrix_does(tmp_path: Path) -> None:
    path = Scanner(draw(1, 1, 2, 1, 5, 6), LINEAR).write(tmp_path / "s" / "1")
    write_images(path.parent / "pdata" / "1", np.ones((2, 12, 10), "<i2"))  # interpolated
    assert read_scan(path).affine is None
    assert any("no reconstructed image (2dseq) of the same" in warning for warning in read_scan(path).warnings)
    image = write_images(path.parent / "pdata" / "2", np.ones((2, 6, 5), "<i2"))
    assert torch.equal(read_scan(path).affine, read_scan(image).affine)


@pytest.mark.skipif(not REAL.is_dir(), reason="the shared folder with real data is not here")
def test_real_raw_data_give_the_vendor_s_image() -> None:
    image = ifft2c(read_scan(REAL / "fid").kspace[:]).abs()[:, 0]
    vendor = read_scan(REAL / "pdata/1/2dseq").kspace
    assert isinstance(vendor, ImageArray)
    affine, expected = read_scan(REAL / "fid").affine, read_scan(REAL / "pdata/1/2dseq").affine
    assert affine is not None
    assert torch.equal(affine, expected)
    for ours, theirs in zip(image, vendor.images[:], strict=True):
        assert float(torch.corrcoef(torch.stack([ours.flatten(), theirs.flatten()]))[0, 1]) > 0.99999


def test_every_second_echo_of_a_bipolar_readout_is_turned(tmp_path: Path) -> None:
    images = draw(1, 3, 2, 1, 7, 6)

    class Bipolar(Scanner):
        n = 0

        def store(self, kspace: np.ndarray, step: int) -> bytes:
            line = kspace[..., step + 3] * self.amplitude
            self.n += 1
            return self.pack(line[..., ::-1] if (self.n - 1) % 3 == 1 else line)

    scanner = Bipolar(images, LINEAR)
    check(scanner.write(tmp_path / "s" / "1", EchoAcqMode="allEchoes", Method="<Bruker:MGE>"), images)


def test_the_subject_and_the_contrast_come_from_the_study(tmp_path: Path) -> None:
    path = Scanner(draw(1, 1, 1, 1, 5, 6), LINEAR).write(
        tmp_path / "s" / "1",
        Method="<Bruker:RARE>",
        ACQ_scan_name="<TurboRARE>",
        PVM_EchoTime=33.0,
        PVM_RepetitionTime=2500.0,
    )
    scan = read_scan(path)
    assert scan.subject == "s"
    assert scan.contrast == "T2w"
    assert any("T2w was taken from TE 33 ms" in warning for warning in scan.warnings)
    write_parameters(tmp_path / "s" / "subject", SUBJECT_id="<mouse 17>")
    assert read_scan(path).subject == "mouse 17"


def test_brukerapi_orders_k_space_alike(tmp_path: Path) -> None:
    from brukerapi.dataset import Dataset

    path = Scanner(draw(2, 1, 3, 2, 7, 6), CENTRIC, train=2, order=[0, 2, 1]).write(
        tmp_path / "20260101_s" / "1", PULPROG="<RARE.ppg>", Method="<Bruker:RARE>"
    )
    theirs = np.asarray(Dataset(path).data)  # read, phase, slice, repetition, coil
    ours = read_scan(path).kspace[:].numpy().reshape(2, 3, 2, 7, 6)
    assert ours == pytest.approx(theirs.transpose(3, 2, 4, 0, 1), rel=1e-5)


def test_a_study_lists_each_experiment_once(tmp_path: Path) -> None:
    flash, epi, press = (tmp_path / "study" / name for name in "125")
    Scanner(draw(1, 1, 1, 1, 5, 6), LINEAR).write(flash)
    write_images(flash / "pdata" / "1", np.ones((2, 3, 5), "<i2"))
    Scanner(draw(1, 1, 1, 1, 5, 6), LINEAR).write(epi, Method="<Bruker:DtiEpi>")
    write_images(epi / "pdata" / "2", np.ones((2, 3, 5), "<i2"))
    Scanner(draw(1, 1, 1, 1, 5, 6), LINEAR).write(press, Method="<Bruker:PRESS>")
    assert find_scans(tmp_path) == [flash / "fid", epi / "pdata" / "2" / "2dseq"]
    assert find_scans(flash) == [flash / "fid"]
    for given in (flash / "pdata" / "1", flash / "pdata" / "1" / "2dseq", flash / "pdata", epi, epi / "method"):
        assert [path.name for path in find_scans(given)] == ["2dseq"]
        assert read_scan(given).magnitude_only
    with pytest.raises(ValueError, match=r"5/fid: the method must be Cartesian, .*: got PRESS"):
        read_scan(press)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"Method": "<User:myUTE3D>"}, "fid: the method must be Cartesian, .*: got myUTE3D"),
        ({"ACQ_size": [12, 6]}, r"acqp: ACQ_size must have 14 numbers in a line, twice PVM_EncMatrix: got 12"),
        ({"NR": 2}, r"fid: raw data must have \d+ bytes.*: got 12288"),
        ({"PVM_EncSteps1": [0, 1, 2, 3, 4, 4]}, "method: PVM_EncSteps1 must hold 6 different steps"),
        ({"PVM_EncSteps1": [0, 1, 2, 3, 4, 9]}, "method: PVM_EncSteps1 must lie within a matrix of 6: got 0 to 9"),
        ({"ACQ_obj_order": [0, 0]}, "acqp: ACQ_obj_order must hold each of NI = 2 objects once"),
        ({"ACQ_phase_factor": 4}, "acqp: ACQ_phase_factor must divide the 6 lines: got 4"),
        ({"BYTORDA": "middle"}, "BYTORDA little or big: got GO_32BIT_SGN_INT, middle"),
        ({"PVM_Fov": [0.0, 12.0]}, r"method: PVM_Fov must be between 0.001 and 10000.0 mm: got \[0.0, 12.0\] mm"),
        ({"PVM_EncMatrix": "seven"}, "method: PVM_EncMatrix must hold numbers: got seven"),
        ({"NI": "(1, 2"}, "acqp: NI must "),
        ({"PVM_AntiAlias": "@999999999*(1)"}, "method: PVM_AntiAlias must be a list that fits into memory"),
        ({"PVM_Fov": "1 " + "(" * 90000}, "method: PVM_Fov must be a list that fits into memory, of simple structures"),
        ({"PVM_EncPft": [1.5, 1.0], "PVM_Matrix": [700, 6]}, "method: PVM_Matrix must be 1 to 16 times"),
    ],
)
def test_contradictions_are_refused(tmp_path: Path, changes: dict[str, Value], message: str) -> None:
    path = Scanner(draw(1, 1, 2, 1, 7, 6), LINEAR).write(tmp_path / "s" / "1", **changes)
    with pytest.raises((ValueError, OSError), match=message):
        read_scan(path)


def test_truncated_data_and_missing_parameters_are_refused(tmp_path: Path) -> None:
    path = Scanner(draw(1, 1, 2, 1, 7, 6), LINEAR).write(tmp_path / "s" / "1")
    scan = read_scan(path)
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(OSError, match="fid: raw data must have 12288 bytes, as the parameters say: got 12279"):
        read_scan(path)
    with pytest.raises(OSError, match="fid: raw data are truncated"):
        scan.kspace[0]
    path.with_name("acqp").unlink()
    with pytest.raises(FileNotFoundError, match="acqp: the file must be there"):
        read_scan(path)


ORIENTATION = [0, 1, 0, 0, 0, -1, -1, 0, 0]


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


def images_of(path: Path) -> np.ndarray:
    return ifft2c(read_scan(path).kspace[:])[:, 0].numpy()


@pytest.mark.parametrize("dtype", ["<i2", ">i2", "<f4", "|u1"])
def test_images_are_slope_times_number_plus_offset(tmp_path: Path, dtype: str) -> None:
    frames = RNG.integers(0, 200, (4, 3, 5)).astype(dtype)
    slopes, offsets = np.array([0.5, 2, 3, 4]), np.array([0, 10, 20, 30])
    path = write_images(
        tmp_path / "s" / "1" / "pdata" / "1", frames, VisuCoreDataSlope=slopes, VisuCoreDataOffs=offsets
    )
    expected = (frames * slopes[:, None, None] + offsets[:, None, None]).transpose(0, 2, 1)
    assert images_of(path).real == pytest.approx(expected, rel=1e-4, abs=1e-3)
    scan = read_scan(path)
    assert scan.magnitude_only
    assert scan.warnings[0] == MAGNITUDE_ONLY
    assert scan.name == "s_1_1"
    assert scan.pixel_size == (2, 2)


def test_a_pixel_of_an_image_lies_where_visu_pars_says(tmp_path: Path) -> None:
    path = write_images(tmp_path / "s" / "1" / "pdata" / "1", np.ones((3, 3, 5), "<i2"), VisuCoreExtent=[10.0, 9.0])
    scan = read_scan(path)
    assert scan.affine is not None
    # first pixel: L 3, P -5, S 4; frame x goes to P by 2 mm, frame y to the feet by 3 mm, slices to R by 0.8 mm
    lps = {(0, 0, 0): (3, -5, 4), (0, 4, 0): (3, 3, 4), (2, 0, 0): (3, -5, -2), (0, 0, 2): (1.4, -5, 4)}
    for (x, y, slice_), (left, back, up) in lps.items():
        found = scan.affine @ torch.tensor([x, y, slice_, 1.0])
        assert found[:3].tolist() == pytest.approx([-left, -back, up], abs=1e-5)
    assert scan.pixel_size == (2, 3)
    assert scan.slice_spacing == pytest.approx(0.8)
    assert any("Head_Prone" in warning for warning in scan.warnings)


def test_frames_that_are_read_along_y_are_not_turned(tmp_path: Path) -> None:
    frames = RNG.integers(0, 200, (2, 3, 5)).astype("<i2")
    path = write_images(
        tmp_path / "s" / "1" / "pdata" / "1",
        frames,
        VisuAcqGradEncoding=["phase_enc", "read_enc"],
        VisuCoreExtent=[10.0, 9.0],
    )
    assert images_of(path).real == pytest.approx(frames, abs=1e-3)
    scan = read_scan(path)
    assert scan.pixel_size == (3, 2)
    assert scan.affine is not None
    assert (scan.affine @ torch.tensor([4.0, 0, 0, 1]))[:3].tolist() == pytest.approx([-3, -3, 4])


def test_echoes_before_slices_become_volumes_and_parts_become_complex(tmp_path: Path) -> None:
    frames = RNG.integers(-99, 99, (2, 4, 3, 5, 7)).astype("<i2")  # part, slice, echo, y, x
    path = write_images(
        tmp_path / "s" / "1" / "pdata" / "1",
        frames.reshape(24, 5, 7),
        VisuFGOrderDesc="(3, <FG_ECHO>, <>, 0, 1) (4, <FG_SLICE>, <>, 1, 2) (2, <FG_COMPLEX>, <>, 3, 1)",
        VisuCoreFrameType=["REAL_IMAGE", "IMAGINARY_IMAGE"],
        VisuCorePosition=np.array([[0.5 * i, 0, 0] for i in range(4)]),
        VisuCoreOrientation=np.array([ORIENTATION] * 4),
    )
    scan = read_scan(path)
    assert scan.n_volumes == 3
    assert not scan.magnitude_only
    expected = (frames[0] + 1j * frames[1]).transpose(1, 0, 3, 2).reshape(12, 7, 5)
    assert images_of(path) == pytest.approx(expected, abs=1e-3)


def test_a_3d_frame_is_a_stack_of_slices(tmp_path: Path) -> None:
    frames = RNG.integers(0, 200, (4, 3, 5)).astype("<i2")  # z, y, x
    path = write_images(
        tmp_path / "s" / "1" / "pdata" / "1",
        frames,
        VisuCoreDim=3,
        VisuCoreDimDesc=["spatial"] * 3,
        VisuCoreSize=[5, 3, 4],
        VisuCoreExtent=[10.0, 6.0, 2.0],
        VisuFGOrderDesc="(1, <FG_CYCLE>, <>, 0, 0)",
        VisuCoreOrientation=np.array([ORIENTATION]),
        VisuCorePosition=np.array([[3.0, -5.0, 4.0]]),
    )
    scan = read_scan(path)
    assert images_of(path).real == pytest.approx(frames.transpose(0, 2, 1), abs=1e-3)
    assert (scan.n_volumes, scan.slice_spacing) == (1, 0.5)
    assert scan.affine is not None
    assert (scan.affine @ torch.tensor([0.0, 0, 3, 1]))[:3].tolist() == pytest.approx([-1.5, 5, 4])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"VisuCoreDimDesc": ["spectroscopic", "spatial"]}, "VisuCoreDimDesc must be spatial"),
        ({"VisuCoreFrameType": "PHASE_IMAGE"}, "VisuCoreFrameType must be magnitude"),
        ({"VisuFGOrderDesc": "(2, <FG_ISA>, <fit>, 0, 2)"}, "VisuFGOrderDesc must hold images, no maps"),
        ({"VisuCoreSize": [500000, 500000]}, "2dseq: images must hold"),
        ({"VisuCoreDataSlope": [1.0, 2.0, 3.0]}, "VisuCoreDataSlope must hold 1 or 2 numbers"),
        ({"VisuCoreTransposition": [1, 1]}, "VisuCoreTransposition must be 0"),
        ({"VisuCoreWordType": "_64BIT"}, "VisuCoreWordType must be one of"),
    ],
)
def test_what_is_no_image_is_refused(tmp_path: Path, changes: dict[str, Value], message: str) -> None:
    path = write_images(tmp_path / "s" / "1" / "pdata" / "1", np.ones((2, 3, 5), "<i2"), **changes)
    with pytest.raises((ValueError, OSError), match=message):
        read_scan(path)
