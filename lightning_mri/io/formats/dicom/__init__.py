"""DICOM files, reading and writing."""
