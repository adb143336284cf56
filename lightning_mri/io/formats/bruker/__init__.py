"""Reading of Bruker ParaVision files."""

from lightning_mri.io.formats.bruker.reader import is_scan, locate, read

__all__ = [
    "is_scan",
    "locate",
    "read",
]
