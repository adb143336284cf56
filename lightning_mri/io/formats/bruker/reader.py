"""Bruker ParaVision 5, 6, 7 and 360: raw data of Cartesian methods (fid, rawdata.job0) and images (2dseq).

Of an experiment its raw data stand for the scan; its reconstructed images do so where the raw data are missing or
of a method that is not Cartesian, or where they are named themselves.
"""

from pathlib import Path

import torch

from lightning_mri.io.complex_images import image_scan
from lightning_mri.io.contrasts import NO_CONTRAST, contrast_of
from lightning_mri.io.formats.bruker.files import Parameters
from lightning_mri.io.formats.bruker.images import FrameArray
from lightning_mri.io.formats.bruker.raw import RawArray, RawLayout, alias_of, layout_of, pixel_size_of, spacing_of
from lightning_mri.io.geometry import Geometry
from lightning_mri.io.scan import Scan

RAW = ("fid", "rawdata.job0")
IMAGES = "2dseq"
PARAMETERS = ("method", "acqp", "visu_pars", "reco")

CARTESIAN = "FLASH RARE MSME MGE GEFC FCFLASH IGFLASH FISP RAREVTR MDEFT DTISTANDARD FLASHANGIO FLOWMAP FIELDMAP DESS"
OTHER = "EPI EPSI SPIRAL UTE ZTE RADIAL PROPELLER SPEN CSI PRESS STEAM LASER SPECT ISIS SINGLEPULSE CPMG PROFILE"
"""Parts of the names of methods whose raw data are no Cartesian k-space."""

MHZ_PER_TESLA = {
    "1H": 42.577,
    "2H": 6.536,
    "13C": 10.708,
    "19F": 40.078,
    "23Na": 11.262,
    "31P": 17.235,
    "129Xe": 11.777,
}
LONG_ECHO_MS, LONG_REPETITION_MS = 30, 2000


def locate(path: Path, head: bytes) -> Path | None:
    """Return `fid`, `rawdata.job0` or `2dseq`, given it, a parameter file beside it, or the folder around it."""
    if path.is_dir():
        return _in_folder(path)
    if path.name in RAW and any(path.with_name(name).is_file() for name in ("method", "acqp")):
        return path
    if path.name == IMAGES and path.with_name("visu_pars").is_file():
        return path
    if path.name in PARAMETERS and head.startswith(b"##"):
        return _in_folder(path.parent)
    return None


def files(path: Path) -> list[Path]:
    """Return data and the parameter files beside them."""
    return [path, *(file for name in PARAMETERS if (file := path.with_name(name)).is_file())]


def is_scan(path: Path) -> bool:
    """Return whether a file of a folder stands for its experiment, and is a Cartesian scan or an image."""
    if path.name in RAW:
        return _in_experiment(path.parent) == path and _is_cartesian(path)
    experiment = path.absolute().parent.parent.parent
    standing = _in_experiment(experiment) if path.parent.parent.name == "pdata" else path
    if standing is None or not standing.samefile(path):
        return False
    return all(word == "spatial" for word in Parameters(path.with_name("visu_pars")).words("VisuCoreDimDesc"))


def read(path: Path) -> Scan:
    """Open raw data as k-space, or reconstructed images as images.

    K-space is returned as it is stored: its inverse transform has the orientation of ParaVision's own images. So it
    was measured on files of version 5.1 and 6.0.1 (correlation with 2dseq 1.000), whose RECO_qopts conjugate before
    a forward transform; a `reco` that says otherwise gives a warning. An offset of the field of view along a phase
    encoding is undone.
    """
    return _read_images(path) if path.name == IMAGES else _read_raw(path)


def _in_folder(folder: Path) -> Path | None:
    """Return the scan of a reconstruction or an experiment, if the folder is one."""
    if _is_images(folder / IMAGES):
        return folder / IMAGES
    if folder.name == "pdata":
        return _in_experiment(folder.parent, raw=False)
    return _in_experiment(folder) if any((folder / name).exists() for name in ("method", "acqp", "pdata")) else None


def _in_experiment(folder: Path, raw: bool = True) -> Path | None:
    """Return raw data that can be read, else reconstructed images, else raw data that cannot."""
    images = next((path for inner in _numbered(folder / "pdata") if _is_images(path := inner / IMAGES)), None)
    found = next((folder / name for name in RAW if raw and (folder / name).is_file()), None)
    return found if found and (images is None or _is_cartesian(found)) else images


def _is_images(path: Path) -> bool:
    return path.is_file() and path.with_name("visu_pars").is_file()


def _numbered(folder: Path) -> list[Path]:
    """Return the folders in a folder whose names are numbers, in order."""
    if not folder.is_dir():
        return []
    inner = (path for path in folder.iterdir() if path.name.isascii() and path.name.isdecimal() and path.is_dir())
    return sorted(inner, key=lambda path: (len(path.name), path.name))


def _is_cartesian(raw: Path) -> bool:
    """Return whether raw data are Cartesian k-space; damaged parameters are left for `read` to complain of."""
    try:
        _check_method(raw, _experiment_parameters(raw.parent))
    except NotCartesianError:
        return False
    except (ValueError, OSError):
        pass
    return True


class NotCartesianError(ValueError):
    """Raw data of a method that is not read."""


def _experiment_parameters(folder: Path) -> Parameters:
    return Parameters(folder / "method", folder / "acqp")


def _method(p: Parameters) -> str:
    return p.word("Method", "unnamed").split(":")[-1]


def _check_method(path: Path, p: Parameters) -> None:
    name = _method(p)
    wanted = {
        "ACQ_scan_size": ("", "One_scan"),
        "AQ_mod": ("", "qdig"),
        "SelfGating": ("", "No"),
        "PVM_SpatDimEnum": ("", "2D", "3D", "<2D>", "<3D>"),
    }
    odd = [f"{key} is {p.word(key)}" for key, values in wanted.items() if p.word(key) not in values]
    odd += [f"ACQ_dim_desc is {word}" for word in p.words("ACQ_dim_desc") if word != "Spatial"]
    if odd or any(part in name.upper() for part in OTHER.split()):
        why = f" ({odd[0]})" if odd else ""
        rule = "the method must be Cartesian, one line for each excitation or echo"
        raise NotCartesianError(f"{path}: {rule}: got {name}{why}")


def _read_raw(path: Path) -> Scan:
    p = _experiment_parameters(path.parent)
    _check_method(path, p)
    layout = layout_of(path, p)
    y, x, _ = layout.matrix
    alias = alias_of(p, 2)
    size = (max(1, round(y / alias[0])), max(1, round(x / alias[1])))
    mask = torch.zeros(1, y, x, dtype=torch.bool)
    mask[:, y - layout.n_read :, layout.lines] = True
    contrast, contrast_warnings = _contrast(p)
    geometry = _image_geometry(path.parent, size, layout.n_slices)
    return Scan.of_file(
        path,
        RawArray(path, layout),
        format=f"Bruker {path.name}",
        name=_name(path.parent),
        subject=_subject(path.parent),
        reconstruction_size=size,
        contrast=contrast,
        stored_mask=mask,
        pixel_size=pixel_size_of(p, size),
        slice_spacing=spacing_of(p, layout),
        affine=geometry.affine,
        field_strength=_field_strength(p),
        n_volumes=layout.n_volumes,
        warnings=(
            *geometry.warnings,
            *contrast_warnings,
            *_raw_warnings(p, layout),
            *_reco_warnings(path.parent, p),
        ),
    )


def _image_geometry(experiment: Path, size: tuple[int, int], n_slices: int) -> Geometry:
    """Return where ParaVision's own image lies: one of the same matrix has the pixels of the raw data's image."""
    for folder in _numbered(experiment / "pdata"):
        try:
            v = _visu(folder / IMAGES)
            images = FrameArray(folder / IMAGES, v)
            if images.shape[1:] == size and images.n_slices * images.depth == n_slices and images.knows_readout:
                return images.geometry(v)
        except (ValueError, OSError):
            pass  # what is no image, or damaged, tells nothing of the raw data
    missing = "orientation is not known: there is no reconstructed image (2dseq) of the same matrix beside the raw data"
    return Geometry(warnings=(missing,))


def _reco_warnings(experiment: Path, p: Parameters) -> tuple[str, ...]:
    """Warn of a reconstruction that transforms k-space itself forwards, as none that was tested does."""
    found = next((path for inner in _numbered(experiment / "pdata") if (path := inner / "reco").is_file()), None)
    if found is None or "360" in p.word("ACQ_sw_version"):
        return ()
    try:
        reco = Parameters(found)
        option, mode = reco.word("RECO_qopts", "CONJ_AND_QNEG"), reco.word("RECO_ft_mode")
    except (ValueError, OSError):
        return ()  # raw data can be read without it
    if "CONJ" in option or mode not in ("COMPLEX_FT", "COMPLEX_FFT"):
        return ()
    return (f"RECO_qopts is {option}: images may come out turned by 180 degrees against those of ParaVision",)


def _raw_warnings(p: Parameters, layout: RawLayout) -> tuple[str, ...]:
    steps = ("PVM_EncSteps1", "PVM_EncSteps2") if layout.is_3d else ("PVM_EncSteps1",)
    n_echoes, n_packages = p.number("PVM_NEchoImages", default=1), p.number("PVM_NSPacks", default=1)
    warnings = {
        f"the method {_method(p)} is not known: it was read as a Cartesian one": _method(p).upper()
        not in CARTESIAN.split(),
        f"each slice has {layout.n_echoes} images in a repetition, which were taken for volumes": layout.n_echoes
        not in (1, n_echoes),
        f"the {n_packages} slice packages follow each other along the slice axis": n_packages > 1,
    }
    for name in steps:
        warnings[f"{name} is missing: lines were taken to follow each other"] = name not in p
        warnings[f"{name} counts from 0: its middle was taken for the centre of k-space"] = (
            name in p and p.whole(name, low=-(2**31)) != (0,) and min(p.whole(name, low=-(2**31))) == 0
        )
    return tuple(warning for warning, holds in warnings.items() if holds)


def _name(experiment: Path) -> str:
    experiment = experiment.absolute()
    return f"{experiment.parent.name}_{experiment.name}"


def _subject(experiment: Path) -> str:
    """Return who was scanned, as the study's `subject` file has it, else the name of the study's folder."""
    study = experiment.absolute().parent
    named = Parameters(study / "subject").word("SUBJECT_id") if (study / "subject").is_file() else ""
    return named or study.name


def _field_strength(p: Parameters) -> float | None:
    frequency = next((name for name in ("PVM_FrqRef", "VisuAcqImagingFrequency", "BF1") if name in p), None)
    nuclei = ("PVM_Nucleus1Enum", "PVM_Nucleus1", "VisuAcqImagedNucleus", "NUC1", "NUCLEUS")
    nucleus = next((p.word(name) for name in nuclei if p.word(name)), "1H")
    if frequency is None or nucleus not in MHZ_PER_TESLA:
        return None
    tesla = float(p.numbers(frequency)[0]) / MHZ_PER_TESLA[nucleus]
    return tesla if 0 < tesla < 100 else None


def _contrast(p: Parameters) -> tuple[str | None, tuple[str, ...]]:
    """Return the contrast that the protocol's name, else a long echo time of a spin echo, tells of."""
    names = [p.word(n) for n in ("ACQ_scan_name", "ACQ_protocol_name", "VisuAcquisitionProtocol") if p.word(n)]
    named = next((contrast for name in names if (contrast := contrast_of(name))), None)
    if named:
        return named, ()
    method = (p.word("Method") or p.word("VisuAcqSequenceName", "unnamed")).split(":")[-1]
    echo, repetition = (
        next((float(p.numbers(name)[0]) for name in group if name in p), 0.0)
        for group in (
            ("PVM_EchoTime", "EffectiveTE", "VisuAcqEchoTime"),
            ("PVM_RepetitionTime", "VisuAcqRepetitionTime"),
        )
    )
    if "RARE" in method.upper() and echo >= LONG_ECHO_MS and repetition >= LONG_REPETITION_MS:
        return "T2w", (f"the contrast T2w was taken from TE {echo:g} ms and TR {repetition:g} ms of {method}",)
    return None, (f"{NO_CONTRAST}: the protocol is named {(names or [method])[0]!r}",)


def _visu(path: Path) -> Parameters:
    """Return what `visu_pars` and, if it is there, `reco` say of images."""
    v = Parameters(path.with_name("visu_pars"))
    return v | Parameters(path.with_name("reco")) if path.with_name("reco").is_file() else v


def _read_images(path: Path) -> Scan:
    v = _visu(path)
    images = FrameArray(path, v)
    contrast, contrast_warnings = _contrast(v)
    unknown_readout = ("the readout direction is not known: it was taken for the first axis",)
    experiment = path.absolute().parent.parent.parent
    return image_scan(
        path,
        images,
        images.geometry(v),
        images.is_complex,
        (*(() if images.knows_readout else unknown_readout), *contrast_warnings),
        format="Bruker 2dseq",
        name=f"{_name(experiment)}_{path.absolute().parent.name}",
        subject=v.word("VisuSubjectId") or _subject(experiment),
        contrast=contrast,
        field_strength=_field_strength(v),
        n_volumes=images.n_volumes,
        readout="y" if images.knows_readout else None,
    )
