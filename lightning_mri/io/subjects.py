"""Whose scans files are: what they say themselves, else what their folders and names tell."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path

from lightning_mri.io.contrasts import contrast_of

SPLIT_FOLDER = re.compile(r"((multi|single)coil_)?(train|val|test|training|validation)(_.*)?", re.IGNORECASE)


@dataclass(frozen=True)
class NamedSubjects:
    """Who was scanned, by path, and the rule by which that was found, in one sentence."""

    of: Mapping[Path, str]
    rule: str

    @classmethod
    def found(cls, named: Mapping[Path, str]) -> "NamedSubjects":
        """Find the subject of each scan: the one that its file names, else a folder's name, else the file's.

        The folder is the first in which the paths of all scans differ, folders of a split (`multicoil_train`, `val`)
        or of a contrast (`T1w`, `t2_flair`) not counted: `P001/cine.mat` and `P002/cine.mat` are of two subjects,
        `P001/a.mat` and `P001/b.mat` of one, as are `T1w/P001.h5` and `FLAIR/P001.h5`. In files' names words of a
        contrast do not count either: `P001_T1w.h5` and `P001_FLAIR.h5` are of one subject.
        """
        folders = {path: [part for part in path.parent.parts if _may_be_subject(part)] for path in named}
        n_shared = len(list(takewhile(lambda level: len(set(level)) == 1, zip(*folders.values(), strict=False))))
        below = {path: parts[n_shared : n_shared + 1] for path, parts in folders.items()}
        of = {path: name or (below[path] or [_without_contrast(stem_of(path))])[0] for path, name in named.items()}
        counts = {
            "their files": len({of[path] for path, name in named.items() if name}),
            "their folders": len({of[path] for path, name in named.items() if not name and below[path]}),
            "their files' names": len({of[path] for path, name in named.items() if not name and not below[path]}),
        }
        by = ", ".join(f"{n} named by {what}" for what, n in counts.items() if n)
        return cls(of, f"subjects: {by}")


def _may_be_subject(folder: str) -> bool:
    """Return whether a folder is named after neither a split nor a contrast; `PD-001` has a number of its own."""
    rest = [word for word in re.findall(r"[A-Z0-9]+", folder.upper()) if contrast_of(word) is None]
    numbered = any(re.search(r"\d", word) and not re.fullmatch(r"[23]D", word) for word in rest)
    of_contrast = contrast_of(folder) is not None and not numbered
    return not (of_contrast or SPLIT_FOLDER.fullmatch(folder))


def _without_contrast(stem: str) -> str:
    """Return a file's name without words that stand for a contrast; the name itself if there is nothing else."""
    words = re.split(r"[_\-. ]+", stem)
    kept = [word for word in words if contrast_of(word) is None]
    return "_".join(kept) if 0 < len(kept) < len(words) else stem


def stem_of(path: Path) -> str:
    """Return a file's name without its ending, also that of a compressed one."""
    return Path(path.name.removesuffix(".gz")).stem
