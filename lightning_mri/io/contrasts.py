"""Names of contrasts, and the names of acquisitions in fastMRI's files that stand for them."""

import re
from itertools import pairwise

NO_CONTRAST = "the contrast is not known"
"""How warnings say so: they go where the user tells it."""
ACQUISITIONS = {
    "T1w": "AXT1",
    "T1w-post": "AXT1POST",
    "T2w": "AXT2",
    "PD": "AXPD",
    "PDFS": "CORPDFS_FBK",
    "FLAIR": "AXFLAIR",
    "SWI": "AXSWI",
    "DWI": "AXDWI",
    "other": "OTHER",
}
PLANE = r"(?:[23]D)?(?:AX|TRA|COR|SAG|OBL)?"
WEIGHTED = r"(?:W|WI)?(?:PRE|TSE|SE|GRE|FSE|FFE|TFE|SPACE|SPC|MPRAGE|MPR|VIBE|CUBE)?(?:[23]D)?"
WORDS = {
    "SWI": rf"{PLANE}SWI(?:[23]D)?|SWAN|VENOBOLD",
    "DWI": rf"{PLANE}(?:DWI|DTI)|DIFF(?:USION)?|TRACEW?",
    "T1w": rf"{PLANE}[SE]?T1{WEIGHTED}(?:POST|FLAIR|FS)?",
    "FLAIR": "[A-Z0-9]*FLAIR[A-Z0-9]*|DARKFLUID|DAFL",
    "T2*w": rf"{PLANE}[SE]?T2(?:(?:\*|STAR){WEIGHTED}|(?:W|WI)?(?:GRE|FFE)(?:[23]D)?)",
    "T2w": rf"{PLANE}[SE]?T2{WEIGHTED}(?:FS)?",
    "PDFS": rf"{PLANE}PDW?(?:FS|FATSAT)",
    "PD": rf"{PLANE}PDW?{WEIGHTED}",
    "other": "OTHER",
}
"""The whole words that stand for a contrast, the strongest first: a T1-weighted FLAIR is T1-weighted."""
POST = re.compile(rf"{PLANE}(?:T1)?(?:POST|GD|GAD)")
GRADIENT_ECHO = re.compile("STAR|GRE|FFE|FL[23]D|FLASH|HEMO|MEDIC(?:[23]D)?|ME[23]D|MERGE")
DARK_FLUID = ("DARKFLUID", "DAFL")
"""Siemens's name of FLAIR, in two words: dark-fluid, da-fl."""
FAT_SATURATED = ("FS", "FATSAT", "SPAIR")


def contrast_of(acquisition: str) -> str | None:
    """Return the contrast that an acquisition's name stands for, None if the name tells nothing.

    Follows fastMRI's names, AXT1PRE or CORPD_FBK, and finds the same words in protocol names such as
    ``t2_flair_tra``; words, not letters within them, so that "WIP DTI" is no PD. Vendors' names of susceptibility
    weighting (SWAN, VenoBOLD), of diffusion weighting (ep2d_diff) and of FLAIR (dark-fluid, da-fl) count as SWI, DWI
    and FLAIR, and T2 weighting by gradient echoes (t2_fl2d_tra_hemo) as T2*w.
    """
    words = re.findall(r"[A-Z0-9*]+", acquisition.upper())
    words += [first + second for first, second in pairwise(words) if first + second in DARK_FLUID]
    found = next((name for name, word in WORDS.items() if any(re.fullmatch(word, w) for w in words)), None)
    if found == "T1w" and any(POST.fullmatch(word) for word in words):
        return "T1w-post"
    if found == "T2w" and any(GRADIENT_ECHO.fullmatch(word) for word in words):
        return "T2*w"
    if found == "PD" and any(word in FAT_SATURATED for word in words):
        return "PDFS"
    return found


def plain_contrast(contrast: str) -> str:
    """Return the usual name of a contrast that somebody names, FLAIR for flair; the name itself if it has none."""
    return contrast_of(contrast) or contrast


def named_contrast(what: str, name: str) -> tuple[str | None, tuple[str, ...]]:
    """Return the contrast that a file's name for something stands for, and the warning where it tells nothing."""
    contrast = contrast_of(name)
    return contrast, () if contrast else (f"{NO_CONTRAST}: the {what} is named {name!r}",)


def acquisition_of(contrast: str) -> str:
    """Return fastMRI's name for a contrast, the contrast itself in capitals where fastMRI has none."""
    return ACQUISITIONS.get(contrast, contrast.upper())
