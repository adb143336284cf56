"""The contrast is read off the name of the acquisition."""

import pytest

from lightning_mri.io.contrasts import ACQUISITIONS, acquisition_of, contrast_of

NAMES = {
    "T1w": "AXT1, AXT1PRE, t1 flair, t1_tirm_tra_dark-fluid, WIP_T1W_3D_TFE, t1_mpr_posterior, t1_fl2d_tra",
    "T1w-post": "AXT1POST, T1 POST",
    "T2w": "AXT2, sT2W_TSE, t2_tse_tra",
    "FLAIR": "AXFLAIR, t2_flair_tra, t2_tirm_tra_dark-fluid, t2_tse_dark-fluid_tra, "
    "t2_space_dark-fluid_sag_p2_iso, t2_spc_da-fl_sag_p2_iso, T2_DarkFluid, FLAIR3D",
    "SWI": "t2_swi3d_tra_p2, t2_swi_tra_p2, SWAN 3D",
    "T2*w": "t2_me2d_tra, t2_medic2d, t2_flash_tra, T2*, T2*_GRE, ax T2* GRE 3mm, AXT2*W, T2STAR, "
    "t2_star_me3d, T2W_FFE, sT2FFE, t2_fl2d_tra_hemo",
    "PD": "CORPD_FBK",
    "PDFS": "CORPDFS_FBK, PD_TSE_FS",
    "DWI": "ep2d_diff_b1000_TRACEW, DWI ASSET, WIP DTI",
    None: "ep2d_difficult, SPDIF, R2*, RPDA, localizer, ",
}


@pytest.mark.parametrize(
    ("acquisition", "contrast"), [(name, contrast) for contrast, names in NAMES.items() for name in names.split(", ")]
)
def test_names_of_acquisitions(acquisition: str, contrast: str | None) -> None:
    assert contrast_of(acquisition) == contrast


@pytest.mark.parametrize("contrast", [*ACQUISITIONS, "T2*w"])
def test_a_written_contrast_is_read_back(contrast: str) -> None:
    assert contrast_of(acquisition_of(contrast)) == contrast
