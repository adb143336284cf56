"""Reading of MATLAB files."""

from lightning_mri.io.formats.matlab.reader import is_scan, locate, read

FRAGILE = True

__all__ = [
    "is_scan",
    "locate",
    "read",
]
