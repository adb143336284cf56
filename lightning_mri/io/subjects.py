"""Whose scans files are: what they say themselves, else what their folders and names tell."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path

from lightning_mri.io.contrasts import contrast_of

SPLIT_FOLDER = re.compile(r"((multi|single)coil_)?(train|val|test|training|validation)(_.*)?", re.IGNORECASE)
TEST_FOLDER = re.compile(r"((multi|single)coil_)?test(_.*)?", re.IGNORECASE)
SESSION = r"(ses-[a-z0-9]+|(ses|session|visit|timepoint|day|week|month)[-_ ]?\d+)"
SESSION_FOLDER = re.compile(rf"{SESSION}|sessions?|visits?", re.IGNORECASE)
SESSION_IN_NAME = re.compile(rf"[-_. ]{SESSION}(?=[-_. ]|$)", re.IGNORECASE)


@dataclass(frozen=True)
class NamedSubjects:
    """Who was scanned, by path, and the rule by which that was found, in one sentence."""

    of: Mapping[Path, str]
    rule: str

    @classmethod
    def found(cls, named: Mapping[Path, str]) -> "NamedSubjects":
        """Find the subject of each scan: the one that its file names, else a folder's name, else the file's.

        The folder is the first in which the paths of all scans differ, folders of a split (`multicoil_train`, `val`),
        a contrast (`T1w`, `t2_flair`) or a session (`ses-01`, `day 3`) not counted: `P001/cine.mat` and
        `P002/cine.mat` are of two subjects, `P001/a.mat` and `P001/b.mat` of one, as are `T1w/P001.h5` and
        `FLAIR/P001.h5`. In files' names words of a contrast or session do not count either: `P001_T1w.h5` and
        `P001_FLAIR.h5` are of one subject.

        The rule ends with a warning where a file's name, such as `M01`, occurs in several of the folders that count as
        subjects: these may be dates.
        """
        folders = {path: [part for part in path.parent.parts if _may_be_subject(part)] for path in named}
        n_shared = len(list(takewhile(lambda level: len(set(level)) == 1, zip(*folders.values(), strict=False))))
        below = {path: parts[n_shared : n_shared + 1] for path, parts in folders.items()}
        of = {path: name or (below[path] or [subject_in(stem_of(path))])[0] for path, name in named.items()}
        counts = {
            "their files": len({of[path] for path, name in named.items() if name}),
            "their folders": len({of[path] for path, name in named.items() if not name and below[path]}),
            "their files' names": len({of[path] for path, name in named.items() if not name and not below[path]}),
        }
        by = ", ".join(f"{n} named by {what}" for what, n in counts.items() if n)
        by_folder = {path: of[path] for path, name in named.items() if not name and below[path]}
        return cls(of, f"subjects: {by}{_warning(by_folder)}")


def _may_be_subject(folder: str) -> bool:
    """Return whether a folder is named after no split, contrast or session; `PD-001` has a number of its own."""
    rest = [word for word in re.findall(r"[A-Z0-9]+", folder.upper()) if contrast_of(word) is None]
    numbered = any(re.search(r"\d", word) and not re.fullmatch(r"[23]D", word) for word in rest)
    of_contrast = contrast_of(folder) is not None and not numbered
    return not (of_contrast or SPLIT_FOLDER.fullmatch(folder) or SESSION_FOLDER.fullmatch(folder))


def _warning(folder_of: Mapping[Path, str]) -> str:
    """Return a warning where a file's name looks like a subject's and occurs in several folders; else nothing."""
    found: dict[str, set[str]] = {}
    for path, folder in folder_of.items():
        found.setdefault(stem_of(path), set()).add(folder)
    repeated = (name for name in found if len(found[name]) > 1 and re.search(r"\d", name) and not contrast_of(name))
    if len(found) == 1 or (name := next(repeated, None)) is None:
        return ""
    first, second = sorted(found[name])[:2]
    return f"; WARNING: {name} is in {first} and in {second}: if it is one subject, name these folders ses-1, ses-2 ..."


def subject_in(stem: str) -> str:
    """Return a file's name without words that stand for a contrast or session; the name if there is nothing else."""
    stem = SESSION_IN_NAME.sub("", stem)
    words = re.split(r"[_\-. ]+", stem)
    kept = [word for word in words if contrast_of(word) is None]
    return "_".join(kept) if 0 < len(kept) < len(words) else stem


def stem_of(path: Path) -> str:
    """Return a file's name without its ending, also that of a compressed one."""
    return Path(path.name.removesuffix(".gz")).stem
