"""Reading of ISMRMRD files."""

from lightning_mri.io.formats.ismrmrd.reader import locate, read

__all__ = [
    "locate",
    "read",
]
