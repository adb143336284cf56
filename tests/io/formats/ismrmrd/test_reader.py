"""ISMRMRD files, written by the format's own library, readout by readout."""

import pickle
import struct
from collections.abc import Iterable
from itertools import chain
from pathlib import Path

import h5py
import ismrmrd
import numpy as np
import pytest
import torch

from lightning_mri.io import read_scan
from lightning_mri.physics import whiten

RNG = np.random.default_rng(5)
N_COILS, N_Y, N_X = 3, 12, 7
HEADER = """<?xml version="1.0"?><ismrmrdHeader xmlns="http://www.ismrm.org/ISMRMRD">
<subjectInformation><patientID>P7</patientID></subjectInformation>
<measurementInformation><protocolName>t2_tse_tra</protocolName></measurementInformation>
<acquisitionSystemInformation>{vendor}<systemFieldStrength_T>0.55</systemFieldStrength_T>{system}
</acquisitionSystemInformation>
<experimentalConditions><H1resonanceFrequency_Hz>23400000</H1resonanceFrequency_Hz></experimentalConditions>
<encoding><encodedSpace><matrixSize><x>{n_y}</x><y>{n_x}</y><z>{n_z}</z></matrixSize>
<fieldOfView_mm><x>{fov_y}</x><y>{fov_x}</y><z>{depth}</z></fieldOfView_mm></encodedSpace>
<reconSpace><matrixSize><x>6</x><y>5</y><z>{kept_z}</z></matrixSize>
<fieldOfView_mm><x>24</x><y>15</y><z>{kept_depth}</z></fieldOfView_mm></reconSpace>
<encodingLimits><kspace_encoding_step_1><minimum>0</minimum><maximum>6</maximum><center>{centre}</center>
</kspace_encoding_step_1><kspace_encoding_step_2><minimum>0</minimum><maximum>4</maximum><center>{centre_2}</center>
</kspace_encoding_step_2></encodingLimits><trajectory>{trajectory}</trajectory><parallelImaging>
<accelerationFactor><kspace_encoding_step_1>2</kspace_encoding_step_1><kspace_encoding_step_2>1</kspace_encoding_step_2>
</accelerationFactor>{calibration}</parallelImaging></encoding></ismrmrdHeader>"""


def header(**changes: object) -> str:
    usual = {
        "n_y": 12,
        "fov_y": 48,
        "fov_x": 21,
        "calibration": "",
        "vendor": "",
        "n_x": 7,
        "n_z": 1,
        "kept_z": 1,
        "depth": 5,
        "kept_depth": 5,
        "centre": 3,
        "centre_2": 0,
    }
    return HEADER.format(**{**usual, "trajectory": "cartesian", "system": "", **changes})


def line(
    samples: np.ndarray, flags: tuple[int, ...] = (), position: tuple[float, ...] = (0, 0, 0), **fields: int | float
) -> ismrmrd.Acquisition:
    """Return one readout [coil, sample]; what is no field of the head is a counter."""
    acquisition = ismrmrd.Acquisition.from_array(samples.astype(np.complex64), center_sample=N_Y // 2)
    for name, value in fields.items():
        setattr(acquisition if hasattr(acquisition, name) else acquisition.idx, name, value)
    for flag in flags:
        acquisition.set_flag(flag)
    acquisition.position[:] = position
    acquisition.read_dir[:], acquisition.phase_dir[:], acquisition.slice_dir[:] = (0, 1, 0), (1, 0, 0), (0, 0, -1)
    return acquisition


def lines(kspace: np.ndarray, **fields: int) -> list[ismrmrd.Acquisition]:
    """Return the readouts of one slice [coil, y, x]."""
    return [line(kspace[..., x], kspace_encode_step_1=x, **fields) for x in range(kspace.shape[-1])]


def write(
    path: Path, acquisitions: Iterable[ismrmrd.Acquisition], xml: str | None = None, group: str = "dataset"
) -> Path:
    with ismrmrd.Dataset(str(path), group) as file:
        file.write_xml_header((xml or header()).encode())
        for acquisition in acquisitions:
            file.append_acquisition(acquisition)
    return path


def draw(*shape: int) -> np.ndarray:
    return (RNG.standard_normal(shape) + 1j * RNG.standard_normal(shape)).astype(np.complex64)


def test_what_a_scan_says(tmp_path: Path) -> None:
    k = draw(N_COILS, N_Y, N_X)
    scan = read_scan(write(tmp_path / "head.h5", lines(k)))
    assert scan.kspace[0].equal(torch.from_numpy(k))
    assert (scan.matrix, scan.reconstruction_size) == ((12, 7), (6, 5))
    assert (scan.pixel_size, scan.slice_spacing, scan.field_strength) == ((4.0, 3.0), 5.0, 0.55)
    assert (scan.format, scan.contrast, scan.subject, scan.n_volumes) == ("ISMRMRD", "T2w", "P7", 1)
    assert scan.mask.all()
    assert scan.noise_covariance is None
    assert scan.warnings == ()


def test_slices_come_in_the_order_of_their_places_however_they_were_acquired(tmp_path: Path) -> None:
    k = draw(3, N_COILS, N_Y, N_X)
    z = (-10.0, -2.0, -6.0)  # by counter; the normal points to -z, so that -2 comes first
    interleaved = [
        line(k[s][..., x], kspace_encode_step_1=x, slice=s, position=(20, 30, z[s]))
        for x in range(N_X)
        for s in range(3)
    ]
    scan = read_scan(write(tmp_path / "head.h5", interleaved))
    assert scan.kspace[:].equal(torch.from_numpy(k[[1, 2, 0]]))
    assert scan.kspace[[2, 0]].equal(torch.from_numpy(k[[0, 1]]))
    assert scan.slice_spacing == pytest.approx(4)
    assert scan.affine is not None
    middle = scan.affine @ torch.tensor([5 // 2, 6 // 2, 0, 1.0])
    torch.testing.assert_close(middle[:3], torch.tensor([-20.0, -30, -2]))  # LPS to RAS
    one_step = scan.affine[:3, :3]
    torch.testing.assert_close(one_step, torch.tensor([[-3.0, 0, 0], [0, -4, 0], [0, 0, -4]]))


def test_a_point_lies_where_the_affine_says(tmp_path: Path) -> None:
    """A point at 8 mm along the readout and -3 mm along the phase encoding, by the signal equation."""
    y, x = (np.arange(n) - n // 2 for n in (N_Y, N_X))
    k = np.exp(-2j * np.pi * (y[:, None] * 8 / 48 + x * -3 / 21))
    scan = read_scan(write(tmp_path / "head.h5", lines(np.stack([k] * N_COILS), position=(100, 0, 0))))
    image = np.fft.fftshift(np.fft.ifft2(np.fft.ifftshift(scan.kspace[0][0].numpy())))
    row, column = np.unravel_index(np.abs(image).argmax(), image.shape)
    place = torch.tensor([float(column - (7 // 2 - 5 // 2)), float(row - (12 // 2 - 6 // 2)), 0, 1])
    assert scan.affine is not None
    torch.testing.assert_close((scan.affine @ place)[:3], torch.tensor([-97.0, -8, 0]))


def test_lines_acquired_several_times_are_averaged(tmp_path: Path) -> None:
    k = draw(2, N_COILS, N_Y, N_X)
    scan = read_scan(write(tmp_path / "head.h5", [*lines(k[0]), *lines(k[1], average=1)]))
    torch.testing.assert_close(scan.kspace[0], torch.from_numpy(k.mean(0)))
    assert scan.warnings == ()
    uneven = read_scan(write(tmp_path / "uneven.h5", [*lines(k[0]), *lines(k[1], average=1)[2:5]]))
    assert "acquired 1 to 2 times" in uneven.warnings[0]


def test_echoes_and_repetitions_are_volumes_one_after_the_other(tmp_path: Path) -> None:
    k = draw(2, 2, 2, N_COILS, N_Y, N_X)  # repetition, echo, slice
    acquisitions = [
        acquisition
        for r in range(2)
        for s in range(2)
        for e in range(2)
        for acquisition in lines(k[r, e, s], repetition=r, contrast=e, slice=s, position=(0, 0, -5.0 * s))
    ]
    scan = read_scan(write(tmp_path / "head.h5", acquisitions))
    assert (scan.n_volumes, scan.n_slices) == (4, 8)
    assert scan.kspace[:].equal(torch.from_numpy(k.swapaxes(0, 1).reshape(8, N_COILS, N_Y, N_X)))
    assert scan.warnings == (
        "the scan has 4 volumes (2 of contrast x 2 of repetition), which follow each other along the slice axis",
    )
    stopped = read_scan(write(tmp_path / "stopped.h5", acquisitions[: 7 * N_X]))
    assert stopped.n_volumes == 3
    assert "1 of 4 volumes lack slices" in stopped.warnings[0]


@pytest.mark.parametrize(
    ("system", "passed"), [("", 1.0), ("<relativeReceiverNoiseBandwidth>0.8</relativeReceiverNoiseBandwidth>", 0.8)]
)
def test_noise_is_that_of_the_averaged_image(tmp_path: Path, system: str, passed: float) -> None:
    mixed = draw(N_COILS, N_COILS)
    covariance = mixed @ mixed.conj().T / 2
    noise = [
        line(mixed @ draw(N_COILS, 4000) / np.sqrt(2), (ismrmrd.ACQ_IS_NOISE_MEASUREMENT,), sample_time_us=2)
        for _ in range(4)
    ]
    k = draw(2, N_COILS, N_Y, N_X)
    images = [*lines(k[0], sample_time_us=8), *lines(k[1], average=1, sample_time_us=8)]
    scan = read_scan(write(tmp_path / "head.h5", [*noise, *images], header(system=system)))
    assert scan.noise_covariance is not None
    expected = torch.from_numpy(covariance) * 2 / 8 / 2 / passed
    torch.testing.assert_close(scan.noise_covariance, expected, rtol=0.05, atol=0.05 * float(expected.abs().max()))
    assert scan.warnings == ()


def test_a_scan_of_noise_alone_has_unit_noise_once_whitened(tmp_path: Path) -> None:
    mixed = draw(N_COILS, N_COILS)
    noise = [line(mixed @ draw(N_COILS, 2000), (ismrmrd.ACQ_IS_NOISE_MEASUREMENT,), sample_time_us=4) for _ in range(4)]
    measured = [
        lines(np.einsum("cd,dyx->cyx", mixed, draw(N_COILS, N_Y, N_X)), slice=s, sample_time_us=4) for s in range(9)
    ]
    scan = read_scan(write(tmp_path / "head.h5", [*noise, *chain(*measured)]))
    assert scan.noise_covariance is not None
    white = torch.view_as_real(whiten(scan.kspace[:], scan.noise_covariance))
    assert white.std().item() == pytest.approx(1, abs=0.05)


def test_noise_that_tells_too_little_is_left_out_or_a_warning(tmp_path: Path) -> None:
    flag = (ismrmrd.ACQ_IS_NOISE_MEASUREMENT,)
    k = draw(N_COILS, N_Y, N_X)
    dead = line(draw(N_COILS, 200) * np.array([[1], [0], [1]]), flag)
    scan = read_scan(write(tmp_path / "dead.h5", [dead, *lines(k)]))
    assert scan.noise_covariance is None
    assert "does not tell the noise of all coils" in scan.warnings[0]
    untimed = read_scan(write(tmp_path / "untimed.h5", [line(draw(N_COILS, 200), flag), *lines(k)]))
    assert untimed.noise_covariance is not None
    assert "time of a sample is not known" in untimed.warnings[0]


def test_lines_measured_backwards_are_turned(tmp_path: Path) -> None:
    k = draw(N_COILS, N_Y, N_X)
    acquisitions = lines(k)
    for x in (1, 3, 5):
        turned = k[:, ::-1, x]
        acquisitions[x] = line(
            turned, (ismrmrd.ACQ_IS_REVERSE,), kspace_encode_step_1=x, center_sample=N_Y - 1 - N_Y // 2
        )
    scan = read_scan(write(tmp_path / "head.h5", acquisitions))
    assert scan.kspace[0].equal(torch.from_numpy(k))
    assert scan.warnings == ("3 lines were measured backwards: they were turned, but delays remain",)


def test_partial_echoes_and_partial_fourier_leave_zeros_and_keep_the_centre(tmp_path: Path) -> None:
    k = draw(N_COILS, N_Y, N_X)
    k[:, 4, :], k[:, :, :2] = 0, 0
    k[:, :4] = 0
    junk = draw(N_COILS, 3)
    acquisitions = [
        line(
            np.concatenate([junk[:, :2], k[:, 4:, x], junk[:, 2:]], axis=1),
            kspace_encode_step_1=x - 2,
            center_sample=2 + 6 - 4,
            discard_pre=2,
            discard_post=1,
        )
        for x in range(2, N_X)
    ]
    scan = read_scan(write(tmp_path / "head.h5", acquisitions, header(centre=1)))
    assert scan.kspace[0].equal(torch.from_numpy(k))
    mask = np.zeros((N_Y, N_X), bool)
    mask[4:, 2:] = True  # row 4 was acquired, though it is zero
    assert (scan.mask[0].numpy() == mask).all()
    assert scan.warnings == ()


@pytest.mark.parametrize(
    "flag", ["NAVIGATION_DATA", "PHASECORR_DATA", "DUMMYSCAN_DATA", "HPFEEDBACK_DATA", "RTFEEDBACK_DATA"]
)
def test_lines_that_are_no_image_are_left_out(tmp_path: Path, flag: str) -> None:
    k = draw(N_COILS, N_Y, N_X)
    other = line(draw(1, 5), (getattr(ismrmrd, f"ACQ_IS_{flag}"),), kspace_encode_step_1=3)
    scan = read_scan(write(tmp_path / "head.h5", [other, *lines(k), other]))
    assert scan.kspace[0].equal(torch.from_numpy(k))


ONLY, BOTH = ismrmrd.ACQ_IS_PARALLEL_CALIBRATION, ismrmrd.ACQ_IS_PARALLEL_CALIBRATION_AND_IMAGING


def accelerated(k: np.ndarray) -> list[ismrmrd.Acquisition]:
    """Every other line of frames [repetition, coil, y, x]."""
    return [
        line(k[r][..., x], (ONLY, BOTH) if x == 3 else (), kspace_encode_step_1=x, repetition=r)
        for r in range(len(k))
        for x in (1, 3, 5)
    ]


def test_calibration_lines_fill_what_no_image_line_measured_in_every_volume(tmp_path: Path) -> None:
    k, calibration = draw(2, N_COILS, N_Y, N_X), draw(N_COILS, N_Y, N_X)
    extra = [line(calibration[..., x], (ONLY,), kspace_encode_step_1=x) for x in (2, 4)]
    foreign = line(draw(N_COILS, 6), (ONLY,), kspace_encode_step_1=0, center_sample=3, sample_time_us=9)
    scan = read_scan(write(tmp_path / "head.h5", [*extra, foreign, *accelerated(k)]))
    for r in range(2):
        expected = np.zeros_like(calibration)
        expected[..., [1, 3, 5]] = k[r][..., [1, 3, 5]]
        expected[..., [2, 4]] = calibration[..., [2, 4]]
        assert scan.kspace[r].equal(torch.from_numpy(expected))
    assert scan.mask[0, 0].tolist() == [False, True, True, True, True, True, False]
    assert scan.calibration is None
    assert "1 calibration lines of another geometry were left out" in scan.warnings
    assert "4 lines measured for calibration alone were inserted where there was no other" in scan.warnings


@pytest.mark.parametrize(("mode", "columns"), [("separate", (2, 4)), ("external", (2, 4)), (None, (2, 3, 4))])
def test_lines_measured_apart_serve_the_coil_maps_alone(
    tmp_path: Path, mode: str | None, columns: tuple[int, ...]
) -> None:
    """By the header, or because they repeat a line of the image."""
    k, calibration = draw(2, N_COILS, N_Y, N_X), draw(N_COILS, N_Y, N_X)
    extra = [line(calibration[..., x], (ONLY,), kspace_encode_step_1=x, sample_time_us=9) for x in columns]
    xml = header() if mode is None else header(calibration=f"<calibrationMode>{mode}</calibrationMode>")
    scan = read_scan(write(tmp_path / "head.h5", [*extra, *accelerated(k)], xml))
    expected = np.zeros_like(calibration)
    expected[..., list(columns)] = calibration[..., list(columns)]
    for r in range(2):
        assert not scan.kspace[r][..., [0, 2, 4, 6]].any()
        assert scan.calibration is not None
        assert scan.calibration[r].equal(torch.from_numpy(expected))
    assert scan.mask[0, 0].tolist() == [False, True, False, True, False, True, False]
    assert f"{len(columns)} lines were measured apart for calibration: they serve the coil maps alone" in scan.warnings


def test_each_frame_keeps_its_own_mask(tmp_path: Path) -> None:
    k = draw(2, N_COILS, N_Y, N_X)
    sampled = [(0, 3, 4), (3, 4, 6)]
    acquisitions = [
        line(k[r][..., x], kspace_encode_step_1=x, repetition=r) for r, columns in enumerate(sampled) for x in columns
    ]
    scan = read_scan(write(tmp_path / "head.h5", acquisitions))
    assert [torch.nonzero(mask[5])[:, 0].tolist() for mask in scan.mask] == [[0, 3, 4], [3, 4, 6]]
    assert scan.batches(range(2), 2) == [(0,), (1,)]
    assert "each keeps its own mask" in scan.warnings[1]


def test_a_second_phase_encoding_becomes_slices(tmp_path: Path) -> None:
    n_z = 5
    k = draw(2, n_z, N_COILS, N_Y, N_X)  # repetition, partition
    acquisitions = [
        line(k[r, z][..., x], kspace_encode_step_1=x, kspace_encode_step_2=z, repetition=r, position=(0, 0, 7))
        for r in range(2)
        for x in range(N_X)
        for z in range(n_z)
    ]
    xml = header(n_z=n_z, kept_z=3, depth=10, kept_depth=6, centre_2=2)
    path = write(tmp_path / "head.h5", acquisitions, xml)
    scan = read_scan(path)
    slices = np.fft.fftshift(np.fft.ifft(np.fft.ifftshift(k, 1), axis=1, norm="ortho"), 1)[:, 1:4]
    expected = torch.from_numpy(slices.reshape(6, N_COILS, N_Y, N_X).astype(np.complex64))
    torch.testing.assert_close(scan.kspace[:], expected)
    torch.testing.assert_close(scan.kspace[2:5], expected[2:5])
    assert (scan.n_volumes, scan.slice_spacing) == (2, 2.0)
    assert scan.affine is not None
    torch.testing.assert_close((scan.affine @ torch.tensor([2, 3, 1.0, 1]))[:3], torch.tensor([0.0, 0, 7]))
    with pytest.raises(ValueError, match=r"fully sampled along its second phase encoding, 5 partitions: got 1 lines"):
        read_scan(write(tmp_path / "less.h5", acquisitions[:-1], xml))


def test_blocks_of_columns_make_the_same_slices(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    k = draw(N_COILS, N_Y, N_X)
    path = write(tmp_path / "head.h5", lines(k))
    monkeypatch.setattr("lightning_mri.io.formats.ismrmrd.acquisitions.CHUNK_BYTES", 2 * 8 * N_COILS * N_Y)
    assert read_scan(path).kspace[0].equal(torch.from_numpy(k))


def test_the_centre_is_guessed_where_it_is_not_told(tmp_path: Path) -> None:
    k = draw(N_COILS, N_Y, N_X)
    acquisitions = lines(k, center_sample=0)
    scan = read_scan(write(tmp_path / "head.h5", acquisitions, header(centre=0)))
    assert scan.kspace[0].equal(torch.from_numpy(k))
    assert scan.warnings == (
        "the header has the centre 0, which does not fit of kspace_encode_step_1: 3 was taken",
        "no head tells the sample at the centre of k-space: the middle one was taken",
    )


def test_the_measurement_with_the_most_samples_is_read_and_the_others_are_named(tmp_path: Path) -> None:
    k, adjustment = draw(N_COILS, N_Y, N_X), draw(N_COILS, N_Y, 3)
    path = write(tmp_path / "head.h5", lines(adjustment))
    write(path, lines(k), group="dataset_1")
    write(path, [line(draw(N_COILS, 90), (ismrmrd.ACQ_IS_NOISE_MEASUREMENT,))] * 9, group="noise")
    scan = read_scan(path)
    assert scan.kspace[0].equal(torch.from_numpy(k))
    assert scan.warnings == (
        "the file holds several measurements: dataset_1 has the most samples and was read, not dataset, noise",
    )
    chosen = read_scan(path, measurement="dataset")
    assert chosen.kspace[0][..., :3].equal(torch.from_numpy(adjustment))
    with pytest.raises(ValueError, match=r"measurement must be one of dataset, dataset_1, noise: got 'other'"):
        read_scan(path, measurement="other")


def test_a_file_of_images_is_named(tmp_path: Path) -> None:
    with ismrmrd.Dataset(str(tmp_path / "scan.h5"), "dataset") as file:
        file.write_xml_header(header().encode())
        file.append_image("image_0", ismrmrd.Image.from_array(np.ones((1, 8, 8), np.complex64)))
    with pytest.raises(ValueError, match=r"must hold acquisitions: got ISMRMRD images alone \(dataset/image_0\)"):
        read_scan(tmp_path / "scan.h5")


@pytest.mark.parametrize(("n", "centre"), [(12, 6), (12, 5), (11, 5)])
def test_the_centre_of_lines_measured_backwards_is_counted_before_or_after_turning(
    tmp_path: Path, n: int, centre: int
) -> None:
    """For twelve samples, the sixth from 0 is the centre once turned, and the fifth as measured."""
    k = draw(N_COILS, n, N_X)
    acquisitions = [
        line(
            k[:, ::-1, x] if x % 2 else k[..., x],
            (ismrmrd.ACQ_IS_REVERSE,) if x % 2 else (),
            kspace_encode_step_1=x,
            center_sample=centre if x % 2 else n // 2,
        )
        for x in range(N_X)
    ]
    scan = read_scan(write(tmp_path / "head.h5", acquisitions, header(n_y=n)))
    assert scan.kspace[0].equal(torch.from_numpy(k))


def centred(n_x: int, centre: int) -> np.ndarray:
    """K-space whose lines are the stronger the nearer they are to a step."""
    weights = (1.0 + np.abs(np.arange(n_x) - centre)) ** -2
    return draw(N_COILS, N_Y, n_x) * weights.astype(np.float32)


@pytest.mark.parametrize("said", [5, 3])
def test_the_centre_is_where_the_signal_is_and_not_in_the_middle_of_the_acquired_lines(
    tmp_path: Path, said: int
) -> None:
    """Partial Fourier: steps 0 to 11 of 16, the centre at 8."""
    k = centred(16, 8)
    k[..., 12:] = 0
    acquisitions = [line(k[..., x], kspace_encode_step_1=x) for x in range(12)]
    scan = read_scan(write(tmp_path / "head.h5", acquisitions, header(n_x=16, centre=said)))
    assert scan.kspace[0].equal(torch.from_numpy(k))
    assert f"the header has the centre {said}, which does not fit of kspace_encode_step_1: 8 was taken" in scan.warnings
    shifted = [line(k[..., x + 2], kspace_encode_step_1=x) for x in range(10)]
    scan = read_scan(write(tmp_path / "shifted.h5", shifted, header(n_x=16, centre=said - 1)))
    assert scan.kspace[0][..., 2:].equal(torch.from_numpy(k[..., 2:]))
    assert "6 was taken, where the signal is strongest" in scan.warnings[0]


def test_a_spike_is_not_the_centre(tmp_path: Path) -> None:
    k = centred(16, 8)
    k[:, 3, 1] += 1000
    acquisitions = [line(k[..., x], kspace_encode_step_1=x) for x in range(16)]
    scan = read_scan(write(tmp_path / "head.h5", acquisitions, header(n_x=16, centre=8)))
    assert scan.kspace[0].equal(torch.from_numpy(k))


def test_oversampling_that_was_removed_already_is_not_in_the_matrix(tmp_path: Path) -> None:
    k = draw(N_COILS, 6, N_X)
    acquisitions = [line(k[..., x], kspace_encode_step_1=x, center_sample=3) for x in range(N_X)]
    scan = read_scan(write(tmp_path / "head.h5", acquisitions))
    assert scan.kspace[0].equal(torch.from_numpy(k))
    assert (scan.matrix, scan.reconstruction_size, scan.pixel_size) == ((6, 7), (6, 5), (4.0, 3.0))
    assert scan.warnings == ("readouts have 6 of the header's 12 samples: their oversampling was removed already",)


def test_a_field_of_view_in_metres_is_corrected(tmp_path: Path) -> None:
    xml = header(fov_y=0.048, fov_x=0.021, depth=0.005)
    scan = read_scan(write(tmp_path / "head.h5", lines(draw(N_COILS, N_Y, N_X)), xml))
    assert scan.pixel_size == pytest.approx((4, 3))
    assert scan.slice_spacing == pytest.approx(5)
    assert "too small to be in mm: it was taken to be in metres" in scan.warnings[0]


def test_a_point_lies_where_siemens_puts_it(tmp_path: Path) -> None:
    """This vendor's directions go with exp(+2 pi i k r): the point of the test above, with its sign."""
    y, x = (np.arange(n) - n // 2 for n in (N_Y, N_X))
    k = np.exp(2j * np.pi * (y[:, None] * 8 / 48 + x * -3 / 21))
    xml = header(vendor="<systemVendor>SIEMENS</systemVendor>")
    covariance = np.array([[2, 1j, 0], [-1j, 3, 0], [0, 0, 1]])
    mixed = np.linalg.cholesky(covariance) @ draw(N_COILS, 20_000) / np.sqrt(2) * np.sqrt(2)
    noise = line(mixed, (ismrmrd.ACQ_IS_NOISE_MEASUREMENT,), sample_time_us=2)
    image_lines = lines(np.stack([k] * N_COILS), position=(100, 0, 0), sample_time_us=2)
    scan = read_scan(write(tmp_path / "head.h5", [noise, *image_lines], xml))
    image = np.fft.fftshift(np.fft.ifft2(np.fft.ifftshift(scan.kspace[0][0].numpy())))
    row, column = np.unravel_index(np.abs(image).argmax(), image.shape)
    place = torch.tensor([float(column - (7 // 2 - 5 // 2)), float(row - (12 // 2 - 6 // 2)), 0, 1])
    assert scan.affine is not None
    torch.testing.assert_close((scan.affine @ place)[:3], torch.tensor([-97.0, -8, 0]))
    assert scan.noise_covariance is not None
    torch.testing.assert_close(
        scan.noise_covariance, torch.from_numpy(covariance.conj()).to(torch.complex64), rtol=0.05, atol=0.1
    )


def test_the_librarys_other_writer_is_read_too(tmp_path: Path) -> None:
    """`ismrmrd.File` stores many readouts in one chunk, `ismrmrd.Dataset` one; other writers none at all."""
    k = draw(N_COILS, N_Y, N_X)
    path = write(tmp_path / "head.h5", lines(k)[:1])
    with ismrmrd.File(str(path), "r+") as file:
        file["dataset"].acquisitions = lines(k)
    with h5py.File(path, "r+") as stored:
        assert stored["dataset/data"].chunks != (1,)
        whole = stored["dataset/data"][:]
        stored.create_dataset("contiguous/data", data=whole)
        stored["contiguous/xml"] = stored["dataset/xml"][:]
    assert read_scan(path).kspace[0].equal(torch.from_numpy(k))
    with h5py.File(path, "r+") as stored:
        assert stored["contiguous/data"].chunks is None
        del stored["dataset"]
    assert read_scan(path).kspace[0].equal(torch.from_numpy(k))


def test_a_scan_survives_a_pickle(tmp_path: Path) -> None:
    k = draw(N_COILS, N_Y, N_X)
    scan = pickle.loads(pickle.dumps(read_scan(write(tmp_path / "head.h5", lines(k)))))
    assert scan.kspace[0].equal(torch.from_numpy(k))


@pytest.mark.parametrize(
    ("acquisitions", "xml", "rule"),
    [
        (lines(draw(3, 7, 12)), header(), "matrixSize/x must be that of the readout: .* the axes are exchanged"),
        (lines(draw(3, 12, 7)), header(trajectory="radial"), "trajectory must be cartesian.*: got radial"),
        (lines(draw(3, 12, 7)), header(n_x=100_001), "dataset/xml .*/matrixSize/y must be a number from 0 to 100000"),
        (lines(draw(300, 12, 7)), header(n_x=99_999), "encodedSpace/matrixSize must take at most .* bytes a slice"),
        (lines(draw(3, 12, 7)), header(n_x=0), "dataset/xml .* must hold two numbers above 0"),
        (lines(draw(3, 12, 7)), "<ismrmrdHeader/>", "xml must describe encoding 0: got 0 encodings"),
        (lines(draw(3, 12, 7)), "<a", "dataset/xml must be XML"),
        (lines(draw(3, 12, 9)), header(), "kspace_encode_step_1 must fit into 7 lines .*: got steps 0 to 8"),
        (lines(draw(3, 14, 7)), header(), "data must lie in the encoded matrix .*: got samples 0 to 13 of line 0"),
        (lines(draw(3, 12, 7), center_sample=12), header(), "data must lie in the encoded matrix"),
        (lines(draw(3, 12, 7), discard_pre=12), header(), "data must lie in the encoded matrix"),
        ([*lines(draw(3, 12, 7)), *lines(draw(2, 12, 7), slice=1)], header(), "data must have one number of coils"),
        ([line(draw(3, 12), (ismrmrd.ACQ_IS_NOISE_MEASUREMENT,))], header(), "data must hold .* for imaging: got none"),
        (lines(draw(3, 12, 7), encoding_space_ref=2), header(), "xml must describe encoding 2: got 1"),
        (
            [*lines(draw(3, 12, 7)), *lines(draw(3, 12, 7), slice=1, kspace_encode_step_2=1)],
            header(n_z=2),
            "a 3-D scan must have one slab: got 2",
        ),
        (
            [*lines(draw(3, 12, 7)), *lines(draw(3, 12, 7), slice=1, repetition=1)],
            header(),
            "at least one volume must have all 2 slices: got none of 2",
        ),
    ],
)
def test_what_breaks_a_rule_is_refused(tmp_path: Path, acquisitions: list, xml: str, rule: str) -> None:
    with pytest.raises(ValueError, match=f"scan.h5: {rule}"):
        read_scan(write(tmp_path / "scan.h5", acquisitions, xml))


@pytest.mark.parametrize("claimed", [10, 2**31])
def test_a_readout_that_claims_more_than_its_head_says_is_refused_before_it_is_read(
    tmp_path: Path, claimed: int
) -> None:
    path = write(tmp_path / "scan.h5", lines(draw(N_COILS, N_Y, N_X)))
    with h5py.File(path) as file:
        row = file["dataset/data"].id.get_chunk_info(4).byte_offset
    content = bytearray(path.read_bytes())
    content[row + 356 : row + 360] = struct.pack("<I", claimed)  # after the head and the trajectory
    path.write_bytes(content)
    with pytest.raises(ValueError, match=f"got {claimed} in row 4 for 3 coils of 12 samples"):
        read_scan(path)


def test_acquisitions_that_were_never_written_are_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "scan.h5", lines(draw(N_COILS, N_Y, N_X)))
    with h5py.File(path, "r+") as file:
        file["dataset/data"].resize((1_000_000,))
    with pytest.raises(OSError, match=r"scan.h5: the file must be readable HDF5"):
        read_scan(path)
    with h5py.File(path, "r+") as file:
        file["dataset/data"].resize((5_000_000,))
    with pytest.raises(ValueError, match=r"scan.h5: data must hold 1 to 4194304 acquisitions"):
        read_scan(path)


@pytest.mark.parametrize("kept", [0.01, 0.5, 0.99])
def test_a_truncated_file_is_named(tmp_path: Path, kept: float) -> None:
    path = write(tmp_path / "scan.h5", lines(draw(N_COILS, N_Y, N_X)))
    path.write_bytes(path.read_bytes()[: int(kept * path.stat().st_size)])
    with pytest.raises(OSError, match=r"scan.h5: the file must be readable HDF5"):
        read_scan(path)
