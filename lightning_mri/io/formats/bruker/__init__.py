"""Bruker ParaVision files."""
