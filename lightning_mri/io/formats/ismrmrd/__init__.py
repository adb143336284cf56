"""ISMRMRD files."""
