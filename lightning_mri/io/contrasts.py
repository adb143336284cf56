"""Names of contrasts, and the names of acquisitions in fastMRI's files that stand for them."""

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
SUSCEPTIBILITY = ("SWI", "SWAN", "VENOBOLD")
DIFFUSION = ("DWI", "DIFF", "TRACEW")


def contrast_of(acquisition: str) -> str | None:
    """Return the contrast that an acquisition's name stands for, None if the name tells nothing.

    Follows fastMRI's names, AXT1PRE or CORPD_FBK, and finds the same words in protocol names such as
    ``t2_flair_tra``. A T1-weighted FLAIR is T1-weighted; fat-suppressed proton density is PDFS. Vendors' names
    of susceptibility weighting (SWAN, VenoBOLD) and of diffusion weighting (ep2d_diff) count as SWI and DWI.
    """
    name = acquisition.upper().replace("_", "").replace(" ", "").replace("-", "")
    if any(word in name for word in SUSCEPTIBILITY):
        return "SWI"
    if any(word in name for word in DIFFUSION):
        return "DWI"
    if "T1" in name:
        return "T1w-post" if "POST" in name else "T1w"
    if "FLAIR" in name:
        return "FLAIR"
    if "T2" in name:
        return "T2w"
    if "PDFS" in name:
        return "PDFS"
    if "PD" in name:
        return "PD"
    return "other" if name == "OTHER" else None


def acquisition_of(contrast: str) -> str:
    """Return fastMRI's name for a contrast, the contrast itself in capitals where fastMRI has none."""
    return ACQUISITIONS.get(contrast, contrast.upper())
