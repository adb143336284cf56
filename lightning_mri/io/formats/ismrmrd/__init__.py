"""Reading of ISMRMRD files."""

from lightning_mri.io.formats.ismrmrd.reader import locate, read

FRAGILE = True

__all__ = [
    "locate",
    "read",
]
