"""NIfTI files, reading and writing."""
