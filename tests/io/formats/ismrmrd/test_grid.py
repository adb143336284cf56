"""Where ISMRMRD acquisitions lie in k-space."""

from pathlib import Path

import ismrmrd
import numpy as np
import pytest
import torch

from lightning_mri.io import read_scan
from tests.builders import draw
from tests.io.formats.ismrmrd.measurements import N_COILS, N_X, N_Y, header, line, lines, write


def centred(n_x: int, centre: int) -> np.ndarray:
    """K-space whose lines are the stronger the nearer they are to a step."""
    weights = (1.0 + np.abs(np.arange(n_x) - centre)) ** -2
    return draw(N_COILS, N_Y, n_x) * weights.astype(np.float32)


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
    torch.testing.assert_close((scan.affine @ torch.tensor([2, 3, 1.0, 1]))[:3], torch.tensor([0.0, 0, 7]))
    interrupted = read_scan(write(tmp_path / "interrupted.h5", acquisitions[:-1], xml))
    torch.testing.assert_close(interrupted.kspace[:], expected[:3])
    assert "1 of 2 volumes lack" in interrupted.warnings[0]
    with pytest.raises(ValueError, match=r"fully sampled along its second phase encoding, 5 partitions: got 1 lines"):
        read_scan(write(tmp_path / "less.h5", acquisitions[1 : n_z * N_X], xml))


def test_blocks_of_columns_make_the_same_slices(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    k = draw(N_COILS, N_Y, N_X)
    path = write(tmp_path / "head.h5", lines(k))
    monkeypatch.setattr("lightning_mri.io.formats.ismrmrd.acquisitions.CHUNK_BYTES", 2 * 8 * N_COILS * N_Y)
    assert read_scan(path).kspace[0].equal(torch.from_numpy(k))


def test_the_centre_is_guessed_where_it_is_not_told(tmp_path: Path) -> None:
    k = draw(N_COILS, N_Y, N_X)
    scan = read_scan(write(tmp_path / "head.h5", lines(k, center_sample=0), header(centre=0)))
    assert scan.kspace[0].equal(torch.from_numpy(k))
    assert scan.warnings == (
        "the header has the centre 0, which does not fit of kspace_encode_step_1: 3 was taken",
        "no head tells the sample at the centre of k-space: the middle one was taken",
    )


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


@pytest.mark.parametrize("said", [5, 3])
def test_the_centre_is_where_the_signal_is_and_not_in_the_middle_of_the_acquired_lines(
    tmp_path: Path, said: int
) -> None:
    """Partial Fourier: steps 0 to 11 of 16, the centre at 8."""
    k = centred(16, 8)
    k[..., 12:] = 0
    scan = read_scan(write(tmp_path / "head.h5", lines(k[..., :12]), header(n_x=16, centre=said)))
    assert scan.kspace[0].equal(torch.from_numpy(k))
    assert f"the header has the centre {said}, which does not fit of kspace_encode_step_1: 8 was taken" in scan.warnings
    scan = read_scan(write(tmp_path / "shifted.h5", lines(k[..., 2:12]), header(n_x=16, centre=said - 1)))
    assert scan.kspace[0][..., 2:].equal(torch.from_numpy(k[..., 2:]))
    assert "6 was taken, where the signal is strongest" in scan.warnings[0]


def test_a_spike_is_not_the_centre(tmp_path: Path) -> None:
    k = centred(16, 8)
    k[:, 3, 1] += 1000
    scan = read_scan(write(tmp_path / "head.h5", lines(k), header(n_x=16, centre=8)))
    assert scan.kspace[0].equal(torch.from_numpy(k))


def test_oversampling_that_was_removed_already_is_not_in_the_matrix(tmp_path: Path) -> None:
    k = draw(N_COILS, 6, N_X)
    scan = read_scan(write(tmp_path / "head.h5", lines(k, center_sample=3)))
    assert scan.kspace[0].equal(torch.from_numpy(k))
    assert (scan.matrix, scan.reconstruction_size, scan.pixel_size) == ((6, 7), (6, 5), (4.0, 3.0))
    assert scan.warnings == ("readouts have 6 of the header's 12 samples: their oversampling was removed already",)


def test_a_field_of_view_in_metres_is_corrected(tmp_path: Path) -> None:
    xml = header(fov_y=0.048, fov_x=0.021, depth=0.005)
    scan = read_scan(write(tmp_path / "head.h5", lines(draw(N_COILS, N_Y, N_X)), xml))
    assert scan.pixel_size == pytest.approx((4, 3))
    assert scan.slice_spacing == pytest.approx(5)
    assert "too small to be in mm: it was taken to be in metres" in scan.warnings[0]
