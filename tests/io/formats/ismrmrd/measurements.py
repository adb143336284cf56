"""ISMRMRD measurements, written by the format's own library, readout by readout."""

from collections.abc import Iterable
from pathlib import Path

import ismrmrd
import numpy as np

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
    texts = {"trajectory": "cartesian", "vendor": "", "system": "", "calibration": ""}
    sizes = {"n_y": 12, "n_x": 7, "n_z": 1, "kept_z": 1, "fov_y": 48, "fov_x": 21, "depth": 5, "kept_depth": 5}
    return HEADER.format(**{**texts, **sizes, "centre": 3, "centre_2": 0, **changes})


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
