"""ISMRMRD files, written by the format's own library."""

import pickle
import struct
from pathlib import Path

import h5py
import ismrmrd
import numpy as np
import pytest
import torch

from lightning_mri.io import read_scan
from tests.builders import draw
from tests.io.formats.ismrmrd.measurements import N_COILS, N_X, N_Y, header, line, lines, write

MULTIBAND = "<multiband><deltaKz>0</deltaKz><multiband_factor>2</multiband_factor></multiband>"


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
    middle = scan.affine @ torch.tensor([5 // 2, 6 // 2, 0, 1.0])
    torch.testing.assert_close(middle[:3], torch.tensor([-20.0, -30, -2]))  # LPS to RAS
    one_step = scan.affine[:3, :3]
    torch.testing.assert_close(one_step, torch.tensor([[-3.0, 0, 0], [0, -4, 0], [0, 0, -4]]))


@pytest.mark.parametrize(("vendor", "sign"), [("", -1), ("<systemVendor>SIEMENS</systemVendor>", 1)])
def test_a_point_lies_where_the_affine_says(tmp_path: Path, vendor: str, sign: int) -> None:
    """A point at 8 mm along the readout and -3 mm along the phase encoding, by the signal equation.

    Siemens's directions go with exp(+2 pi i k r): k-space and the covariance of its noise are conjugated.
    """
    y, x = (np.arange(n) - n // 2 for n in (N_Y, N_X))
    k = np.exp(sign * 2j * np.pi * (y[:, None] * 8 / 48 + x * -3 / 21))
    covariance = torch.tensor([[2, 1j, 0], [-1j, 3, 0], [0, 0, 1]])
    mixed = np.linalg.cholesky(covariance.numpy()) @ draw(N_COILS, 20_000)
    noise = line(mixed, (ismrmrd.ACQ_IS_NOISE_MEASUREMENT,), sample_time_us=2)
    image_lines = lines(np.stack([k] * N_COILS), position=(100, 0, 0), sample_time_us=2)
    scan = read_scan(write(tmp_path / "head.h5", [noise, *image_lines], header(vendor=vendor)))
    image = np.fft.fftshift(np.fft.ifft2(np.fft.ifftshift(scan.kspace[0][0].numpy())))
    row, column = np.unravel_index(np.abs(image).argmax(), image.shape)
    place = torch.tensor([float(column - (7 // 2 - 5 // 2)), float(row - (12 // 2 - 6 // 2)), 0, 1])
    torch.testing.assert_close((scan.affine @ place)[:3], torch.tensor([-97.0, -8, 0]))
    expected = covariance.conj().resolve_conj() if sign > 0 else covariance
    torch.testing.assert_close(scan.noise_covariance, expected, rtol=0.05, atol=0.1)


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


@pytest.mark.parametrize("columns", [(0, 1, 2), (3,)])
def test_an_interrupted_volume_costs_no_other(tmp_path: Path, columns: tuple[int, ...]) -> None:
    """Regression: it was kept, and the whole scan failed for want of its centre. From the edge, or from the centre."""
    k = draw(3, N_COILS, N_Y, N_X)
    whole = [acquisition for r in range(2) for acquisition in lines(k[r], repetition=r)]
    last = [line(k[2][..., x], kspace_encode_step_1=x, repetition=2) for x in columns]
    scan = read_scan(write(tmp_path / "head.h5", [*whole, *last]))
    assert scan.kspace[:].equal(torch.from_numpy(k[:2]))
    assert scan.mask.all()
    assert "1 of 3 volumes lack the centre of k-space, or lines" in scan.warnings[0]
    assert "2 volumes (2 of repetition)" in scan.warnings[1]


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


K = draw(N_COILS, N_Y, N_X)
WHOLE = lines(K)


@pytest.mark.parametrize(
    ("acquisitions", "xml", "rule"),
    [
        (lines(draw(3, 7, 12)), header(), "matrixSize/x must be that of the readout: .* the axes are exchanged"),
        (WHOLE, header(trajectory="radial"), "trajectory must be cartesian.*: got radial"),
        (WHOLE, header(calibration=MULTIBAND), "multiband_factor must be 1, .*: got 2"),
        (WHOLE, header(n_x=100_001), "dataset/xml .*/matrixSize/y must be a number from 0 to 100000"),
        (lines(draw(300, 12, 7)), header(n_x=99_999), "encodedSpace/matrixSize must take at most .* bytes a slice"),
        (WHOLE, header(n_x=0), "dataset/xml .* must hold two numbers above 0"),
        (WHOLE, "<ismrmrdHeader/>", "xml must describe encoding 0: got 0 encodings"),
        (WHOLE, "<a", "dataset/xml must be XML"),
        (lines(draw(3, 12, 9)), header(), "kspace_encode_step_1 must fit into 7 lines .*: got steps 0 to 8"),
        (lines(draw(3, 14, 7)), header(), "data must lie in the encoded matrix .*: got samples 0 to 13 of line 0"),
        (lines(draw(3, 14, 7), center_sample=7), header(trajectory="epi"), ".* on the ramps .* are not gridded"),
        (lines(K, center_sample=12), header(), "data must lie in the encoded matrix"),
        (lines(K, discard_pre=12), header(), "data must lie in the encoded matrix"),
        ([*WHOLE, *lines(draw(2, 12, 7), slice=1)], header(), "data must have one number of coils"),
        ([line(draw(3, 12), (ismrmrd.ACQ_IS_NOISE_MEASUREMENT,))], header(), "data must hold .* for imaging: got none"),
        (lines(K, encoding_space_ref=2), header(), "xml must describe encoding 2: got 1"),
        ([*WHOLE, *lines(K, slice=1, kspace_encode_step_2=1)], header(n_z=2), "a 3-D scan must have one slab: got 2"),
        ([*WHOLE, *lines(K, slice=1, repetition=1)], header(), "at least one volume must have all 2 slices: got none"),
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
