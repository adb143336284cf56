"""Whose DICOM images are: the patient and study of the series that a scan belongs to, checked against the scan."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from lightning_mri.io.formats import read_scan
from lightning_mri.io.formats.dicom.reader import FORMAT, files
from lightning_mri.io.geometry import greatest_distance, is_shown_transposed
from lightning_mri.io.scan import Scan
from lightning_mri.lazy import lazy
from lightning_mri.messages import first_few

pydicom = lazy("pydicom")

IDENTITY = (
    *("PatientName", "PatientID", "IssuerOfPatientID", "PatientBirthDate", "PatientSex", "PatientAge"),
    *("PatientSize", "PatientWeight", "PatientIdentityRemoved", "DeidentificationMethod"),
    *("StudyInstanceUID", "StudyDate", "StudyTime", "StudyID", "StudyDescription", "AccessionNumber"),
    *("ReferringPhysicianName", "PatientPosition", "PositionReferenceIndicator", "BodyPartExamined", "Laterality"),
    *("ScanningSequence", "SequenceVariant", "ScanOptions", "MRAcquisitionType", "RepetitionTime", "EchoTime"),
    *("EchoTrainLength", "InversionTime", "FlipAngle", "MagneticFieldStrength", "ImagingFrequency", "SliceThickness"),
    *("ImagedNucleus", "ContrastBolusAgent", "AcquisitionDate", "AcquisitionTime", "ProtocolName"),
)
"""What a derived series takes over from its source: who, which study, and how it was measured."""
ONE_OF_ALL = ("PatientID", "PatientName", "StudyInstanceUID")
"""What all files of a series must have in common, so that it belongs to one patient."""
PIXEL_TOLERANCE = 0.03
"""Share by which pixels of one scan may differ in size: people round what they give by hand."""


@dataclass(frozen=True)
class SourceFile:
    """A file that images come from."""

    sop_class: str
    instance: str
    position: tuple[float, ...] | None  # of its one slice, LPS, mm; None where it holds several


@dataclass(frozen=True, eq=False)
class DicomStudy:
    """Whose these images are.

    Args:
        attributes: Patient, study and measurement, as another series has them; None for new ones.
        frame_of_reference: Identity of the coordinates that positions are given in.
        scan: The series they come from, if any.
        files: Those of its files that are known to hold certain slices.
    """

    attributes: "pydicom.Dataset | None" = None
    frame_of_reference: str | None = None
    scan: Scan | None = None
    files: tuple[SourceFile, ...] = ()

    @classmethod
    def of(cls, path: Path) -> "DicomStudy":
        """Take over the study of a DICOM file, or of a folder that holds one series.

        Raises:
            ValueError: If it is no DICOM, holds several series, or files of several patients or studies.
        """
        scan = read_scan(path)
        if scan.format != FORMAT:
            raise ValueError(f"{path}: source_dicom must be a DICOM file or a folder of one series: got {scan.format}")
        members = _read_members(path, scan)
        dataset = pydicom.dcmread(scan.source, stop_before_pixels=True)
        dataset.decode()
        attributes = pydicom.Dataset()
        for name in IDENTITY:
            if name in dataset and not dataset[name].is_empty:
                attributes[name] = dataset[name]
        return cls(attributes, dataset.get("FrameOfReferenceUID"), scan, members)

    def check(self, scan: Scan) -> None:
        """Refuse to lend an identity to images of something else.

        Matrix and size of pixels must be the same as viewers show them; where the series has several slices, their
        number and that of volumes, too; and where both sides know their place, that within half a pixel. A single
        slice must lie where one of the scan's does.

        Raises:
            ValueError: If it is something else.
        """
        own = self.scan
        if own is None:
            return
        mine, theirs = _shown(own), _shown(scan)
        must = f"{scan.source}: source_dicom must"
        if mine[0] != theirs[0]:
            raise ValueError(f"{must} have the matrix {theirs[0]}: got {mine[0]}")
        if mine[1] and theirs[1] and not np.allclose(mine[1], theirs[1], rtol=PIXEL_TOLERANCE):
            sizes = (" x ".join(f"{length:.4g}" for length in size) for size in (theirs[1], mine[1]))
            raise ValueError(f"{must} have pixels of {' mm: got '.join(sizes)} mm")
        if own.n_slices > 1 and own.n_slices != scan.n_slices:
            raise ValueError(f"{must} have {scan.n_slices} slices: got {own.n_slices}")
        if own.n_slices > 1 and own.n_volumes != scan.n_volumes:
            raise ValueError(f"{must} have {scan.n_volumes} volumes: got {own.n_volumes}")
        distance = _distance(scan, own)
        if distance is not None and distance > min(own.pixel_size or (1.0, 1.0)) / 2:
            raise ValueError(f"{must} lie where the scan does: got {distance:.3g} mm apart")

    def warnings(self, scan: Scan) -> tuple[str, ...]:
        """Return what could not be compared, and other patients' names in series and scan: one may be anonymised."""
        own = self.scan
        if own is None:
            return ()
        found = []
        if own.affine is None or scan.affine is None:
            compared = ["matrix", *["pixels"] * bool(own.pixel_size and scan.pixel_size)]
            compared += ["number of slices"] * (own.n_slices > 1)
            who = "the scan's file" if scan.affine is None else "source_dicom"
            found.append(
                f"only {' and '.join(compared)} of source_dicom were compared with the scan's, since {who} does not say"
                " where its slices lie: check that it is the same patient"
            )
        if own.subject_known and scan.subject_known and own.subject != scan.subject:
            found.append(f"the patient is that of source_dicom, {own.subject}: the scan's file names {scan.subject}")
        return tuple(found)

    def files_at(
        self, position: Float[np.ndarray, "3"], normal: Float[np.ndarray, "3"], gap: float
    ) -> list[SourceFile]:
        """Return the files that hold the slice at a position, LPS, mm, of slices a gap apart along a unit normal."""
        return [
            file
            for file in self.files
            if file.position is None or abs(float(normal @ (np.array(file.position) - position))) < gap / 2
        ]


def _read_members(path: Path, scan: Scan) -> tuple[SourceFile, ...]:
    """Return the files of a series, which must be of one patient: anonymisers give all images one identity."""
    names = (*ONE_OF_ALL, "SOPClassUID", "SOPInstanceUID", "ImagePositionPatient", "SpecificCharacterSet")
    own = files(scan.source)
    headers = [pydicom.dcmread(file, stop_before_pixels=True, specific_tags=[*names]) for file in own]
    for name in ONE_OF_ALL:
        if len(found := sorted({str(header.get(name, "")) for header in headers})) > 1:
            raise ValueError(f"{path}: source_dicom must have one {name}: got {first_few(found)}")
    several = len(own) < scan.n_slices
    placed = [header for header in headers if several or header.get("ImagePositionPatient")]
    return tuple(
        SourceFile(
            str(header.get("SOPClassUID", "")),
            str(header.get("SOPInstanceUID", "")),
            None if several else tuple(map(float, header.ImagePositionPatient)),
        )
        for header in placed
    )


def _shown(scan: Scan) -> tuple[tuple[int, int], tuple[float, float] | None]:
    """Return matrix and size of pixels of a scan's images as viewers show them."""
    (y, x), size = scan.reconstruction_size, scan.pixel_size
    if scan.affine is None or not is_shown_transposed(scan.affine):
        return (y, x), size
    return (x, y), None if size is None else (size[1], size[0])


def _distance(scan: Scan, own: Scan) -> float | None:
    """Return how far in mm the slices of a series lie from the scan's; a single one, from the nearest of these."""
    if scan.affine is None or own.affine is None:
        return None
    shape, own_shape = (scan.n_slices // scan.n_volumes, *scan.reconstruction_size), own.reconstruction_size
    if own.n_slices > 1:
        return greatest_distance(scan.affine, shape, own.affine, (shape[0], *own_shape))
    slices = (_moved(scan.affine, k) for k in range(shape[0]))
    return min(greatest_distance(each, (1, *shape[1:]), own.affine, (1, *own_shape)) for each in slices)


def _moved(affine: Float[Tensor, "4 4"], n_slices: int) -> Float[Tensor, "4 4"]:
    """Return the affine of the slices from a later one on."""
    return torch.cat([affine[:, :3], affine[:, 3:] + n_slices * affine[:, 2:3]], 1)
