"""What ISMRMRD acquisitions are for: noise, calibration, and what is no image."""

import re
from itertools import chain
from pathlib import Path

import ismrmrd
import numpy as np
import pytest
import torch

from lightning_mri.io import read_scan
from lightning_mri.physics import whiten
from tests.builders import draw
from tests.io.formats.ismrmrd.measurements import N_COILS, N_X, N_Y, header, line, lines, write


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


def test_lines_of_other_coils_are_left_out_by_number_and_reason(tmp_path: Path) -> None:
    """Regression: noise and calibration of a scan with other coils were left out without a word."""
    k = draw(N_COILS, N_Y, N_X)
    noise = line(draw(2, 200), (ismrmrd.ACQ_IS_NOISE_MEASUREMENT,))
    calibration = [line(draw(2, N_Y), (ONLY,), kspace_encode_step_1=x) for x in (2, 3)]
    scan = read_scan(write(tmp_path / "head.h5", [noise, *calibration, *lines(k)]))
    assert (scan.noise_covariance, scan.calibration) == (None, None)
    assert scan.warnings == (
        "2 calibration lines of 2 coils instead of 3 were left out",
        "1 noise lines of 2 coils instead of 3 were left out",
    )


def test_a_trajectory_that_is_not_looked_at_is_a_warning(tmp_path: Path) -> None:
    """Regression: a spiral whose header says cartesian was read as one without a word."""
    acquisitions = lines(draw(N_COILS, N_Y, N_X))
    for acquisition in acquisitions:
        acquisition.resize(N_Y, N_COILS, trajectory_dimensions=2)
    scan = read_scan(write(tmp_path / "head.h5", acquisitions))
    assert "7 lines carry a trajectory" in scan.warnings[0]


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


def reference_scan(**changes: object) -> str:
    """A header with a second encoding, that of a reference scan."""
    second = header(**changes)
    return header().replace("</ismrmrdHeader>", second[second.index("<encoding>") :])


def test_a_reference_scan_of_its_own_encoding_has_its_own_centre(tmp_path: Path) -> None:
    """Regression: such lines were left out without a word. Step 1 of 4 is their centre, and step 3 of 7 the image's."""
    k, calibration = draw(1, N_COILS, N_Y, N_X), draw(N_COILS, N_Y, N_X)
    extra = [line(calibration[..., x], (ONLY,), kspace_encode_step_1=x - 2, encoding_space_ref=1) for x in (2, 3, 4)]
    scan = read_scan(write(tmp_path / "head.h5", [*extra, *accelerated(k)], reference_scan(n_x=4, centre=1)))
    expected = np.zeros_like(calibration)
    expected[..., 2:5] = calibration[..., 2:5]
    assert scan.calibration[0].equal(torch.from_numpy(expected))
    assert not scan.kspace[0][..., [0, 2, 4, 6]].any()
    assert scan.warnings == ("3 lines were measured apart for calibration: they serve the coil maps alone",)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        (
            {"fov_x": 30},
            r"encoding 1 were left out: its field of view must be the image's, \(48.0, 21.0\) mm in 1 part.*: got",
        ),
        ({"trajectory": "radial"}, "encoding 1 were left out: trajectory must be cartesian"),
        (None, "encoding 1 were left out: xml must describe encoding 1"),
    ],
)
def test_a_reference_scan_that_does_not_fit_is_left_out_by_number_and_reason(
    tmp_path: Path, changes: dict | None, reason: str
) -> None:
    k = draw(1, N_COILS, N_Y, N_X)
    extra = [line(k[0][..., x], (ONLY,), kspace_encode_step_1=x, encoding_space_ref=1) for x in (2, 3)]
    xml = header() if changes is None else reference_scan(**changes)
    scan = read_scan(write(tmp_path / "head.h5", [*extra, *accelerated(k)], xml))
    assert scan.calibration is None
    assert re.match(f"2 calibration lines of {reason}", scan.warnings[0])
    own = line(k[0][..., 2], (ONLY,), kspace_encode_step_1=2)
    scan = read_scan(write(tmp_path / "both.h5", [own, *extra, *accelerated(k)], xml))
    assert scan.mask[0, 0].tolist() == [False, True, True, True, False, True, False]
    assert scan.warnings[0] == "2 calibration lines of other encodings were left out"


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
        assert scan.calibration[r].equal(torch.from_numpy(expected))
    assert scan.mask[0, 0].tolist() == [False, True, False, True, False, True, False]
    assert f"{len(columns)} lines were measured apart for calibration: they serve the coil maps alone" in scan.warnings
