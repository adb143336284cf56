"""The folders of images that `prepare` made to train on, which are no scans."""

from pathlib import Path

MANIFEST, SETTINGS = "manifest.jsonl", "settings.json"
"""Names of the files by which such a folder is known."""


def is_prepared(folder: Path) -> bool:
    """Return whether a folder holds images that `prepare` made: whether it has a manifest."""
    return (folder / MANIFEST).is_file()
