"""ParaVision's raw data."""

from pathlib import Path

import numpy as np
import pytest
import torch

from lightning_mri.io import find_scans, read_scan
from lightning_mri.io.arrays import ImageArray
from lightning_mri.physics import ifft2c
from tests.builders import draw
from tests.io.formats.bruker.studies import Scanner, Scanner3D, Value, transform, write_images, write_parameters

REAL = Path(__file__).parents[5] / "shared/data/bruker_rare/1"
LINEAR = range(-3, 3)
CENTRIC = (0, -1, 1, -2, 2, -3)


def error_of(path: Path, images: np.ndarray, amplitude: float = 1e6) -> float:
    """Return the largest error of k-space, and of its last slice read alone, against [repetition, echo, slice, ...]."""
    scan = read_scan(path)
    expected = amplitude * transform(images.reshape(-1, *images.shape[3:]))
    assert scan.kspace.shape == expected.shape
    assert scan.n_volumes == images.shape[0] * images.shape[1]
    errors = scan.kspace[:].numpy() - expected, scan.kspace[len(expected) - 1].numpy() - expected[-1]
    return max(np.abs(error).max() for error in errors) / np.abs(expected).max()


def test_interleaved_slices_of_two_coils_come_back_in_order(tmp_path: Path) -> None:
    images = draw(1, 1, 5, 2, 7, 6)
    path = Scanner(images, LINEAR, order=[0, 2, 4, 1, 3]).write(tmp_path / "study" / "3")
    assert error_of(path, images) < 1e-5
    scan = read_scan(path)
    assert scan.name == "study_3"
    assert scan.contrast == "T1w"
    assert scan.pixel_size == pytest.approx((18 / 7, 12 / 6))
    assert scan.slice_spacing == 0.7
    assert scan.field_strength == pytest.approx(300.33 / 42.577)
    assert scan.mask.all()
    assert scan.format == "Bruker fid"
    assert not scan.magnitude_only


@pytest.mark.parametrize(
    ("shape", "steps", "train", "order"),
    [
        ((1, 1, 3, 1, 5, 8), [0, -2, 2, -4, -1, 1, 3, -3], 4, [0, 2, 1]),  # trains of four echoes in centric order
        ((3, 2, 4, 1, 5, 6), CENTRIC, 2, [0, 1, 4, 5, 2, 3, 6, 7]),  # echo images and repetitions; slices 0, 2, 1, 3
        ((1, 1, 2, 2, 64, 6), LINEAR, 1, []),  # a block filled to its end: 2 coils x 64 samples x 8 bytes
    ],
)
def test_lines_come_back_from_any_order(
    tmp_path: Path, shape: tuple[int, ...], steps: list[int], train: int, order: list[int]
) -> None:
    images = draw(*shape)
    assert error_of(Scanner(images, steps, train, order).write(tmp_path / "s" / "1"), images) < 1e-5


@pytest.mark.parametrize(
    ("dtype", "amplitude", "tolerance"),
    [("<i4", 1e6, 1e-5), (">i4", 1e6, 1e-5), ("<i2", 5e3, 1e-3), ("<f4", 0.37, 1e-6), (">i2", 5e3, 1e-3)],
)
def test_words_of_every_kind(tmp_path: Path, dtype: str, amplitude: float, tolerance: float) -> None:
    scanner = Scanner(draw(1, 1, 2, 3, 7, 6), LINEAR)
    scanner.dtype, scanner.amplitude = dtype, amplitude
    assert error_of(scanner.write(tmp_path / "s" / "1"), scanner.images, amplitude) < tolerance


def test_lines_may_lie_without_gaps(tmp_path: Path) -> None:
    scanner = Scanner(draw(1, 1, 2, 3, 7, 6), LINEAR)
    scanner.block = "continuous"
    path = scanner.write(tmp_path / "s" / "2")
    assert path.stat().st_size == 2 * 3 * 7 * 6 * 8
    assert error_of(path, scanner.images) < 1e-5


def test_jobs_of_paravision_360_have_no_padding(tmp_path: Path) -> None:
    class Scanner360(Scanner):
        version, file = "<PV-360.3.4>", "rawdata.job0"

    images = draw(2, 1, 3, 2, 7, 6)
    path = Scanner360(images, LINEAR, order=[0, 2, 1]).write(tmp_path / "s" / "1")
    assert error_of(path, images) < 1e-5
    assert read_scan(tmp_path / "s" / "1" / "acqp").format == "Bruker rawdata.job0"


def test_a_3d_scan_is_transformed_along_its_partitions(tmp_path: Path) -> None:
    volumes = draw(2, 2, 9, 7, 6)  # repetition, coil, partition, y, x
    path = Scanner3D(volumes, CENTRIC, [4, 0, 1, 2, 3, 5, 8, 7, 6], train=3).write(tmp_path / "s" / "1")
    assert error_of(path, volumes.transpose(0, 2, 1, 3, 4)[:, None]) < 1e-5
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
    volume = np.zeros((1, 1, 9, 7, 6), complex)
    volume[..., 6, 3, 3] = 1  # two partitions above the centre
    path = Scanner3D(volume, LINEAR, range(9)).write(tmp_path / "s" / "1", **offset)
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
    assert error_of(scanner.write(tmp_path / "s" / "1", EchoAcqMode="allEchoes", Method="<Bruker:MGE>"), images) < 1e-5


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
